"""Attention fusion that takes large negative numbers as masks, because the user says so."""

from __future__ import annotations

from dataclasses import dataclass

from passes.base import Pass, register_pass
from passes.transforms.fuse_attention import fuse, specialize
from tgraph.ir.errors import PassError
from tgraph.ir.graph import Graph

RULE = "where(mask, s, c) or s + (1 - mask) c, with c <= at_most: a mask"


@register_pass
@dataclass(frozen=True)
class FiniteMask(Pass):
    """`fuse-attention` that takes where(mask, s, c) and s + (1 - mask) c as masks if c <= `at_most` (-10000).

    That includes the lowest number of f16, -65504, which no other pass takes as a mask, since scores of f16 may come near it.
    Changes the meaning: masked keys had a weight of about e^c, and now have none; a query with no key left had
    weights by its scores or equal ones, and now has equal ones. Biases of `attention` ops count, too.
    """

    effect = "changes-meaning"
    enters_functions = True
    at_most: float = -1e4

    def apply(self, graph: Graph) -> None:
        if not self.at_most < 0:
            raise PassError(f"finite-mask: at_most must be negative, got {self.at_most}")
        fuse(graph, self.at_most, RULE, additive=self.at_most)
        specialize(graph, RULE, additive=self.at_most)

"""Recurrent weights as GPUs read them: neighbouring threads, which have neighbouring units, read neighbouring elements."""

from __future__ import annotations

from dataclasses import dataclass

from passes.base import Pass, register_pass
from targets.lowering.pack_recurrent import pack_recurrent
from tgraph.ir.graph import Graph
from tgraph.ir.types import TensorType


@register_pass
@dataclass(frozen=True)
class PackRecurrent(Pass):
    """Brings the recurrent weights [D, gates H, H] that are known before any input into one panel [H, gates H] a direction."""

    effect = "exact"

    def apply(self, graph: Graph) -> None:
        pack_recurrent(graph, _all_units)


def _all_units(weight: TensorType, gates: int) -> int:
    hidden = weight.shape[2]
    assert isinstance(hidden, int)
    return hidden

"""Fusion of a residual connection with the norm after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from passes.base import Pass, register_pass
from passes.outline import Functions, outline
from passes.products import missed
from passes.rewriting import current_report
from passes.transforms.fuse_embeddings import embedding_sum, failures, is_norm
from tgraph.ir.analysis import is_prepared, prepared
from tgraph.ir.graph import Graph
from tgraph.ir.values import Node, Result


@register_pass
@dataclass(frozen=True)
class FuseSkipNorm(Pass):
    """norm(x + r) = call $add_layer_norm(x, r, weight, bias), for layer_norm and rms_norm.

    x and r have the same shape and depend on inputs. If something besides the norm reads the sum, as in pre-norm networks, it
    is a second result of the function.
    """

    effect = "exact"

    def apply(self, graph: Graph) -> None:
        parameter_only = prepared(graph)
        functions: Functions = graph.functions
        failed = failures(graph, parameter_only)
        for norm in graph.nodes:
            if norm in parameter_only or not is_norm(norm):
                continue
            rule = f"{norm.op.name}(x + r, ...) = call $add_{norm.op.name}(x, r, ...)"
            found = _residual(norm, parameter_only, failed)
            if isinstance(found, str):
                missed(rule, norm, found)
            else:
                made = outline(graph, [found, norm], f"add_{norm.op.name}", functions)
                current_report().rewrote(rule, (norm, found), made.results)


def _residual(norm: Node, parameter_only: set[Node], failed: Mapping[Node, str | None]) -> Node | str:
    """The `add` of a residual connection that a norm reads; or the reason why there is none."""
    x, *affine = norm.inputs
    if not isinstance(x, Result) or x.node.op.name != "add":
        return "it normalises no sum"
    if not all(is_prepared(v, parameter_only) for v in affine):
        return "its weight or bias is not known before the inputs"
    if any(v.shape != x.shape for v in x.node.inputs):
        return "one operand of the sum is broadcast"
    if any(is_prepared(v, parameter_only) for v in x.node.inputs):
        return "one operand of the sum is known before the inputs"
    if failed[x.node] is None and embedding_sum(x.node, parameter_only):
        return "the sum is one of embeddings (fuse-embeddings)"
    return x.node

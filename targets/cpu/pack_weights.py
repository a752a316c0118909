"""Packing of weights into panels, as the CPU's products read them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from passes.base import Pass, register_pass
from targets.base.target import Target
from targets.cpu.emitters.linear import panels_for
from targets.cpu.emitters.quantized import integer_tile
from targets.lowering.canonical import narrow, prepare_part
from tgraph.ir.analysis import is_prepared
from tgraph.ir.builder import Builder
from tgraph.ir.dtypes import DType, i32, u8
from tgraph.ir.graph import Graph


@register_pass
@dataclass(frozen=True)
class PackWeights(Pass):
    """Cuts every weight that is known before any input into panels, as wide as the target's tiles, as narrow as it is stored."""

    target: str = "cpu"
    effect = "exact"

    def apply(self, graph: Graph) -> None:
        target = Target.parse(self.target)
        _pack_floats(graph, lambda dtype: panels_for(target, dtype))
        integers = integer_tile(target)
        _pack_integers(graph, integers.columns, integers.dot.group, integers.dot.unsigned)


def _pack_floats(graph: Graph, panels_for: Callable[[DType], tuple[int, int]]) -> None:
    """Every weight of a `linear` known before any input, cut into panels, as narrow as it is stored.

    `panels_for`: width and group of the panels of a product in some type.
    """
    parameter_only = prepare_part(graph)
    for node in graph.nodes:
        if node.op.name != "linear" or node in parameter_only:
            continue
        weight = node.inputs[1]
        if weight.dtype.is_float and is_prepared(weight, parameter_only):
            b = Builder(graph, node.provenance)
            width, group = panels_for(weight.dtype)
            packed = b.pack_panels(narrow(weight), width=width, group=group)
            unpacked = b.unpack_panels(packed, rows=weight.shape[0], depth=None if group == 1 else weight.shape[1])
            graph.set_operand(node, 1, unpacked if unpacked.dtype == weight.dtype else b.cast(unpacked, dtype=weight.dtype))


def _pack_integers(graph: Graph, width: int, group: int, unsigned: bool) -> None:
    """Every weight of an `integer_linear` known before any input, cut into panels for an instruction that multiplies groups.

    `unsigned`: for one that takes x as u8, x W^T = (x + 128) W^T - 128 sum(W), of which the last term is known beforehand.
    """
    parameter_only = prepare_part(graph)
    for node in graph.nodes:
        if node.op.name != "integer_linear" or not is_prepared(node.inputs[1], parameter_only):
            continue
        x, weight = node.inputs
        b = Builder(graph, node.provenance)
        packed = b.pack_panels(weight, width=width, group=group)
        panels = b.unpack_panels(packed, rows=weight.shape[0], depth=weight.shape[1])
        if not unsigned or x.dtype == u8:
            graph.set_operand(node, 1, panels)
            continue
        shifted = b.cast(b.add(b.cast(x, dtype=i32), 128), dtype=u8)
        excess = b.mul(b.reduce_sum(b.cast(weight, dtype=i32), axes=(1,)), 128)
        graph.replace(node.result, b.sub(b.integer_linear(shifted, panels), excess))
        graph.erase(node)

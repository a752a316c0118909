"""Packing of weights into panels, as the CPU's products read them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from passes.base import Pass, register_pass
from passes.rewriting import current_report
from targets.base.target import Target
from targets.cpu.emitters.linear import panels_for
from targets.cpu.emitters.quantized import integer_tile
from targets.cpu.emitters.recurrent import tile_for
from targets.cpu.kernels.gemm_dot import DotTile
from targets.cpu.kernels.words import BYTES, fits, padded
from targets.lowering.canonical import centred, dequantizes, narrow, prepare_part
from targets.lowering.pack_recurrent import pack_recurrent
from tgraph.ir.analysis import is_prepared
from tgraph.ir.builder import Builder
from tgraph.ir.dtypes import DType, bf16, f64, i8, i32, u8
from tgraph.ir.graph import Graph
from tgraph.ir.values import Node, Result, Value

Panels = tuple[int, int, int]  # columns of a panel, steps of k beside each other, and what the depth is padded to a multiple of

PACKED = "W = unpack_panels(pack_panels(W))"


@register_pass
@dataclass(frozen=True)
class PackWeights(Pass):
    """Cuts every weight that is known before any input into panels, as wide as the target's tiles, as narrow as it is stored."""

    target: str = "cpu"
    effect = "exact"

    def apply(self, graph: Graph) -> None:
        target = Target.parse(self.target)
        _pack_floats(graph, lambda dtype: panels_for(target, dtype))
        _pack_integers(graph, lambda x: integer_tile(target, unsigned=x.dtype == u8 or not centred(x)))
        pack_recurrent(graph, lambda weight, gates: tile_for(target, gates, _summed_in(weight.dtype)).width)


def _summed_in(dtype: DType) -> str:
    return "float64" if dtype == f64 else "float32"


def _pack_floats(graph: Graph, panels_for: Callable[[DType], Panels]) -> None:
    """Every weight of a `linear` known before any input, cut into panels, as narrow as it is stored."""
    parameter_only = prepare_part(graph)
    for node in graph.nodes:
        if node.op.name != "linear" or node in parameter_only:
            continue
        weight = node.inputs[1]
        if weight.dtype.is_float and is_prepared(weight, parameter_only):
            b = Builder(graph, node.provenance)
            width, group, multiple = panels_for(weight.dtype)
            if group == 1 and isinstance(weight, Result) and dequantizes(weight):
                graph.set_operand(node, 1, _packed_integers(b, weight.node, width))
                current_report().rewrote("dequantize(q) = dequantize(unpack_panels(pack_panels(q)))", [node], node.results)
                continue
            packed = b.pack_panels(_deepened(b, narrow(weight), multiple), width=width, group=group)
            unpacked = b.unpack_panels(packed, rows=weight.shape[0], depth=None if group == 1 else weight.shape[1])
            graph.set_operand(node, 1, unpacked if unpacked.dtype == weight.dtype else b.cast(unpacked, dtype=weight.dtype))
            current_report().rewrote(PACKED, [node], node.results)


def _deepened(b: Builder, weight: Value, multiple: int) -> Value:
    """A weight [out, in] with zeros behind each row, up to a multiple."""
    depth = weight.shape[1]
    assert isinstance(depth, int)
    missing = -depth % multiple
    return b.pad(weight, before=(0, 0), after=(0, missing), value=0.0) if missing else weight


def _packed_integers(b: Builder, node: Node, width: int) -> Value:
    """A `dequantize` whose integers, scales and zero points are cut into panels, each by itself; integers may be in words."""
    depth, block, bits = (node.attrs[name] for name in ("depth", "block", "bits"))

    def in_panels(value: Value | None) -> Value | None:
        if value is None or not value.type.rank:
            return value
        stored = narrow(value) if narrow(value).dtype == bf16 else value  # f16 takes an instruction that not every CPU has
        made: Value = b.unpack_panels(b.pack_panels(stored, width=width), rows=value.shape[0])
        return made if stored is value else b.cast(made, dtype=value.dtype)

    integers, *factors = node.operands
    assert integers is not None
    if fits(depth, block, bits):
        whole = _deepened(b, integers, padded(depth, block, bits) * bits // 8)
        panels = b.unpack_panels(b.pack_panels(whole, width=width, group=BYTES), rows=integers.shape[0], depth=integers.shape[1])
    else:
        panels = in_panels(integers)
    made: Value = b.dequantize(panels, *map(in_panels, factors), **node.attrs)
    return made


def _pack_integers(graph: Graph, tile_of: Callable[[Value], DotTile]) -> None:
    """Every weight of an `integer_linear` known before any input, cut into panels for an instruction that multiplies groups.

    `tile_of(x)`: the tile of its product. Where that takes x as u8 alone, x W^T = (x + 128) W^T - 128 sum(W), of which
    the last term is known beforehand.
    """
    parameter_only = prepare_part(graph)
    as_unsigned: dict[Value, Value] = {}
    for node in graph.nodes:
        if node.op.name != "integer_linear" or not is_prepared(node.inputs[1], parameter_only):
            continue
        x, weight = node.inputs
        b = Builder(graph, node.provenance)
        tile = tile_of(x)
        deep = _deepened(b, weight, tile.depth)
        if tile.dot.sums_stored:
            deep = b.concat(deep, *_bytes_of_sums(b, weight), axis=1)
        packed = b.pack_panels(deep, width=tile.columns, group=tile.dot.group)
        panels = b.unpack_panels(packed, rows=weight.shape[0], depth=weight.shape[1])
        if not tile.dot.unsigned or x.dtype == u8:
            graph.set_operand(node, 1, panels)
            current_report().rewrote(PACKED, [node], node.results)
            continue
        if x not in as_unsigned:
            as_unsigned[x] = b.cast(b.add(b.cast(x, dtype=i32), 128), dtype=u8)
        excess = b.mul(b.reduce_sum(b.cast(weight, dtype=i32), axes=(1,)), 128)
        made = b.sub(b.integer_linear(as_unsigned[x], panels), excess)
        graph.replace(node.result, made)
        graph.erase(node)
        current_report().rewrote("x W^T = (x + 128) W^T - 128 sum(W)", [node], [made])


def _bytes_of_sums(b: Builder, weight: Value) -> list[Value]:
    """The sums of the rows of a weight in 32 bits, as four bytes [out, 1], the lowest first."""
    sums = b.reduce_sum(b.cast(weight, dtype=i32), axes=(1,), keepdims=True)
    return [b.cast(b.floor_div(sums, 256**place), dtype=i8) for place in range(4)]

"""What comes before kernels are chosen: one form for products, only ops that have a kernel, views where they are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tgraph.ir.analysis import is_prepared, prepared
from tgraph.ir.builder import Builder
from tgraph.ir.dims import DimLike
from tgraph.ir.dtypes import DType, i32, u8
from tgraph.ir.graph import Graph
from tgraph.ir.values import Node, Result, Value
from tgraph.ops.attention import decompose_cleanly

VIEWS = {"reshape", "transpose", "expand", "squeeze", "unsqueeze", "slice", "unpack_panels"}
KERNEL_READS = ("unpack_panels",)  # depends on weights alone, but stays with the kernel that reads them packed
CREATED = {"range", "full", "dim_size"}
CLEANLY = {"attention": decompose_cleanly}  # ops whose decomposition lets NaN through where they do not


def products_to_linear(graph: Graph) -> None:
    """x W = linear(x, W^T) for a W known before any input."""
    ready = prepared(graph, KERNEL_READS)
    for node in graph.nodes:
        if node in ready:
            continue
        if (node.op.name == "matmul" and node.inputs[1].dtype.is_float and node.inputs[1].type.rank == 2
                and is_prepared(node.inputs[1], ready)):
            b = Builder(graph, node.provenance)
            weight = _transposed(b, node.inputs[1], ready)
            graph.replace(node.result, b.linear(node.inputs[0], weight))
            graph.erase(node)


def pack_weights(graph: Graph, panels_for: Callable[[DType], tuple[int, int]]) -> None:
    """Every weight of a `linear` known before any input, cut into panels, as narrow as it is stored.

    `panels_for`: width and group of the panels of a product in some type.
    """
    ready = prepared(graph, KERNEL_READS)
    for node in graph.nodes:
        if node.op.name != "linear" or node in ready:
            continue
        weight = node.inputs[1]
        if weight.dtype.is_float and is_prepared(weight, ready):
            b = Builder(graph, node.provenance)
            width, group = panels_for(weight.dtype)
            packed = b.pack_panels(narrow(weight), width=width, group=group)
            unpacked = b.unpack_panels(packed, rows=weight.shape[0], depth=None if group == 1 else weight.shape[1])
            graph.set_operand(node, 1, unpacked if unpacked.dtype == weight.dtype else b.cast(unpacked, dtype=weight.dtype))


def pack_integers(graph: Graph, width: int, group: int, unsigned: bool) -> None:
    """Every weight of an `integer_linear` known before any input, cut into panels for an instruction that multiplies groups.

    `unsigned`: for one that takes x as u8, x W^T = (x + 128) W^T - 128 sum(W), of which the last term is known beforehand.
    """
    ready = prepared(graph, KERNEL_READS)
    for node in graph.nodes:
        if node.op.name != "integer_linear" or not is_prepared(node.inputs[1], ready):
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


def _transposed(b: Builder, weight: Value, ready: set[Node]) -> Value:
    """W^T, with a cast that widens W left outermost."""
    source = narrow(weight)
    made: Value = b.transpose(source)
    wide: Value = made if source is weight else b.cast(made, dtype=weight.dtype)
    ready.update(v.node for v in (made, wide) if isinstance(v, Result))
    return wide


def narrow(weight: Value) -> Value:
    """What a weight is stored as: the half-precision operand of a cast that widens it, else the weight itself."""
    if isinstance(weight, Result) and weight.node.op.name == "cast":
        source = weight.node.inputs[0]
        if source.dtype.is_float and source.dtype.bits < weight.dtype.bits:
            return source
    return weight


def widens(node: Node) -> bool:
    """Whether a node widens a weight in panels: the kernel does so as it reads."""
    return node.op.name == "cast" and isinstance(node.inputs[0], Result) and node.inputs[0].node.op.name == "unpack_panels"


def decompose(graph: Graph, keep: Callable[[Node], bool]) -> None:
    """Replace every composite that `keep` does not want by its decomposition, again and again."""
    ready = prepared(graph, KERNEL_READS)
    pending = [n for n in graph.nodes if n not in ready]
    while pending:
        node = pending.pop()
        if node.op.decompose is None or keep(node):
            continue
        b = Builder(graph, node.provenance)
        apart = CLEANLY.get(node.op.name, node.op.decompose)
        made = apart(b, *node.operands, **node.attrs)
        results = made if isinstance(made, tuple) else (made,)
        pending += _between(node.inputs, results)
        for old, new in zip(node.results, results):
            graph.replace(old, new)
        graph.erase(node)


def _between(operands: Sequence[Value], results: Sequence[Value]) -> list[Node]:
    """The nodes that compute results from operands."""
    found: dict[Node, None] = {}
    stack = list(results)
    while stack:
        value = stack.pop()
        if isinstance(value, Result) and value not in operands and value.node not in found:
            found[value.node] = None
            stack += value.node.inputs
    return list(found)


def split_to_slices(graph: Graph) -> None:
    """Every part of a `split` as a `slice` of its own, so that each reader may take its part along."""
    for node in [n for n in graph.nodes if n.op.name == "split"]:
        b = Builder(graph, node.provenance)
        axis, x = node.attrs["axis"], node.inputs[0]
        start: DimLike = 0
        for result, size in zip(node.results, node.attrs["sizes"]):
            if result.uses or graph.is_output(result):
                graph.replace(result, b.slice(x, starts=(start,), stops=(start + size,), axes=(axis,)))
            start = start + size
        graph.erase(node)


def copy_views(graph: Graph) -> None:
    """Give every reader of a view, or of numbers made from sizes, a copy of its own: reading through it costs nothing."""
    ready = prepared(graph, KERNEL_READS)
    for node in reversed(graph.nodes):
        if node in ready or node.op.name not in VIEWS | CREATED:
            continue
        for user, position in list(node.result.uses)[0 if graph.is_output(node.result) else 1:]:
            twin = graph.insert(node.op, node.operands, node.attrs, node.provenance)
            graph.set_operand(user, position, twin)

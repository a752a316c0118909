"""Rules for concat, split and slice, which compare offsets along an axis, and for expand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from passes.patterns import NodeRule, Rule, node_rule
from tgraph.ir.builder import Builder
from tgraph.ir.dims import DimLike, bounds
from tgraph.ir.graph import Graph
from tgraph.ir.location import Provenance
from tgraph.ir.values import Node, Result, Value


def _maker(value: Value | None, op: str) -> Node | None:
    """The node that computes a value, if it has the given op."""
    return value.node if isinstance(value, Result) and value.node.op.name == op else None


def _builder(graph: Graph, *nodes: Node) -> Builder:
    return Builder(graph, Provenance.merge(n.provenance for n in nodes))


def _at_most(a: DimLike, b: DimLike) -> bool:
    """Whether a <= b for all sizes."""
    low = bounds(b - a)[0]
    return low is not None and low >= 0


@node_rule("concat(x) = x", "concat")
def _concat_of_one(graph: Graph, node: Node) -> Sequence[Value] | str:
    return [node.inputs[0]] if len(node.inputs) == 1 else "it joins several"


@node_rule("concat(x, empty) = x", "concat")
def _concat_of_empty(graph: Graph, node: Node) -> Sequence[Value] | str:
    axis = node.attrs["axis"]
    kept = [v for v in node.inputs if v.shape[axis] != 0]
    if len(kept) == len(node.inputs) or not kept:
        return "no operand is provably empty"
    return [_builder(graph, node).concat(*kept, axis=axis)]


@node_rule("concat(concat(x, y), z) = concat(x, y, z)", "concat")
def _concat_of_concat(graph: Graph, node: Node) -> Sequence[Value] | str:
    axis = node.attrs["axis"]
    flat: list[Value] = []
    covered = [node]
    for value in node.inputs:
        inner = _maker(value, "concat")
        if inner is not None and inner.attrs["axis"] == axis and len(value.uses) == 1 and not graph.is_output(value):
            covered.insert(0, inner)
            flat.extend(inner.inputs)
        else:
            flat.append(value)
    if len(covered) == 1:
        return "no operand is a concat along the same axis that nothing else reads"
    return [_builder(graph, *covered).concat(*flat, axis=axis)]


@node_rule("concat(split(x)) = x", "concat")
def _concat_of_split(graph: Graph, node: Node) -> Sequence[Value] | str:
    axis = node.attrs["axis"]
    parts = _maker(node.inputs[0], "split")
    if parts is None or parts.attrs["axis"] != axis:
        return "the operands are no parts of a split along the same axis"
    if tuple(node.inputs) != parts.results:
        return "the operands are not all parts of the split in their order"
    return [parts.inputs[0]]


@node_rule("concat(x[:a], x[a:]) = x", "concat")
def _concat_of_slices(graph: Graph, node: Node) -> Sequence[Value] | str:
    axis, source = node.attrs["axis"], None
    end: DimLike = 0
    for value in node.inputs:
        piece = _maker(value, "slice")
        if piece is None or piece.attrs["axes"] != (axis,) or piece.attrs["steps"] != (1,):
            return "the operands are no slices along the same axis"
        if source is not None and piece.inputs[0] is not source:
            return "the slices are of different values"
        source = piece.inputs[0]
        if piece.attrs["starts"][0] != end:
            return f"a slice starts at {piece.attrs['starts'][0]}, the one before it ends at {end}"
        end = piece.attrs["stops"][0]
    if source is None or end != source.shape[axis]:
        return f"the last slice ends at {end}"
    return [source]


@node_rule("split(x) into one part = x", "split")
def _split_into_one(graph: Graph, node: Node) -> Sequence[Value] | str:
    return [node.inputs[0]] if len(node.results) == 1 else "it makes several parts"


@node_rule("split(concat(x, y)) = x, y", "split")
def _split_of_concat(graph: Graph, node: Node) -> Sequence[Value] | str:
    whole = _maker(node.inputs[0], "concat")
    axis = node.attrs["axis"]
    if whole is None or whole.attrs["axis"] != axis:
        return "the operand is no concat along the same axis"
    sizes = tuple(v.shape[axis] for v in whole.inputs)
    if sizes != node.attrs["sizes"]:
        return f"the parts have sizes {list(node.attrs['sizes'])}, the operands {list(sizes)}"
    return whole.inputs


def _cuts(node: Node) -> Iterator[tuple[int, DimLike, DimLike | None, int]]:
    """The axis, start, stop and step of each axis that a slice cuts."""
    yield from zip(*(node.attrs[k] for k in ("axes", "starts", "stops", "steps")))


@node_rule("x[:] = x", "slice")
def _slice_of_everything(graph: Graph, node: Node) -> Sequence[Value] | str:
    x = node.inputs[0]
    for axis, start, stop, step in _cuts(node):
        if (start, stop, step) != (0, x.shape[axis], 1):
            return f"axis {axis} is cut to {start}:{stop}:{step}"
    return [x]


@node_rule("x[a:b][c:d] = x[a+c:a+d]", "slice")
def _slice_of_slice(graph: Graph, node: Node) -> Sequence[Value] | str:
    inner = _maker(node.inputs[0], "slice")
    if inner is None:
        return "the operand is no slice"
    found = {axis: (start, stop, step) for axis, start, stop, step in _cuts(inner)}
    for axis, start, stop, step in _cuts(node):
        if axis not in found:
            found[axis] = start, stop, step
            continue
        first, last, inner_step = found[axis]
        if inner_step != 1 or step != 1 or stop is None or last is None:
            return "only steps of 1 are joined along one axis"
        found[axis] = first + start, first + stop, 1
    axes = tuple(sorted(found))
    starts, stops, steps = zip(*(found[a] for a in axes))
    return [_builder(graph, inner, node).slice(inner.inputs[0], starts=starts, stops=stops, axes=axes, steps=steps)]


@node_rule("concat(x, y)[a:b] = x[a:b]", "slice")
def _slice_of_concat(graph: Graph, node: Node) -> Sequence[Value] | str:
    whole = _maker(node.inputs[0], "concat")
    if whole is None:
        return "the operand is no concat"
    axis = whole.attrs["axis"]
    cut = next(((start, stop, step) for a, start, stop, step in _cuts(node) if a == axis), None)
    if cut is None or cut[2] < 0 or cut[1] is None:
        return "it is not cut forwards along the axis of the concat"
    start, stop, _ = cut
    begin: DimLike = 0
    for part in whole.inputs:
        end = begin + part.shape[axis]
        if stop is not None and _at_most(begin, start) and _at_most(stop, end):
            moved = [(a, s - begin, e - begin, t) if a == axis and e is not None else (a, s, e, t)
                     for a, s, e, t in _cuts(node)]
            axes, starts, stops, steps = zip(*moved)
            return [_builder(graph, whole, node).slice(part, starts=starts, stops=stops, axes=axes, steps=steps)]
        begin = end
    return f"no operand provably holds all of {start}:{stop}"


@node_rule("op(expand(x), y) = op(x, y)", "add", "sub", "mul", "div", "maximum", "minimum", "pow", "where",
           "logical_and", "logical_or", "equal", "less", "greater", "less_or_equal", "greater_or_equal", "not_equal")
def _broadcast_by_the_op(graph: Graph, node: Node) -> Sequence[Value] | str:
    for position, value in enumerate(node.inputs):
        inner = _maker(value, "expand")
        if inner is None:
            continue
        operands = [*node.inputs]
        operands[position] = inner.inputs[0]
        if node.op.infer(*[v.type for v in operands]) != node.result.type:
            return f"the expand gives {node.op.name} its shape"
        return [_builder(graph, inner, node).apply(node.op, operands, {})]
    return "no operand is an expand"


PIECE_RULES: tuple[Rule | NodeRule, ...] = (
    _concat_of_one, _concat_of_empty, _concat_of_concat, _concat_of_split, _concat_of_slices, _split_into_one,
    _split_of_concat, _slice_of_everything, _slice_of_slice, _slice_of_concat, _broadcast_by_the_op)

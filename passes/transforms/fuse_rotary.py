"""Rotary position embeddings as one `rotary` op."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from passes.base import register_pass
from passes.language import tg
from passes.matching import Match
from passes.patterns import attribute, either, node_rule, result, rule, scalar
from passes.rewriting import RewritePass
from tgraph.ir.axis_maps import axis_map
from tgraph.ir.builder import Builder
from tgraph.ir.errors import RuleError
from tgraph.ir.graph import Graph
from tgraph.ir.registry import get_op
from tgraph.ir.rules import collect_constraints
from tgraph.ir.values import Constant, Node, Result, Value

ANY = attribute()
NUMBER = scalar()


def _halves(x: Any, middle: Any, end: Any) -> tuple[Any, Any]:
    """Patterns for x[..., :middle] and x[..., middle:end], by slices or by a split."""
    both = tg.split(x, sizes=(middle, middle), axis=-1)
    return (either(tg.slice(x, starts=(0,), stops=(middle,), axes=(-1,), steps=(1,)), result(both, 0)),
            either(tg.slice(x, starts=(middle,), stops=(end,), axes=(-1,), steps=(1,)), result(both, 1)))


def _neighbours(x: Any, pairs: Any, ends: Any) -> tuple[Any, Any]:
    """Patterns for x[..., 0::2] and x[..., 1::2], by slices with a step or the columns of a reshape to [..., D/2, 2]."""
    columns = tg.reshape(x, shape=pairs)

    def part(i: int) -> Any:
        column = either(result(tg.split(columns, sizes=(1, 1), axis=-1), i),
                        tg.slice(columns, starts=(i,), stops=(i + 1,), axes=(-1,), steps=(1,)))
        return either(tg.slice(x, starts=(i,), stops=(ends[i],), axes=(-1,), steps=(2,)), tg.squeeze(column, axes=(-1,)))

    return part(0), part(1)


def _stacked(x: Any, y: Any, shape: Any) -> Any:
    """x and y interleaved: x0 y0 x1 y1 ..."""
    return tg.reshape(tg.concat(tg.unsqueeze(x, axes=(-1,)), tg.unsqueeze(y, axes=(-1,)), axis=-1), shape=shape)


def _minus(x: Any) -> Any:
    return either(-x, x * -1.0)


def _turned(x: Any, parts: tuple[Any, Any], cos: Any, sin: Any, join: Callable[[Any, Any], Any]) -> Any:
    """x cos + (-x2, x1) sin, with tables that have a column for each element."""
    first, second = parts
    return either(x * cos + join(_minus(second), first) * sin, x * cos - join(second, _minus(first)) * sin)


def _pairwise(parts: tuple[Any, Any], cos: Any, sin: Any, join: Callable[[Any, Any], Any]) -> Any:
    """(x1 cos - x2 sin, x2 cos + x1 sin), with tables that have a column for each pair."""
    first, second = parts
    return join(either(first * cos - second * sin, first * cos + _minus(second) * sin, first * cos + _minus(second * sin)),
                second * cos + first * sin)


def _fits(interleaved: bool) -> Callable[[Match], str | None]:
    """A condition: the parts are the halves, or the pairs, of x in order, and the op takes such tables."""

    def where(match: Match) -> str | None:
        x, names = match["x"], match.names
        width = x.shape[-1] if x.type.rank else 0
        if "middle" in names and (names["middle"] * 2 != width or names.get("end", width) != width):
            return f"the parts of the last axis of {x.type} are no halves"
        if names.get("shape", x.shape) != x.shape:
            return f"the pairs come back as [{', '.join(map(str, names['shape']))}], not as {x.type}"
        if "pairs" in names and names["pairs"] != (*x.shape[:-1], width // 2, 2):
            return f"[{', '.join(map(str, names['pairs']))}] is no row of pairs of {x.type}"
        try:
            with collect_constraints(match.graph.constraints, match.graph.inequalities):
                get_op("rotary").infer(x.type, match["cos"].type, match["sin"].type, interleaved=interleaved)
        except RuleError as error:
            return str(error)
        return None

    return where


def _concat(x: Any, y: Any) -> Any:
    return tg.concat(x, y, axis=-1)


def _half_table(b: Builder, table: Value, interleaved: bool) -> Value | None:
    """A table with one column for each pair, from one with a column for each element; None if the columns of a pair may differ.

    Looks through ops that treat all columns alike: elementwise ops with a number, lookups of rows, slices of other axes.
    """
    chain: list[tuple[Node, int]] = []  # such ops, the last one first, and which operand of each has the columns
    while isinstance(table, Result) and (position := _column_operand(table.node)) is not None:
        chain.append((table.node, position))
        table = table.node.inputs[position]
    half = _half_source(b, table, interleaved)
    if half is None:
        return None
    for node, position in reversed(chain):
        half = b.apply(node.op, [half if i == position else v for i, v in enumerate(node.inputs)], node.attrs)
    return half


def _column_operand(node: Node) -> int | None:
    """The position of the operand whose columns, as many as the result has, a node treats all alike; None for other nodes."""
    traits = node.op.traits
    wide = [i for i, v in enumerate(node.inputs) if v.type.rank and v.shape[-1] == node.results[0].shape[-1]
            and (axes := axis_map(node, i)) is not None and axes[-1:] == (v.type.rank - 1,)]
    sized = "result sizes" in traits.axis_attributes.values()  # its attributes would have to change, too
    moves = traits.lookup is not None or traits.view in ("permute", "regroup", "cut")
    single = node.op.elementwise and sum(v.type.rank > 0 for v in node.inputs) == 1
    return wide[-1] if wide and not sized and (moves or single) else None


def _half_source(b: Builder, table: Value, interleaved: bool) -> Value | None:
    """`_half_table` of a constant, or of concat(x, x)."""
    if isinstance(table, Constant) and table.data is not None:
        half = table.data.shape[-1] // 2
        cuts = (slice(0, None, 2), slice(1, None, 2)) if interleaved else (slice(half), slice(half, None))
        first, second = (table.data[..., cut] for cut in cuts)
        return b.constant(first.copy(), table.dtype) if np.array_equal(first, second) else None
    node = table.node if isinstance(table, Result) else None
    if node is not None and node.op.name == "concat" and node.attrs["axis"] == -1 and not interleaved:
        return node.inputs[0] if len(node.inputs) == 2 and node.inputs[0] is node.inputs[1] else None
    return None


@node_rule("rotary(x, (c, c), (s, s)) = rotary(x, c, s)", "rotary")
def _halve_tables(graph: Graph, node: Node) -> Sequence[Value] | str:
    x, *tables = node.inputs
    interleaved = node.attrs["interleaved"]
    b = Builder(graph, node.provenance)
    halves = [_half_table(b, t, interleaved) if t.shape[-1] == x.shape[-1] else None for t in tables]
    if all(half is None for half in halves):
        return "no table says the same number twice a pair"
    return [b.rotary(x, *[t if half is None else half for t, half in zip(tables, halves)], interleaved=interleaved)]


@register_pass
@dataclass(frozen=True)
class FuseRotary(RewritePass):
    """x cos + (-x2, x1) sin = rotary(x, cos, sin) (arXiv:2104.09864), x1 and x2 halves of the last axis or neighbours.

    Also the same pair by pair: (x1 cos - x2 sin, x2 cos + x1 sin). Tables that have each number twice are halved. A constant
    factor on x moves behind the op, where attention takes it in.
    """

    effect = "rounds"
    rules = (
        rule("x cos + (-x2, x1) sin = rotary(x, cos, sin)",
             lambda x, cos, sin, middle=ANY, end=ANY: _turned(x, _halves(x, middle, end), cos, sin, _concat),
             lambda x, cos, sin: tg.rotary(x, cos, sin), where=_fits(False)),
        rule("(x1 cos - x2 sin, x2 cos + x1 sin) = rotary(x, cos, sin)",
             lambda x, cos, sin, middle=ANY, end=ANY: _pairwise(_halves(x, middle, end), cos, sin, _concat),
             lambda x, cos, sin: tg.rotary(x, cos, sin), where=_fits(False)),
        rule("x cos + (-x2, x1) sin = rotary(x, cos, sin) of neighbours",
             lambda x, cos, sin, shape=ANY, pairs=ANY, end0=ANY, end1=ANY: _turned(
                 x, _neighbours(x, pairs, (end0, end1)), cos, sin, lambda a, b: _stacked(a, b, shape)),
             lambda x, cos, sin: tg.rotary(x, cos, sin, interleaved=True), where=_fits(True)),
        rule("(x1 cos - x2 sin, x2 cos + x1 sin) = rotary(x, cos, sin) of neighbours",
             lambda x, cos, sin, shape=ANY, pairs=ANY, end0=ANY, end1=ANY: _pairwise(
                 _neighbours(x, pairs, (end0, end1)), cos, sin, lambda a, b: _stacked(a, b, shape)),
             lambda x, cos, sin: tg.rotary(x, cos, sin, interleaved=True), where=_fits(True)),
        _halve_tables,
        rule("rotary(x c, cos, sin) = rotary(x, cos, sin) c",
             lambda x, cos, sin, c=NUMBER, interleaved=ANY: tg.rotary(x * c, cos, sin, interleaved=interleaved),
             lambda x, cos, sin, c, interleaved: tg.rotary(x, cos, sin, interleaved=interleaved) * c),
    )

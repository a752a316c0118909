"""Reading conditions on the positions of queries and keys: causality and windows, as comparisons or as constant tables."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from passes.attention.axes import Axis, View, aligned, resolve, view_root
from passes.attention.conditions import Leaf
from passes.matching import splat
from tgraph.ir.dims import DimLike
from tgraph.ir.dtypes import i32, i64
from tgraph.ir.graph import Graph
from tgraph.ir.registry import get_op
from tgraph.ir.values import Constant, Node, Result, Value

_POSITIONS = (i32, i64)  # narrower ones could wrap around
_MOST = 2**31  # keys of a window


@dataclass(frozen=True)
class Offset:
    """Where a limit of the keys lies from the place of query i: at i + static + dynamic."""

    static: DimLike = 0
    dynamic: Value | None = None


@dataclass(frozen=True)
class Limits:
    """The first and the last key that a query may attend, both included; None without a limit."""

    first: Offset | None = None
    last: Offset | None = None


@dataclass(frozen=True)
class Places:
    """Limits as the op has them: its attributes `causal` and `window`, and its operand `offset`."""

    causal: bool = False
    window: tuple[int, int] | None = None
    offset: Offset | None = None

    @property
    def limits(self) -> Limits:
        """The limits that these are."""
        left, right = self.window or (-1, -1)
        right = 0 if self.causal else right
        place = self.offset or Offset()
        return Limits(None if left < 0 else Offset(place.static - left, place.dynamic),
                      None if right < 0 else Offset(place.static + right, place.dynamic))


def places(found: Limits) -> Places | None:
    """How the op says these limits; None if it cannot, for they are no fixed number of keys apart."""
    first, last = found.first, found.last
    left, right = _before(first), _after(last)
    if first is None and last is None:
        return Places()
    if last is None:
        return Places(window=(left, -1)) if left >= 0 else Places(window=(0, -1), offset=first)
    if first is None:
        return Places(window=(-1, right)) if right > 0 else Places(True, None, last)
    width = last.static - first.static
    if first.dynamic is not last.dynamic or not isinstance(width, int) or not 0 <= width < _MOST:
        return None
    return Places(window=(left, right)) if left >= 0 and right > 0 else Places(True, (width, -1), last)


def _before(first: Offset | None) -> int:
    """How many keys before its own a query sees, if that is a number; else -1."""
    known = first is not None and first.dynamic is None and isinstance(first.static, int) and -_MOST < first.static <= 0
    return -int(first.static) if known else -1  # type: ignore[union-attr, call-overload]


def _after(last: Offset | None) -> int:
    """The same of keys after its own."""
    return -1 if last is None else _before(Offset(-last.static, last.dynamic))


def limits(graph: Graph, leaf: Leaf, query: Axis, key: Axis) -> Limits | None:
    """The limits of a conjunct that says nothing but "key position <= (or >=) query position + offset", or both; else None."""
    query, key = resolve(query), resolve(key)
    if isinstance(leaf.root.value, Constant):
        return _table(leaf, query, key)
    if not isinstance(leaf.root.value, Result):
        return None
    node = leaf.root.value.node
    if node.op.name == "slice":
        return _corner(node, leaf, query, key)
    if node.op.traits.mirrored is None or node.inputs[0].dtype not in _POSITIONS:
        return None
    relation = node.op.traits.negated if leaf.negated else node.op.name
    if relation is None:
        return None
    x, y = (aligned(operand, leaf.root.axes) for operand in node.inputs)
    mirrored = get_op(relation).traits.mirrored
    found = _distance(graph, x, y, relation, query, key) or _distance(graph, y, x, mirrored, query, key)
    return found or _compared(graph, x, y, relation, query, key)


def _compared(graph: Graph, x: View, y: View, relation: str, query: Axis, key: Axis) -> Limits | None:
    """The limit that a comparison of x and y is."""
    left, right = _linear(graph, x, query, key), _linear(graph, y, query, key)
    found = None if left is None or right is None else left.minus(right)
    return None if found is None else found.compared(relation, query)


def _distance(graph: Graph, x: View, y: View, relation: str | None, query: Axis, key: Axis) -> Limits | None:
    """The limits that |x| <= y, or |x| < y, sets for a number y; None if it is something else."""
    root, bound = view_root(graph, x), _linear(graph, y, query, key)
    if not isinstance(root.value, Result) or root.value.node.op.name != "abs" or relation not in ("less_or_equal", "less"):
        return None
    inner = _linear(graph, View(root.value.node.inputs[0], root.axes), query, key)
    if inner is None or bound is None or not bound.is_number:
        return None
    differences = inner.minus(bound), inner.negative().minus(bound)
    one, other = (None if d is None else d.compared(relation, query) for d in differences)
    if one is None or other is None:
        return None
    return Limits(one.first or other.first, one.last or other.last)


@dataclass(frozen=True)
class _Linear:
    """keys * key position + queries * query position + static + sign * dynamic."""

    keys: int = 0
    queries: int = 0
    static: DimLike = 0
    dynamic: Value | None = None
    sign: int = 1

    @property
    def is_number(self) -> bool:
        return not self.keys and not self.queries and self.dynamic is None

    def negative(self) -> _Linear:
        return _Linear(-self.keys, -self.queries, -self.static, self.dynamic, -self.sign)

    def minus(self, other: _Linear) -> _Linear | None:
        """The difference; None if both have something dynamic."""
        if self.dynamic is not None and other.dynamic is not None:
            return None
        dynamic, sign = (self.dynamic, self.sign) if other.dynamic is None else (other.dynamic, -other.sign)
        return _Linear(self.keys - other.keys, self.queries - other.queries, self.static - other.static, dynamic, sign)

    def compared(self, relation: str, query: Axis) -> Limits | None:
        """The limit that a comparison with 0 is; None if it is not one of key and query."""
        if self.keys == -1:
            mirrored = get_op(relation).traits.mirrored
            return None if mirrored is None else self.negative().compared(mirrored, query)
        if self.keys != 1 or self.queries != (-1 if query else 0) or (self.dynamic is not None and self.sign != -1):
            return None
        if relation in ("less_or_equal", "less"):
            return Limits(last=Offset(-self.static - (1 if relation == "less" else 0), self.dynamic))
        if relation in ("greater_or_equal", "greater"):
            return Limits(first=Offset(-self.static + (1 if relation == "greater" else 0), self.dynamic))
        return None


def _linear(graph: Graph, view: View, query: Axis, key: Axis, depth: int = 8) -> _Linear | None:
    """A value made of positions by sums, differences and signs, under casts and view ops; None for others."""
    root = view_root(graph, view)
    number = splat(root.value)
    if depth == 0 or root.value.dtype not in _POSITIONS:
        return None
    if isinstance(number, int):
        return _Linear(static=number)
    node = root.value.node if isinstance(root.value, Result) else None
    below = [] if node is None else [aligned(x, root.axes) for x in node.inputs]
    if node is not None and node.op.name == "range":
        axis = resolve(root.axes[0])
        if axis and axis not in (key, query):
            return None
        return _Linear(int(bool(axis) and axis == key), int(bool(axis) and axis == query), node.attrs["start"])
    if node is not None and node.op.name == "dim_size":
        return _Linear(static=node.attrs["size"])
    if node is not None and node.op.name in ("add", "sub", "neg", "cast"):
        parts = [_linear(graph, x, query, key, depth - 1) for x in below]
        found = parts[0]
        if found is not None and node.op.name == "neg":
            found = found.negative()
        elif found is not None and len(parts) == 2:
            other = parts[1]
            found = None if other is None else found.minus(other if node.op.name == "sub" else other.negative())
        if found is not None:
            return found
    return _Linear(dynamic=_without_casts(root.value)) if root.value.type.rank == 0 else None


def _without_casts(value: Value) -> Value:
    """An integer value beneath casts to i64."""
    while (isinstance(value, Result) and value.node.op.name == "cast" and value.dtype == i64
           and value.node.inputs[0].dtype in _POSITIONS):
        value = value.node.inputs[0]
    return value


def _table(leaf: Leaf, query: Axis, key: Axis) -> Limits | None:
    """Limits given as a constant matrix that is True between two diagonals, as `tril` makes it."""
    constant = leaf.root.value
    assert isinstance(constant, Constant)
    if constant.data is None or tuple(a for a in map(resolve, leaf.root.axes) if a) != (query, key):
        return None
    return _band(constant.data.reshape([s for s in constant.data.shape if s != 1]), leaf.negated)


def _corner(node: Node, leaf: Leaf, query: Axis, key: Axis) -> Limits | None:
    """Limits given as the upper left corner of such a constant: `tril[:S, :S]`."""
    constant, axes = node.inputs[0], tuple(map(resolve, leaf.root.axes))
    if not isinstance(constant, Constant) or constant.data is None or tuple(a for a in axes if a) != (query, key):
        return None
    if any(start != 0 for start in node.attrs["starts"]) or any(step != 1 for step in node.attrs["steps"]):
        return None
    kept = [i for i, axis in enumerate(axes) if axis]
    if any(size != 1 for i, size in enumerate(constant.data.shape) if i not in kept):
        return None
    return _band(constant.data.reshape([constant.data.shape[i] for i in kept]), leaf.negated)


def _band(data: np.ndarray, negated: bool) -> Limits | None:
    """The limits of a boolean matrix that is True between two of its diagonals; None if it is no such band."""
    if data.ndim != 2 or data.dtype != np.bool_:
        return None
    data = ~data if negated else data
    distance = np.arange(data.shape[1]) - np.arange(data.shape[0])[:, None]
    if not data.any() or data.all():
        return None
    low, high = int(distance[data].min()), int(distance[data].max())
    if not np.array_equal(data, (distance >= low) & (distance <= high)):
        return None
    return Limits(None if low == 1 - data.shape[0] else Offset(low), None if high == data.shape[1] - 1 else Offset(high))

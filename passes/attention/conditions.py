"""Reading boolean conditions on attention scores: their conjuncts, causality, and "at least one key is allowed"."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from passes.attention.axes import Axes, Axis, View, aligned, is_view, resolve, view_root
from passes.matching import splat
from tgraph.ir.dims import DimLike
from tgraph.ir.dtypes import i32, i64
from tgraph.ir.graph import Graph
from tgraph.ir.registry import get_op
from tgraph.ir.values import Constant, Node, Result, Value

_POSITIONS = (i32, i64)  # narrower ones could wrap around


def number(value: Value | None, depth: int = 8) -> float | None:
    """The number that all elements of a value equal, if constants and static sizes determine it, else None."""
    if isinstance(value, Constant):
        found = splat(value)
        return None if found is None or isinstance(found, bool) else float(found)
    if not isinstance(value, Result) or depth == 0:
        return None
    node = value.node
    if node.op.name == "full":
        return float(node.attrs["value"])
    if node.op.name == "dim_size":
        size = node.attrs["size"]
        return float(size) if isinstance(size, int) else None
    if not value.dtype.is_float:
        return None
    if is_view(node) or node.op.name == "cast":
        return number(node.inputs[0], depth - 1)
    if not node.op.elementwise or node.op.numpy is None:
        return None
    operands: list[np.ndarray] = []
    for operand in node.inputs:
        if (found := number(operand, depth - 1)) is None:
            return None
        operands.append(np.asarray(found, np.float64))
    with np.errstate(all="ignore"):
        return float(node.op.numpy(*operands, **node.attrs))


@dataclass(frozen=True)
class Leaf:
    """One conjunct of a condition: `view`, or not `view` if `negated`. `root` is the value beneath its view ops."""

    view: View
    root: View
    negated: bool

    @classmethod
    def of(cls, view: View, negated: bool = False) -> Leaf:
        """A whole condition as one conjunct."""
        return cls(view, view, negated)

    @property
    def key(self) -> tuple[int, Axes, bool]:
        """A key that is equal for conjuncts with the same meaning."""
        return id(self.root.value), tuple(a for a in map(resolve, self.root.axes) if a), self.negated


def conjuncts(graph: Graph, view: View, negated: bool = False) -> list[Leaf]:
    """The conjuncts of a condition, or its negation: `logical_and` taken apart, `logical_not` pushed inwards, true left out."""
    found: list[Leaf] = []
    seen: set[tuple[int, Axes, bool]] = set()
    stack = [(view, negated)]
    while stack:
        view, negated = stack.pop()
        leaf = Leaf(view, view_root(graph, view), negated)
        node = leaf.root.value.node if isinstance(leaf.root.value, Result) else None
        if node is not None and node.op.name == "logical_not":
            stack.append((View(node.inputs[0], leaf.root.axes), not negated))
        elif splat(leaf.root.value) is (not negated):  # true everywhere
            continue
        elif node is not None and node.op.name == ("logical_or" if negated else "logical_and"):
            if leaf.key not in seen:  # a condition with several readers adds nothing the second time
                seen.add(leaf.key)
                stack += [(aligned(x, leaf.root.axes), negated) for x in reversed(node.inputs)]
        else:
            found.append(leaf)
    return found


@dataclass(frozen=True)
class Offset:
    """Causality: key j <= query i + static + dynamic."""

    static: DimLike = 0
    dynamic: Value | None = None

    @property
    def key(self) -> tuple[DimLike, int]:
        return self.static, id(self.dynamic)


def causal(graph: Graph, leaf: Leaf, query: Axis, key: Axis) -> Offset | None:
    """The offset of a conjunct that says "key position <= query position + offset", else None."""
    query, key = resolve(query), resolve(key)
    if isinstance(leaf.root.value, Constant):
        return _triangle(leaf, query, key)
    if not isinstance(leaf.root.value, Result):
        return None
    node = leaf.root.value.node
    if node.op.name == "slice":
        return _sliced_triangle(node, leaf, query, key)
    if node.op.traits.mirrored is None or node.inputs[0].dtype not in _POSITIONS:
        return None
    relation = node.op.traits.negated if leaf.negated else node.op.name
    if relation is None:
        return None
    left, right = (_position(graph, aligned(x, leaf.root.axes)) for x in node.inputs)
    if left is None or right is None:
        return None
    if left.axis == query:
        left, right, relation = right, left, get_op(relation).traits.mirrored
    if left.axis != key or right.axis != query or relation not in ("less_or_equal", "less") or left.dynamic is not None:
        return None
    return Offset(right.start - left.start - (1 if relation == "less" else 0), right.dynamic)


@dataclass(frozen=True)
class _Position:
    """A position that runs along an axis: start + dynamic + index; no axis: a single position, `dynamic`."""

    axis: Axis
    start: DimLike
    dynamic: Value | None = None


def _position(graph: Graph, view: View, depth: int = 8) -> _Position | None:
    """A value as a position: a `range`, or a scalar, plus or minus offsets, under casts and view ops."""
    if depth == 0:
        return None
    root = view_root(graph, view)
    if root.value.type.rank == 0:  # the position of a single query
        return _Position((), 0, _without_casts(root.value))
    if not isinstance(root.value, Result):
        return None
    node = root.value.node
    if node.op.name == "range":
        return _Position(resolve(root.axes[0]), node.attrs["start"])
    if node.op.name == "cast" and node.inputs[0].dtype in _POSITIONS:
        return _position(graph, View(node.inputs[0], root.axes), depth - 1)
    if node.op.name not in ("add", "sub"):
        return None
    for x, y in (node.inputs, node.inputs[::-1]) if node.op.name == "add" else (node.inputs,):
        found = _position(graph, aligned(x, root.axes), depth - 1)
        shift = _without_casts(view_root(graph, aligned(y, root.axes)).value)
        if found is None or found.dynamic is not None:
            continue
        static = splat(shift)
        if static is None and isinstance(shift, Result) and shift.node.op.name == "dim_size":
            static = shift.node.attrs["size"]
        if static is not None:
            return _Position(found.axis, found.start + (static if node.op.name == "add" else -static))
        if shift.type.rank == 0 and node.op.name == "add":
            return _Position(found.axis, found.start, shift)
    return None


def _without_casts(value: Value) -> Value:
    """An integer value beneath casts to i64."""
    while (isinstance(value, Result) and value.node.op.name == "cast" and value.dtype == i64
           and value.node.inputs[0].dtype in _POSITIONS):
        value = value.node.inputs[0]
    return value


def _triangle(leaf: Leaf, query: Axis, key: Axis) -> Offset | None:
    """Causality given as a constant matrix that is True on and below a diagonal, as `tril` makes it."""
    constant = leaf.root.value
    assert isinstance(constant, Constant)
    if constant.data is None or tuple(a for a in map(resolve, leaf.root.axes) if a) != (query, key):
        return None
    return _diagonal(constant.data.reshape([s for s in constant.data.shape if s != 1]), leaf.negated)


def _sliced_triangle(node: Node, leaf: Leaf, query: Axis, key: Axis) -> Offset | None:
    """Causality given as the upper left corner of such a constant: `tril[:S, :S]`."""
    constant, axes = node.inputs[0], tuple(map(resolve, leaf.root.axes))
    if not isinstance(constant, Constant) or constant.data is None or tuple(a for a in axes if a) != (query, key):
        return None
    if any(start != 0 for start in node.attrs["starts"]) or any(step != 1 for step in node.attrs["steps"]):
        return None
    kept = [i for i, axis in enumerate(axes) if axis]
    if any(size != 1 for i, size in enumerate(constant.data.shape) if i not in kept):
        return None
    return _diagonal(constant.data.reshape([constant.data.shape[i] for i in kept]), leaf.negated)


def _diagonal(data: np.ndarray, negated: bool) -> Offset | None:
    """The offset of the diagonal up to which a boolean matrix is True; None if it is no triangle."""
    if data.ndim != 2 or data.dtype != np.bool_ or not data.size:
        return None
    data = ~data if negated else data
    offset = int(data[0].sum()) - 1
    if offset < 0 or not np.array_equal(data, np.tri(data.shape[0], data.shape[1], k=offset, dtype=bool)):
        return None
    return Offset(offset)


def some_key(graph: Graph, view: View, key: Axis) -> tuple[View, bool] | None:
    """The condition c of "c holds for at least one key", as a maximum or sum of c over the keys says it; None for others.

    The boolean is True where the value says the opposite, "c holds for no key".
    """
    negated = False
    while True:
        root = view_root(graph, view)
        if not isinstance(root.value, Result):
            return None
        node = root.value.node
        if node.op.name != "logical_not":
            break
        view, negated = View(node.inputs[0], root.axes), not negated
    if node.op.name == "cast":
        inner = _reduced_condition(graph, View(node.inputs[0], root.axes), key)
        return None if inner is None else (inner, negated)
    zero = len(node.inputs) == 2 and number(node.inputs[1]) == 0.0
    if not zero or node.op.name not in ("greater", "not_equal", "equal", "less_or_equal"):
        return None
    inner = _reduced_condition(graph, aligned(node.inputs[0], root.axes), key)
    return None if inner is None else (inner, negated != (node.op.name in ("equal", "less_or_equal")))


def _reduced_condition(graph: Graph, view: View, key: Axis) -> View | None:
    """The condition c of max(cast(c)) or sum(cast(c)), reduced over the keys."""
    view = view_root(graph, view)
    if not isinstance(view.value, Result) or view.value.node.op.traits.reduces not in ("max", "sum"):
        return None
    node = view.value.node
    ones = node.inputs[0]
    if len(node.attrs["axes"]) != 1 or not isinstance(ones, Result) or ones.node.op.name != "cast":
        return None
    condition = ones.node.inputs[0]
    if not condition.dtype.is_bool:
        return None
    axis, rank = node.attrs["axes"][0], condition.type.rank
    axes = list(view.axes)
    if node.attrs["keepdims"]:
        axes[axis] = key
    else:
        axes.insert(rank + axis, key)
    return View(condition, tuple(axes))

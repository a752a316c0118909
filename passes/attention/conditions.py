"""Reading boolean conditions on attention scores: their conjuncts, and "at least one key is allowed"."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from passes.attention.axes import Axes, Axis, View, aligned, is_view, resolve, view_root
from passes.matching import splat
from tgraph.ir.graph import Graph
from tgraph.ir.values import Constant, Result, Value


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

"""Products as sums over atoms: matmul, linear and einsum of two factors, read from the result or from one factor."""

from __future__ import annotations

from passes.attention.axes import Axes, Axis, View, aligned, flat, fresh, resolve
from passes.attention.form import Refused
from tgraph.ir.graph import Graph
from tgraph.ir.values import Node, Value


def factors(graph: Graph, node: Node, out: Axes) -> tuple[View, View, Axis]:
    """The factors of a product whose result has the axes `out`, and the axis that it sums over. Raises Refused."""
    if node.op.name == "einsum":
        return _einsum_factors(node, out)
    x, y = _matrices(node)
    (inner,) = fresh(x.shape[-1:])
    if node.op.name == "linear":
        return View(x, (*out[:-1], inner)), View(y, (out[-1], inner)), inner
    left = aligned(x, (*out[:-1], inner))
    right = aligned(y, (*out[:-2], inner, out[-1]))
    return left, right, inner


def other_factor(graph: Graph, node: Node, position: int, known: Axes, summed: Axis) -> tuple[View, Axes]:
    """The other factor of a product that sums over `summed`, and the result's axes. Raises Refused if it does not."""
    if node.op.name == "einsum":
        return _einsum_other(node, position, known, summed)
    x, y = _matrices(node)
    other = y if position == 0 else x
    if position > 1:
        raise Refused("the weights are a bias", node)
    if node.op.name == "linear":
        columns = fresh(y.shape[:1])
        if position == 0:
            _sums(node, known[-1], summed)
            return View(y, (*columns, known[-1])), (*known[:-1], *columns)
        _sums(node, known[1], summed)
        outer = fresh(x.shape[:-1])
        return View(x, (*outer, known[1])), (*outer, known[0])
    inside, kept = (known[-1], known[-2]) if position == 0 else (known[-2], known[-1])
    _sums(node, inside, summed)
    (free,) = fresh(other.shape[-1:] if position == 0 else other.shape[-2:-1])
    rank = node.result.type.rank
    batch = list(((),) * (rank - len(known)) + known[:-2])
    for axis, size in enumerate(((1,) * (rank - other.type.rank) + other.shape)[:-2]):
        if not batch[axis] and size != 1:
            batch[axis] = fresh((size,))[0]
    own = (inside, free) if position == 0 else (free, inside)
    return aligned(other, (*batch, *own)), (*batch, *((kept, free) if position == 0 else (free, kept)))


def _matrices(node: Node) -> tuple[Value, Value]:
    if len(node.inputs) != 2:
        raise Refused(f"the {node.op.name} adds a bias of its own", node)
    return node.inputs[0], node.inputs[1]


def _sums(node: Node, inside: Axis, summed: Axis) -> None:
    if not inside or resolve(inside) != resolve(summed):
        raise Refused("the product with v does not sum over the keys", node)


def _letters(node: Node) -> tuple[str, str, str]:
    terms, result = node.attrs["equation"].split("->")
    if terms.count(",") != 1:
        raise Refused(f"the einsum has {terms.count(',') + 1} operands", node)
    x, y = terms.split(",")
    return x, y, result


def _einsum_factors(node: Node, out: Axes) -> tuple[View, View, Axis]:
    x, y, result = _letters(node)
    axes = dict(zip(result, out))
    sizes = dict(zip(x, node.inputs[0].shape)) | dict(zip(y, node.inputs[1].shape))
    summed = [c for c in x if c not in result]
    if set(summed) != set(y) - set(result):
        raise Refused("the einsum sums one factor by itself", node)
    axes |= dict(zip(summed, fresh([sizes[c] for c in summed])))
    inner = flat(tuple(axes[c] for c in summed))
    return View(node.inputs[0], tuple(axes[c] for c in x)), View(node.inputs[1], tuple(axes[c] for c in y)), inner


def _einsum_other(node: Node, position: int, known: Axes, summed: Axis) -> tuple[View, Axes]:
    own, letters, result = _letters(node)
    if position == 1:
        own, letters = letters, own
    other = node.inputs[1 - position]
    axes = dict(zip(own, known))
    if {c for c in own if c not in result} != set(letters) - set(result):
        raise Refused("the einsum sums one factor by itself", node)
    inside = tuple(a for c in own if c not in result for a in axes[c])
    if set(resolve(inside)) != set(resolve(summed)):
        raise Refused("the product with v does not sum over the keys", node)
    for letter, axis in zip(letters, fresh(other.shape)):
        axes.setdefault(letter, axis)
    return View(other, tuple(axes[c] for c in letters)), tuple(axes[c] for c in result)

"""Products (`matmul`, `einsum`, ...) in axis factors: the axes of their operands, as the op's `contraction` declares them."""

from __future__ import annotations

from collections.abc import Sequence

from passes.attention.axes import Axes, Axis, View, flat, new_axes, resolve
from passes.attention.failure import MatchFailure
from tgraph.ir.axis_maps import Labels, contraction
from tgraph.ir.values import Node, Value


def product_operands(node: Node, out: Axes) -> tuple[View, View, Axis]:
    """Both operands of a product whose result has the axes `out`, and the axis that it sums over. Raises MatchFailure."""
    (x, y), result = _labels(node)
    axes = dict(zip(result, out))
    sizes = dict(zip(x, node.inputs[0].shape)) | dict(zip(y, node.inputs[1].shape))
    summed = _summed(node, x, y, result)
    axes |= dict(zip(summed, new_axes([sizes[label] for label in summed])))
    inner = flat(tuple(axes[label] for label in summed))
    return _view(node.inputs[0], x, axes), _view(node.inputs[1], y, axes), inner


def other_operand(node: Node, position: int, known: Axes, summed: Axis) -> tuple[View, Axes]:
    """The operand of a product beside the one at `position`, which has the axes `known`; and the axes of the result.

    Raises MatchFailure if the product does not sum over `summed`.
    """
    if position > 1:
        raise MatchFailure("the weights are a bias", node)
    operands, result = _labels(node)
    own, labels = operands[position], operands[1 - position]
    other = node.inputs[1 - position]
    axes = dict(zip(own, known))
    inside = tuple(a for label in _summed(node, own, labels, result) for a in resolve(axes[label]))
    if not inside or set(inside) != set(resolve(summed)):
        raise MatchFailure("the product with v does not sum over the keys", node)
    for label, size, axis in zip(labels, other.shape, new_axes(other.shape)):
        if not axes.get(label) and size != 1:  # an axis of this operand alone, or one along which the known one is broadcast
            axes[label] = axis
    return _view(other, labels, axes), tuple(axes.get(label, ()) for label in result)


def _labels(node: Node) -> tuple[Sequence[Labels], Labels]:
    """The axis labels of the two operands and of the result. Raises MatchFailure if there are not just two operands."""
    operands, result = contraction(node)
    if len(operands) != 2:
        raise MatchFailure(f"the {node.op.name} has {len(operands)} operands", node)
    if len(node.inputs) != 2:
        raise MatchFailure(f"the {node.op.name} adds a bias of its own", node)
    return operands, result


def _summed(node: Node, own: Labels, other: Labels, result: Labels) -> Labels:
    """The labels that a product sums over. Raises MatchFailure unless both operands have all of them."""
    summed = tuple(label for label in own if label not in result)
    if set(summed) != set(other) - set(result):
        raise MatchFailure(f"the {node.op.name} sums one operand by itself", node)
    return summed


def _view(value: Value, labels: Labels, axes: dict[object, Axis]) -> View:
    """An operand with the axes of its labels; none where it has size 1 and is broadcast."""
    return View(value, tuple(() if size == 1 else axes[label] for label, size in zip(labels, value.shape)))

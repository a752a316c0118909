"""Computing with ramps while importing: positions and masks that are made of nothing but sizes.

What exporters write for x[batch_index, position] is a grid of positions, expanded and joined; read through it, that is x
itself. A comparison that holds for every element is known, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...ir.dims import Dim, DimLike, compare
from ...ir.rules import Constraints, broadcast_shapes
from .known import Columns, Known, Ramp, cast_array
from .node import OnnxNode

Rule = Callable[..., Any]  # of the node and its operands as ramps; None if the answer is no ramp
RULES: dict[str, Rule] = {}


def evaluate_ramps(node: OnnxNode) -> list[Any] | None:
    """The results of a node of ramps and known arrays; None if they are left to the graph."""
    operands = [o for o in node.operands if o is not None]
    if node.proto.domain not in ("", "ai.onnx") or node.op not in RULES or not operands:
        return None
    if not all(isinstance(o, (Known, Ramp, Columns)) for o in operands):
        return None
    result = RULES[node.op](node, *node.operands)
    return None if result is None else [result]


def ramp_rule(*ops: str) -> Callable[[Rule], Rule]:
    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(ops, function))
        return function

    return register


def splat(shape: Sequence[DimLike], value: Any, dtype: Any) -> Ramp:
    """An array of one number."""
    return Ramp(tuple(shape), value, (0,) * len(shape), np.dtype(dtype))


def _sizes(value: Any) -> tuple[DimLike, ...] | None:
    """An operand that is a shape."""
    if not isinstance(value, Known) or value.array.ndim != 1:
        return None
    return tuple(d if isinstance(d, Dim) else int(d) for d in value.array.tolist())


def _axes(node: OnnxNode, axes: Any) -> list[int] | None:
    if axes is None:
        found = node.attribute("axes", None)
        return None if found is None else list(found)
    return [int(a) for a in axes.array.reshape(-1)] if isinstance(axes, Known) and axes.is_constant else None


def holds(x: DimLike, y: DimLike) -> bool | None:
    """Whether x >= y for all sizes (True), for none (False), or for some (None)."""
    return {"holds": True, "never": False}.get(Constraints([]).order(x, y))


# Made of sizes

@ramp_rule("Range")
def _range(node: OnnxNode, start: Any, limit: Any, step: Any) -> Ramp | None:
    if any(not isinstance(o, Known) or o.array.size != 1 or o.dtype.kind != "i" for o in (start, limit, step)):
        return None
    first, last, width = (o.array.reshape(-1).tolist()[0] for o in (start, limit, step))
    if width != 1 or holds(last, first) is not True:
        return None
    return Ramp((last - first,), first, (1,), start.dtype)


@ramp_rule("ConstantOfShape")
def _constant_of_shape(node: OnnxNode, shape: Any) -> Ramp | None:
    import onnx.numpy_helper

    sizes, value = _sizes(shape), node.attribute("value", None)
    if sizes is None:
        return None
    fill = np.zeros(1, np.float32) if value is None else onnx.numpy_helper.to_array(value).reshape(-1)
    return splat(sizes, fill[0].item(), fill.dtype)


@ramp_rule("Shape")
def _shape(node: OnnxNode, x: Any) -> Known | None:
    if not isinstance(x, Ramp):
        return None
    found = x.shape[slice(node.attribute("start", 0), node.attribute("end", None))]
    array = np.empty(len(found), object)
    array[:] = found
    return Known.of(array, np.int64)


# Order of elements

@ramp_rule("Expand")
def _expand(node: OnnxNode, x: Any, shape: Any) -> Ramp | Columns | None:
    ramp, sizes = Ramp.of(x), _sizes(shape)
    if ramp is None or sizes is None:
        return None
    rank = max(len(sizes), len(ramp.shape))
    old, new = [1] * (rank - len(ramp.shape)) + list(ramp.shape), [1] * (rank - len(sizes)) + list(sizes)
    made = tuple(b if isinstance(a, int) and a == 1 else a for a, b in zip(old, new))
    return Ramp(made, ramp.start, (0,) * (rank - len(ramp.shape)) + ramp.steps, ramp.dtype)


@ramp_rule("Unsqueeze")
def _unsqueeze(node: OnnxNode, x: Any, axes: Any = None) -> Ramp | None:
    ramp, found = Ramp.of(x), _axes(node, axes)
    if ramp is None or found is None:
        return None
    rank = len(ramp.shape) + len(found)
    places = {a % rank for a in found}
    sizes, steps = iter(ramp.shape), iter(ramp.steps)
    shape = tuple(1 if i in places else next(sizes) for i in range(rank))
    return Ramp(shape, ramp.start, tuple(0 if i in places else next(steps) for i in range(rank)), ramp.dtype)


@ramp_rule("Squeeze")
def _squeeze(node: OnnxNode, x: Any, axes: Any = None) -> Ramp | None:
    ramp, found = Ramp.of(x), _axes(node, axes)
    if ramp is None:
        return None
    gone = {i for i, n in enumerate(ramp.shape) if n == 1} if found is None else {a % len(ramp.shape) for a in found}
    if any(ramp.shape[i] != 1 for i in gone):
        return None
    kept = [i for i in range(len(ramp.shape)) if i not in gone]
    return Ramp(tuple(ramp.shape[i] for i in kept), ramp.start, tuple(ramp.steps[i] for i in kept), ramp.dtype)


@ramp_rule("Reshape")
def _reshape(node: OnnxNode, x: Any, shape: Any = None) -> Ramp | None:
    """Where only axes of size 1 come and go, or all elements are equal."""
    ramp, sizes = Ramp.of(x), _sizes(shape)
    if ramp is None or sizes is None:
        return None
    if not node.attribute("allowzero", 0):
        sizes = tuple(ramp.shape[i] if n == 0 and i < len(ramp.shape) else n for i, n in enumerate(sizes))
    real = [(n, s) for n, s in zip(ramp.shape, ramp.steps) if n != 1]
    if sizes.count(-1) == 1:
        known = [n for n in sizes if n not in (1, -1)]
        rest = [n for n, _ in real]
        for n in known:
            if n not in rest:
                return None
            rest.remove(n)
        if len(rest) > 1:
            return None
        sizes = tuple(n if n != -1 else rest[0] if rest else 1 for n in sizes)
    if [n for n in sizes if n != 1] != [n for n, _ in real]:
        return None
    steps = iter(s for _, s in real)
    return Ramp(sizes, ramp.start, tuple(0 if n == 1 else next(steps) for n in sizes), ramp.dtype)


@ramp_rule("Transpose")
def _transpose(node: OnnxNode, x: Any) -> Ramp | None:
    ramp = Ramp.of(x)
    if ramp is None:
        return None
    perm = node.attribute("perm", None) or list(range(len(ramp.shape)))[::-1]
    return Ramp(tuple(ramp.shape[i] for i in perm), ramp.start, tuple(ramp.steps[i] for i in perm), ramp.dtype)


@ramp_rule("Slice")
def _slice(node: OnnxNode, x: Any, starts: Any = None, stops: Any = None, axes: Any = None, steps: Any = None) -> Ramp | None:
    """With steps of 1, up to a size that the axis has; a constant table is taken to be as long as it is used."""
    ramp, first, last = Ramp.of(x), _sizes(starts), _sizes(stops)
    if ramp is None or first is None or last is None or isinstance(ramp.start, Dim):
        return None
    found = list(range(len(first))) if axes is None else _axes(node, axes)
    if found is None or (steps is not None and (not steps.is_constant or (steps.array != 1).any())):
        return None
    shape, start = list(ramp.shape), ramp.start
    for axis, low, high in zip(found, first, last):
        size = shape[axis]
        if isinstance(low, int) and low < 0:
            return None
        if isinstance(high, int) and high >= 2**31 - 1:
            high = size
        elif isinstance(high, int) and high < 0:
            high = size + high
        if holds(size, high) is False or holds(high, low) is not True or not (holds(size, high) or isinstance(x, Known)):
            return None
        if axis in ramp.along():
            start = start + ramp.steps[axis] * low
        shape[axis] = high - low
    return Ramp(tuple(shape), start, ramp.steps, ramp.dtype)


@ramp_rule("Identity")
def _identity(node: OnnxNode, x: Any) -> Any:
    return x if isinstance(x, (Ramp, Columns)) else None


@ramp_rule("Concat")
def _concat(node: OnnxNode, *xs: Any) -> Columns | None:
    """Side by side along a new last axis."""
    ramps = [Ramp.of(x) for x in xs]
    axis = node.attribute("axis")
    parts: list[Ramp] = []
    for ramp in ramps:
        if ramp is None or not ramp.shape or ramp.shape[-1] != 1 or axis not in (-1, len(ramp.shape) - 1):
            return None
        parts.append(Ramp(ramp.shape[:-1], ramp.start, ramp.steps[:-1], ramp.dtype))
    if any(p.shape != parts[0].shape for p in parts) or all(isinstance(x, Known) for x in xs):
        return None
    return Columns(tuple(parts))


@ramp_rule("Cast")
def _cast(node: OnnxNode, x: Any) -> Any:
    import onnx

    number = node.attribute("to")
    if number == onnx.TensorProto.STRING:
        return None
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(number))
    if isinstance(x, Columns):
        return x if dtype.kind == "i" and dtype.itemsize >= 4 else None
    ramp = Ramp.of(x)
    if ramp is None or isinstance(x, Known):
        return None
    if ramp.is_constant:
        return splat(ramp.shape, cast_array(np.asarray(ramp.start).astype(ramp.dtype), dtype).item(), dtype)
    whole = dtype.kind == "i" and dtype.itemsize >= 4 and ramp.dtype.kind in "iu"
    return Ramp(ramp.shape, ramp.start, ramp.steps, dtype) if whole else None


# Arithmetic

def _aligned(*ramps: Ramp) -> tuple[tuple[DimLike, ...], list[tuple[DimLike, ...]]] | None:
    """The shape that ramps have together, and their steps along its axes. None if they do not broadcast for sure."""
    shape: tuple[DimLike, ...] = ()
    for ramp in ramps:
        for a, b in zip(shape[::-1], ramp.shape[::-1]):
            if a != 1 and b != 1 and compare(a, b) != "equal":
                return None
        shape = broadcast_shapes(shape, ramp.shape)
    zero: DimLike = 0
    return shape, [(zero,) * (len(shape) - len(r.shape)) + r.steps for r in ramps]


@ramp_rule("Add", "Sub")
def _add(node: OnnxNode, x: Any, y: Any) -> Ramp | None:
    a, b = Ramp.of(x), Ramp.of(y)
    if a is None or b is None or a.dtype.kind != "i" or (found := _aligned(a, b)) is None:
        return None
    sign = 1 if node.op == "Add" else -1
    shape, (left, right) = found
    return Ramp(shape, a.start + sign * b.start, tuple(i + sign * j for i, j in zip(left, right)), a.dtype)


@ramp_rule("Mul")
def _mul(node: OnnxNode, x: Any, y: Any) -> Ramp | None:
    a, b = Ramp.of(x), Ramp.of(y)
    if a is None or b is None or a.dtype.kind != "i" or (found := _aligned(a, b)) is None:
        return None
    shape, (left, right) = found
    for one, other, steps in ((a, b, left), (b, a, right)):
        if not other.along():
            return Ramp(shape, one.start * other.start, tuple(s * other.start for s in steps), a.dtype)
    return None


@ramp_rule("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual")
def _compare(node: OnnxNode, x: Any, y: Any) -> Ramp | None:
    """Where the answer is the same for every element."""
    a, b = Ramp.of(x), Ramp.of(y)
    if a is None or b is None or a.dtype.kind not in "i" or (found := _aligned(a, b)) is None:
        return None
    shape, (left, right) = found
    low = high = a.start - b.start
    for i, j, size in zip(left, right, shape):
        step = i - j
        rises, falls = holds(step, 0), holds(0, step)
        if not rises and not falls:
            return None
        if not falls:
            high = high + step * (size - 1)
        elif not rises:
            low = low + step * (size - 1)
    answer = _verdict(node.op, low, high)
    return None if answer is None else splat(shape, answer, np.bool_)


def _verdict(op: str, low: DimLike, high: DimLike) -> bool | None:
    """Whether numbers from low to high all are above (equal to, ...) 0, or all are not."""
    if op in ("Greater", "Less"):
        opposite = _verdict("LessOrEqual" if op == "Greater" else "GreaterOrEqual", low, high)
        return None if opposite is None else not opposite
    if op == "GreaterOrEqual":
        return True if holds(low, 0) else False if holds(high, 0) is False else None
    if op == "LessOrEqual":
        return True if holds(0, high) else False if holds(0, low) is False else None
    if compare(low, 0) == "equal" and compare(high, 0) == "equal":
        return True
    return False if holds(low, 1) or holds(-1, high) else None


@ramp_rule("And", "Or", "Xor")
def _logic(node: OnnxNode, x: Any, y: Any) -> Ramp | None:
    a, b = Ramp.of(x), Ramp.of(y)
    if a is None or b is None or not a.is_constant or not b.is_constant or (found := _aligned(a, b)) is None:
        return None
    function = {"And": np.logical_and, "Or": np.logical_or, "Xor": np.logical_xor}[node.op]
    return splat(found[0], bool(function(a.start, b.start)), np.bool_)


@ramp_rule("Not")
def _not(node: OnnxNode, x: Any) -> Ramp | None:
    ramp = Ramp.of(x)
    return splat(ramp.shape, not ramp.start, np.bool_) if ramp is not None and ramp.is_constant else None


@ramp_rule("Where")
def _where(node: OnnxNode, condition: Any, x: Any, y: Any) -> Ramp | None:
    chosen, a, b = (Ramp.of(o) for o in (condition, x, y))
    if chosen is None or a is None or b is None or not chosen.is_constant or (found := _aligned(chosen, a, b)) is None:
        return None
    shape, (_, left, right) = found
    one, steps = (a, left) if chosen.start else (b, right)
    return Ramp(shape, one.start, steps, one.dtype)

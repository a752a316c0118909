"""Special inputs for checks: fill values of masks, mask rows without a key, ties, huge numbers, NaN, infinities.

They are derived from the graph: the types of its inputs, how these are used, and its large constants.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..ir.dtypes import DType
from ..ir.graph import Graph
from ..ir.registry import Op
from ..ir.values import Constant, Input, Node, Value
from .inputs import choose_sizes, generate_inputs, is_free, moves

# masks: padding left and right, one key, none. fills: what masks fill with, in places where a float input may hold it.
# edges: zeros of both signs, ties, subnormal numbers, the ends of integers. huge, nan, infinite: some such numbers.
Kind = Literal["ordinary", "masks", "fills", "edges", "huge", "nan", "infinite"]
Feeds = dict[str, np.ndarray]

FILL = 1e3  # constants beyond it may be what a mask fills with
HUGE = 1e12  # and its cube is a number of f32 and bf16
_BIAS = 4  # the operand of attention that is added to the scores


@dataclass(frozen=True)
class Special:
    """A set of inputs; `label` says in words what is special about it."""

    kind: Kind
    label: str
    feeds: Feeds


def special_inputs(graph: Graph, sizes: Mapping[str, int] | None = None, seed: int = 0) -> Iterator[Special]:
    """Sets of inputs for one choice of sizes, each special in one way; indices stay within their tables and ranges."""
    chosen = choose_sizes(graph, sizes)
    floats = [i for i in graph.inputs if i.dtype.is_float]
    masks = [i for i in graph.inputs if i.dtype.is_bool]
    fills = fills_of(graph)

    def made(kind: Kind, label: str, inputs: list[Input], change: Callable[[np.ndarray, DType], np.ndarray]) -> Special:
        feeds = generate_inputs(graph, chosen, seed)
        feeds.update({i.name: change(feeds[i.name], i.dtype) for i in inputs})
        return Special(kind, label, feeds)

    generator = np.random.default_rng(seed)
    if masks:
        for first, label in enumerate(("with masks padded left, and without a key", "with masks padded right, and of one key")):
            yield made("masks", label, masks, lambda a, _, first=first: _kept(a.shape, 2 * first, generator))  # type: ignore[misc]
    added = [(x, fills if scores else fills[1:]) for x in floats for some, scores in [_added(x)] if some and not _multiplied(x)]
    for x, own in [(x, own) for x, own in added if own][:2]:
        for first in (0, 2):
            yield made("fills", f"with fills of masks in {x.name!r}", [x],
                       lambda a, dtype, own=own, first=first: _filled(a, dtype, own, first, generator))  # type: ignore[misc]
    integers = [i for i in graph.inputs if i.dtype.is_integer and is_free(i, chosen)]
    if floats or integers:
        yield made("edges", "with zeros, ties and subnormal numbers", floats + integers,
                   lambda a, dtype: generator.choice(_edges(dtype), a.shape))
    if floats:
        yield made("huge", f"with numbers of {HUGE:g}", floats, lambda a, dtype: _scattered(a, dtype, [HUGE, -HUGE], generator))
        yield made("nan", "with NaN", floats, lambda a, dtype: _one(a, dtype, [np.nan], generator))
        yield made("infinite", "with infinities", floats, lambda a, dtype: _one(a, dtype, [np.inf, -np.inf], generator))


def fills_of(graph: Graph) -> list[float]:
    """Values that masks may fill with: -inf, and the large constants of a graph and the functions that it calls."""
    found: dict[float, None] = {-np.inf: None}
    for block in (graph, *graph.functions.values()):
        numbers = [float(n.attrs["value"]) for n in block.nodes if n.op.name == "full" and not isinstance(n.attrs["value"], bool)]
        for constant in block.constants.values():
            if constant.data is not None and constant.dtype.is_float and 0 < constant.data.size <= 4096:
                data = constant.data.astype(np.float64)
                numbers += [float(data.min()), float(data.max())]
        found.update({n: None for n in numbers if FILL <= abs(n) < np.inf})
    return list(found)


def _added(x: Input) -> tuple[bool, bool]:
    """Whether an input reaches an op that adds, selects or compares, as a bias, scores or a residual do; and whether it may
    be -inf: it reaches a softmax, is not negated on the way, and reaches no op where -inf would not mean a mask.
    """
    added, scores, other = False, False, False
    pending: list[tuple[Value, bool]] = [(x, False)]
    seen: set[Value] = {x}
    while pending:
        value, negated = pending.pop()
        for node, position in value.uses:
            scored = _takes_scores(node, position)
            added |= _adds(node.op) or scored
            if scored:
                scores, other = True, other or negated
            elif (factor := _factor(node, position)) is not None:
                pending += [(r, negated != (factor < 0)) for r in node.results if r not in seen]
                seen.update(node.results)
            elif value.dtype.is_float and any(r.dtype.is_float for r in node.results):
                other = True
    return added, scores and not other


def _multiplied(x: Input) -> bool:
    """Whether an input reaches a product of matrices: with fill values in it, scores would be as large as the fill values."""
    pending: list[Value] = [x]
    seen: set[Value] = {x}
    while pending:
        for node, position in pending.pop().uses:
            if node.op.contract is not None or (node.op.traits.attention and position < 3):
                return True
            if _hands_on(node, position):
                pending += [r for r in node.results if r not in seen]
                seen.update(node.results)
    return False


def _takes_scores(node: Node, position: int) -> bool:
    """Whether an operand holds scores: of a softmax, of the maximum that begins one, or those added in attention."""
    traits = node.op.traits
    return node.op.name in ("softmax", "log_softmax") or traits.reduces == "max" or (traits.attention and position == _BIAS)


def _adds(op: Op) -> bool:
    """Whether an op adds, selects or compares: a large number of one operand may be a result, beside those of the others."""
    return op.elementwise and op.traits.magnitude == "carried" and len(op.operands) > 1 and op.name != "mul"


def _hands_on(node: Node, position: int) -> bool:
    """Whether a large number in an operand may be one of the results."""
    return node.op.traits.magnitude == "carried" or moves(node, position) or node.op.name == "div"


def _factor(node: Node, position: int) -> float | None:
    """The constant factor by which a node multiplies an operand that it hands on; None if there is no such factor."""
    if not _hands_on(node, position):
        return None
    if node.op.name not in ("mul", "div"):
        return -1.0 if node.op.name == "neg" or (node.op.name == "sub" and position) else 1.0
    other = node.inputs[1 - position]
    if not isinstance(other, Constant) or other.data is None or other.data.size != 1 or (node.op.name == "div" and position):
        return None
    return float(other.data.reshape(())) or None


def _kept(shape: tuple[int, ...], first: int, generator: np.random.Generator) -> np.ndarray:
    """A mask with rows in turn padded on the left, all False, padded on the right, True at one key; begins with `first`."""
    if not shape:
        return np.asarray(first > 0)
    length, kept = shape[-1], np.ones(shape, bool)
    for number, row in enumerate(kept.reshape(-1, length) if kept.size else ()):
        pattern, cut = (number + first) % 4, int(generator.integers(1, length)) if length > 1 else 1
        if pattern == 0:
            row[:cut] = False
        elif pattern == 1:
            row[:] = False
        elif pattern == 2:
            row[length - cut:] = False
        else:
            row[:] = False
            row[generator.integers(length)] = True
    return kept


def _filled(array: np.ndarray, dtype: DType, fills: list[float], first: int, generator: np.random.Generator) -> np.ndarray:
    """The array with one fill value a row where `_kept` is False: in turn the finite ones, -inf, the negatives of the finite."""
    result = array.copy()
    kept = _kept(array.shape, first, generator)
    if not array.ndim:
        return _cast(fills[-1], dtype)
    if not array.size:
        return result
    rows, masks = result.reshape(-1, array.shape[-1]), kept.reshape(-1, array.shape[-1])
    finite = [f for f in fills if np.isfinite(f)]
    for number, (row, mask) in enumerate(zip(rows, masks)):
        choices = [*finite, *(f for f in fills if f == -np.inf), *(-f for f in finite)]
        row[~mask] = _cast(choices[(number + first) % len(choices)], dtype)
    return result


def _edges(dtype: DType) -> np.ndarray:
    if dtype.is_float:
        subnormal = {"f16": 1e-7, "f64": 5e-324}.get(dtype.name, 1e-40)
        return np.array([0.0, -0.0, 1.0, 1.0, -1.0, -1.0, 0.5, subnormal, -subnormal]).astype(dtype.numpy)
    info = np.iinfo(dtype.numpy)
    return np.array([0, 1, 1, info.min, info.max, info.max if info.min == 0 else -1], dtype.numpy)


def _scattered(array: np.ndarray, dtype: DType, numbers: list[float], generator: np.random.Generator) -> np.ndarray:
    """The array with about one in four elements replaced by one of the numbers."""
    return np.where(generator.random(array.shape) < 0.25, generator.choice(_cast(numbers, dtype), array.shape), array)


def _one(array: np.ndarray, dtype: DType, numbers: list[float], generator: np.random.Generator) -> np.ndarray:
    """The array with each of the numbers put in once, at random places of the last slice along the first axis."""
    result = array.copy()
    last = result[-1:].reshape(-1) if result.ndim else result.reshape(-1)
    count = min(len(numbers), last.size)
    last[generator.permutation(last.size)[:count]] = _cast(numbers[:count], dtype)
    return result


def _cast(numbers: float | list[float], dtype: DType) -> np.ndarray:
    """Numbers as a type's nearest; a finite number stays finite."""
    wide = np.asarray(numbers, np.float64)
    largest = dtype.largest
    return np.where(np.isfinite(wide), np.clip(wide, -largest, largest), wide).astype(dtype.numpy)

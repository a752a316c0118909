"""What a program may give: the reference at the precision of its types, and what rounding makes of it.

A result is right where it is near the reference. Where it is not, the reference is run again with every rounding moved by a
few units in the last place, as Monte Carlo arithmetic does it (Parker 1997): what lies within the results of those runs is
the fault of the program, not of the compiler, and counts as ill-conditioned. Nothing else is excused: infinities, NaN,
integers and booleans must be those of one of the runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import numpy as np

from passes.manager import optimize
from tgraph.ir.dtypes import DType, bf16, dtype_of, f16, f32, f64
from tgraph.ir.graph import Graph
from tgraph.ir.values import Node, Result, Value
from tgraph.reference.interpreter import Interpreter
from tgraph.reference.tolerance import quantizing, tolerance
from tgraph.testing.crossings import Crossings, Extreme, Left, Met
from tgraph.testing.excluded import LeftOut, LetIn
from tgraph.testing.halves import rounded_in_places
from tgraph.testing.parts import parts_of
from tgraph.testing.ranges import Logarithms, Unbounded, UnboundedLogarithms

EPSILON = {f16: 2.0**-10, bf16: 2.0**-7, f32: 2.0**-23, f64: 2.0**-52}
SMALLEST, SMALLEST_NORMAL = 2.0**-24, 2.0**-14  # of f16
PRECISE = 1e-8  # the tolerance between two references in float64
UNITS = 4  # in the last place: what a vector function or the order of a sum may be off
SPREAD = 4  # times the width of what the runs gave
ORDERED = 64  # elements of an axis, each of which is tried as the largest
NORMS, LARGEST_IN_NORMS = ("layer_norm", "rms_norm"), 1.7e38
KEYS = {"attention": -2, "ragged_attention": 0}  # the axis of the keys, whose weighted values are summed before they are divided
# Right to the last bit everywhere: IEEE 754 demands it, or nothing is rounded at all; sums of floats keep their order.
EXACT = frozenset({
    "add", "sub", "neg", "abs", "sign", "maximum", "minimum", "relu", "floor", "ceil", "round", "clip", "where", "cast", "isnan",
    "isinf", "equal", "not_equal", "less", "less_or_equal", "greater", "greater_or_equal", "logical_and", "logical_or",
    "logical_xor", "logical_not", "full", "range", "dim_size", "gather", "embedding", "one_hot", "pack_panels", "unpack_panels",
    "pack_gates", "unpack_gates",
    "pad_rows", "number_rows", "zero_padding", "unpack", "expand", "reshape", "squeeze", "transpose", "unsqueeze", "concat",
    "pad", "slice", "split", "reduce_max", "reduce_min", "argmax", "integer_linear", "quantize_rows",
    "quantize_blocks",
    "argsort", "topk", "take_along_axis", "update_slice", "update_in_place",
})
# Of zeros of both signs they may give either: IEEE 754 and NumPy leave it open. Running sums and sums of products may begin with
# one of their own.
EITHER_ZERO = frozenset({
    "maximum", "minimum", "relu", "clip", "reduce_max", "reduce_min", "matmul", "linear", "einsum", "cumsum",
    "reduce_sum", "reduce_mean",
    "layer_norm",  # x a + (bias - mean a), where it is not (x - mean) a + bias
})
SUMS = ("reduce_sum", "reduce_mean")  # whose zeros are open only if all terms are -0.0: what cancels is 0.0
# Rounded right as well, but the passes may regroup the factors.
FACTORS = frozenset({"mul", "div", "square", "sqrt", "reciprocal"})


class Perturbed(Interpreter):
    """A reference whose roundings are moved: all up, all down, or each at random; 0 keeps them, but drops denormals, and
    gives zeros its own sign where an op may choose. None computes within an op in float64, and rounds its results alone.

    What is below the smallest normal number may be 0 after a function or a sum of many (e^-100 in f32), never after a move or an
    addition. `apart`: the roundings of an op's parts are moved instead of the op's own.
    """

    def __init__(self, graph: Graph, move: float | np.random.Generator | None, exact: frozenset[str] = EXACT, *,
                 apart: bool = False, **options: Any):
        super().__init__(graph, **options)
        self.move, self.exact, self.apart = move, exact, apart

    def apply(self, node: Node, operands: Sequence[np.ndarray | None], sizes: dict[str, int]) -> tuple[np.ndarray, ...]:
        if node.op.name in self.exact or node.op.name == "call":
            return tuple(self._zeros(node, r, operands) for r in super().apply(node, operands, sizes))
        if self.move is None:  # better than asked for, as fused multiplications and sums in a wider type are
            wide = [o if o is None or v is None or not v.dtype.is_float else o.astype(np.float64)
                    for o, v in zip(operands, node.operands)]
            return super().apply(node, wide, sizes)
        if not node.op.elementwise:  # sums and the like: the error of an operand, so that cancellation shows
            operands = [o if o is None or v is None else self.moved(o, v.dtype, True) for o, v in zip(operands, node.operands)]
        with self._functions():
            results = super().apply(node, operands, sizes)
        if self.apart and (parts := parts_of(node, f32 if self.faithful else f64)) is not None:
            results = self._in_parts(node, parts, operands, sizes, results)
        results = tuple(self._zeros(node, self.moved(r, v.dtype), operands) for r, v in zip(results, node.results))
        return tuple(map(self._shifted, results)) if node.op.name == "log_softmax" else results

    def _in_parts(self, node: Node, parts: Graph, operands: Sequence[np.ndarray | None], sizes: dict[str, int],
                  results: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        """Results by the op's parts; only where these give what the op does if no rounding is moved, as what they make of
        infinities, or beyond a range, is no rounding."""
        given = [o for o in operands if o is not None]
        still, moved = (list(run.run_bound(given, dict(sizes)).values()) for run in (
            Interpreter(parts, faithful=self.faithful), Perturbed(parts, self.move, self.exact, faithful=self.faithful)))
        with np.errstate(all="ignore"):
            return tuple(np.where(near(s, r, tolerance(v.dtype) if self.faithful else PRECISE), m, r).astype(r.dtype)
                         for s, m, r, v in zip(still, moved, results, node.results))

    def _shifted(self, array: np.ndarray) -> np.ndarray:
        """Logarithms of shares, up to 0, whose error is that of the sum near 1 which they are of."""
        if isinstance(self.move, float):
            unit = EPSILON[dtype_of(array)] if self.faithful else EPSILON[f64]
            array = np.minimum(array + np.asarray(UNITS * unit * self.move, array.dtype), np.zeros((), array.dtype))
        return array

    def _functions(self) -> AbstractContextManager[object]:
        """Where denormals are dropped, those of weights within an op too: times an infinite value, 0 is NaN."""
        if self.move != 0.0 or not isinstance(self.move, float):
            return nullcontext()
        exact = np.exp

        def exp(x: np.ndarray) -> np.ndarray:
            y = np.asarray(exact(x))
            return np.where(y < np.finfo(y.dtype).tiny, np.zeros((), y.dtype), y)

        return patch.object(np, "exp", exp)

    def _zeros(self, node: Node, array: np.ndarray, operands: Sequence[np.ndarray | None]) -> np.ndarray:
        """Zeros of the sign that a run without moves has; each of any sign where moves are random."""
        if node.op.name not in EITHER_ZERO or array.dtype.kind in "iub" or self.move is None:
            return array
        zero, x = array == 0, operands[0]
        if node.op.name in SUMS and x is not None:
            zero &= np.signbit(x).all(axis=node.attrs["axes"]).reshape(array.shape)
        if isinstance(self.move, float):
            return array if self.move else np.where(zero, np.asarray(self.move, array.dtype), array)
        return np.where(zero & (self.move.random(array.shape) < 0.5), -array, array)

    def moved(self, array: np.ndarray, dtype: DType, operand: bool = False) -> np.ndarray:
        """Floats off by some units in the last place; operands of half precisions are exact and computed with in f32."""
        if not dtype.is_float or not array.size:
            return array
        unit = EPSILON[f32 if operand and dtype.itemsize < 4 else dtype] if self.faithful else EPSILON[f64]
        if isinstance(self.move, float) and not self.move:
            smallest = np.finfo(np.float32 if self.faithful and dtype.itemsize <= 4 else np.float64).tiny
            dropped = np.copysign(np.zeros((), array.dtype), array)
            return np.where(np.abs(array) < smallest, dropped, array) if not operand else array
        assert self.move is not None
        move = self.move if isinstance(self.move, float) else self.move.uniform(-1, 1, array.shape)
        with np.errstate(all="ignore"):
            wide = array.astype(np.float64)
            if dtype == f16 and self.faithful and not operand:  # whose units below 6e-5 are all of one size
                wide = wide + np.where((wide != 0) & (np.abs(wide) < SMALLEST_NORMAL), move * SMALLEST, 0.0)
            wide = wide * (1 + UNITS * unit * move)
            return wide.astype(np.float32 if operand and self.faithful and dtype.itemsize < 4 else array.dtype)

    def _inner(self, function: Graph) -> Perturbed:
        return Perturbed(function, self.move, self.exact, apart=self.apart, faithful=self.faithful, weights=self.weights)


@dataclass
class Expectation:
    """What one trial of a graph may give. `strict`: factors are not regrouped (level O0)."""

    graph: Graph
    feeds: Mapping[str, np.ndarray]
    faithful: dict[str, np.ndarray]
    wide: bool = False  # float64 throughout, for another reference
    allowed: float | None = None  # a tolerance other than those of the types
    least: float = 0.0  # of the tolerances
    _members: dict[tuple[bool, int], list[dict[str, np.ndarray]]] = field(default_factory=dict)
    _ranged: dict[type[Unbounded], dict[str, np.ndarray]] = field(default_factory=dict)
    _beyond: bool | None = None
    _ordered: dict[type[Unbounded], dict[Node, bool]] = field(default_factory=dict)
    _allowed: dict[str, float] = field(default_factory=dict, init=False)

    def members(self, strict: bool, more: int) -> list[dict[str, np.ndarray]]:
        """The reference, and runs with moved roundings; twice as many and more for a closer look."""
        key = strict, more
        if key not in self._members:
            exact = EXACT | FACTORS if strict else EXACT
            moves: list[Any] = [1.0, -1.0, *(np.random.default_rng(i) for i in range(1 + more))]
            moves += [4.0, -4.0, 0.0, -0.0, None] if more else []
            crossings = Crossings()
            runs = [Perturbed(self.graph, m, exact, faithful=not self.wide, observer=crossings.observe if more else None).run(
                self.feeds) for m in moves]
            if more:
                runs += [Perturbed(self.graph, m, exact, apart=True, faithful=not self.wide, observer=crossings.observe).run(
                    self.feeds) for m in (*moves[:2], *(np.random.default_rng(i) for i in range(4)))]
                others: list[Interpreter] = [Left(self.graph, crossings, left, faithful=not self.wide)
                                             for left in (0.0, -0.0, 1.0, -1.0)]
                others.append(Met(self.graph, crossings, faithful=not self.wide))
                others += [Extreme(self.graph, crossings, i, largest, faithful=not self.wide)
                           for i in range(min(crossings.longest_order(), ORDERED)) for largest in (True, False)]
                runs += [other.run(self.feeds) for other in others]
            if not self.wide and self._has_halves():
                runs.append(Interpreter(self.graph).run(self.feeds))  # a kernel may keep half precisions in f32
                runs += [run.run(self.feeds) for run in rounded_in_places(self.graph)] if more else []  # and may not
            if more and not strict and not self.wide:
                runs += self._after_passes()
            self._members[key] = [self.faithful, *runs]
        return self._members[key]

    def _has_halves(self) -> bool:
        return any(v.dtype.is_float and v.dtype.itemsize < 4 for n in self.graph.nodes for v in (*n.inputs, *n.results))

    def _after_passes(self) -> list[dict[str, np.ndarray]]:
        """What passes may change (docs/precision.md): what overflows on the way in f32 only, or has no place for what it is the
        logarithm of; and NaN behind masks, which may come or go, where comparisons hide it too."""
        (rounded, _), (kept, exact) = (_finite(self.graph, self.feeds, faithful) for faithful in (True, False))
        overflows = any((~a & b).any() for a, b in zip(rounded, kept))
        odd = overflows or not all(a.all() for a in rounded) or not all(np.isfinite(f.astype(np.float64)).all()
                                                                         for f in self.feeds.values())
        optimized = Interpreter(optimize(self.graph), faithful=True).run(self.feeds)
        apart = Interpreter(optimize(self.graph, "decompose{ops=linear}"), faithful=True).run(self.feeds)  # its bias comes later
        with np.errstate(invalid="ignore"):
            clean = {n: np.where(np.isfinite(r.astype(np.float64)), r, optimized[n]) for n, r in self.faithful.items()}
            spoilt = {n: np.where(np.isnan(optimized[n].astype(np.float64)), optimized[n], r) for n, r in self.faithful.items()}
        hidden = [kind(self.graph, faithful=faithful).run(self.feeds) for kind in (Logarithms, LeftOut, LetIn)
                  for faithful in ((True, False) if self._has_halves() else (True,))]
        return [clean, apart, *([spoilt] if odd else []), *([exact] if overflows else []), *hidden]

    def _unbounded(self, strict: bool) -> type[Unbounded]:
        """The reference with more range; passes give some to logarithms, too."""
        return Unbounded if strict or self.wide else UnboundedLogarithms

    def _lost_order(self, name: str, found: np.ndarray, allowed: float, strict: bool) -> np.ndarray:
        """Elements that are right because a number overflowed on the way that more range would have kept: the order of a sum
        then decides whether the result is infinite, NaN or what it should be."""
        kind = self._unbounded(strict)
        if kind not in self._ranged:
            self._ranged[kind] = kind(self.graph).run(self.feeds)
        r, ranged = self.faithful[name].astype(np.float64), self._ranged[kind][name]
        if not np.issubdtype(ranged.dtype, np.floating):
            return np.zeros(r.shape, bool)
        overflowed = ~np.isnan(ranged) & ~np.isfinite(r) & (ranged != r)
        return overflowed & (~np.isfinite(found.astype(np.float64)) | near(found, ranged.astype(np.float64), allowed))

    def _too_much_is_asked(self) -> bool:
        """Whether a norm gets a row, or attention values, beyond those of which docs/precision.md promises more than infinities
        and NaN."""
        if self._beyond is None:
            found = [False]

            def look(node: Node, operands: Sequence[Any], results: Sequence[np.ndarray]) -> None:
                if node.op.name in NORMS:
                    found.append(_largest(operands[0]) > (f64.largest**0.5 if self.wide else LARGEST_IN_NORMS))
                if node.op.name in KEYS:
                    kind = f64 if self.wide or node.results[0].dtype == f64 else f32
                    values = operands[2]
                    found.append(_largest(values) * max(values.shape[KEYS[node.op.name]], 1) > kind.largest)

            Interpreter(self.graph, faithful=not self.wide, observer=look).run(self.feeds)
            self._beyond = any(found)
        return self._beyond

    def _order_decides(self, output: Value, strict: bool) -> bool:
        """Whether an output depends on sums or products of finite numbers that leave the range, or may on the way: their order
        then decides what comes of it, and tanh(inf) or a cap makes other finite numbers of that."""
        unbounded = self._unbounded(strict)
        if unbounded not in self._ordered:
            self._ordered[unbounded] = self._nodes_whose_order_decides(unbounded)
        found = self._ordered[unbounded]
        own = output.node if isinstance(output, Result) else None
        return any(node in found and (node is not own or found[node]) for node in above(output))

    def _nodes_whose_order_decides(self, unbounded: type[Unbounded]) -> dict[Node, bool]:
        """Such nodes; false for those whose own results show it, as infinities and NaN (`_lost_order`)."""
        found: dict[Node, bool] = {}
        within: dict[Node, list[np.ndarray]] = {}
        kind = f64 if self.wide else f32

        def look(node: Node, operands: Sequence[Any], results: Sequence[np.ndarray]) -> None:
            if node.attrs.get("softcap"):
                q, k = map(_largest, operands[:2])
                if q * k * operands[0].shape[-1] * max(1.0, abs(node.attrs["scale"])) > kind.largest:
                    found[node] = True
            factors = _factors(node, operands)
            if factors and any(abs(log) > np.log2(kind.largest) - 2 for log in factors):
                found[node] = True
            if not node.op.elementwise and node.op.traits.view is None:
                within[node] = [_is_finite(r) for r in results]

        def compare(node: Node, operands: Sequence[Any], results: Sequence[np.ndarray]) -> None:
            if any((_is_finite(r) & ~before).any() for r, before in zip(results, within.get(node, []))):
                found.setdefault(node, False)

        Interpreter(self.graph, faithful=not self.wide, observer=look).run(self.feeds)
        unbounded(self.graph, observer=compare).run(self.feeds)
        return found

    def difference(self, found: Mapping[str, np.ndarray], strict: bool) -> tuple[str | None, int, int]:
        """What is wrong in words, if anything; how many elements there are, and how many are ill-conditioned."""
        total = excused = 0
        for name, value in self.graph.outputs:
            y, r = found[name], self.faithful[name]
            if y.shape != r.shape or (not self.wide and y.dtype != value.dtype.numpy):
                return f"output {name} is {y.dtype}{list(y.shape)}, not {r.dtype}{list(r.shape)}", total, excused
            if name not in self._allowed:
                self._allowed[name] = max(self.least, precision(value)) if self.allowed is None else self.allowed
            allowed = self._allowed[name]
            total += y.size
            bad = ~near(y, r, allowed)
            if not bad.any():
                continue
            for more in (0, 24):
                runs = [m[name] for m in self.members(strict, more)]
                wrong = bad & ~within(y, runs, allowed)
                if more and wrong.any():
                    wrong &= ~self._lost_order(name, y, allowed, strict)
                    if wrong.any() and self._too_much_is_asked():
                        wrong &= np.isfinite(y.astype(np.float64)) & (not self.wide)
                    if wrong.any() and self._order_decides(value, strict):
                        wrong = np.zeros(y.shape, bool)
                if not wrong.any():
                    break
            else:
                return wrong_elements(name, y, r, runs, wrong), total, excused
            excused += int(bad.sum())
        return None, total, excused


def _finite(graph: Graph, feeds: Mapping[str, np.ndarray], faithful: bool) -> tuple[list[np.ndarray], dict[str, np.ndarray]]:
    """Where the results of all nodes, in order, are finite; and the outputs."""
    found: list[np.ndarray] = []
    outputs = Interpreter(graph, faithful=faithful, observer=lambda node, operands, results: found.extend(
        np.isfinite(r.astype(np.float64)) for r in results)).run(feeds)
    return found, outputs


def _is_finite(array: np.ndarray) -> np.ndarray:
    return np.isfinite(array.astype(np.longdouble if array.dtype == np.longdouble else np.float64))


def _largest(array: np.ndarray) -> float:
    """The largest finite magnitude."""
    wide = array.astype(np.float64)
    return float(np.max(np.abs(wide), initial=0.0, where=np.isfinite(wide)))


def _factors(node: Node, operands: Sequence[Any]) -> tuple[float, ...]:
    """Of the products that a node makes of many numbers, the largest one of their parts above 1, and the smallest of those below,
    as powers of 2."""
    scatters = node.op.name == "scatter" and node.attrs["reduction"] == "mul"
    if not (scatters or node.op.name == "reduce_prod") or operands[0].dtype.kind not in "fV":
        return ()
    axes = node.attrs["axis"] if scatters else node.attrs["axes"]
    parts = [operands[0], operands[2]] if scatters else [operands[0]]
    with np.errstate(all="ignore"):
        logs = [np.log2(np.abs(p.astype(np.float64))) for p in parts]
    logs = [np.where(np.isfinite(log), log, 0.0) for log in logs]
    whole = logs[0] if not scatters else np.concatenate(logs, axis=axes)
    return tuple(float(pick(np.sum(clipped, axis=axes), initial=0.0)) for pick, clipped in (
        (np.max, np.maximum(whole, 0.0)), (np.min, np.minimum(whole, 0.0))))


def precision(value: Value) -> float:
    """The tolerance of the least precise type that a value is computed from."""
    if not value.dtype.is_float:
        return 0.0
    nodes = above(value)
    values = {value, *(v for node in nodes for v in node.inputs)}
    return max(*map(quantizing, nodes), *(tolerance(v.dtype) for v in values)) if nodes else tolerance(value.dtype)


def above(value: Value) -> set[Node]:
    """The nodes that a value depends on."""
    found: set[Node] = set()
    stack = [value]
    while stack:
        node = getattr(stack.pop(), "node", None)
        if node is not None and node not in found:
            found.add(node)
            stack += node.inputs
    return found


def near(y: np.ndarray, r: np.ndarray, allowed: float) -> np.ndarray:
    """Elements that are equal, both NaN, or within allowed * max(1, |r|)."""
    with np.errstate(all="ignore"):
        same = np.asarray(y == r)
        if not dtype_of(r).is_float:
            return same
        a, b = y.astype(np.float64), r.astype(np.float64)
        close = np.abs(a - b) <= allowed * np.maximum(1.0, np.abs(b))
        return np.asarray(same | (np.isnan(a) & np.isnan(b)) | (close & np.isfinite(b)))


def within(y: np.ndarray, runs: Sequence[np.ndarray], allowed: float) -> np.ndarray:
    """Elements between the least and the greatest of the runs, and a little around; NaN where one of them has it."""
    with np.errstate(all="ignore"):
        many, a = np.stack([_from(runs[0], r) for r in runs]), _from(runs[0], y)
        low, high = (f(many, axis=0, initial=i, where=~np.isnan(many)) for f, i in ((np.min, np.inf), (np.max, -np.inf)))
        width = np.where(np.isfinite(high - low), high - low, 0.0)
        margin = allowed * np.maximum(1.0, np.minimum(np.abs(low), np.abs(high))) + SPREAD * width
        between = (a >= low - np.where(np.isfinite(low), margin, 0)) & (a <= high + np.where(np.isfinite(high), margin, 0))
        return np.asarray(between | (np.isnan(a) & np.isnan(many).any(axis=0)))


def _from(origin: np.ndarray, array: np.ndarray) -> np.ndarray:
    """An array in float64; integers and booleans as distances from others, as float64 does not tell all integers apart."""
    wide = array.astype(np.float64)
    if dtype_of(array).is_float:
        return wide
    far = wide - origin.astype(np.float64)
    return np.where(np.abs(far) > 2.0**62, far, array.astype(np.int64) - origin.astype(np.int64))  # which wraps around beyond


def wrong_elements(name: str, y: np.ndarray, r: np.ndarray, runs: Sequence[np.ndarray], wrong: np.ndarray) -> str:
    """The first wrong elements, as text."""
    shown = []
    for at in np.argwhere(wrong)[:3].tolist():
        i = tuple(at)
        values = sorted({float(m[i]) for m in runs}, key=lambda v: (v != v, v))
        spread = f", runs {values[0]:.6g} .. {values[-1]:.6g}" if len(values) > 1 else ""
        shown.append(f"[{', '.join(map(str, at))}] is {y[i]!s}, not {r[i]!s}{spread}")
    return f"output {name} ({int(wrong.sum())} of {wrong.size} elements): {'; '.join(shown)}"

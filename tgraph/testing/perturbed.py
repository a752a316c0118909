"""The reference with its roundings moved, as Monte Carlo arithmetic does it (Parker 1997)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any
from unittest.mock import patch

import numpy as np

from tgraph.ir.dtypes import DType, bf16, dtype_of, f16, f32, f64
from tgraph.ir.graph import Graph
from tgraph.ir.values import Node
from tgraph.reference.interpreter import Interpreter
from tgraph.reference.tolerance import tolerance
from tgraph.testing.nearness import PRECISE, near
from tgraph.testing.parts import parts_of

EPSILON = {f16: 2.0**-10, bf16: 2.0**-7, f32: 2.0**-23, f64: 2.0**-52}
SMALLEST, SMALLEST_NORMAL = 2.0**-24, 2.0**-14  # of f16
UNITS = 4  # in the last place: what a vector function or the order of a sum may be off
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
SUMS = ("sum", "mean")  # reductions whose zeros are open only if all terms are -0.0: what cancels is 0.0
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
        if node.op.traits.reduces in SUMS and x is not None:
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

"""Tolerances by element type, and how the error of a result is measured."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from ..ir.dtypes import DType, bf16, f16, f32, f64
from ..ir.values import Node

TOLERANCES: dict[DType, tuple[float, str]] = {
    f64: (1e-10, "rounding of double precision over sums of a few thousand terms"),
    f32: (1e-4, "rounding of single precision through the layers of a deep model; 1e-5 is usual for one op"),
    f16: (1e-2, "11 bits of mantissa: 5e-4 a rounding, and some tens of them in sequence"),
    bf16: (5e-2, "8 bits of mantissa: 4e-3 a rounding, and some tens of them in sequence"),
}
"""For each element type the largest error of a result, relative to its largest element (at least 1), and the reason for it."""

# What quantize_rows costs where it occurs; integers themselves are exact.
QUANTIZED = (1e-1, "8 bits for the largest of a row: 4e-3 of it a rounding of each operand, less where a row has no outlier")
# The same of quantize_blocks, by bits. Errors of many weights add up as their squares do; so do those of layers.
IN_BLOCKS = {8: QUANTIZED, 4: (4e-1, "4 bits for the largest of a block: 6e-2 of it a rounding of a weight, in many layers"),
             2: (1.0, "2 bits for the largest of a block: 2.5e-1 of it a rounding of a weight")}


@dataclass(frozen=True)
class Comparison:
    """An error and the largest allowed: max|y - r| / max(1, max|r|), absolute for small results, else relative to the largest."""

    error: float
    tolerance: float

    @property
    def ok(self) -> bool:
        return self.error <= self.tolerance


def tolerance(dtype: DType) -> float:
    """The largest allowed error for results of a type; integers and booleans must be equal."""
    return TOLERANCES[dtype][0] if dtype in TOLERANCES else 0.0


def quantizing(node: Node) -> float:
    """The largest allowed error for what is computed of the integers that a node makes; 0 if it makes none of floats."""
    if node.op.name == "quantize_rows":
        return QUANTIZED[0]
    return IN_BLOCKS[node.attrs["bits"]][0] if node.op.name == "quantize_blocks" else 0.0  # type: ignore[index]


def compare(result: np.ndarray, reference: np.ndarray, allowed: float) -> Comparison:
    """Compare a result with its reference. Infinities and NaNs must be at the same places."""
    if result.shape != reference.shape:
        return Comparison(float("inf"), allowed)
    y, r = result.astype(np.float64), reference.astype(np.float64)
    if not y.size:
        return Comparison(0.0, allowed)
    finite = np.isfinite(r)
    odd = ~finite & ~((y == r) | (np.isnan(y) & np.isnan(r)))
    if odd.any() or not np.isfinite(y[finite]).all():
        return Comparison(float("inf"), allowed)
    if not finite.any():
        return Comparison(0.0, allowed)
    scale = max(1.0, float(np.abs(r[finite]).max()))
    return Comparison(float(np.abs(y[finite] - r[finite]).max()) / scale, allowed)


BANDS = (0.0, 1e9, 1e20, float("inf"))  # what is computed; what huge numbers become; the fills of masks


def compare_bands(result: np.ndarray, reference: np.ndarray, allowed: float) -> Comparison:
    """`compare` separately for numbers of very different magnitude, so that a mask's fill value hides no error in the others."""
    if result.shape != reference.shape:
        return Comparison(float("inf"), allowed)
    sizes = np.abs(np.where(np.isfinite(reference), reference, 0.0))
    bands = [(low <= sizes) & (sizes < high) for low, high in itertools.pairwise(BANDS)]
    return Comparison(max(compare(result[band], reference[band], allowed).error for band in bands), allowed)


STABLE = 1e-2  # the difference between single and double precision up to which an element counts as independent of rounding


def stable(exact: np.ndarray, rounded: np.ndarray) -> np.ndarray:
    """The elements that are the same in float64 and with each value rounded to its type; those that overflow are not, say."""
    with np.errstate(all="ignore"):
        same = (rounded == exact) | (rounded != rounded) & (exact != exact)
        if exact.dtype.kind in "fV":
            wide, narrow = exact.astype(np.float64), rounded.astype(np.float64)
            same |= np.abs(narrow - wide) <= STABLE * np.maximum(1, np.abs(wide))
    return np.asarray(same)

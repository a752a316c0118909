"""Which elements of a result are right: beside what they should be, and beside what several runs made of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tgraph.ir.dtypes import dtype_of

PRECISE = 1e-8  # the tolerance between two references in float64
SPREAD = 4  # times the width of what the runs gave


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

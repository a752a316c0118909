"""What is in an array, in a line: range, mean, zeros, what is not finite, and a small histogram."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

BINS = 12
_BARS = " ▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class Statistics:
    """The numbers of an array. low, high, mean, std: of the finite elements, NaN if there are none; histogram: their counts in
    `BINS` equal parts from low to high."""

    shape: tuple[int, ...]
    low: float
    high: float
    mean: float
    std: float
    zeros: int
    nans: int
    infinities: int
    histogram: tuple[int, ...]

    @classmethod
    def of(cls, array: np.ndarray) -> Statistics:
        """The statistics of an array: of its finite numbers, and how many others it has."""
        values = wide(array).reshape(-1)
        finite = values[np.isfinite(values)]
        nans = int(np.isnan(values).sum())
        if not finite.size:
            nan = float("nan")
            return cls(array.shape, nan, nan, nan, nan, 0, nans, values.size - nans, (0,) * BINS)
        low, high = float(finite.min()), float(finite.max())
        scale = max(abs(low), abs(high)) or 1.0  # so that sums, squares and the range of huge numbers are finite
        scaled = finite / scale
        edges = (low / scale, high / scale) if high > low else (low / scale - 0.5, low / scale + 0.5)
        counts, _ = np.histogram(scaled, bins=BINS, range=edges)
        mean, std = float(scaled.mean()) * scale, float(scaled.std()) * scale
        return cls(array.shape, low, high, mean, std, int((finite == 0).sum()), nans, values.size - finite.size - nans,
                   tuple(int(c) for c in counts))

    @property
    def bars(self) -> str:
        """The histogram as text, a character a part; a part with any elements is not blank."""
        most = max(self.histogram) or 1
        return "".join(_BARS[-(-count * (len(_BARS) - 1) // most)] for count in self.histogram)

    COLUMNS: ClassVar[tuple[str, ...]] = (">min", ">max", ">mean", ">std", ">zeros", ">nan", ">inf", "histogram")

    def cells(self) -> list[str]:
        """The numbers as text, as COLUMNS says."""
        numbers = (f"{v:.4g}" for v in (self.low, self.high, self.mean, self.std))
        counts = (str(c) if c else "" for c in (self.zeros, self.nans, self.infinities))
        return [*numbers, *counts, self.bars]


def wide(array: np.ndarray) -> np.ndarray:
    """An array of numbers as float64."""
    return np.asarray(array).astype(np.float64)

"""Resampling of axes whose sizes are known: each result is a sum of elements with fixed weights, so a product with a matrix."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import floor
from typing import Any

import numpy as np

from ..node import OnnxNode, UnsupportedError
from ..registry import importer
from .language import t

Kernel = Callable[[np.ndarray], np.ndarray]  # the weight of an element by its distance


@dataclass(frozen=True)
class Resampling:
    """How a node resamples an axis: the standard's attributes, under their names."""

    mode: str
    coordinates: str
    nearest: str
    cubic: float
    excluding: bool
    smooth: bool
    outside: float

    @classmethod
    def of(cls, node: OnnxNode) -> Resampling:
        old = node.op == "Upsample" or node.version < 11  # before there were attributes for it
        return cls(node.attribute("mode", "nearest"),
                   "asymmetric" if old else node.attribute("coordinate_transformation_mode", "half_pixel"),
                   "floor" if old else node.attribute("nearest_mode", "round_prefer_floor"),
                   node.attribute("cubic_coeff_a", -0.75), bool(node.attribute("exclude_outside", 0)),
                   bool(node.attribute("antialias", 0)), node.attribute("extrapolation_value", 0.0))

    def places(self, size: int, count: int, scale: float, region: Sequence[float]) -> np.ndarray:
        """Where each of `count` results lies among `size` elements."""
        i, whole = np.arange(count, dtype=np.float64), scale * size
        if self.coordinates == "align_corners":
            return i * (size - 1) / (whole - 1) if whole != 1 else np.zeros(count)
        if self.coordinates == "asymmetric":
            return i / scale
        if self.coordinates == "tf_crop_and_resize":
            start, end = region
            if whole == 1:
                return np.full(count, (start + end) * (size - 1) / 2)
            return start * (size - 1) + i * (end - start) * (size - 1) / (whole - 1)
        if self.coordinates == "pytorch_half_pixel" and whole == 1:
            return np.full(count, -0.5)
        if self.coordinates not in ("half_pixel", "pytorch_half_pixel", "half_pixel_symmetric"):
            raise UnsupportedError(f"has the coordinate_transformation_mode {self.coordinates!r}, which the standard has not")
        shift = size / 2 * (1 - count / whole) if self.coordinates == "half_pixel_symmetric" else 0.0
        return shift + (i + 0.5) / scale - 0.5

    def nearest_places(self, places: np.ndarray) -> np.ndarray:
        rounding: dict[str, Callable[[np.ndarray], np.ndarray]] = {
            "round_prefer_floor": lambda x: np.ceil(x - 0.5), "round_prefer_ceil": lambda x: np.floor(x + 0.5),
            "floor": np.floor, "ceil": np.ceil}
        if self.nearest not in rounding:
            raise UnsupportedError(f"has the nearest_mode {self.nearest!r}, which the standard has not")
        return rounding[self.nearest](places).astype(np.int64)

    def matrix(self, size: int, places: np.ndarray, scale: float) -> np.ndarray:
        """[results, elements]: the weight of each element in each result."""
        if self.mode not in ("linear", "cubic", "bilinear"):
            raise UnsupportedError(f"has the mode {self.mode!r}; tgraph has nearest, linear and cubic")
        reach, kernel = (2, self._cubic) if self.mode == "cubic" else (1, _hat)
        narrow = min(scale, 1.0) if self.smooth else 1.0  # the kernel covers as many elements as become one
        found = np.zeros((len(places), size))
        for row, place in zip(found, places):
            near = np.arange(floor(place - reach / narrow), floor(place + reach / narrow) + 2)
            weights = kernel(np.abs(near - place) * narrow)
            if self.excluding:
                weights = np.where((near >= 0) & (near < size), weights, 0.0)
            if (self.excluding or self.smooth) and weights.sum():
                weights = weights / weights.sum()
            np.add.at(row, np.clip(near, 0, size - 1), weights)
        return found

    def _cubic(self, x: np.ndarray) -> np.ndarray:
        """The convolution kernel of R. Keys, doi:10.1109/TASSP.1981.1163711."""
        a = self.cubic
        inner = (a + 2) * x**3 - (a + 3) * x**2 + 1
        outer = a * (x**3 - 5 * x**2 + 8 * x - 4)
        return np.where(x <= 1, inner, np.where(x < 2, outer, 0.0))


def _hat(x: np.ndarray) -> np.ndarray:
    return np.maximum(1 - x, 0.0)


@importer("Upsample", since=7, limits="of axes whose sizes are known")
def upsample(node: OnnxNode, x: Any, scales: Any = None) -> Any:
    given = node.array(1, "the scales").reshape(-1) if node.given(1) else node.attribute("scales")
    return _resized(node, x, range(x.rank), [float(s) for s in given], (), None)


@importer("Resize", since=10, limits="of axes whose sizes are known")
def resize_by_scales(node: OnnxNode, x: Any, scales: Any) -> Any:
    return upsample(node, x, scales)


@importer("Resize", since=11, limits="of axes whose sizes are known")
def resize(node: OnnxNode, x: Any, region: Any = None, scales: Any = None, sizes: Any = None) -> Any:
    axes = [a % x.rank for a in node.attribute("axes", range(x.rank))]
    cropped = node.attribute("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize"
    roi = node.array(1, "the region").reshape(-1).tolist() if node.given(1) and cropped else None
    if node.given(2) and x.rank and scales.shape != (0,):
        return _resized(node, x, axes, [float(s) for s in node.array(2, "the scales").reshape(-1)], (), roi)
    wanted = node.sizes(3, "the sizes")
    return _resized(node, x, axes, None, wanted, roi)


def _resized(node: OnnxNode, x: Any, axes: Sequence[int], scales: Sequence[float] | None, sizes: Sequence[Any],
             region: Sequence[float] | None) -> Any:
    """Each axis after the other, by its scale, or to its size if there are no scales."""
    how, dtype = Resampling.of(node), x.dtype
    same, given = ([x.shape[axis] for axis in axes], sizes) if scales is None else ([1.0] * len(axes), scales)
    changed = [i for i in range(len(axes)) if region or given[i] != same[i]]
    for i in changed:
        if not isinstance(x.shape[axes[i]], int) or not isinstance(given[i], (int, float)):
            raise UnsupportedError(f"resamples an axis of {x.shape[axes[i]]} elements, whose number must be known: fix the size")
    if scales is None:
        factors, counts = _scales(node, [x.shape[axes[i]] for i in changed], [sizes[i] for i in changed])
    else:
        factors = [scales[i] for i in changed]
        counts = [floor(x.shape[axes[i]] * scale) for i, scale in zip(changed, factors)]
    for i, scale, count in zip(changed, factors, counts):
        x = _along(how, x, axes[i], scale, count, (region[i], region[len(axes) + i]) if region else (0.0, 1.0))
    return x if x.dtype == dtype else _back(x, dtype)


def _scales(node: OnnxNode, old: Sequence[int], new: Sequence[int]) -> tuple[list[float], list[int]]:
    """Scales for the sizes that are asked for, and the sizes that the node's policy makes of these."""
    scales = [b / a for a, b in zip(old, new)]
    policy = node.attribute("keep_aspect_ratio_policy", "stretch")
    if policy == "stretch" or not scales:
        return scales, list(new)
    scale = (min if policy == "not_larger" else max)(scales)
    return [scale] * len(old), [floor(scale * size + 0.5) for size in old]


def _along(how: Resampling, x: Any, axis: int, scale: float, count: int, region: Sequence[float]) -> Any:
    size = x.shape[axis]
    places = how.places(size, count, scale, region)
    if how.mode == "nearest":
        y = t.gather(x, np.clip(how.nearest_places(places), 0, size - 1), axis=axis)
    else:
        x = x if x.dtype.is_float else t.cast(x, dtype="f32")
        weights = how.matrix(size, places, scale).astype(x.dtype.numpy)
        y = t.swapaxes(t.swapaxes(x, axis, -1) @ np.ascontiguousarray(weights.T), axis, -1)
    beyond = (places < 0) | (places > size - 1)
    if how.coordinates == "tf_crop_and_resize" and beyond.any():
        y = t.where(beyond.reshape([-1 if a == axis else 1 for a in range(x.rank)]), how.outside, y)
    return y


def _back(x: Any, dtype: Any) -> Any:
    """Numbers as integers of a type, cut off as the standard does, and kept within it."""
    bounds = np.iinfo(dtype.numpy)
    return t.cast(t.clip(x, float(bounds.min), float(bounds.max)), dtype=dtype)

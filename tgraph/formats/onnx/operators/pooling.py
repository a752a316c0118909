"""Pooling over windows of one and two dimensions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np

from ..node import OnnxNode, UnsupportedError
from ..registry import importer
from .convolution import windows
from .language import t


@importer("GlobalAveragePool")
def global_average(node: OnnxNode, x: Any) -> Any:
    return t.mean(x, axis=tuple(range(2, x.rank)), keepdims=True)


@importer("GlobalMaxPool")
def global_largest(node: OnnxNode, x: Any) -> Any:
    return t.amax(x, axis=tuple(range(2, x.rank)), keepdims=True)


@importer("GlobalLpPool")
def global_power_mean(node: OnnxNode, x: Any) -> Any:
    p = float(node.attribute("p", 2))
    return t.pow(t.sum(t.pow(t.abs(x), p), axis=tuple(range(2, x.rank)), keepdims=True), 1.0 / p)


@dataclass
class Windows:
    """Where the windows of a pooling node lie: `counts` of them an axis. `extra`: beyond the padding, by ceil_mode."""

    kernel: list[int]
    strides: list[int]
    dilations: list[int]
    before: list[Any]
    after: list[Any]
    extra: list[int]
    counts: list[Any]

    def padded(self, x: Any, fill: Any) -> Any:
        after = [a + e for a, e in zip(self.after, self.extra)]
        if not any((*self.before, *after)):
            return x
        return t.pad(x, before=(0, 0, *self.before), after=(0, 0, *after), fill_value=fill)

    def combined(self, combine: Callable[[Any, Any], Any], x: Any) -> Any:
        """The elements of each window as one. Axis by axis: a window of 60 x 80 takes 140 slices, not 4,800."""
        axes = zip(self.kernel, self.strides, self.dilations, self.counts)
        for axis, (kernel, stride, dilation, count) in enumerate(axes, 2):
            along = [slice(place * dilation, place * dilation + (count - 1) * stride + 1, stride) for place in range(kernel)]
            x = reduce(combine, (x[(*(slice(None),) * axis, one)] for one in along))
        return x


def windows_of(node: OnnxNode, x: Any) -> Windows:
    kernel = node.attribute("kernel_shape")
    rank = len(kernel)
    if x.rank - 2 != rank:
        raise UnsupportedError(f"has a kernel of {rank} dimensions for {x.type}")
    strides, dilations = node.attribute("strides", [1] * rank), node.attribute("dilations", [1] * rank)
    before, after = windows(node, x, kernel, dilations)
    counts: list[Any] = []
    extra = [0] * rank
    for axis in range(rank):
        own = x.shape[2 + axis]
        size, reach, stride = own + before[axis] + after[axis], (kernel[axis] - 1) * dilations[axis] + 1, strides[axis]
        if not node.attribute("ceil_mode", 0):
            counts.append((size - reach) // stride + 1)
            continue
        if not isinstance(size, int):
            raise UnsupportedError("has ceil_mode over an axis whose size is known only at run time")
        count = -(-(size - reach) // stride) + 1
        if (count - 1) * stride >= own + before[axis]:
            count -= 1  # a window begins within the elements, or before them
        counts.append(count)
        extra[axis] = max((count - 1) * stride + reach - size, 0)
    return Windows(kernel, strides, dilations, before, after, extra, counts)


@importer("MaxPool", limits="without the places of the largest")
def largest(node: OnnxNode, x: Any) -> Any:
    if node.wants(1):
        raise UnsupportedError("gives the places of the largest elements, too; tgraph gives their values")
    found = windows_of(node, x)
    lowest = -np.inf if x.dtype.is_float else int(np.iinfo(x.dtype.numpy).min)
    return found.combined(t.maximum, found.padded(x, lowest))


@importer("AveragePool")
def average(node: OnnxNode, x: Any) -> Any:
    found = windows_of(node, x)
    total = found.combined(t.add, found.padded(x, 0.0))
    counted = bool(node.attribute("count_include_pad", 0))
    if not any((*found.before, *found.after, *found.extra)) or (counted and not any(found.extra)):
        return total / float(np.prod(found.kernel))
    ones = t.full((1, 1, *x.shape[2:]), 1.0, dtype=x.dtype)
    if counted:
        ones = t.pad(ones, before=(0, 0, *found.before), after=(0, 0, *found.after), fill_value=1.0)
        ones = t.pad(ones, before=(0,) * x.rank, after=(0, 0, *found.extra), fill_value=0.0)
    else:
        ones = found.padded(ones, 0.0)
    return total / found.combined(t.add, ones)


@importer("LpPool")
def power_mean(node: OnnxNode, x: Any) -> Any:
    p, found = float(node.attribute("p", 2)), windows_of(node, x)
    return t.pow(found.combined(t.add, found.padded(t.pow(t.abs(x), p), 0.0)), 1.0 / p)

"""Convolutions of one to three dimensions."""

from __future__ import annotations

from typing import Any

from ....ir.dims import Dim
from ..node import OnnxNode, UnsupportedError
from ..registry import importer
from .language import t


def windows(node: OnnxNode, x: Any, kernel: Any, dilations: Any) -> tuple[list[Any], list[Any]]:
    """What lies before and after each axis, by `pads` or `auto_pad`."""
    rank = len(kernel)
    auto = node.attribute("auto_pad", "NOTSET")
    strides = node.attribute("strides", [1] * rank)
    if auto in ("NOTSET", "VALID"):
        pads = node.attribute("pads", [0] * (2 * rank)) if auto == "NOTSET" else [0] * (2 * rank)
        return list(pads[:rank]), list(pads[rank:])
    before, after = [], []
    for axis in range(rank):
        size, reach = x.shape[2 + axis], (kernel[axis] - 1) * dilations[axis] + 1
        if not isinstance(size, int) and strides[axis] != 1:
            raise UnsupportedError(f"has auto_pad={auto} and a stride over an axis whose size is known only at run time")
        whole = max((-(-size // strides[axis]) - 1) * strides[axis] + reach - size, 0) if isinstance(size, int) else reach - 1
        small = whole // 2
        before.append(small if auto == "SAME_UPPER" else whole - small)
        after.append(whole - small if auto == "SAME_UPPER" else small)
    return before, after


@importer("Conv", limits="of one to three dimensions")
def convolution(node: OnnxNode, x: Any, weight: Any, bias: Any = None) -> Any:
    rank = _rank(x, weight, most=3)
    dilations = node.attribute("dilations", [1] * rank)
    before, after = windows(node, x, weight.shape[2:], dilations)
    if before != after:
        x = t.pad(x, before=(0, 0, *before), after=(0, 0, *after))
        before = [0] * rank
    return convolved(x, weight, bias, stride=node.attribute("strides", [1] * rank), padding=before, dilation=dilations,
                     groups=node.attribute("group", 1))


def _rank(x: Any, weight: Any, most: int = 2) -> int:
    if not 3 <= x.rank <= 2 + most:
        raise UnsupportedError(f"is of {x.rank - 2} dimensions; tgraph has convolutions of one{', two' * (most > 2)} and "
                               f"{'three' if most > 2 else 'two'}")
    if any(isinstance(size, Dim) for size in weight.shape):
        raise UnsupportedError(f"has a kernel {weight.type}, whose size must be known")
    return int(x.rank - 2)


def convolved(x: Any, weight: Any, bias: Any = None, groups: int = 1, **how: Any) -> Any:
    if x.rank == 3:
        return t.conv1d(x, weight, bias, groups=groups, **{name: value[0] for name, value in how.items()})
    if x.rank == 5:
        return _of_volumes(x, weight, bias, groups, **how)
    return t.conv2d(x, weight, bias, groups=groups, **{name: tuple(value) for name, value in how.items()})


def _of_volumes(x: Any, weight: Any, bias: Any, groups: int, stride: Any, padding: Any, dilation: Any) -> Any:
    """A convolution of three dimensions as one of two: the slices that a kernel reads of the first are further channels, and the
    places where it stands are further images."""
    x = t.pad(x, before=(0, 0, padding[0], 0, 0), after=(0, 0, padding[0], 0, 0)) if padding[0] else x
    outputs, channels, deep, *kernel = weight.shape
    batch, places = x.shape[0], (x.shape[2] - (deep - 1) * dilation[0] - 1) // stride[0] + 1
    starts = [k * dilation[0] for k in range(deep)]
    slices = [t.slice(x, starts=(k,), stops=(k + (places - 1) * stride[0] + 1,), axes=(2,), steps=(stride[0],)) for k in starts]
    images = t.stack([t.swapaxes(s, 1, 2) for s in slices], axis=3)
    images = t.reshape(images, shape=(batch * places, x.shape[1] * deep, *x.shape[3:]))
    y = t.conv2d(images, t.reshape(weight, shape=(outputs, channels * deep, *kernel)), bias, groups=groups,
                 stride=tuple(stride[1:]), padding=tuple(padding[1:]), dilation=tuple(dilation[1:]))
    return t.swapaxes(t.reshape(y, shape=(batch, places, *y.shape[1:])), 1, 2)


@importer("ConvTranspose", limits="of one and two dimensions")
def transposed_convolution(node: OnnxNode, x: Any, weight: Any, bias: Any = None) -> Any:
    """The convolution with the kernel turned round, of x with zeros between its elements: stride - 1 of them."""
    rank, groups = _rank(x, weight), node.attribute("group", 1)
    strides, dilations = (node.attribute(n, [1] * rank) for n in ("strides", "dilations"))
    before, after = [], []
    for axis, (low, high) in enumerate(_cut(node, x, weight, strides, dilations)):
        reach = (weight.shape[2 + axis] - 1) * dilations[axis]
        x = _spread(x, 2 + axis, strides[axis])
        before.append(reach - low)
        after.append(reach - high)
    for axis in range(rank):  # more is cut off than the kernel reaches over
        low, high = max(-before[axis], 0), max(-after[axis], 0)
        if low or high:
            x = t.slice(x, starts=(low,), stops=(x.shape[2 + axis] - high,), axes=(2 + axis,))
    x = t.pad(x, before=(0, 0, *(max(n, 0) for n in before)), after=(0, 0, *(max(n, 0) for n in after)))
    inputs, outputs, *kernel = weight.shape
    turned = t.flip(weight, axis=tuple(range(2, 2 + rank)))
    turned = t.swapaxes(t.reshape(turned, shape=(groups, inputs // groups, outputs, *kernel)), 1, 2)
    turned = t.reshape(turned, shape=(groups * outputs, inputs // groups, *kernel))
    return convolved(x, turned, bias, dilation=dilations, groups=groups)


def _cut(node: OnnxNode, x: Any, weight: Any, strides: Any, dilations: Any) -> list[tuple[int, int]]:
    """How many elements the whole result of a transposed convolution loses on each side (gains, below 0)."""
    rank = x.rank - 2
    more, pads = node.attribute("output_padding", [0] * rank), node.attribute("pads", [0] * (2 * rank))
    auto, wanted = node.attribute("auto_pad", "NOTSET"), node.attribute("output_shape", None)
    found = []
    for axis in range(rank):
        stride, reach = strides[axis], (weight.shape[2 + axis] - 1) * dilations[axis] + 1
        if wanted is None and not auto.startswith("SAME"):
            low, high = (pads[axis], pads[rank + axis]) if auto == "NOTSET" else (0, 0)
            found.append((low, high - more[axis]))
            continue
        size = x.shape[2 + axis]
        whole = stride * (size - 1) + more[axis] + reach
        lost = whole - (size * stride if wanted is None else wanted[-rank:][axis])
        if not isinstance(lost, int):
            raise UnsupportedError("has an output_shape, and the size of its input is known only at run time")
        small, lost = max(lost, 0) // 2, lost
        large = max(lost, 0) - small
        low, high = (small, large) if auto == "SAME_UPPER" else (large, small)
        found.append((low, high - more[axis] + min(lost, 0)))
    return found


def _spread(x: Any, axis: int, stride: int) -> Any:
    """Zeros between the elements of an axis: n become (n - 1) stride + 1."""
    if stride == 1:
        return x
    size = x.shape[axis]
    apart = t.unsqueeze(x, axis=axis + 1)
    apart = t.pad(apart, before=(0,) * apart.rank, after=tuple(stride - 1 if a == axis + 1 else 0 for a in range(apart.rank)))
    whole = t.reshape(apart, shape=(*x.shape[:axis], size * stride, *x.shape[axis + 1:]))
    return t.slice(whole, starts=(0,), stops=((size - 1) * stride + 1,), axes=(axis,))


@importer("CausalConvWithState", since=27)
def causal_convolution(node: OnnxNode, x: Any, weight: Any, bias: Any = None, past: Any = None) -> Any:
    """Each channel by its own kernel, over what came before: of the last call, too, if its end is given."""
    activation = node.attribute("activation", "none")
    if activation not in ("none", "silu", "swish"):
        raise UnsupportedError(f"has the activation {activation!r}; the standard has silu, swish and none")
    _rank(x, weight)
    before = weight.shape[2] - 1
    if past is None:
        past = t.full((*x.shape[:2], before), 0.0, dtype=x.dtype)
    whole = t.concat([past, x], axis=2)
    y = t.conv1d(whole, weight, bias, groups=weight.shape[0])
    present = t.slice(whole, starts=(x.shape[2],), stops=(x.shape[2] + before,), axes=(2,))
    return (y if activation == "none" else t.silu(y), present)[:max(node.results, 1)]

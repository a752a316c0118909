"""Convolutions of one and two dimensions."""

from __future__ import annotations

from typing import Any

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


@importer("Conv")
def convolution(node: OnnxNode, x: Any, weight: Any, bias: Any = None) -> Any:
    rank = x.rank - 2
    if rank not in (1, 2):
        raise UnsupportedError(f"is of {rank} dimensions; tgraph has convolutions of one and two")
    dilations = node.attribute("dilations", [1] * rank)
    before, after = windows(node, x, weight.shape[2:], dilations)
    if before != after:
        x = t.pad(x, before=(0, 0, *before), after=(0, 0, *after))
        before = [0] * rank
    strides = node.attribute("strides", [1] * rank)
    how = {"stride": tuple(strides), "padding": tuple(before), "dilation": tuple(dilations), "groups": node.attribute("group", 1)}
    if rank == 1:
        how = {k: v[0] if isinstance(v, tuple) else v for k, v in how.items()}
        return t.conv1d(x, weight, bias, **how)
    return t.conv2d(x, weight, bias, **how)

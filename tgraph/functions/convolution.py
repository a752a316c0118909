"""Convolutions as one product: windows of x, side by side, times the weight (im2col)."""

from __future__ import annotations

from typing import Any

from ..current_tracer import apply
from ..ir.dims import DimLike, bounds, compare
from ..ir.errors import RuleError
from ..ir.rules import same
from ..ops.shape import product
from ..tensor import Tensor
from .calls import as_tensor, function


@function()
def conv1d(x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
           groups: int = 1) -> Tensor:
    """Cross-correlation over one axis, PyTorch's conv1d: x [B, C, L], weight [O, C / groups, K]; y [B, O, L'].

    bias [O]; padding: zeros on both sides, "same" or "valid". The windows are laid out, K times the size of x, unless they do
    not overlap.
    """
    return _convolution(1, x, weight, bias, stride, padding, dilation, groups)


@function()
def conv2d(x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
           groups: int = 1) -> Tensor:
    """Cross-correlation over two axes, PyTorch's conv2d: x [B, C, H, W], weight [O, C / groups, KH, KW]; y [B, O, H', W'].

    bias [O]; padding: zeros on both sides, "same" or "valid". The windows are laid out, KH KW times the size of x, unless
    they do not overlap: patches (stride = kernel) are a reshape and one product.
    """
    return _convolution(2, x, weight, bias, stride, padding, dilation, groups)


def _convolution(rank: int, x: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: Any) -> Tensor:
    x, weight = as_tensor(x), as_tensor(weight)
    axes = "L" if rank == 1 else "H, W"
    if x.rank != rank + 2:
        unbatched = "; add the batch with x[None]" if x.rank == rank + 1 else ""
        raise RuleError(f"x must be [B, C, {axes}], got {x.type}{unbatched}")
    if weight.rank != rank + 2 or not all(isinstance(s, int) for s in weight.shape[2:]):
        sizes = "K" if rank == 1 else "KH, KW"
        raise RuleError(f"weight must be [O, C / groups, {sizes}] with a kernel of known size, got {weight.type}")
    kernel = weight.shape[2:]
    steps, spacing = (_numbers(n, v, rank, 1) for n, v in (("stride", stride), ("dilation", dilation)))
    if isinstance(groups, bool) or not isinstance(groups, int) or groups < 1:
        raise RuleError(f"groups is a number of at least 1, got {groups!r}")
    inputs, outputs = x.shape[1], weight.shape[0]
    same(inputs, weight.shape[1] * groups, f"x {x.type} must have the channels of weight {weight.type} times groups={groups}")
    if not isinstance(inputs, int) or not isinstance(outputs, int) or outputs % groups:
        raise RuleError(f"groups={groups} must divide the channels of x {x.type} and of weight {weight.type}, of known number")
    before, after = _padding(padding, rank, kernel, steps, spacing)
    if any(before) or any(after):
        x = apply("pad", x, before=(0, 0, *before), after=(0, 0, *after), value=0)
    windows, counts = _windows(x, kernel, steps, spacing)  # [B, C, count and kernel of each axis]
    depth = inputs // groups * product(kernel)
    # [B, counts, groups, C / groups, kernel] -> [B, counts, groups, depth]
    split = apply("reshape", windows, shape=(x.shape[0], groups, inputs // groups, *windows.shape[2:]))
    order = (0, *(3 + 2 * i for i in range(rank)), 1, 2, *(4 + 2 * i for i in range(rank)))
    lead = (x.shape[0], *counts)
    if groups == 1:
        rows = apply("reshape", apply("transpose", split, perm=order), shape=(*lead, depth))
        made = apply("linear", rows, apply("reshape", weight, shape=(outputs, depth)), bias)
        return apply("transpose", made, perm=(0, rank + 1, *range(1, rank + 1)))
    rows = apply("reshape", apply("transpose", split, perm=(1, *(a for a in order if a != 1))),
                 shape=(groups, product(lead), depth))
    columns = apply("transpose", apply("reshape", weight, shape=(groups, outputs // groups, depth)), perm=(0, 2, 1))
    made = apply("reshape", apply("matmul", rows, columns), shape=(groups, *lead, outputs // groups))
    made = apply("transpose", made, perm=(1, 0, rank + 2, *range(2, rank + 2)))
    made = apply("reshape", made, shape=(x.shape[0], outputs, *counts))
    return made if bias is None else made + apply("reshape", bias, shape=(outputs, *(1,) * rank))


def _windows(x: Any, kernel: Any, steps: Any, spacing: Any) -> tuple[Any, list[DimLike]]:
    """Each axis after the first two as two, [windows, kernel]."""
    counts: list[DimLike] = []
    for i, (width, step, gap) in enumerate(zip(kernel, steps, spacing)):
        axis = 2 + 2 * i
        size = x.shape[axis]
        reach = gap * (width - 1) + 1
        low = bounds(size - reach)[1]
        if low is not None and low < 0:
            raise RuleError(f"the kernel reaches over {reach} elements, and x has {size} with its padding")
        count = (size - reach) // step + 1
        counts.append(count)
        shape = (*x.shape[:axis], count, width, *x.shape[axis + 1:])
        whole = compare(count * step, size) == "equal"
        if width == step and gap == 1 and (whole or isinstance(size, int)):
            cut = x if whole else apply("slice", x, starts=(0,), stops=(count * step,), axes=(axis,))
            x = apply("reshape", cut, shape=shape)
        elif width == 1 and isinstance(size, int):
            x = apply("reshape", apply("slice", x, starts=(0,), stops=(size,), axes=(axis,), steps=(step,)), shape=shape)
        else:
            first = apply("unsqueeze", apply("range", stop=count), axes=(1,)) * step
            x = apply("gather", x, first + apply("range", stop=width) * gap, axis=axis)
    return x, counts


def _numbers(name: str, given: Any, rank: int, least: int) -> tuple[int, ...]:
    """One number an axis; a lone one is for all."""
    numbers = tuple(given) if isinstance(given, (tuple, list)) else (given,) * rank
    if len(numbers) != rank or any(isinstance(n, bool) or not isinstance(n, int) or n < least for n in numbers):
        raise RuleError(f"{name} is a number of at least {least}, or {rank} of them, got {given!r}")
    return numbers


def _padding(given: Any, rank: int, kernel: Any, steps: tuple[int, ...], spacing: tuple[int, ...]) -> tuple[Any, Any]:
    """How many zeros before and after each axis."""
    if given == "same":
        if any(step != 1 for step in steps):
            raise RuleError('padding="same" needs stride 1')
        both = [gap * (width - 1) for width, gap in zip(kernel, spacing)]
        return tuple(n // 2 for n in both), tuple(n - n // 2 for n in both)
    if isinstance(given, str) and given != "valid":
        raise RuleError(f'padding is a number, {rank} of them, "same" or "valid", got {given!r}')
    sizes = (0,) * rank if given == "valid" else _numbers("padding", given, rank, 0)
    return sizes, sizes

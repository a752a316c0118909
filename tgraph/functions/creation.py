"""Tensors made of sizes and numbers: sizes may be dims, element types default to f32, those of ranges to i64."""

from __future__ import annotations

import math
from typing import Any

from ..current_tracer import apply
from ..ir.dims import Dim, DimLike
from ..ir.dtypes import f32, i64
from ..ir.errors import RuleError
from ..tensor import Tensor
from .calls import as_tensor, function, spread


@function()
def full(shape: Any, fill_value: Any, dtype: Any = None) -> Tensor:
    """The element type is f32 unless it is given."""
    return apply("full", shape=shape, value=fill_value, dtype=f32 if dtype is None else dtype)


@function()
def zeros(*sizes: Any, shape: Any = None, dtype: Any = None) -> Tensor:
    """A tensor of zeros: zeros(2, 3), zeros((B, 3), dtype=tg.i64)."""
    return _filled(sizes, shape, 0, dtype)


@function()
def ones(*sizes: Any, shape: Any = None, dtype: Any = None) -> Tensor:
    """A tensor of ones: ones(2, 3), ones((B, 3), dtype=tg.i64)."""
    return _filled(sizes, shape, 1, dtype)


def _filled(sizes: tuple[Any, ...], shape: Any, value: int, dtype: Any) -> Tensor:
    if (sizes and shape is not None) or (not sizes and shape is None):
        raise RuleError("takes a shape: (2, 3) or 2, 3")
    return apply("full", shape=spread(sizes) if shape is None else shape, value=value, dtype=f32 if dtype is None else dtype)


@function()
def zeros_like(x: Any, dtype: Any = None) -> Tensor:
    """Zeros in the shape of x, and of its element type unless another is given."""
    return full_like(x, 0, dtype)


@function()
def ones_like(x: Any, dtype: Any = None) -> Tensor:
    """Ones in the shape of x, and of its element type unless another is given."""
    return full_like(x, 1, dtype)


@function()
def full_like(x: Any, fill_value: Any, dtype: Any = None) -> Tensor:
    """One value in the shape of x, and of its element type unless another is given."""
    x = as_tensor(x)
    return apply("full", shape=x.shape, value=fill_value, dtype=x.dtype if dtype is None else dtype)


@function()
def range(*bounds: Any, start: Any = None, stop: Any = None, dtype: Any = None) -> Tensor:
    """The bounds are Python's: range(8), range(2, 8)."""
    if len(bounds) > 2 or (bounds and stop is not None):
        raise RuleError("takes a stop, or a start and a stop; steps are arange's: arange(start, stop, step)")
    if len(bounds) == 2 and start is not None:
        raise RuleError("the start is given twice")
    if bounds:
        start, stop = (start, bounds[0]) if len(bounds) == 1 else bounds
    given = {"stop": stop, "start": start, "dtype": dtype}
    return apply("range", **{k: v for k, v in given.items() if v is not None})


@function()
def arange(*bounds: Any, start: Any = None, stop: Any = None, end: Any = None, step: Any = None, dtype: Any = None) -> Tensor:
    """Numbers at equal distances: start, start + step, ... before stop; arange(8), arange(2, B), arange(0, 1, 0.1).

    i64, or f32 if one of the numbers is a Python float. Without a step, a range that would end before it starts is an error.
    """
    names = ("start", "stop", "step")
    by_place = dict(zip(names[1:2] if len(bounds) == 1 else names, bounds))
    if len(bounds) > 3 or (end is not None and stop is not None) or any(
            n in by_place and v is not None for n, v in zip(names, (start, stop if end is None else end, step))):
        raise RuleError("takes a stop; a start and a stop; or a start, a stop and a step")
    stop = by_place.get("stop", stop if end is None else end)
    start, step = by_place.get("start", 0 if start is None else start), by_place.get("step", 1 if step is None else step)
    for name, value in (("start", start), ("stop", stop), ("step", step)):
        if isinstance(value, bool) or not isinstance(value, (int, float, Dim)):
            raise RuleError(f"{name} is a number or a dim, got {value!r}")
    if isinstance(step, Dim) or step == 0:
        raise RuleError(f"a step is a number other than 0, got {step}")
    whole = not any(isinstance(v, float) for v in (start, stop, step))
    kept = (i64 if whole else f32) if dtype is None else dtype
    if step == 1 and whole:
        return apply("range", start=start, stop=stop, dtype=kept)
    if whole:
        count: DimLike = (stop - start + step - 1) // step if step > 0 else (start - stop - step - 1) // -step
    elif isinstance(start, Dim) or isinstance(stop, Dim):
        raise RuleError("a range up to a dim has whole steps; write arange(n) * step")
    else:
        count = math.ceil((stop - start) / step)
    places = apply("range", stop=max(count, 0) if isinstance(count, int) else count, dtype=i64 if whole else f32)
    made = places * step + (apply("dim_size", size=start) if isinstance(start, Dim) else start)
    return made if made.dtype == kept else apply("cast", made, dtype=kept)


@function()
def eye(rows: DimLike, columns: DimLike | None = None, dtype: Any = None) -> Tensor:
    """A matrix with ones on its diagonal, zeros elsewhere."""
    return apply("one_hot", apply("range", stop=rows), depth=rows if columns is None else columns,
                 dtype=f32 if dtype is None else dtype)

"""half and bfloat16: every bit pattern, and rounding to nearest even."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from emulator.launch import kernel

from targets.base.tvm_api import T, tirx
from targets.cuda.kernels import device

HALVES = {"float16": np.dtype(np.float16), "bfloat16": np.dtype(ml_dtypes.bfloat16)}


def every(dtype: np.dtype[Any]) -> np.ndarray:
    return np.arange(1 << 16, dtype=np.uint16).view(dtype)


def same(actual: np.ndarray, expected: np.ndarray) -> bool:
    """Equal bits, any NaN for any other."""
    bits = f"u{actual.dtype.itemsize}"
    with np.errstate(invalid="ignore"):
        nan = np.isnan(actual.astype(np.float64)) & np.isnan(expected.astype(np.float64))
    return bool(((actual.view(bits) == expected.view(bits)) | nan).all())


def elementwise(expression: Callable[[Any], Any], x: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    def body(x: Any, y: Any, block: Any, thread: Any) -> None:
        i = block * 256 + thread
        T.buffer_store(y, expression(x[i]), [i])

    y = np.zeros(x.shape, dtype)
    return kernel(body, x, y, blocks=x.size // 256, threads=256)(x, y)[1]


def called(text: str, returns: str) -> Callable[[Any], Any]:
    return lambda x: device.cuda_func_call("f", x, source_code=f"__device__ __forceinline__ {text}\n", return_type=returns)


@pytest.mark.parametrize("name", HALVES)
def test_widening(name: str) -> None:
    x = every(HALVES[name])
    assert same(elementwise(lambda v: tirx.Cast("float32", v), x, np.dtype(np.float32)), x.astype(np.float32))


@pytest.mark.parametrize("name", HALVES)
def test_narrowing_rounds_to_nearest_even(name: str) -> None:
    halves = every(HALVES[name]).astype(np.float32)
    finite = halves[np.isfinite(halves)]
    with np.errstate(all="ignore"):
        between = (np.sort(finite).astype(np.float64)[1:] + np.sort(finite)[:-1]) / 2  # all the ties
        ties = between.astype(np.float32)
        x = np.concatenate([halves, ties, np.nextafter(ties, np.float32(np.inf)), np.nextafter(ties, np.float32(-np.inf))])
        x = np.resize(x, (x.size + 255) // 256 * 256)
        assert same(elementwise(lambda v: tirx.Cast(name, v), x, HALVES[name]), x.astype(HALVES[name]))


@pytest.mark.parametrize("name", HALVES)
def test_f64_is_rounded_once(name: str) -> None:
    with np.errstate(invalid="ignore"):
        halves = every(HALVES[name]).astype(np.float64)
    halves = np.sort(halves[np.isfinite(halves)])
    ties = (halves[1:] + halves[:-1]) / 2
    x = np.concatenate([np.nextafter(ties, np.inf), np.nextafter(ties, -np.inf)])  # which f32 cannot tell from the tie
    x = np.resize(x, (x.size + 255) // 256 * 256)
    ctype = {"float16": "half", "bfloat16": "nv_bfloat16"}[name]
    y = elementwise(called(f"{ctype} f(double x) {{ return {ctype}(x); }}", name), x, HALVES[name]).astype(np.float64)
    lower = np.searchsorted(halves, x, side="right") - 1
    below, above = halves[lower], halves[np.minimum(lower + 1, halves.size - 1)]
    assert np.array_equal(y, np.where(x - below < above - x, below, above))


@pytest.mark.parametrize("name", HALVES)
@pytest.mark.parametrize("operation", ["+", "-", "*", "/"])
def test_arithmetic(name: str, operation: str) -> None:
    dtype = HALVES[name]
    x, y = (np.random.default_rng(seed).permutation(every(dtype)) for seed in (0, 1))

    def body(x: Any, y: Any, z: Any, block: Any, thread: Any) -> None:
        i = block * 256 + thread
        T.buffer_store(z, eval(f"x[i] {operation} y[i]", {"x": x, "y": y, "i": i}), [i])

    z = kernel(body, x, y, x, blocks=256, threads=256)(x, y, np.zeros_like(x))[2]
    with np.errstate(all="ignore"):
        assert same(z, eval(f"x {operation} y", {"x": x.astype(np.float32), "y": y.astype(np.float32)}).astype(dtype))


@pytest.mark.parametrize("name", HALVES)
def test_eight_lanes(name: str) -> None:
    """Vectors of more than four halves are uint4 in the generated source."""
    def body(x: Any, y: Any, block: Any, thread: Any) -> None:
        at = tirx.Ramp(tirx.Cast("int64", thread) * 8, tirx.const(1, "int64"), 8)
        T.buffer_store(y, x[at] * tirx.Broadcast(tirx.const(2.0, name), 8) + x[at], [at])

    x = np.arange(256).astype(HALVES[name])
    assert np.array_equal(kernel(body, x, x)(x, x)[1], x * 2 + x)


def test_exponential_of_the_special_function_unit() -> None:
    x = np.linspace(-160, 127, 1024, dtype=np.float32)
    y = elementwise(device.exp2, x, np.dtype(np.float32))
    normal = x >= -126
    np.testing.assert_allclose(y[normal], np.exp2(x[normal].astype(np.float64)), rtol=3e-7)
    assert (y[x < -126] == 0).all()


def test_dot_of_four_bytes() -> None:
    bytes_ = np.random.default_rng(0).integers(-128, 128, (256, 4)).astype(np.int8)
    x = bytes_.view(np.int32).ravel()
    text = "#include <sm_61_intrinsics.h>\n__device__ __forceinline__ int f(int x) { return __dp4a(x, x, 7); }\n"
    y = elementwise(lambda v: device.cuda_func_call("f", v, source_code=text, return_type="int32"), x, np.dtype(np.int32))
    assert np.array_equal(y, (bytes_.astype(np.int32) ** 2).sum(1) + 7)

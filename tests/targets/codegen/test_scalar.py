"""Every scalar expression against NumPy in f64, over the whole range of f32."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

pytest.importorskip("tvm")

from tvm import tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from targets.codegen.scalar import SCALAR, scalar
from targets.codegen.vector_math import exp_nonpositive
from tgraph.ir.errors import CompileError

LANES = 8
np_erf = np.vectorize(math.erf, otypes=[float])


def elementwise(expression, operands: list[str], result: str):
    """A PrimFunc that applies `expression` to vectors; its operands have the given dtypes."""
    with IRBuilder() as builder, T.prim_func():
        T.func_name("main")
        n = T.int64()
        inputs = [T.arg(f"x{i}", T.buffer((n,), dtype)) for i, dtype in enumerate(operands)]
        output = T.arg("y", T.buffer((n,), result))
        T.func_attr({"tirx.noalias": True})
        with T.serial(n // LANES) as block, T.vectorized(LANES) as lane:
            index = block * LANES + tirx.Cast("int64", lane)
            T.buffer_store(output, expression(*[x[index] for x in inputs]), [index])
    return builder.get()


UNARY = {
    "exp": np.exp, "log": np.log, "erf": np_erf, "tanh": np.tanh, "sin": np.sin, "cos": np.cos,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)), "silu": lambda x: x / (1 + np.exp(-x)),
    "quick_gelu": lambda x: x / (1 + np.exp(-1.702 * x)),
    "gelu": lambda x: 0.5 * x * (1 + np_erf(x / math.sqrt(2))),
    "gelu_tanh": lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "softplus": lambda x: np.logaddexp(0, x), "sqrt": np.sqrt, "rsqrt": lambda x: 1 / np.sqrt(x),
    "reciprocal": lambda x: 1 / x, "neg": np.negative, "abs": np.abs, "sign": np.sign, "floor": np.floor,
    "ceil": np.ceil, "round": np.rint, "relu": lambda x: np.maximum(x, 0), "square": np.square,
}  # fmt: skip
BINARY = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "minimum": np.minimum, "maximum": np.maximum,
    "pow": np.power, "mod": np.mod,
}  # fmt: skip
COMPARE = {
    "equal": np.equal, "not_equal": np.not_equal, "less": np.less, "less_or_equal": np.less_equal, "greater": np.greater,
    "greater_or_equal": np.greater_equal,
}  # fmt: skip
LOGICAL = {"logical_and": np.logical_and, "logical_or": np.logical_or, "logical_xor": np.logical_xor}
TRANSCENDENTAL = ["exp", "log", "erf", "tanh", "sin", "cos", "sigmoid", "silu", "quick_gelu", "gelu", "gelu_tanh", "softplus"]


def expression(op):
    """An op of the table; `gelu_tanh` is gelu with its other attribute."""
    return (lambda x: SCALAR["gelu"](x, approximate="tanh")) if op == "gelu_tanh" else SCALAR[op]


@pytest.fixture(scope="module")
def kernels(build):
    table = {}
    for op in UNARY:
        for dtype in ("float32", "float64"):
            table[f"{op}_{dtype}"] = elementwise(expression(op), [dtype], dtype)
    for op in BINARY:
        for dtype in ("float32", "float64", "int32"):
            table[f"{op}_{dtype}"] = elementwise(SCALAR[op], [dtype] * 2, dtype)
    for op in COMPARE:
        table[op] = elementwise(SCALAR[op], ["float32"] * 2, "bool")
    for op in LOGICAL:
        table[op] = elementwise(SCALAR[op], ["bool"] * 2, "bool")
    for op in ("logical_not", "isnan", "isinf"):
        table[op] = elementwise(SCALAR[op], ["bool" if op == "logical_not" else "float32"], "bool")
    table["where"] = elementwise(SCALAR["where"], ["bool", "float32", "float32"], "float32")
    table["clip"] = elementwise(lambda x: SCALAR["clip"](x, min=-1.0, max=1.0), ["float32"], "float32")
    table["abs_int32"] = elementwise(SCALAR["abs"], ["int32"], "int32")
    for y in (1.0, 2.0, 3.0, 4.0, 0.5, -1.0, 2.5):
        table[f"power_{y}"] = elementwise(lambda x, y=y: scalar("pow", x, tirx.const(y, "float32")), ["float32"], "float32")
    table["exp_nonpositive"] = elementwise(exp_nonpositive, ["float32"], "float32")
    for half in ("float16", "bfloat16"):
        table[f"exp_{half}"] = elementwise(SCALAR["exp"], [half], half)
        table[f"add_{half}"] = elementwise(SCALAR["add"], [half] * 2, half)
    for source, target in CASTS:
        table[f"cast_{source}_{target}"] = elementwise(lambda x, t=target: scalar("cast", x, dtype=t), [source], target)
    return build(table)


CASTS = [("float32", "int32"), ("int64", "float32"), ("float32", "bool"), ("bool", "float32"), ("bool", "int64"),
         ("float16", "float32"), ("float32", "bfloat16"), ("float16", "bfloat16"), ("float64", "float16")]  # fmt: skip


def every_magnitude(low: float = 1e-38, high: float = 3e38) -> np.ndarray:
    """About a million f32 of both signs, spread evenly over exponents, dense between -100 and 100."""
    magnitudes = np.geomspace(low, high, 1 << 18)
    dense = np.linspace(-100, 100, 1 << 19)
    return np.concatenate([magnitudes, -magnitudes, dense]).astype(np.float32)


def numpy_dtype(name: str) -> np.dtype:
    if name != "bfloat16":
        return np.dtype(name)
    import ml_dtypes

    return np.dtype(ml_dtypes.bfloat16)


# op -> (what the error is relative to, given the result; the largest error allowed)
ERRORS = {
    "exp": (lambda r: np.abs(r), 1.3e-7),
    "log": (lambda r: np.maximum(np.abs(r), 1), 2e-7),
    "erf": (lambda r: np.abs(r), 3e-7),
    "tanh": (lambda r: np.abs(r), 4e-7),
    "sin": (lambda r: 1, 1.3e-7),
    "cos": (lambda r: 1, 1.3e-7),
    "sigmoid": (lambda r: np.abs(r), 3e-7),
    "silu": (lambda r: np.maximum(np.abs(r), 1), 3e-7),
    "quick_gelu": (lambda r: np.maximum(np.abs(r), 1), 3e-7),
    "gelu": (lambda r: np.maximum(np.abs(r), 1), 1e-6),
    "gelu_tanh": (lambda r: np.maximum(np.abs(r), 1), 5e-7),
    "softplus": (lambda r: np.abs(r), 4e-7),
}


@pytest.mark.parametrize("op", TRANSCENDENTAL)
def test_f32_error_over_the_whole_range(kernels, op):
    x = every_magnitude()
    if op == "log":
        x = np.abs(x)
    with np.errstate(all="ignore"):
        reference = UNARY[op](x.astype(np.float64))
        expected = np.where(np.abs(reference) > 3.4028235e38, np.sign(reference) * np.inf, reference)
    result = kernels(f"{op}_float32", x, out=(x.shape, "float32")).astype(np.float64)
    same = (result == expected) | (np.isnan(result) & np.isnan(expected))
    scale, bound = ERRORS[op]
    with np.errstate(all="ignore"):
        error = np.where(same, 0, np.abs(result - expected) / (scale(expected)))
    flushed = np.abs(expected) < 1.7e-38  # such results may be zero
    error = np.where(flushed & (np.abs(result) < 1.7e-38), 0, error)
    worst = np.nanargmax(np.where(np.isnan(error), np.inf, error))
    print(f"{op}: {error[worst]:.2e} at {x[worst]!r}")
    assert error[worst] <= bound, (op, x[worst], result[worst], expected[worst])


def test_the_exponential_of_a_softmax(kernels):
    x = -np.abs(every_magnitude())
    x[:3] = 0, -np.inf, np.nan
    result = kernels("exp_nonpositive", x, out=(x.shape, "float32"))
    assert result[:2].tolist() == [1, 0] and np.isnan(result[2])
    x = x[3:]
    exact = np.exp(x.astype(np.float64))
    off = np.abs(result[3:] - exact)
    allowed = np.where(exact < 1.7e-38, 1.7e-38, exact * (1.3e-7 + 7.5e-8 * np.abs(x)))
    worst = np.argmax(off / allowed)
    assert off[worst] <= allowed[worst], (x[worst], result[3:][worst], exact[worst])
    assert off.max() < 1.3e-7  # of a sum whose largest term is 1


@pytest.mark.parametrize("op", ["sin", "cos"])
def test_sin_and_cos_of_every_size(kernels, op):
    """Every 509th f32, and those closest to multiples of a quarter turn, where a reduction loses most."""
    evenly = np.arange(0, 0x7F800000, 509, dtype=np.uint32).view(np.float32)
    turns = np.geomspace(1, 2.0**127 / math.pi, 1 << 17)
    near = (np.where(turns < 2.0**52, np.rint(turns), turns) * (math.pi / 2)).astype(np.float32)
    x = np.concatenate([evenly, -evenly, near, near + np.spacing(near), near - np.spacing(near)])
    x = np.resize(x, (x.size + LANES - 1) // LANES * LANES)
    result = kernels(f"{op}_float32", x, out=(x.shape, "float32"))
    np.testing.assert_allclose(result, UNARY[op](x.astype(np.float64)), rtol=0, atol=1.3e-7)
    assert np.abs(result).max() <= 1
    outside = np.array([np.inf, -np.inf, np.nan] * LANES, np.float32)
    assert np.isnan(kernels(f"{op}_float32", outside, out=(outside.shape, "float32"))).all()


SPECIAL = {
    "exp": [0.0, np.inf, np.nan, np.inf, 0.0],
    "log": [np.nan, np.inf, np.nan, np.log(3e38), np.nan],
    "erf": [-1, 1, np.nan, 1, -1],
    "tanh": [-1, 1, np.nan, 1, -1],
    "sigmoid": [0, 1, np.nan, 1, 0],
    "relu": [0, np.inf, np.nan, 3e38, 0],
    "softplus": [0, np.inf, np.nan, 3e38, 0],
}


@pytest.mark.parametrize("op", SPECIAL)
def test_f32_special_values(kernels, op):
    x = np.array([-np.inf, np.inf, np.nan, 3e38, -3e38, 0, 0, 0], np.float32)
    result = kernels(f"{op}_float32", x, out=(x.shape, "float32"))
    np.testing.assert_allclose(result[:5], SPECIAL[op], rtol=1e-6)


def test_log_of_zero_and_of_subnormals(kernels):
    x = np.array([0.0, -0.0, 1e-40, 1e-45, 1.2e-38, 1.0, -1e-40, 5.0], np.float32)
    with np.errstate(all="ignore"):
        expected = np.log(x.astype(np.float64))
    np.testing.assert_allclose(kernels("log_float32", x, out=(x.shape, "float32")), expected, rtol=2e-7)


@pytest.mark.parametrize("op", UNARY)
def test_f64(kernels, op):
    x = np.random.default_rng(0).normal(size=1024) * 5
    if op in ("log", "sqrt", "rsqrt"):
        x = np.abs(x)
    np.testing.assert_allclose(kernels(f"{op}_float64", x, out=(x.shape, "float64")), UNARY[op](x), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("op", [op for op in UNARY if op not in TRANSCENDENTAL])
def test_f32_unary(kernels, op):
    x = np.concatenate([every_magnitude(), np.array([np.inf, -np.inf, np.nan, 0, -0.0, 0.5, 1.5, 2.5], np.float32)])
    with np.errstate(all="ignore"):
        expected = UNARY[op](x)
    result = kernels(f"{op}_float32", x, out=(x.shape, "float32"))
    np.testing.assert_allclose(result, expected, rtol=2e-7)
    assert (np.signbit(result) == np.signbit(expected))[~np.isnan(expected) & (expected != 0)].all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("op", [op for op in UNARY if op != "relu"])  # of which either zero is right
def test_signs_near_0(kernels, op, dtype):
    """A quotient by the result tells 0.0, -0.0 and -1e-30 apart."""
    x = np.array([0.0, -0.0, 1e-30, -1e-30, 1e-9, -1e-9, 0.01, -0.01, 0.04, -0.04, 0.3, -0.3, 0.5, -0.5, 0.9, -0.9], dtype)
    with np.errstate(all="ignore"):
        expected = UNARY[op](x.astype(np.float64)).astype(dtype)
    result = kernels(f"{op}_{dtype}", x, out=(x.shape, dtype))
    numbers = ~np.isnan(expected)
    assert (np.signbit(result) == np.signbit(expected))[numbers].all()
    np.testing.assert_allclose(result, expected, rtol=1e-6 if dtype == "float32" else 1e-14)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
@pytest.mark.parametrize("op", BINARY)
def test_binary(kernels, op, dtype):
    rng = np.random.default_rng(1)
    x, y = (rng.normal(size=4096) * 6 for _ in range(2))
    if dtype == "int32":
        x, y = np.round(x), np.where(np.round(y) == 0, 3, np.round(y))
        y = np.abs(y) % 8 if op == "pow" else y
    x, y = x.astype(dtype), y.astype(dtype)
    if op == "pow" and dtype != "int32":
        x = np.abs(x)
    expected = BINARY[op](x, y)
    if op == "div" and dtype == "int32":
        expected = np.trunc(x / y).astype(dtype)
    close = {"float32": 3e-7, "float64": 1e-13, "int32": 0}[dtype]
    atol = 4e-6 if op == "mod" and dtype == "float32" else 0  # the quotient's rounding times the divisor
    result = kernels(f"{op}_{dtype}", x, y, out=(x.shape, dtype))
    np.testing.assert_allclose(result, expected, rtol=close, atol=atol)


def test_pow_special_cases(kernels):
    values = np.array([0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -3.5, np.inf, -np.inf, np.nan, 1e-40, -1e-40, 1e30, -1e30, 3.0],
                      np.float32)
    powers = np.array([0, 1, 2, 3, -1, -2, 0.5, -0.5, np.inf, -np.inf, np.nan, 1e-8, 100, 101], np.float32)
    x, y = (a.ravel() for a in np.meshgrid(values, powers))
    with np.errstate(all="ignore"):
        expected = np.power(x.astype(np.float64), y.astype(np.float64)).astype(np.float32)
    result = kernels("pow_float32", x, y, out=(x.shape, "float32"))
    np.testing.assert_allclose(np.abs(result), np.abs(expected), rtol=2e-7, atol=1.5e-45)
    assert (np.signbit(result) == np.signbit(expected))[~np.isnan(expected)].all()


@pytest.mark.parametrize("y", [1.0, 2.0, 3.0, 4.0, 0.5, -1.0, 2.5])
def test_constant_powers(kernels, y):
    x = np.linspace(0.1, 30, 1024).astype(np.float32)
    np.testing.assert_allclose(kernels(f"power_{y}", x, out=(x.shape, "float32")), x.astype(float) ** y, rtol=2e-7)
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, -1.0, -2.0, 1.0], np.float32)
    with np.errstate(all="ignore"):
        expected = np.power(x.astype(float), np.full(x.shape, y))
    result = kernels(f"power_{y}", x, out=(x.shape, "float32"))
    np.testing.assert_allclose(result, expected, rtol=2e-7)
    assert (np.signbit(result) == np.signbit(expected))[~np.isnan(expected)].all()


@pytest.mark.parametrize("op", ["minimum", "maximum"])
def test_minimum_and_maximum_propagate_nan(kernels, op):
    x = np.array([np.nan, 1, np.nan, -np.inf, np.inf, 2, 3, 4], np.float32)
    y = np.array([1, np.nan, np.nan, 5, 5, np.inf, -np.inf, 4], np.float32)
    np.testing.assert_array_equal(kernels(f"{op}_float32", x, y, out=(x.shape, "float32")), BINARY[op](x, y))


def test_comparisons_logic_and_selection(kernels):
    rng = np.random.default_rng(2)
    x, y = (rng.integers(-2, 3, 256).astype(np.float32) for _ in range(2))
    x[:8] = np.nan
    x[8:16] = np.inf
    for op, numpy_op in COMPARE.items():
        np.testing.assert_array_equal(kernels(op, x, y, out=(x.shape, "bool")), numpy_op(x, y), err_msg=op)
    for op, numpy_op in LOGICAL.items():
        np.testing.assert_array_equal(kernels(op, x > 0, y > 0, out=(x.shape, "bool")), numpy_op(x > 0, y > 0), err_msg=op)
    np.testing.assert_array_equal(kernels("logical_not", x > 0, out=(x.shape, "bool")), ~(x > 0))
    np.testing.assert_array_equal(kernels("isnan", x, out=(x.shape, "bool")), np.isnan(x))
    np.testing.assert_array_equal(kernels("isinf", x, out=(x.shape, "bool")), np.isinf(x))
    np.testing.assert_array_equal(kernels("where", y > 0, x, y, out=(x.shape, "float32")), np.where(y > 0, x, y))
    np.testing.assert_array_equal(kernels("clip", x, out=(x.shape, "float32")), np.clip(x, -1, 1))
    integers = np.arange(-8, 8, dtype=np.int32)
    np.testing.assert_array_equal(kernels("abs_int32", integers, out=(integers.shape, "int32")), np.abs(integers))


@pytest.mark.parametrize("source, target", CASTS)
def test_cast(kernels, source, target):
    values = np.array([0, 1, -1, 2.75, -2.75, 100.125, 0.333251953125, -7])
    x = (values != 0) if source == "bool" else values.astype(source)
    expected = x.astype(numpy_dtype(target)).astype(np.float64)
    result = kernels(f"cast_{source}_{target}", x, out=(x.shape, numpy_dtype(target)))
    np.testing.assert_array_equal(result.astype(np.float64), expected)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_halves_compute_in_f32_and_round_once(kernels, dtype):
    half = numpy_dtype(dtype)
    x = np.linspace(-8, 8, 256).astype(half)
    expected = np.exp(x.astype(np.float64)).astype(np.float32).astype(half)
    result = kernels(f"exp_{dtype}", x, out=(x.shape, half))
    np.testing.assert_array_equal(result.astype(np.float32), expected.astype(np.float32))
    result = kernels(f"add_{dtype}", x, x[::-1], out=(x.shape, half))
    wide = x.astype(np.float32) + x[::-1].astype(np.float32)
    np.testing.assert_array_equal(result.astype(np.float32), wide.astype(half).astype(np.float32))


def test_f32_expressions_call_no_libm_and_vectorise(build):
    ops = [*TRANSCENDENTAL, "relu", "sqrt", "rsqrt"]
    assembly = build({op: elementwise(expression(op), ["float32"], "float32") for op in ops}).assembly()
    assert not re.search(r"call\S*\s+(expf?|logf?|erff?|tanhf?|sinf?|cosf?|powf?|log1pf?)\b", assembly)
    libm = elementwise(tirx.exp, ["float32"], "float32")  # the search above must be able to find one
    assert re.search(r"call\S*\s+\*?.*exp|bl\s+exp|expf", build({"libm": libm}).assembly())


def test_unknown_op_is_a_compile_error():
    with pytest.raises(CompileError, match="frobnicate"):
        scalar("frobnicate", tirx.const(1.0, "float32"))

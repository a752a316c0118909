"""Row kernels against NumPy in f64: known and run-time lengths, tails, special values, thread counts."""

from __future__ import annotations

import numpy as np
import pytest

tvm = pytest.importorskip("tvm")

from tvm.script.ir_builder import IRBuilder  # noqa: E402
from tvm.script.ir_builder import tirx as T  # noqa: E402

from targets.base.target import Target  # noqa: E402
from targets.codegen.scalar import cast  # noqa: E402
from targets.cpu.kernels import rows as row_kernels  # noqa: E402
from tests.targets.feature_sets import each_feature_set, registers  # noqa: E402
from tgraph.ir.errors import CompileError  # noqa: E402

STATIC = (1, 23, 64, 768)
KINDS = ("sum", "mean", "max", "min", "prod")
EPSILON = 1e-5


def np_softmax(x):
    with np.errstate(invalid="ignore"):
        powers = np.exp(x - x.max(-1, keepdims=True, initial=-np.inf))
        return powers / powers.sum(-1, keepdims=True)


def np_layer_norm(x):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + EPSILON)


def np_rms_norm(x):
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + EPSILON)


MAPS = {"softmax": np_softmax, "layer_norm": np_layer_norm, "rms_norm": np_rms_norm}
REDUCTIONS = {"sum": np.sum, "mean": np.mean, "max": np.max, "min": np.min, "prod": np.prod}


def row_kernel(name: str, length: int | None, dtype: str = "float32", stored: str | None = None, two: bool = False):
    """y[n, length] = kernel(x (+ x2)), scaled by g and shifted by 1 as an epilogue; `length` None means at run time."""
    options = {} if name == "softmax" else {"epsilon": EPSILON}
    with IRBuilder() as builder, T.prim_func():
        T.func_name("main")
        n = T.int64()
        columns = T.int64() if length is None else length
        x = T.arg("x", T.buffer((n, columns), stored or dtype))
        x2 = T.arg("x2", T.buffer((n, columns), stored or dtype)) if two else None
        g = T.arg("g", T.buffer((columns,), dtype))
        y = T.arg("y", T.buffer((n, columns), dtype))
        T.func_attr({"tirx.noalias": True})

        def load(row, j):
            return x[row, j] if x2 is None else x[row, j] + x2[row, j]

        def store(row, j, value):
            T.buffer_store(y, value * g[j] + cast(T.float32(1.0), dtype), [row, j])

        getattr(row_kernels, name)(rows=n, length=columns, load=load, store=store, dtype=dtype, **options)
    return builder.get()


def reduction(kind: str, rows: int | None, length: int | None, dtype: str = "float32"):
    with IRBuilder() as builder, T.prim_func():
        T.func_name("main")
        n = T.int64() if rows is None else rows
        columns = T.int64() if length is None else length
        x = T.arg("x", T.buffer((n, columns), dtype))
        y = T.arg("y", T.buffer((n,), dtype))
        T.func_attr({"tirx.noalias": True})
        row_kernels.reduce(
            rows=n,
            length=columns,
            load=lambda row, j: x[row, j],
            store=lambda row, value: T.buffer_store(y, value, [row]),
            kind=kind,
            dtype=dtype,
        )
    return builder.get()


@pytest.fixture(scope="module")
def kernels(build):
    table = {}
    for name in MAPS:
        for length in (None, *STATIC):
            table[f"{name}_{length}"] = row_kernel(name, length)
        table[f"{name}_two"] = row_kernel(name, 768, two=True)
        table[f"{name}_float64"] = row_kernel(name, None, dtype="float64")
        table[f"{name}_half"] = row_kernel(name, None, stored="float16")
    for kind in KINDS:
        table[f"{kind}_None"] = reduction(kind, None, None)
        table[f"{kind}_float64"] = reduction(kind, None, 601, dtype="float64")
    table["sum_known"] = reduction("sum", 5, 40)
    table["sum_known_many"] = reduction("sum", 300, 100)
    return build(table)


def inputs(n: int, length: int, dtype: str = "float32") -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(n * 1000 + length)
    return (3 * rng.standard_normal((n, length)) + 1).astype(dtype), rng.standard_normal(length).astype(dtype)


def check_map(got: np.ndarray, name: str, x: np.ndarray, g: np.ndarray, tolerance: float) -> None:
    want = MAPS[name](x.astype("float64")) * g + 1
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("length", STATIC)
@pytest.mark.parametrize("n", [0, 1, 3, 70])
def test_lengths_known_and_not(kernels, name, length, n):
    x, g = inputs(n, length)
    for suffix in (length, None):
        got = kernels(f"{name}_{suffix}", x, g, out=(x.shape, "float32"))
        check_map(got, name, x, g, 3e-6)


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize(("n", "length"), [(5, 5), (9, 15), (9, 17), (40, 1000), (3, 20000)])
def test_run_time_lengths(kernels, name, n, length):
    x, g = inputs(n, length)
    check_map(kernels(f"{name}_None", x, g, out=(x.shape, "float32")), name, x, g, 1e-5)


@pytest.mark.parametrize("name", MAPS)
def test_rows_of_length_zero(kernels, name):
    x, g = inputs(2, 0)
    assert kernels(f"{name}_None", x, g, out=(x.shape, "float32")).shape == (2, 0)


@pytest.mark.parametrize("name", MAPS)
def test_a_load_of_two_buffers(kernels, name):
    x, g = inputs(50, 768)
    x2 = x[::-1].copy()
    check_map(kernels(f"{name}_two", x, x2, g, out=(x.shape, "float32")), name, x + x2, g, 3e-6)


@pytest.mark.parametrize("name", MAPS)
def test_float64(kernels, name):
    x, g = inputs(30, 601, "float64")
    check_map(kernels(f"{name}_float64", x, g, out=(x.shape, "float64")), name, x, g, 1e-12)


@pytest.mark.parametrize("name", MAPS)
def test_half_loads_are_computed_in_float32(kernels, name):
    x, g = inputs(30, 601)
    x = x.astype("float16")
    check_map(kernels(f"{name}_half", x, g, out=(x.shape, "float32")), name, x, g, 3e-6)


@pytest.mark.parametrize("suffix", ["None", "64", "float64"])
def test_softmax_of_special_values(kernels, suffix):
    dtype = "float64" if suffix == "float64" else "float32"
    x = np.zeros((7, 64), dtype)
    x[0] = -np.inf
    x[1, 3] = np.nan
    x[2, 60] = np.inf
    x[3, :63] = -np.inf
    x[4] = 1e30
    x[5] = np.linspace(-200, 200, 64)
    x[6, ::2] = -np.inf
    got = kernels(f"softmax_{suffix}", x, np.ones(64, dtype), out=(x.shape, dtype)) - 1
    want = np_softmax(x.astype("float64"))
    assert np.isnan(want[:3]).all()
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=3e-7)
    # what is at -inf has no weight at all
    assert (got[6, ::2] == 0).all()


def test_layer_norm_with_a_large_mean_keeps_its_precision(kernels):
    x, g = inputs(4, 768)
    x = x + np.float32(4096)
    check_map(kernels("layer_norm_768", x, g, out=(x.shape, "float32")), "layer_norm", x, g, 2e-3)
    constant = np.full((2, 768), 7.25, "float32")
    assert (kernels("layer_norm_768", constant, g, out=(constant.shape, "float32")) == 1).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("n", "length"), [(0, 5), (1, 1), (3, 15), (3, 16), (5, 33), (60, 768), (2, 20000)])
def test_reductions(kernels, kind, n, length):
    x, _ = inputs(n, length)
    x = 1 + (x - 1) / 100 if kind == "prod" else x
    want = REDUCTIONS[kind](x.astype("float64"), axis=-1)
    got = kernels(f"{kind}_None", x, out=((n,), "float32"))
    # max and min are exact; a sum of n terms in f32 is off by a few ulps of the sum of magnitudes
    scale = float(np.abs(x).sum(-1).max(initial=0)) if kind == "sum" else 1.0
    tolerance = 0 if kind in ("max", "min") else 1e-6 * max(scale, 1.0)
    np.testing.assert_allclose(got, want, rtol=1e-4 if kind == "prod" else 0, atol=tolerance)


def test_reductions_in_float64(kernels):
    x, _ = inputs(7, 601, "float64")
    for kind in KINDS:
        y = 1 + (x - 1) / 100 if kind == "prod" else x
        got = kernels(f"{kind}_float64", y, out=((7,), "float64"))
        np.testing.assert_allclose(got, REDUCTIONS[kind](y, axis=-1), rtol=1e-12)


def test_reductions_of_empty_rows_are_neutral(kernels):
    neutral = {"sum": 0.0, "mean": np.nan, "max": -np.inf, "min": np.inf, "prod": 1.0}
    for kind, want in neutral.items():
        np.testing.assert_array_equal(kernels(f"{kind}_None", np.zeros((3, 0), "float32"), out=((3,), "float32")), want)


@pytest.mark.parametrize("place", [0, 17, 31, 33])
def test_nan_propagates_from_any_place(kernels, place):
    x = np.ones((2, 34), "float32")
    x[1, place] = np.nan
    for kind in KINDS:
        got = kernels(f"{kind}_None", x, out=((2,), "float32"))
        assert not np.isnan(got[0]) and np.isnan(got[1]), kind


def test_known_rows_serial_and_parallel(kernels):
    for name, shape in (("sum_known", (5, 40)), ("sum_known_many", (300, 100))):
        x = np.arange(np.prod(shape), dtype="float32").reshape(shape) % 17
        np.testing.assert_array_equal(kernels(name, x, out=(shape[:1], "float32")), x.sum(-1))


def test_bit_identical_at_any_number_of_threads(kernels):
    x, g = inputs(333, 601)
    configure = tvm.get_global_func("runtime.config_threadpool")
    results = []
    try:
        for threads in (1, 2):
            configure(1, threads)
            maps = [kernels(f"{name}_None", x, g, out=(x.shape, "float32")) for name in MAPS]
            results.append([*maps, *(kernels(f"{kind}_None", x, out=((333,), "float32")) for kind in KINDS)])
    finally:
        configure(1, 2)
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)


@each_feature_set
@pytest.mark.parametrize("name", ["softmax_None", "layer_norm_None", "rms_norm_768"])
def test_loops_are_vector_code(build, cpu, name):
    kernel, length = name.rsplit("_", 1)
    assembly = build({"main": row_kernel(kernel, None if length == "None" else int(length))}, cpu).assembly()
    if Target.parse(cpu).has("avx2"):
        assert registers(assembly) & {"ymm", "zmm"}
    assert "expf" not in assembly


def test_errors_name_the_rule():
    with pytest.raises(CompileError, match="float32 or float64, not in float16"):
        row_kernel("softmax", 16, dtype="float16")
    with pytest.raises(CompileError, match="unknown kind 'median'"):
        reduction("median", 2, 16)
    with pytest.raises(CompileError, match="power of two, not 12"):
        row_kernels.softmax(rows=1, length=1, load=lambda i, j: j, store=lambda i, j, v: None, lanes=12)

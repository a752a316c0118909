"""Matrix products on the emulated device. Elements are small integers, so that sums are exact and must be right to the bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import emulator
import ml_dtypes
import numpy as np
import pytest
from emulator.launch import ARCH

import tgraph as tg
from targets.base.target import Target
from targets.base.tvm_api import Expr, IRBuilder, PrimFunc, T, int64, tirx, tvm
from targets.codegen import kernel_builder
from targets.codegen.scalar import cast, held
from targets.cuda.build import PIPELINE
from targets.cuda.emitters import linear, matmul
from targets.cuda.kernels import gemm as choice
from targets.cuda.kernels.device import each
from targets.cuda.kernels.gemm import OTHER, TENSOR, THREAD
from targets.cuda.kernels.gemm_mma import TensorProduct
from targets.cuda.kernels.gemm_rows import RowProduct, RowTile
from targets.cuda.kernels.gemm_simt import ThreadProduct
from targets.cuda.kernels.product import Product
from tgraph.ir.dims import evaluate

RANDOM = np.random.default_rng(0)
DTYPES = {"bfloat16": np.dtype(ml_dtypes.bfloat16)}
TENSOR_TILES, THREAD_TILES, OTHER_TILES = ([tile for tile, _ in tiles] for tiles in (TENSOR, THREAD, OTHER))
Call = Callable[..., np.ndarray]


def build(function: PrimFunc) -> Any:
    """A function that launches, compiled for the emulated device."""
    target = tvm.target.Target(ARCH)
    with target:
        return tvm.compile(tvm.IRModule({"kernel": function}), target=target, tir_pipeline=PIPELINE)["kernel"]


def integers(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    return RANDOM.integers(-4, 5, shape).astype(DTYPES.get(dtype, dtype))


def operand(array: np.ndarray, layout: str) -> np.ndarray:
    """A batch of matrices as it lies in memory: along k, along rows, or along k with an element between two rows."""
    if layout == "apart":
        return np.concatenate([array, np.full_like(array[..., :1], 100)], axis=2)
    return array if layout == "k" else array.transpose(0, 2, 1)


def product(kernel: Callable[[Product], None], dtype: str, n: int, k: int | None, *, m: int | None = None, batches: int = 1,
            layouts: tuple[str, str] = ("k", "k"), wide: bool = True) -> Call:
    """y = run(x, w), x [batches, m, k] and w [batches, n, k] lying in memory by `layouts`, with the sums as they are.

    m and k may be left open; the arguments of `kernel` are symbolic then.
    """
    sums = "float32" if dtype in ("float16", "bfloat16") else dtype
    with IRBuilder() as builder, T.prim_func():
        T.func_name("kernel")
        rows, depth = (tirx.Var(name, "int64") if size is None else int64(size) for name, size in (("m", m), ("k", k)))
        steps = [depth + int64(layout == "apart") for layout in layouts]
        x, w, y = (T.arg(name, T.buffer((batches * size,), kind)) for name, size, kind in (
            ("x", rows * steps[0], dtype), ("w", n * steps[1], dtype), ("y", rows * n, sums)))
        for size in (rows, depth):
            if isinstance(size, tirx.Var):
                T.arg(size.name, size)
        T.func_attr({"tirx.noalias": True, "tirx.is_scheduled": True, "global_symbol": "kernel"})

        def reader(buffer: Any, size: Expr, step: Expr, layout: str) -> Callable[[Expr, Expr, Expr], Expr]:
            def load(b: Expr, i: Expr, at: Expr) -> Expr:
                place = (b * depth + at) * size + i if layout == "rows" else (b * size + i) * step + at
                return cast(buffer[place], held(dtype))
            return load

        def store(b: Expr, i: Expr, j: Expr, values: Callable[[Expr], Expr], count: int) -> None:
            with T.unroll(tirx.const(count, "int32")) as v:
                T.buffer_store(y, values(v), [(b * rows + i) * n + j + tirx.Cast("int64", v)])

        kernel(Product.of(int64(batches), rows, int64(n), depth, reader(x, rows, steps[0], layouts[0]),
                          reader(w, int64(n), steps[1], layouts[1]), store, dtype, wide=wide))
    function = build(builder.get())

    def run(x: np.ndarray, w: np.ndarray) -> np.ndarray:
        arrays = [operand(array, layout) for array, layout in zip((x, w), layouts)]
        y = tvm.runtime.tensor(np.full(batches * x.shape[1] * n, 77, sums), tvm.cuda(0))
        open_sizes = [size for size, given in zip(x.shape[1:], (m, k)) if given is None]
        function(*[tvm.runtime.tensor(np.ravel(a), tvm.cuda(0)) for a in arrays], y, *open_sizes)
        return y.numpy().reshape(batches, x.shape[1], n)

    return run


def check(run: Call, dtype: str, m: int, n: int, k: int, batches: int = 1) -> None:
    x, w = integers((batches, m, k), dtype), integers((batches, n, k), dtype)
    wide = "int64" if np.issubdtype(x.dtype, np.integer) else "float64"
    y = run(x, w)
    assert np.array_equal(y, (x.astype(wide) @ w.astype(wide).transpose(0, 2, 1)).astype(y.dtype)), (m, n, k)


def of(tile: Any) -> Callable[[Product], None]:
    """The kernel with a tile."""
    kind: Any = TensorProduct if tile in TENSOR_TILES else RowProduct if isinstance(tile, RowTile) else ThreadProduct
    return lambda product: kind(product, tile).emit()


# Every kernel, every tile, every layout

TILES = [*((tile, dtype) for tile in TENSOR_TILES for dtype in ("float16", "bfloat16")),
         *((tile, "float32") for tile in THREAD_TILES),
         *((tile, dtype) for tile in OTHER_TILES for dtype in ("float64", "int32", "int64", "int8", "int16"))]


@pytest.mark.parametrize(("tile", "dtype"), TILES)
def test_tiles(tile: Any, dtype: str) -> None:
    run = product(of(tile), dtype, n=200, k=144)
    for m in (1, 100, 129):
        check(run, dtype, m, 200, 144)


@pytest.mark.parametrize("kind", ["tensor", "thread"])
@pytest.mark.parametrize("w_layout", ["k", "rows", "apart"])
@pytest.mark.parametrize("x_layout", ["k", "rows", "apart"])
def test_layouts(x_layout: str, w_layout: str, kind: str) -> None:
    tile, dtype = (TENSOR_TILES[1], "float16") if kind == "tensor" else (THREAD_TILES[1], "float32")
    m, n, k = 72, 136, 80
    run = product(of(tile), dtype, n, k, m=m, batches=2, layouts=(x_layout, w_layout))
    check(run, dtype, m, n, k, batches=2)


@pytest.mark.parametrize("layout", ["k", "apart", "rows"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_few_rows(dtype: str, layout: str) -> None:
    for n, k in ((50, 1536), (7, 40)):
        run = product(of(RowTile(4)), dtype, n, k, layouts=("k", layout))
        for m in (1, 3, 4, 9):
            check(run, dtype, m, n, k)


@pytest.mark.parametrize("tile", [TENSOR_TILES[0], TENSOR_TILES[2], THREAD_TILES[2], RowTile(2)])
def test_any_depth(tile: Any) -> None:
    dtype = "float16" if tile in TENSOR_TILES else "float32"
    run = product(of(tile), dtype, n=40, k=None, wide=False)
    for k in (0, 1, 7, 8, 31, 33, 500):
        check(run, dtype, 5, 40, k)


def test_depth_that_ends_within_a_copy() -> None:
    """One row: its beginning is a multiple of any size, its end is not."""
    few = RowTile(1)
    for tile, dtype in ((TENSOR_TILES[1], "float16"), (THREAD_TILES[2], "float32"), (few, "float16"), (few, "float32")):
        run = product(of(tile), dtype, n=1, k=43, m=1, wide=False)
        check(run, dtype, 1, 1, 43)


def test_nothing() -> None:
    run = product(of(TENSOR_TILES[1]), "float16", n=64, k=64)
    check(run, "float16", 0, 64, 64)
    run = product(of(RowTile(1)), "float32", n=64, k=64)
    check(run, "float32", 0, 64, 64)


@pytest.mark.parametrize("tile", [*TENSOR_TILES, THREAD_TILES[0], THREAD_TILES[2], RowTile(4)])
def test_no_result_depends_on_the_order_of_threads(tile: Any) -> None:
    dtype = "float16" if tile in TENSOR_TILES else "float32"
    m, n, k = 140, 136, 560
    run = product(of(tile), dtype, n, k)
    x, w = (RANDOM.standard_normal((1, rows, k)).astype(dtype) for rows in (m, n))
    emulator.racecheck(lambda: [run(x, w)])


# Which kernel

@pytest.mark.parametrize(("dtype", "m", "n", "expected"), [
    ("float16", 1, 768, "1 row"), ("float16", 8, 3072, "4 rows"), ("float16", 16, 768, "32x32"), ("float16", 128, 768, "32x32"),
    ("float16", 1024, 768, "64x64"), ("bfloat16", 4096, 3072, "128x128"), ("float32", 8, 768, "4 rows"),
    ("float32", 4096, 3072, "128x128"), ("float32", 64, 768, "32x32"), ("int32", 4, 64, "32x32"),
    ("int64", 4096, 4096, "64x64"),
])
def test_choice(monkeypatch: pytest.MonkeyPatch, dtype: str, m: int, n: int, expected: str) -> None:
    chosen: list[str] = []
    for kind in (TensorProduct, ThreadProduct):
        monkeypatch.setattr(kind, "emit", lambda self: chosen.append(f"{self.tile.rows}x{self.tile.columns}"))
    monkeypatch.setattr(RowProduct, "emit", lambda self: chosen.append("1 row" if self.tile.rows == 1 else "4 rows"))
    buffers = [tirx.decl_buffer((size * 768,), dtype) for size in (m, n)]
    x, w = (lambda b, i, k, buffer=buffer: cast(buffer[i * 768 + k], held(dtype)) for buffer in buffers)
    choice.gemm(Product.of(int64(1), int64(m), int64(n), int64(768), x, w, lambda *_: None, dtype), processors=132)
    assert chosen == [expected]


# Functions of a graph

M, N = tg.dims("M N")


def compiled(model: Callable[..., Any], unknown: tuple[str, ...] = (), **types: tg.TensorType) -> Call:
    """y = run(arrays, sizes) of a graph that is one product and what follows it."""
    graph = tg.trace(model, name="kernel", **types)
    emit = linear.emit if any(n.op.name == "linear" for n in graph.nodes) else matmul.emit
    target = Target("cuda", arch="sm_90")
    function = build(kernel_builder.build(graph, "kernel", lambda f: emit(f, target), each, unknown))

    def run(arrays: list[np.ndarray], **sizes: int) -> np.ndarray:
        (_, output), = graph.outputs
        y = tvm.runtime.tensor(np.full([evaluate(d, sizes) for d in output.shape], 77).astype(output.dtype.numpy), tvm.cuda(0))
        counts = [tvm.runtime.tensor(np.array([sizes.pop(f"actual_{name}")], np.int64), tvm.cuda(0)) for name in unknown]
        function(*[tvm.runtime.tensor(np.ascontiguousarray(a), tvm.cuda(0)) for a in arrays], y, *counts, *sizes.values())
        return y.numpy()

    return run


@pytest.mark.parametrize("columns", [96, 50])
@pytest.mark.parametrize("dtype", [tg.f16, tg.bf16, tg.f32], ids=str)
def test_linear_with_bias_activation_and_residual(dtype: Any, columns: int) -> None:
    run = compiled(lambda x, w, b, r: tg.relu(tg.linear(x, w, b)) * 2.0 + r,
                   x=dtype[M, 64], w=dtype[columns, 64], b=dtype[columns], r=dtype[M, columns])
    for m in (1, 40, 300):
        arrays = [integers(shape, dtype.numpy_name) for shape in ((m, 64), (columns, 64), (columns,), (m, columns))]
        x, w, b, r = (a.astype(np.float32) for a in arrays)
        round_ = lambda a: a.astype(dtype.numpy).astype(np.float32)
        assert np.array_equal(run(arrays, M=m).astype(np.float32), round_(round_(np.maximum(round_(x @ w.T + b), 0) * 2) + r))


def test_a_batch_of_heads() -> None:
    """Views on both sides: each head is a part of a row."""
    def scores(x: tg.Tensor, y: tg.Tensor) -> tg.Tensor:
        heads, others = x.reshape(2, M, 4, 32), y.reshape(2, N, 4, 32)
        return tg.matmul(heads.transpose(0, 2, 1, 3), others.transpose(0, 2, 3, 1))

    run = compiled(scores, x=tg.f16[2, M, 128], y=tg.f16[2, N, 128])
    arrays = [integers((2, size, 128), "float16") for size in (20, 33)]
    x, y = (a.astype(np.float32).reshape(2, -1, 4, 32).transpose(0, 2, 1, 3) for a in arrays)
    assert np.array_equal(run(arrays, M=20, N=33).astype(np.float32), x @ y.transpose(0, 1, 3, 2))


def test_one_matrix_for_a_batch() -> None:
    run = compiled(tg.matmul, x=tg.f32[3, M, 48], y=tg.f32[48, 40])
    arrays = [integers((3, 30, 48), "float32"), integers((48, 40), "float32")]
    assert np.array_equal(run(arrays, M=30), arrays[0] @ arrays[1])


@pytest.mark.parametrize("actual", [0, 1, 100, 400])
def test_rows_that_only_the_device_counts(actual: int) -> None:
    run = compiled(lambda x, w: tg.linear(x, w), ("M",), x=tg.f16[M, 64], w=tg.f16[128, 64])
    arrays = [integers((400, 64), "float16"), integers((128, 64), "float16")]
    y = run(arrays, M=400, actual_M=actual).astype(np.float32)
    assert np.array_equal(y[:actual], arrays[0][:actual].astype(np.float32) @ arrays[1].astype(np.float32).T)
    assert (y[actual:] == 77).all()

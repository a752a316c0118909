"""Products of two run-time tensors against NumPy: every kind of tail, either operand transposed, batches that broadcast."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest

import tgraph as tg
from targets.base.cores import default_threads
from targets.base.tvm_api import contiguous, int64, tirx
from targets.cpu.kernels.batched_matmul import BLOCK_TILES, DEPTH

B, M, N, K = tg.dims("B M N K")
HIGH = BLOCK_TILES * 6
SIZES = [*itertools.product((0, 1, 5, 7, HIGH, HIGH + 13), (1, 15, 16, 33), (0, 1, 7, 24)),
         (13, 20, DEPTH), (HIGH + 1, 17, 2 * DEPTH + 9)]


def integers(rng, shape, dtype):
    """Values whose products and sums are exact in every type."""
    return rng.integers(-8, 9, shape).astype(dtype)


@pytest.fixture(scope="module")
def products():
    """Compiled products by (element type, spelling of the operands)."""
    made = {}
    for dtype in (tg.f32, tg.f64, tg.i32):
        swapped = {"x": dtype[B, K, M], "y": dtype[B, N, K]}
        plain = {"x": dtype[B, M, K], "y": dtype[B, K, N]}
        for spelling in ("NN", "NT", "TN", "TT"):
            def product(x, y, spelling=spelling):
                x = tg.transpose(x, perm=(0, 2, 1)) if spelling[0] == "T" else x
                y = tg.transpose(y, perm=(0, 2, 1)) if spelling[1] == "T" else y
                return tg.matmul(x, y)

            x, y = ((swapped if side == "T" else plain)[name] for side, name in zip(spelling, "xy"))
            made[dtype.name, spelling] = tg.compile(tg.trace(product, x=x, y=y), level="O0")
    return made


@pytest.mark.parametrize("spelling", ["NN", "NT", "TN", "TT"])
@pytest.mark.parametrize("dtype", ["f32", "f64", "i32"])
def test_every_tail(products, dtype, spelling):
    rng = np.random.default_rng(0)
    exe = products[dtype, spelling]
    for m, n, k in SIZES:
        x, y = (integers(rng, shape, exe.graph.inputs[0].dtype.numpy) for shape in ((2, m, k), (2, k, n)))
        given = [np.ascontiguousarray(a.transpose(0, 2, 1)) if side == "T" else a for side, a in zip(spelling, (x, y))]
        np.testing.assert_array_equal(exe(*given), x @ y, err_msg=f"{m} x {n} x {k}")


def test_leading_axes_broadcast():
    graph = tg.trace(lambda x, y: tg.matmul(x, y) + 1.0, x=tg.f32[3, 1, M, 20], y=tg.f32[5, 20, 40])
    rng = np.random.default_rng(1)
    x, y = integers(rng, (3, 1, 9, 20), "float32"), integers(rng, (5, 20, 40), "float32")
    np.testing.assert_array_equal(tg.compile(graph, level="O0")(x, y), x @ y + 1)


def test_bits_do_not_depend_on_rows_or_threads(products):
    rng = np.random.default_rng(2)
    exe = products["f32", "NN"]
    x, y = rng.standard_normal((1, HIGH + 7, DEPTH + 50), "float32"), rng.standard_normal((1, DEPTH + 50, 100), "float32")
    every = exe(x, y)
    for m in (1, 6, 50):
        np.testing.assert_array_equal(exe(x[:, :m].copy(), y), every[:, :m])
    tg.set_num_threads(1)
    try:
        np.testing.assert_array_equal(exe(x, y), every)
    finally:
        tg.set_num_threads(default_threads())


def test_sums_stay_in_registers():
    graph = tg.trace(lambda x, y: tg.matmul(x, y), x=tg.f32[B, M, K], y=tg.f32[B, K, N])
    assembly = tg.compile(graph, target="cpu:haswell").source("asm")
    loops = re.split(r"\n\.LBB\w+:", assembly)
    busiest = max(loops, key=lambda body: body.count("vfmadd"))
    assert busiest.count("vfmadd") >= 12
    assert not re.search(r"vmovups\s+%ymm\d+, .*\(%rsp", busiest.split("vfmadd", 1)[1].rsplit("vfmadd", 1)[0]), "a spill"


def test_contiguous():
    buffer = tirx.decl_buffer((100,), "float32")
    assert contiguous(lambda i: buffer[i + int64(3)])
    assert contiguous(lambda i: tirx.Cast("float64", buffer[i]))
    assert not contiguous(lambda i: buffer[i * int64(2)])
    assert not contiguous(lambda i: buffer[i] + buffer[i])

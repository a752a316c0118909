"""The matrix product against NumPy: every kind of tail, any number of rows and workers, and the code that comes out."""

from __future__ import annotations

import math
import re
import threading

import numpy as np
import pytest

tvm = pytest.importorskip("tvm")

from tvm.script.ir_builder import IRBuilder  # noqa: E402
from tvm.script.ir_builder import tirx as T  # noqa: E402

from targets.codegen import vector_math  # noqa: E402
from targets.codegen.scalar import cast  # noqa: E402
from targets.cpu.build import PIPELINE  # noqa: E402
from targets.cpu.kernels.gemm import GemmTile, gemm  # noqa: E402
from targets.cpu.kernels.weights import Numbers  # noqa: E402
from targets.cpu.kernels.workers import worker_grid  # noqa: E402

ROWS = [0, 1, 2, 3, 4, 5, 6, 7, 12, 13, 16, 100, 121, 257]
AVX2 = GemmTile(rows=6, columns=16, k_block=768, m_block=60)
AVX512 = GemmTile(rows=12, columns=32, k_block=48, m_block=24)


def pack(weights: np.ndarray, width: int) -> np.ndarray:
    """[n, k] as [ceil(n / width), k, width], zero-padded and flat."""
    n, k = weights.shape
    padded = np.zeros((-(-n // width) * width, k), weights.dtype)
    padded[:n] = weights
    return padded.reshape(-1, width, k).transpose(0, 2, 1).reshape(-1)


def product(tile: GemmTile, n: int, k: int, dtype: str = "float32", weights: str | None = None, epilogue: bool = False,
            rows: int | None = None):
    """C = A W^T; with `epilogue`, C = gelu((A + B) W^T + bias) + residual, arguments in this order."""
    with IRBuilder() as builder, T.prim_func():
        T.func_name("main")
        m = rows or T.int64()
        a = T.arg("a", T.buffer((m, k), dtype))
        b = T.arg("b", T.buffer((m, k), dtype)) if epilogue else None
        size = -(-n // tile.columns) * k * tile.columns
        w = T.arg("w", T.buffer((size,), weights or dtype))
        bias = T.arg("bias", T.buffer((n,), dtype)) if epilogue else None
        residual = T.arg("residual", T.buffer((m, n), dtype)) if epilogue else None
        c = T.arg("c", T.buffer((m, n), dtype))
        T.func_attr({"tirx.noalias": True})

        def store(i, j, value):
            if epilogue:
                value = vector_math.gelu(value + bias[j]) + residual[i, j]
            T.buffer_store(c, cast(value, dtype), [i, j])

        load = (lambda i, kk: a[i, kk] + b[i, kk]) if epilogue else (lambda i, kk: a[i, kk])
        gemm(m=m, n=n, load=load, weights=Numbers(w, k, tile.columns), store=store, tile=tile, dtype=dtype)
    return builder.get()


def grid():
    """The grids that `worker_grid` chooses for (workers, rows), with 7 columns of tiles."""
    with IRBuilder() as builder, T.prim_func():
        T.func_name("main")
        count = T.int64()
        asked, chosen = T.arg("x", T.buffer((count, 2), "int64")), T.arg("y", T.buffer((count, 2), "int64"))
        with T.serial(count) as i:
            for column, parts in enumerate(worker_grid(asked[i, 0], asked[i, 1], 7)):
                T.buffer_store(chosen, parts, [i, column])
    return builder.get()


@pytest.fixture(scope="module")
def kernels(build):
    return build({
        "panel_tail": product(AVX2, 70, 96),  # 4 panels and 6 columns
        "pieces": product(AVX2, 1600, 40),  # of two workers each has blocks of A in pieces of 384 columns
        "k_blocks": product(AVX512, 97, 100),  # 3 blocks of k, the last with 4 elements; a lone last column
        "one_panel": product(GemmTile(6, 8, 768, 12), 7, 37, "float64"),  # the rows are what the workers share
        "epilogue": product(AVX512, 96, 64, epilogue=True),
        "bfloat16": product(AVX2, 32, 50, "float16", "bfloat16"),
        "no_depth": product(AVX2, 20, 0),
        "grid": grid(),
    })  # fmt: skip


def data(*shape: int, dtype: str = "float32") -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("m", ROWS)
def test_plain_products(kernels, m):
    for name, tile, n, k in (("panel_tail", AVX2, 70, 96), ("pieces", AVX2, 1600, 40), ("k_blocks", AVX512, 97, 100)):
        a, w = data(m, k), data(n, k)
        c = kernels(name, a, pack(w, tile.columns), out=((m, n), "float32"))
        # a recursive sum of k products of this size is off by well under k ulps
        np.testing.assert_allclose(c, a.astype("f8") @ w.astype("f8").T, rtol=0, atol=k * 3e-7, err_msg=name)


@pytest.mark.parametrize("m", ROWS)
def test_float64(kernels, m):
    a, w = data(m, 37, dtype="f8"), data(7, 37, dtype="f8")
    c = kernels("one_panel", a, pack(w, 8), out=((m, 7), "float64"))
    np.testing.assert_allclose(c, a @ w.T, rtol=0, atol=1e-13)


@pytest.mark.parametrize("m", ROWS)
def test_epilogue_and_load_of_two_buffers(kernels, m):
    a, b, w, bias, residual = data(m, 64), data(m, 64) * 2, data(96, 64) / 8, data(96), data(m, 96)
    c = kernels("epilogue", a, b, pack(w, 32), bias, residual, out=((m, 96), "float32"))
    x = (a + b).astype("f8") @ w.astype("f8").T + bias
    expected = 0.5 * x * (1 + np.vectorize(math.erf, otypes=[float])(x / math.sqrt(2))) + residual
    np.testing.assert_allclose(c, expected, rtol=2e-6, atol=1e-5)


@pytest.mark.parametrize("m", [1, 13])
def test_half_precisions_are_summed_in_single(kernels, m):
    a, w = data(m, 50, dtype="float16"), data(32, 50)
    top = np.ascontiguousarray(w).view("u4") & 0xFFFF0000  # bf16 is the upper half of f32
    tensor = tvm.runtime.empty((32 * 50,), "bfloat16")
    tensor.copyfrom((pack(top.view("f4"), 16).view("u4") >> 16).astype("u2").view(tensor.numpy().dtype))
    c = tvm.runtime.tensor(np.zeros((m, 32), "float16"))
    kernels.library["bfloat16"](tvm.runtime.tensor(a), tensor, c)
    np.testing.assert_allclose(c.numpy(), a.astype("f8") @ top.view("f4").astype("f8").T, rtol=6e-4, atol=1e-4)


def test_no_depth_gives_zeros(kernels):
    assert not kernels("no_depth", np.zeros((7, 0), "f4"), np.zeros(0, "f4"), out=((7, 20), "float32")).any()


def test_rows_past_the_last_are_left_alone(kernels):
    """Ten rows are computed by taller tiles than that; the memory after C must not change."""
    memory = tvm.runtime.tensor(np.full((13, 70), 77, "f4"))
    a, w = data(9, 96), data(70, 96)
    kernels.library["panel_tail"](tvm.runtime.tensor(a), tvm.runtime.tensor(pack(w, 16)), memory._create_view((9, 70)))
    assert (memory.numpy()[9:] == 77).all() and (memory.numpy()[:9] != 77).all()


def run_with(threads: int, call, monkeypatch) -> np.ndarray:
    """`call()` in a thread, and so a pool of workers, of its own."""
    monkeypatch.setenv("TVM_NUM_THREADS", str(threads))
    monkeypatch.setenv("TVM_BIND_THREADS", "0")
    results = []

    def body() -> None:
        tvm.get_global_func("runtime.config_threadpool")(1, threads)
        results.append((tvm.get_global_func("runtime.NumThreads")(), call()))

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    [(workers, result)] = results
    assert workers <= threads
    return result


@pytest.mark.parametrize("m", [1, 40, 257])
def test_bits_do_not_depend_on_the_workers(kernels, monkeypatch, m):
    a, w = data(m, 100), pack(data(97, 100), 32)
    call = lambda: kernels("k_blocks", a, w, out=((m, 97), "float32"))
    one, two = run_with(1, call, monkeypatch), run_with(2, call, monkeypatch)
    assert one.tobytes() == two.tobytes()


def test_bits_do_not_depend_on_the_other_rows(kernels):
    a, w = data(257, 100), pack(data(97, 100), 32)
    every = kernels("k_blocks", a, w, out=((257, 97), "float32"))
    for m in (1, 2, 3, 4, 5, 7, 12, 30):
        assert kernels("k_blocks", a[:m], w, out=((m, 97), "float32")).tobytes() == every[:m].tobytes()


def test_the_largest_share_of_the_workers_is_smallest(kernels):
    asked = np.array([(workers, rows) for workers in range(1, 20) for rows in range(1, 20)], "int64")
    chosen = kernels("grid", asked, out=((len(asked), 2), "int64"))
    largest = lambda r, c, rows: -(-rows // r) * -(-7 // c)
    for (workers, rows), (r, c) in zip(asked.tolist(), chosen.tolist()):
        options = [(i, j) for i in range(1, rows + 1) for j in range(1, 8) if i * j <= workers]
        assert (r, c) in options
        assert largest(r, c, rows) == min(largest(i, j, rows) for i, j in options)


MACHINES = [
    ("x86_64-pc-linux-gnu", "haswell", 256, 16, "vfmadd", "ymm"),
    ("x86_64-pc-linux-gnu", "skylake-avx512", 512, 32, "vfmadd", "zmm"),
    ("aarch64-linux-gnu", "neoverse-n1", 128, 32, "fmla", "v"),
]


@pytest.mark.parametrize(("triple", "mcpu", "bits", "registers", "multiply", "register"), MACHINES)
def test_inner_loop_stays_in_registers(triple, mcpu, bits, registers, multiply, register):
    tile = GemmTile.for_target(bits, registers, 32 * 1024, 512 * 1024)
    target = tvm.target.Target({"kind": "llvm", "mtriple": triple, "mcpu": mcpu})
    function = product(tile, 4 * tile.columns, 2 * tile.k_block, rows=100).with_attr("global_symbol", "main")
    assembly = tvm.compile(tvm.IRModule({"main": function}), target=target, tir_pipeline=PIPELINE).mod.inspect_source("asm")
    loop = max(innermost_loops(assembly), key=lambda body: sum(multiply in line for line in body))
    sums = [line for line in loop if multiply in line and re.search(rf"[%\s]{register}\d", line)]
    assert len(sums) >= 2 * tile.rows
    assert not [line for line in loop if re.search(r"\t(vmov\w+\s+%[yz]mm\d+,.*\(|st[rpu]+\s)", line)], "a spill"


WIDEN = [("haswell", "bfloat16", "vpmovzxwd"), ("haswell", "float16", "vcvtph2ps"), ("skylake-avx512", "bfloat16", "vpmovzxwd"),
         ("neoverse-n1", "bfloat16", "shll"), ("neoverse-n1", "float16", "fcvtl")]


@pytest.mark.parametrize(("cpu", "weights", "widen"), WIDEN)
def test_narrow_weights_are_widened_by_whole_vectors(cpu, weights, widen):
    [(triple, _, bits, registers, multiply, _)] = [row for row in MACHINES if row[1] == cpu]
    tile = GemmTile.for_target(bits, registers, 32 * 1024, 512 * 1024)
    target = tvm.target.Target({"kind": "llvm", "mtriple": triple, "mcpu": cpu})
    function = product(tile, 4 * tile.columns, 2 * tile.k_block, weights=weights, rows=100).with_attr("global_symbol", "main")
    assembly = tvm.compile(tvm.IRModule({"main": function}), target=target, tir_pipeline=PIPELINE).mod.inspect_source("asm")
    loops = [b for b in innermost_loops(assembly) if sum(multiply in line for line in b) >= 2 * tile.rows]
    assert loops and all(sum(widen in line for line in b) >= 2 for b in loops)
    assert not [line for b in loops for line in b if re.search(r"\t(call|bl|vpinsr|vpextr|vmovd)\w*\s", line)]


def innermost_loops(assembly: str) -> list[list[str]]:
    """The bodies of loops that hold no label but their own."""
    loops, label, body = [], "", []
    for line in assembly.splitlines():
        if start := re.match(r"(\.LBB\w+):", line):
            label, body = start[1], []
        body.append(line)
        if label and re.search(rf"\t(j|b|cb|tb)\S*\s.*{re.escape(label)}$", line):
            loops.append(body[:])  # not what follows the jump
    return loops


def test_tiles_of_known_machines():
    avx2, avx512 = GemmTile.for_target(256, 16, 32768, 1 << 19), GemmTile.for_target(512, 32, 32768, 1 << 20)
    assert (avx2.rows, avx2.columns, avx512.rows, avx512.columns) == (6, 16, 12, 32)
    for bits, registers in ((128, 16), (128, 32), (256, 16), (512, 32)):
        for dtype, size in (("float32", 4), ("float64", 8), ("float16", 4)):
            for l2 in (1 << 18, 1 << 21):
                tile = GemmTile.for_target(bits, registers, 32768, l2, dtype)
                assert tile.rows * tile.lanes * size < 1024 and tile.m_block % tile.rows == 0 and tile.k_block % 16 == 0
                assert tile.m_block * tile.k_block * size <= l2 // 2
                assert 2 * tile.rows + 4 <= registers

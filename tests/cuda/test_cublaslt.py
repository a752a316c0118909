"""Products that go to cuBLASLt where it is found: what is asked of it, what it refuses, what our own kernels do instead."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import emulator
import numpy as np
import pytest

import tgraph as tg
from targets.cuda import blas
from targets.cuda.libraries import find_library

B, S = tg.dims("B S")
TOLERANCE = {"f32": 1e-5, "f16": 4e-3, "bf16": 3e-2}
emulated = pytest.mark.skipif(not emulator.active(), reason="for the emulated device")
Asked = list[blas.GemmProblem]


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[Asked]:
    """The library is there: this machine's on its GPU, a stand-in on the emulated one. The products that it has begun."""
    if emulator.active():
        emulator.load_cublaslt()
    elif find_library(blas.LIBRARY) is None:
        pytest.skip("cuBLASLt is not here")
    monkeypatch.setenv(blas.SWITCH, "on")
    blas.cublaslt.cache_clear()
    begun: Asked = []
    linear = blas.CublasLt.linear

    def record(self: blas.CublasLt, form: blas.GemmProblem, *arguments: Any) -> bool:
        done = linear(self, form, *arguments)
        begun.extend([form] if done else [])
        return done

    monkeypatch.setattr(blas.CublasLt, "linear", record)
    yield begun
    blas.cublaslt.cache_clear()


def run(build: Callable[..., Any], rows: int, **specs: Any) -> tg.Executable:
    """Compiles a function, and checks it against the reference: launched, captured, replayed."""
    exe = tg.compile(tg.trace(build, **specs), "cuda", passes="", cache=False)
    check(exe, rows)
    return exe


def check(exe: tg.Executable, rows: int) -> None:
    random = np.random.default_rng(rows)
    feeds = {}
    for value in exe.graph.inputs:
        shape = [d if isinstance(d, int) else rows for d in value.shape]
        feeds[value.name] = (random.standard_normal(shape) / (16 if value.name == "w" else 1)).astype(value.dtype.numpy)
    expected = tg.compile(exe.graph, "numpy").run(feeds)["output"].astype("f")
    tolerance = max(TOLERANCE[v.dtype.name] for v in exe.graph.inputs) * np.abs(expected).max()
    results = [exe.run(feeds)["output"] for _ in range(4)]
    assert np.abs(results[0].astype("f") - expected).max() <= tolerance
    assert all(np.array_equal(result, results[0]) for result in results)


@pytest.mark.parametrize("dtype", [tg.f16, tg.bf16, tg.f32])
@pytest.mark.parametrize("bias", [False, True])
def test_a_product_and_its_bias(dtype: Any, bias: bool, asked: Asked) -> None:
    if bias:
        exe = run(lambda x, w, b: tg.linear(x, w, b), 70, x=dtype[B, 256], w=dtype[72, 256], b=dtype[72])
    else:
        exe = run(lambda x, w: tg.linear(x, w), 70, x=dtype[B, 256], w=dtype[72, 256])
    name = dtype.numpy_name
    # launched and captured; replays ask nobody
    assert asked == 2 * [blas.GemmProblem(70, 72, 256, 256, 256, 0, int(bias), name, name)]
    check(exe, 63)
    assert len(asked) == 2  # few rows stay with our own kernel
    check(exe, 64)
    assert len(asked) == 4


def test_a_residual_is_added_by_the_library(asked: Asked) -> None:
    specs = {"x": tg.f16[B, 256], "w": tg.f16[64, 256], "b": tg.f16[64], "r": tg.f16[B, 64]}
    run(lambda x, w, b, r: r + tg.linear(x, w, b), 70, **specs)
    run(lambda x, w, b, r: tg.linear(x, w, b) + r, 70, **specs)
    assert [(form.residual, form.bias) for form in asked] == [(64, 1)] * 4
    # rows that all are the same, or that do not lie at equal distances, are no matrix
    run(lambda x, w, r: tg.linear(x, w) + r, 70, x=tg.f16[B, 256], w=tg.f16[64, 256], r=tg.f16[64])
    run(lambda x, w, r: tg.linear(x, w) + tg.reshape(r, shape=(B, 1, 64)), 9,
        x=tg.f16[B, S, 256], w=tg.f16[64, 256], r=tg.f16[B, 64])
    assert [form.residual for form in asked[4:]] == [0] * 4


def test_wider_results(asked: Asked) -> None:
    run(lambda x, w, r: r + tg.cast(tg.linear(x, w), dtype=tg.f32), 70, x=tg.f16[B, 256], w=tg.f16[64, 256], r=tg.f32[B, 64])
    run(lambda x, w: tg.cast(tg.linear(x, w), dtype=tg.f32), 70, x=tg.bf16[B, 256], w=tg.bf16[64, 256])
    assert [(form.dtype, form.result) for form in asked[::2]] == [("float16", "float32"), ("bfloat16", "float32")]
    run(lambda x, w, b: tg.cast(tg.linear(x, w, b), dtype=tg.f32), 70, x=tg.f16[B, 256], w=tg.f16[64, 256], b=tg.f16[64])
    assert len(asked) == 4  # it takes a bias in the type of the result only


@pytest.mark.parametrize("dtype", [tg.f16, tg.bf16, tg.f32])
def test_what_follows_is_done_in_place(dtype: Any, asked: Asked) -> None:
    specs = {"x": dtype[B, 256], "w": dtype[64, 256], "b": dtype[64], "r": dtype[B, 64], "s": dtype[64]}
    run(lambda x, w, b, r, s: tg.gelu(tg.linear(x, w, b)) * s + r, 70, **specs)
    run(lambda x, w, b, r, s: tg.relu(tg.linear(x, w, b) + r) * s, 70, **specs)
    assert [form.residual for form in asked] == [0, 0, 64, 64]


def test_rows_of_views(asked: Asked) -> None:
    middle = {"starts": (256,), "stops": (512,), "axes": (-1,)}
    run(lambda x, w: tg.linear(tg.slice(x, **middle), w), 70, x=tg.f16[B, 768], w=tg.f16[64, 256])
    run(lambda x, w: tg.linear(x, tg.slice(w, **middle)), 70, x=tg.f16[B, 256], w=tg.f16[64, 768])
    assert [(form.x, form.w) for form in asked[::2]] == [(768, 256), (256, 768)]
    run(lambda x, w: tg.linear(tg.transpose(x, perm=(1, 0, 2)), w), 9, x=tg.f16[B, S, 256], w=tg.f16[64, 256])
    assert len(asked) == 4  # neither by rows, nor any other matrix
    run(lambda x, w: tg.linear(x, w), 9, x=tg.f16[B, S, 256], w=tg.f16[64, 256])
    assert asked[-1].m == 81


@pytest.mark.parametrize(("columns", "depth", "start"), [
    (60, 256, 0), (64, 252, 0), (64, 128, 0), (64, 256, 2), (64, 256, 4)])  # 2: rows are not aligned; 4: the first one is not
def test_products_that_are_not_for_the_library(columns: int, depth: int, start: int, asked: Asked) -> None:
    run(lambda x, w: tg.linear(tg.slice(x, starts=(start,), stops=(start + depth,), axes=(-1,)), w), 70,
        x=tg.f16[B, depth + 2 * start], w=tg.f16[columns, depth])
    assert not asked


def test_sizes_that_only_the_device_knows(asked: Asked) -> None:
    def packed(x: tg.Tensor, w: tg.Tensor, mask: tg.Tensor) -> tg.Tensor:
        positions, _ = tg.unpack(mask)
        rows = tg.linear(tg.gather(x.reshape(B * S, 256), positions), w)
        return tg.pad_rows(rows, tg.number_rows(mask))

    graph = tg.trace(packed, x=tg.f16[B, S, 256], w=tg.f16[64, 256], mask=tg.bool_[B, S])
    exe = tg.compile(graph, "cuda", passes="", cache=False)
    mask, random = np.ones((10, 9), bool), np.random.default_rng(0)
    feeds = {"x": random.standard_normal((10, 9, 256)).astype(np.float16), "w": np.ones((64, 256), np.float16), "mask": mask}
    assert np.allclose(exe.run(feeds)["output"], tg.compile(exe.graph, "numpy").run(feeds)["output"], atol=0.1)
    assert not asked


@emulated
def test_no_algorithm_and_failures(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    specs = {"x": tg.f16[B, 256], "w": tg.f16[64, 256]}
    monkeypatch.setenv("TGRAPH_EMULATOR_NO_ALGORITHM", "1")
    with pytest.warns(UserWarning, match=r"13.0.2 has no algorithm for it; tgraph's own kernel .* 70x256 and 256x64"):
        exe = run(lambda x, w: tg.linear(x, w), 70, **specs)
    monkeypatch.delenv("TGRAPH_EMULATOR_NO_ALGORITHM")
    monkeypatch.setenv("TGRAPH_EMULATOR_CUBLASLT_STATUS", "13")
    with pytest.warns(UserWarning, match="cublasLtMatmul of cuBLASLt 13.0.2 failed: execution failed; tgraph's own"):
        check(exe, 80)
    monkeypatch.delenv("TGRAPH_EMULATOR_CUBLASLT_STATUS")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(exe, 80)  # said once
        check(exe, 90)
    assert [form.m for form in asked] == [90, 90]


def test_off_by_the_environment(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(blas.SWITCH, "off")
    run(lambda x, w: tg.linear(x, w), 70, x=tg.f16[B, 256], w=tg.f16[64, 256])
    assert not asked and "off" in blas.state()
    monkeypatch.setenv(blas.SWITCH, "on")
    assert re.fullmatch(r"13\.\d+\.\d+", blas.state())


def test_many_sizes(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blas, "REMEMBERED", 2)
    exe = run(lambda x, w: tg.linear(x, w), 70, x=tg.f16[B, 256], w=tg.f16[64, 256])
    for rows in (71, 72, 73, 70, 73):
        check(exe, rows)
    library = blas.cublaslt()
    assert library is not None and [form.m for form in library._plans] == [72, 73]  # the others were captured
    run(lambda x, w: tg.linear(x, w), 70, x=tg.f16[B, 256], w=tg.f16[64, 256])
    assert [form.m for form in library._plans] == [73, 70]


@emulated
def test_a_bundle_runs_with_and_without_the_library(tmp_path: Path) -> None:
    graph = tg.trace(lambda x, w: tg.gelu(tg.linear(x, w)), x=tg.f16[B, 256], w=tg.f16[64, 256])
    tg.compile(graph, "cuda", cache=False).save(tmp_path / "a.tgc")
    program = textwrap.dedent("""
        import sys
        sys.path.insert(0, "tests")
        import emulator
        emulator.activate()
        import targets.cuda.blas
        if sys.argv[2] == "with":
            emulator.load_cublaslt()
        else:
            targets.cuda.blas.find_library = lambda name: None
        import numpy as np
        import tgraph as tg
        from targets.cuda import blas
        exe = tg.load(sys.argv[1])
        x, w = (np.random.default_rng(i).standard_normal((64, 256)).astype(np.float16) / 8 for i in range(2))
        assert np.allclose(exe(x, w), tg.compile(exe.graph, "numpy")(x, w), atol=1e-2)
        print("library" if blas.cublaslt() else blas.state())
    """)
    for how in ("with", "without"):
        environment = {**os.environ, blas.SWITCH: "on"}
        done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "a.tgc"), how], env=environment, capture_output=True,
                              text=True)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip().startswith({"with": "library", "without": "not found (libcublasLt.so.13"}[how])

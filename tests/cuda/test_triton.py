"""Triton's kernels. On the emulated device: what they are given, and when, by stand-ins in CUDA that take the same parameters."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import emulator
import numpy as np
import pytest
from emulator.build import Builder
from emulator.compiler import host_source

import tgraph as tg
from targets.cuda.triton import attention as triton_attention
from targets.cuda.triton import binary
from targets.cuda.triton import linear as triton_linear

B, S, K = tg.dims("B S K")

# A thread for each query of a block, a pass over the keys for each of maximum, sum and result.
ATTENTION = """
#define ushort unsigned short
extern "C" __global__ void __launch_bounds__(THREADS) NAME(
    const half* q, const half* k, const half* v, half* out, const signed char* keep, const half* bias, const long* offset,
    long ahead, float scale, int heads, int queries, int keys, long q_batch, long q_head, long q_row, long k_batch, long k_head,
    long k_row, long v_batch, long v_head, long v_row, long out_batch, long out_head, long out_row, long keep_batch,
    long bias_batch, long bias_head, int bias_row, void* hidden, void* hidden_too) {
  int count = (queries + BLOCK_Q - 1) / BLOCK_Q, block = blockIdx.x % count, h = blockIdx.x / count % heads;
  long b = blockIdx.x / count / heads;
  q += b * q_batch + h * q_head;
  k += b * k_batch + h / GROUP * k_head;
  v += b * v_batch + h / GROUP * v_head;
  out += b * out_batch + h * out_head;
  if (OFFSET) ahead = *offset;
  for (long i = block * BLOCK_Q + threadIdx.x; i < queries && i < (block + 1) * BLOCK_Q; i += blockDim.x) {
    double sum = 0, total[DIM] = {};
    for (long j = 0; j < keys; ++j) {
      if (CAUSAL && j > i + ahead || MASK && !keep[b * keep_batch + j]) continue;
      double score = 0;
      for (int d = 0; d < DIM; ++d) score += (float)q[i * q_row + d] * (float)k[j * k_row + d];
      score *= scale;
      if (BIAS) score += (float)bias[b * bias_batch + h * bias_head + i * bias_row + j] * 1.4426950408889634;
      double weight = exp2(score);
      sum += weight;
      for (int d = 0; d < DIM; ++d) total[d] += weight * (float)v[j * v_row + d];
    }
    for (int d = 0; d < DIM; ++d) out[i * out_row + d] = half(float(sum ? total[d] / sum : 0));
  }
}
"""


# A block has its part of the rows and columns, by the same order of programs.
LINEAR = """
#define ushort unsigned short
extern "C" __global__ void __launch_bounds__(THREADS) NAME(
    const half* x, const half* w, half* out, const half* bias, const half* residual, int m, int n, int k, long x_row, long w_row,
    long out_row, long residual_row, void* hidden, void* hidden_too) {
  int across = (n + BLOCK_N - 1) / BLOCK_N, band = blockIdx.x / (BAND * across), within = blockIdx.x - band * BAND * across;
  int height = min((m + BLOCK_M - 1) / BLOCK_M - band * BAND, BAND);
  int row = (band * BAND + within % height) * BLOCK_M, column = within / height * BLOCK_N;
  for (int at = threadIdx.x; at < BLOCK_M * BLOCK_N; at += blockDim.x) {
    int i = row + at / BLOCK_N, j = column + at % BLOCK_N;
    if (i >= m || j >= n) continue;
    float sum = 0;
    for (int l = 0; l < k; ++l) sum += (float)x[i * x_row + l] * (float)w[j * w_row + l];
    if (BIAS) sum += (float)bias[j];
    if (GELU) sum = sum / 2 * (1 + erff(sum * 0.70710678f));
    if (RESIDUAL) sum += (float)residual[i * residual_row + j];
    out[i * out_row + j] = half(sum);
  }
}
"""
SOURCES = {"attention": ATTENTION, "linear": LINEAR}


@pytest.fixture(autouse=True)
def compiled(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """Triton is there, for two blocks and more. The constants of what it was asked to compile."""
    asked: list[dict[str, Any]] = []
    compile = stand_in(Builder()) if emulator.active() else binary._compile
    if not emulator.active():
        pytest.importorskip("triton")

    def record(*arguments: Any) -> tuple[str, bytes, str, int, int]:
        asked.append(arguments[5])
        return compile(*arguments)

    monkeypatch.setenv(binary.SWITCH, "on")
    monkeypatch.setattr(binary, "_compile", record)
    monkeypatch.setattr(binary, "_BINARIES", {})
    for module in (triton_attention, triton_linear):
        monkeypatch.setattr(module, "BLOCKS", 2)
        if emulator.active():
            monkeypatch.setattr(module, "available", lambda target: True)
    yield asked


def stand_in(builder: Builder) -> Callable[..., tuple[str, bytes, str, int, int]]:
    """What compiles the sources above in place of Triton."""
    def compile(function: str, name: str, arch: str, types: Any, aligned: Any, constants: dict[str, Any], warps: int,
                stages: int) -> tuple[str, bytes, str, int, int]:
        text = SOURCES[function]
        names = re.findall(r"(\w+)[,)]", text[text.index("NAME("):text.index(") {") + 1])
        assert [*types, "hidden", "hidden_too"] == names
        text = text.replace("NAME", name).replace("THREADS", str(32 * warps))
        for constant, value in constants.items():
            text = re.sub(rf"\b{constant}\b", str(int(value)), text)
        return name, builder.kernels(host_source(text, 90)).read_bytes(), "", 32 * warps, 1024

    return compile


def heads_of(x: tg.Tensor, start: int, heads: int, dim: int, rows: Any) -> tg.Tensor:
    part = tg.slice(x, starts=(start,), stops=(start + heads * dim,), axes=(-1,))
    return part.reshape(B, rows, heads, dim).transpose(0, 2, 1, 3)


def check(build: Any, specs: dict[str, Any], *sizes: dict[str, int], ours: bool = False) -> None:
    """Against the reference: launched, captured, replayed."""
    graph = tg.trace(build, **specs)
    exe = tg.compile(graph, "cuda", passes="", cache=False)
    assert ours != ("Triton's kernel" in " ".join(row.chosen for row in exe.explain()))
    for size in sizes:
        random = np.random.default_rng(size["S"])
        feeds = {}
        for value in graph.inputs:
            shape = value.type.evaluate(size)
            if value.dtype == tg.bool_:
                feeds[value.name] = random.random(shape) < 0.6
            elif value.dtype == tg.i64:
                feeds[value.name] = np.array(size.get("offset", 0))
            else:
                feeds[value.name] = (random.standard_normal(shape) / (16 if value.name == "w" else 1)).astype(value.dtype.numpy)
        expected = tg.compile(graph, "numpy").run(feeds)["output"].astype("f")
        for _ in range(3):
            assert np.allclose(exe.run(feeds)["output"].astype("f"), expected, atol=1e-2)


SIZES = ({"B": 2, "S": 3}, {"B": 1, "S": 130}, {"B": 1, "S": 2}, {"B": 0, "S": 5}, {"B": 3, "S": 0})


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("mask", [False, True])
def test_views_of_one_tensor(causal: bool, mask: bool, compiled: list[dict[str, Any]]) -> None:
    def build(x: tg.Tensor, keep: tg.Tensor | None = None) -> tg.Tensor:
        q, k, v = (heads_of(x, start, heads, 32, S) for start, heads in ((0, 4), (128, 2), (192, 2)))
        y = tg.attention(q, k, v, keep, causal=causal)
        return y.transpose(0, 2, 1, 3).reshape(B, S, 128)

    check(build, {"x": tg.f16[B, S, 256], **({"keep": tg.bool_[B, S]} if mask else {})}, *SIZES)
    (constants,) = compiled
    assert (constants["GROUP"], constants["DIM"], constants["CAUSAL"], constants["MASK"]) == (2, 32, causal, mask)


@pytest.mark.parametrize("shape", [(1, S, K), (4, S, K), (B, 4, S, K), (B, 1, S, K)])
def test_biases(shape: tuple[Any, ...], compiled: list[dict[str, Any]]) -> None:
    check(lambda q, k, v, bias: tg.attention(q, k, v, bias=bias),
          {"q": tg.f16[B, 4, S, 64], "k": tg.f16[B, 4, K, 64], "v": tg.f16[B, 4, K, 64], "bias": tg.f16[shape]},
          {"B": 2, "S": 9, "K": 13}, {"B": 1, "S": 4, "K": 0})
    assert compiled[0]["BIAS"] and not compiled[0]["MASK"]


@pytest.mark.parametrize("offset", [-3, 0, 5, 100, -100])
def test_offsets_on_the_device_and_known(offset: int, compiled: list[dict[str, Any]]) -> None:
    specs = {"q": tg.f16[B, 2, S, 32], "k": tg.f16[B, 2, K, 32], "v": tg.f16[B, 2, K, 32]}
    sizes = {"B": 2, "S": 9, "K": 13, "offset": offset}
    check(lambda q, k, v, at: tg.attention(q, k, v, offset=at, causal=True), {**specs, "at": tg.i64[()]}, sizes)
    check(lambda q, k, v: tg.attention(q, k, v, offset=tg.full(shape=(), value=offset, dtype=tg.i64), causal=True), specs, sizes)
    assert [constants["OFFSET"] for constants in compiled] == [True, False]


def test_what_it_does_not_take(compiled: list[dict[str, Any]]) -> None:
    def of(dtype: Any, dim: int) -> dict[str, Any]:
        return {"q": dtype[B, 2, S, dim], "k": dtype[B, 2, S, dim], "v": dtype[B, 2, S, dim]}

    size = {"B": 2, "S": 5}
    plain = lambda q, k, v: tg.attention(q, k, v)
    check(plain, of(tg.f32, 32), size, ours=True)
    check(plain, of(tg.f16, 48), size, ours=True)
    uniform = lambda q, k, v, m: tg.attention(q, k, v, m, empty_row="uniform")
    check(uniform, {**of(tg.f16, 32), "m": tg.bool_[B, S]}, size, ours=True)
    check(lambda q, k, v, m: tg.attention(q, k, v, m), {**of(tg.f16, 32), "m": tg.bool_[B, S, S]}, size, ours=True)
    check(lambda q, k, v, b: tg.attention(q, k, v, bias=b), {**of(tg.f16, 128), "b": tg.f16[S, S]}, size, ours=True)
    check(lambda q, k, v: tg.relu(tg.attention(q, k, v)), of(tg.f16, 32), size, ours=True)
    assert not compiled


@pytest.mark.parametrize("gelu", [False, True])
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_linear(bias: bool, gelu: bool, residual: bool, compiled: list[dict[str, Any]]) -> None:
    def build(x: tg.Tensor, w: tg.Tensor, **more: tg.Tensor) -> tg.Tensor:
        y = tg.linear(x, w, more.get("b"))
        y = tg.gelu(y) if gelu else y
        return y + more["r"] if residual else y

    specs = {"x": tg.f16[B, S, 64], "w": tg.f16[144, 64], **({"b": tg.f16[144]} if bias else {}),
             **({"r": tg.f16[B, S, 144]} if residual else {})}
    check(build, specs, {"B": 1, "S": 3}, {"B": 3, "S": 50}, {"B": 0, "S": 4})
    (constants,) = compiled
    assert (constants["BIAS"], constants["GELU"], constants["RESIDUAL"]) == (bias, gelu, residual)


def test_many_rows_and_parts_of_tensors(compiled: list[dict[str, Any]]) -> None:
    middle = {"starts": (64,), "stops": (128,), "axes": (-1,)}
    check(lambda x, w: tg.linear(tg.slice(x, **middle), tg.slice(w, **middle)), {"x": tg.f16[B, 192], "w": tg.f16[16, 256]},
          {"B": 1200, "S": 0})
    assert len(compiled) == 1


def test_products_that_it_does_not_take(compiled: list[dict[str, Any]]) -> None:
    def of(dtype: Any, columns: int, depth: int) -> dict[str, Any]:
        return {"x": dtype[B, depth], "w": dtype[columns, depth]}

    size, plain = {"B": 5, "S": 0}, lambda x, w: tg.linear(x, w)
    check(plain, of(tg.f32, 160, 64), size, ours=True)
    check(plain, of(tg.f16, 160, 96), size, ours=True)
    check(plain, of(tg.f16, 150, 64), size, ours=True)
    check(lambda x, w: tg.relu(tg.linear(x, w)), of(tg.f16, 160, 64), size, ours=True)
    check(lambda x, w: tg.cast(tg.linear(x, w), dtype=tg.f32), of(tg.f16, 160, 64), size, ours=True)
    assert not compiled

"""The attention kernel on sequences that lie one after the other, against attention of each by itself."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from targets.base.tvm_api import int64, tvm
from targets.codegen.attention import AttentionSpec
from targets.cpu.kernels.attention import AttentionTile, attention
from tgraph.ops.attention import attend

SMALL = AttentionTile(keys=4, values=4, key_block=8, query_block=32)
HEADS, KV_HEADS, D, DV = 4, 2, 12, 20


def kernel(causal: bool = False, masked: bool = False, tile: AttentionTile | None = None):
    """q, k, v [N, heads, dim], offsets [M], mask [N] if masked -> y [N, HEADS, DV]."""
    with IRBuilder() as builder, T.prim_func():
        T.func_name("main")
        n, m = T.int64(), T.int64()
        shapes = {"q": (n, HEADS, D), "k": (n, KV_HEADS, D), "v": (n, KV_HEADS, DV)}
        q, k, v = (T.arg(name, T.buffer(shape, "float32")) for name, shape in shapes.items())
        offsets = T.arg("offsets", T.buffer((m,), "int64"))
        options = {}
        if masked:
            mask = T.arg("mask", T.buffer((n,), "bool"))
            options = {"mask": lambda b, h, i, j: mask[j], "key_padding": True}
        y = T.arg("y", T.buffer((n, HEADS, DV), "float32"))
        T.func_attr({"tirx.noalias": True})
        attention(AttentionSpec(
            batch=m - 1, heads=int64(HEADS), group=HEADS // KV_HEADS, queries=n, keys=n, head_dim=D, value_dim=DV,
            dtype="float32", load_q=lambda b, h, i, d: q[i, h, d], load_k=lambda b, h, j, d: k[j, h, d],
            load_v=lambda b, h, j, d: v[j, h, d], scale=0.25, right=0 if causal else None,
            store=lambda b, h, i, d, value: T.buffer_store(y, value, [i, h, d]),
            sequence=lambda b: (offsets[b], offsets[b + 1] - offsets[b]), **options), tile)
    return builder.get()


@pytest.fixture(scope="module")
def kernels(build):
    return build({
        "plain": kernel(), "small": kernel(tile=SMALL), "causal": kernel(causal=True),
        "masked": kernel(masked=True, tile=SMALL), "both": kernel(causal=True, masked=True, tile=SMALL),
    })


def run(kernels, name, lengths, seed=0):
    """Runs a kernel on seeded inputs and compares each sequence with the reference; returns the result."""
    rng = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype("int64")
    rows = int(offsets[-1])
    q, k, v = (rng.standard_normal((rows, *s), "float32") for s in ((HEADS, D), (KV_HEADS, D), (KV_HEADS, DV)))
    mask = rng.random(rows) < rng.choice([0.05, 0.7]) if name in ("masked", "both") else None
    given = (q, k, v, offsets) if mask is None else (q, k, v, offsets, mask)
    got = kernels(name, *given, out=((rows, HEADS, DV), "float32"))
    for start, stop in itertools.pairwise(offsets.tolist()):
        heads = [x[None, start:stop].swapaxes(1, 2).astype("float64") for x in (q, k, v)]
        keys = None if mask is None else mask[None, start:stop]
        with np.errstate(invalid="ignore"):
            want = attend(*heads, keys, None, None, scale=0.25, causal=name in ("causal", "both"), empty_row="zero")
        np.testing.assert_allclose(got[start:stop].swapaxes(0, 1), want[0], rtol=1e-5, atol=1e-5)
    return got


EVEN, ONE_LONG, ONE_LAST = [20] * 9, [3, 400, 0, 7, 1], [1] * 30 + [300]


@pytest.mark.parametrize("lengths", [[], [0], [0, 0, 5], [1], [16, 17, 15], EVEN, ONE_LONG, ONE_LAST], ids=str)
@pytest.mark.parametrize("name", ["plain", "small", "causal", "masked", "both"])
def test_lengths(kernels, name, lengths):
    run(kernels, name, lengths)


@given(lengths=st.lists(st.integers(0, 90), max_size=8), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_any_lengths(kernels, lengths, seed):
    for name in ("small", "causal", "both"):
        run(kernels, name, lengths, seed)


@pytest.mark.parametrize("name", ["plain", "causal", "both"])
def test_bit_identical_at_any_number_of_threads(kernels, name):
    configure = tvm.get_global_func("runtime.config_threadpool")
    results = []
    try:
        for threads in (1, 2):
            configure(1, threads)
            results.append([run(kernels, name, lengths) for lengths in (EVEN, ONE_LONG, ONE_LAST)])
    finally:
        configure(1, 2)
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)


def test_other_sequences_do_not_leak(kernels):
    clean = run(kernels, "plain", [5, 20, 9])
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((34, *s), "float32") for s in ((HEADS, D), (KV_HEADS, D), (KV_HEADS, DV)))
    k[5:25], v[5:25] = np.nan, np.inf
    got = kernels("plain", q, k, v, np.array([0, 5, 25, 34]), out=((34, HEADS, DV), "float32"))
    np.testing.assert_array_equal(got[:5], clean[:5])
    np.testing.assert_array_equal(got[25:], clean[25:])

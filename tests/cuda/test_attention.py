"""Attention kernels on the emulated device against what the op means: element types, masks, causality, biases, sizes, tiles."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any

import emulator
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tgraph as tg
from targets.cuda.kernels.attention import AttentionTile
from tests.cuda.attention_kernels import Attention
from tgraph.ir.errors import CompileError
from tgraph.reference.tolerance import compare

B, S = tg.dims("B S")
SMALL = AttentionTile(warps=2, keys=32)  # many tiles, tails everywhere
ONE = AttentionTile(warps=1, keys=16, stages=1)
DOUBLE = AttentionTile(panels=2)
TABLE: dict[str, dict[str, Any]] = {
    "plain": {},
    "bert": {"head_dim": 64, "value_dim": 64, "masked": "keys"},
    "bf16": {"head_dim": 32, "value_dim": 48, "dtype": "bfloat16", "tile": SMALL},
    "odd": {"head_dim": 5, "value_dim": 3, "tile": SMALL},
    "filled_up": {"head_dim": 24, "value_dim": 40, "tile": SMALL, "whole": False},
    "d128": {"head_dim": 128, "value_dim": 128, "causal": True},
    "grouped": {"group": 3, "causal": True, "shifted": True, "dtype": "bfloat16", "tile": SMALL},
    "double": {"head_dim": 64, "value_dim": 64, "causal": True, "masked": "keys", "tile": DOUBLE},
    "one_stage": {"masked": "keys", "empty_row": "uniform", "value_dim": 19, "tile": ONE},
    "queries_nan": {"masked": "queries", "empty_row": "nan", "tile": SMALL},
    "bias": {"biased": True, "tile": SMALL},
    "everything": {"masked": "heads", "biased": True, "causal": True, "shifted": True, "group": 2, "empty_row": "uniform",
                   "tile": SMALL},
    "computed": {"head_dim": 20, "dtype": "bfloat16", "computed": True, "masked": "keys", "causal": True, "tile": SMALL},
    "f32": {"head_dim": 64, "value_dim": 64, "dtype": "float32", "masked": "keys"},
    "f32_everything": {"head_dim": 20, "value_dim": 7, "dtype": "float32", "masked": "heads", "biased": True, "causal": True,
                       "shifted": True, "group": 2, "empty_row": "nan", "computed": True, "tile": SMALL},
    "f32_bias": {"dtype": "float32", "biased": True, "tile": SMALL},
    "negative": {"scale": -0.3, "tile": SMALL},
    "window": {"left": 9, "causal": True, "shifted": True, "tile": SMALL},
    "window_keys": {"left": 30, "right": 11, "masked": "keys", "empty_row": "uniform", "head_dim": 24, "tile": SMALL},
    "window_after": {"left": 3, "empty_row": "nan", "shifted": True, "group": 2, "dtype": "float32", "tile": SMALL},
    "window_before": {"right": 5, "tile": SMALL},
    "window_everything": {"left": 20, "right": 0, "softcap": 0.8, "masked": "heads", "biased": True, "shifted": True, "group": 2,
                          "dtype": "bfloat16", "tile": SMALL},
    "capped": {"scale": -0.3, "softcap": 0.5, "causal": True, "tile": SMALL},
    "capped_everything": {"softcap": 0.8, "masked": "heads", "biased": True, "causal": True, "shifted": True, "group": 2,
                          "dtype": "bfloat16", "tile": SMALL},
    "f32_capped": {"head_dim": 20, "softcap": 0.7, "dtype": "float32", "masked": "keys", "tile": SMALL},
    "nothing": {"scale": 0.0, "tile": SMALL},
}
TOLERANCE = {np.dtype(np.float16): 2e-3, np.dtype(np.float32): 1e-5}
every = pytest.mark.parametrize("name", TABLE)


@functools.cache
def built(name: str) -> Attention:
    return Attention(**TABLE[name])


def run(name: str, b: int = 2, h: int = 6, sq: int = 17, sk: int = 40, *, offset: int = 0, mask: Any = None,
        tweak: Callable[..., None] | None = None, tolerance: float | None = None) -> np.ndarray:
    """Runs a kernel on seeded inputs and compares with the op's meaning; returns the result."""
    made = built(name)
    q, k, v = made.operands(b, h, sq, sk)
    mask = made.mask(b, h, sq, sk) if mask is None else mask
    bias = np.random.default_rng(sk).standard_normal((h, sq, sk)).astype("f") if made.options.get("biased") else None
    if tweak is not None:
        tweak(q, k, v, bias)
    shift = [np.array([offset])] if made.options.get("shifted") else []
    offset = offset if shift else 0
    got = made(q, k, v, *[x for x in (mask, bias) if x is not None], *shift)
    comparison = compare(got, made.expected(q, k, v, mask, bias, offset), tolerance or TOLERANCE.get(q.dtype, 1.6e-2))
    assert comparison.ok, f"{name}: error {comparison.error:.1e} of {comparison.tolerance:.0e}"
    return got


@every
@pytest.mark.parametrize(("sq", "sk"), [(1, 1), (17, 40), (70, 150), (130, 64)])
def test_lengths(name: str, sq: int, sk: int) -> None:
    run(name, sq=sq, sk=sk)


@every
def test_no_race(name: str) -> None:
    emulator.racecheck(lambda: [run(name, b=2, sq=70, sk=100)])


@pytest.mark.parametrize("name", ["plain", "bert"])
def test_many_blocks_take_the_larger_tile(name: str) -> None:
    run(name, b=19, h=12, sq=70, sk=33)


@pytest.mark.parametrize(("b", "h", "sq", "sk"), [(0, 6, 5, 4), (2, 0, 5, 4), (2, 6, 0, 4), (2, 6, 5, 0)])
@pytest.mark.parametrize("name", ["plain", "bert", "everything", "queries_nan", "f32", "one_stage"])
def test_sizes_of_zero(name: str, b: int, h: int, sq: int, sk: int) -> None:
    assert (run(name, b=b, h=h, sq=sq, sk=sk) == 0).all()


@pytest.mark.parametrize("offset", [-40, -20, -3, 5, 23, 100, -(2**40), 2**40])
@pytest.mark.parametrize("name", ["grouped", "f32_everything", "window", "window_after", "window_everything"])
def test_offsets(name: str, offset: int) -> None:
    run(name, sq=37, sk=60, offset=offset)


def key_masks(b: int, sk: int) -> np.ndarray:
    """Right padding, left padding, holes, one key, none, a gap of tiles, all: one a batch."""
    keys, holes = np.arange(sk), np.random.default_rng(5).random(sk) < 0.5
    kinds = [keys < sk // 3, keys > sk // 2, holes, keys == sk - 1, keys < 0, abs(keys - sk // 2) > sk // 3, keys >= 0]
    return np.array([kinds[row % len(kinds)] for row in range(b)])


@pytest.mark.parametrize("name", ["bert", "double", "one_stage", "computed", "f32", "window_keys"])
@pytest.mark.parametrize("sk", [3, 64, 200])
def test_key_masks(name: str, sk: int) -> None:
    got = run(name, b=7, sq=33, sk=sk, mask=key_masks(7, sk))
    assert (got[4] == 0).all() == (TABLE[name].get("empty_row") != "uniform")


@given(b=st.integers(1, 3), sq=st.integers(1, 70), sk=st.integers(1, 90), offset=st.integers(-80, 80))
@settings(max_examples=12)
def test_any_sizes_and_offsets(b: int, sq: int, sk: int, offset: int) -> None:
    for name in ("everything", "grouped", "computed", "f32_everything"):
        run(name, b=b, sq=sq, sk=sk, offset=offset)


@pytest.mark.parametrize("name", ["bert", "grouped", "queries_nan", "f32", "everything", "one_stage",
                                  "capped_everything", "f32_capped", "window", "window_keys", "window_everything"])
def test_excluded_keys_take_no_part(name: str) -> None:
    """Whatever their keys and values hold; what allowed keys hold goes into the results, NaN and infinities too."""
    def spoil(q: np.ndarray, k: np.ndarray, v: np.ndarray, bias: Any) -> None:
        for j, number in ((10, np.nan), (30, np.inf), (31, -np.inf), (70, np.nan), (89, -np.inf)):
            v[:, :, j, j % v.shape[-1]] = number
        k[0, :, 71, 0], k[1, :, 11, 0] = np.nan, np.inf

    mask = key_masks(5, 90) if built(name).options.get("masked") == "keys" else None
    got = run(name, b=5, sq=70, sk=90, mask=mask, tweak=spoil)
    assert np.isfinite(got.astype("f")).any() and not np.isfinite(got.astype("f")).all()


def test_excluded_scores_do_not_leak() -> None:
    for name in ("bert", "queries_nan", "f32"):
        made, mask = built(name), np.repeat(np.arange(40)[None] < 30, 2, 0)
        mask = np.repeat(mask[:, None], 17, 1) if name == "queries_nan" else mask
        q, k, v = made.operands(2, 6, 17, 40)
        clean = made(q, k, v, mask)
        k[:, :, 30:] = np.nan
        assert np.array_equal(made(q, k, v, mask), clean) and np.isfinite(clean).all(), name


def test_nan_and_infinite_scores_follow_the_op() -> None:
    def nan_query(q: Any, k: Any, v: Any, bias: Any) -> None:
        q[0, 0, 3, 0] = np.nan

    def minus_infinity(q: Any, k: Any, v: Any, bias: Any) -> None:
        bias[:, :, 5:20] = bias[2] = -np.inf

    def plus_infinity(q: Any, k: Any, v: Any, bias: Any) -> None:
        bias[4, 9] = np.inf

    for name in ("plain", "f32_bias"):
        assert np.isnan(run(name, tweak=nan_query)[0, 0, 3]).all()
    for name in ("bias", "f32_bias"):
        got = run(name, tweak=minus_infinity)
        assert np.isnan(got[:, 2]).all() and np.isfinite(got[:, 3:]).all()
        assert np.isnan(run(name, tweak=plus_infinity)[:, 4, 9]).all()


def test_a_bias_may_be_the_lowest_number() -> None:
    """As models write masks: a row in which every key has it attends them all alike."""
    def lowest(q: Any, k: Any, v: Any, bias: Any) -> None:
        bias[:, :, 30:] = bias[1] = np.finfo(np.float32).min

    for name in ("bias", "f32_bias"):
        assert np.isfinite(run(name, sk=70, tweak=lowest)).all()


def test_large_scores_do_not_overflow() -> None:
    def loud(q: Any, k: Any, v: Any, bias: Any) -> None:
        q *= 100

    for name in ("plain", "f32_bias"):  # scores near 1,000 are themselves good to 1e-4 in f32
        assert np.isfinite(run(name, sq=20, sk=300, tweak=loud, tolerance=5e-3)).all()


RAGGED: dict[str, dict[str, Any]] = {
    "plain": {"tile": SMALL},
    "any_tile": {"head_dim": 64, "value_dim": 64, "masked": "keys"},
    "causal": {"causal": True, "masked": "keys", "group": 2, "dtype": "bfloat16", "empty_row": "uniform", "tile": SMALL},
    "f32": {"causal": True, "dtype": "float32", "whole": False, "tile": SMALL},
    "capped": {"softcap": 0.5, "masked": "keys", "tile": SMALL},
    "window": {"left": 5, "right": 40, "masked": "keys", "tile": SMALL},
}


@functools.cache
def ragged(name: str) -> Attention:
    return Attention(ragged=True, **RAGGED[name])


def run_ragged(name: str, lengths: list[int], heads: int = 2) -> np.ndarray:
    """Runs a kernel on sequences of these lengths and compares each with the op's meaning; returns the result."""
    made, offsets = ragged(name), np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    rows = int(offsets[-1])
    q, k, v = (np.ascontiguousarray(x[0].swapaxes(0, 1)) for x in made.operands(1, heads, rows, rows))
    mask = np.random.default_rng(rows).random(rows) < 0.5 if made.options.get("masked") else None
    got = made(q, k, v, offsets, *([] if mask is None else [mask]))
    want = np.zeros(got.shape)
    for start, stop in itertools.pairwise(offsets):
        one = (x[None, start:stop].swapaxes(1, 2) for x in (q, k, v))
        keys = None if mask is None else mask[None, start:stop]
        want[start:stop] = made.expected(*one, keys, None)[0].swapaxes(0, 1)
    comparison = compare(got, want, TOLERANCE.get(q.dtype, 1.6e-2))
    assert comparison.ok, f"{name} {lengths}: error {comparison.error:.1e}"
    return got


@pytest.mark.parametrize("lengths", [[], [0], [0, 0, 5], [1], [31, 32, 33, 64], [20] * 9, [3, 200, 0, 7, 1], [1] * 40 + [90]],
                         ids=str)
@pytest.mark.parametrize("name", RAGGED)
def test_ragged_lengths(name: str, lengths: list[int]) -> None:
    run_ragged(name, lengths)


def test_ragged_large_tiles_and_races() -> None:
    run_ragged("any_tile", [130, 1, 65, 300], heads=24)
    emulator.racecheck(lambda: [run_ragged("causal", [40, 0, 17]), run_ragged("f32", [40, 0, 17])])


def test_other_sequences_do_not_leak() -> None:
    made = ragged("plain")
    q, k, v = (np.ascontiguousarray(x[0].swapaxes(0, 1)) for x in made.operands(1, 2, 34, 34))
    offsets = np.array([0, 5, 25, 34])
    clean = made(q, k, v, offsets)
    k[5:25], v[5:25] = np.nan, np.inf
    got = made(q, k, v, offsets)
    assert np.array_equal(got[:5], clean[:5]) and np.array_equal(got[25:], clean[25:])


def heads_of(x: tg.Tensor, heads: int) -> tg.Tensor:
    return x.reshape(x.shape[0], x.shape[1], heads, x.shape[2] // heads).transpose(0, 2, 1, 3)


def projected(x: tg.Tensor, mask: tg.Tensor) -> tg.Tensor:
    """A layer's attention: over one projection's q, k and v, back to rows of all heads, and something done to these."""
    q, k, v = (heads_of(part, 3) for part in tg.split(x, sizes=3, axis=-1))
    return tg.gelu(tg.attention(q, k, v, mask).transpose(0, 2, 1, 3).reshape(x.shape[0], x.shape[1], -1)) * 2.0


def turned(q: tg.Tensor, k: tg.Tensor, v: tg.Tensor, cos: tg.Tensor, sin: tg.Tensor) -> tg.Tensor:
    """Grouped heads, and rotary queries and keys."""
    return tg.attention(tg.rotary(q, cos, sin), tg.rotary(k, cos, sin), v, causal=True)


def capped(q: tg.Tensor, k: tg.Tensor, v: tg.Tensor, mask: tg.Tensor) -> tg.Tensor:
    """As Gemma 2 has it: rows of 256, and bounded scores."""
    return tg.attention(q, k, v, mask, causal=True, softcap=0.5)


def packed(x: tg.Tensor, mask: tg.Tensor) -> tg.Tensor:
    """Rows that only the device can count."""
    indices, offsets = tg.unpack(mask)
    rows = tg.gather(x.reshape(-1, 96), indices)
    q, k, v = (part.reshape(rows.shape[0], 2, 16) for part in tg.split(rows * 1.0, sizes=3, axis=-1))
    y = tg.ragged_attention(q, k, v, offsets).reshape(rows.shape[0], 32)
    return tg.pad_rows(y, tg.number_rows(mask))


@pytest.mark.parametrize(("function", "specs"), [
    (projected, {"x": tg.f16[B, S, 144], "mask": tg.bool_[B, S]}),
    (turned, {"q": tg.bf16[B, 4, S, 32], **dict.fromkeys("kv", tg.bf16[B, 2, S, 32]), **dict.fromkeys(("cos", "sin"),
                                                                                                   tg.bf16[S, 16])}),
    (turned, {"q": tg.f32[B, 4, S, 128], **dict.fromkeys("kv", tg.f32[B, 2, S, 128]), **dict.fromkeys(("cos", "sin"),
                                                                                                     tg.f32[S, 64])}),
    (packed, {"x": tg.f16[B, S, 96], "mask": tg.bool_[B, S]}),
    (capped, {"q": tg.bf16[B, 4, S, 256], **dict.fromkeys("kv", tg.bf16[B, 2, S, 256]), "mask": tg.bool_[B, S]}),
], ids=lambda p: getattr(p, "__name__", ""))
@pytest.mark.usefixtures("tight_arena")
def test_graphs(function: Callable[..., Any], specs: dict[str, tg.TensorType]) -> None:
    exe = tg.compile(tg.trace(function, **specs), "cuda", passes="", cache=False)
    assert tg.check(exe, sizes=[{"B": 2, "S": 70}, {"B": 1, "S": 1}, {"B": 3, "S": 16}])


def test_rows_too_long_for_a_kernel_are_taken_apart() -> None:
    rows = tg.f32[B, 2, S, 2048]
    exe = tg.compile(tg.trace(lambda q, k, v: tg.attention(q, k, v, causal=True), q=rows, k=rows, v=rows), "cuda", cache=False)
    assert not any(found.family == "attention" for found in exe.explain())
    assert tg.check(exe, sizes=[{"B": 1, "S": 5}])


def test_errors_name_the_rule() -> None:
    with pytest.raises(CompileError, match="zero, uniform, nan, not 'ones'"):
        Attention(empty_row="ones")
    with pytest.raises(CompileError, match="key_padding describes a mask"):
        Attention(key_padding=True)
    with pytest.raises(CompileError, match=r"rows of 4000 and 4000 float32 do not fit the shared memory"):
        Attention(head_dim=4000, value_dim=4000, dtype="float32")

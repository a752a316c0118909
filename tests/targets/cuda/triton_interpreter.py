"""Triton's kernels in Triton's interpreter, on NumPy arrays: run with TRITON_INTERPRET=1. Prints what is wrong."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import triton.language as tl
from triton.runtime.interpreter import InterpretedFunction

from targets.cuda.triton.device.attention import attention
from targets.cuda.triton.device.linear import linear

NAMES = {"float16": tl.float16, "float32": tl.float32, "int32": tl.int32, "int64": tl.int64, "int8": tl.int8}


class Array:
    """A NumPy array as the interpreter takes tensors."""

    def __init__(self, array: np.ndarray):
        self.array = array

    dtype = property(lambda self: NAMES[str(self.array.dtype)])
    shape = property(lambda self: self.array.shape)

    def data_ptr(self) -> int:
        return int(self.array.ctypes.data)

    def stride(self) -> tuple[int, ...]:
        return tuple(step // self.array.itemsize for step in self.array.strides)

    def storage_offset(self) -> int:
        return 0

    def cpu(self) -> Array:
        return self

    untyped_storage = cpu

    def size(self) -> tuple[int, ...]:
        return self.array.shape

    def new_empty(self, *_: Any, **__: Any) -> Array:
        return Array(self.array)

    def set_(self, storage: Array, *_: Any) -> Array:
        self.array = storage.array
        return self

    def copy_(self, other: Array) -> None:
        if other.array is not self.array:
            self.array[...] = other.array


def attend(q: np.ndarray, k: np.ndarray, v: np.ndarray, keep: np.ndarray | None, bias: np.ndarray | None, ahead: int | None,
           on_device: bool, block_k: int, block_q: int = 32) -> np.ndarray:
    """The kernel on views [B, H, S, D], whose last axis is dense."""
    (batch, heads, queries, dim), keys = q.shape, k.shape[2]
    out = np.full((batch, queries, heads, dim), np.nan, q.dtype).transpose(0, 2, 1, 3)
    distances = [step // x.itemsize for x in (q, k, v, out) for step in x.strides[:3]]
    of_bias = [0, 0, 0] if bias is None else [step // 2 for step in bias.strides[:3]]
    nothing = np.zeros(1, np.int8)
    attention[(-(-queries // block_q) * batch * heads,)](
        *map(Array, (q, k, v, out, nothing if keep is None else keep.view(np.int8), nothing if bias is None else bias,
                     np.array([ahead or 0]))),
        0 if on_device else ahead or 0, math.log2(math.e) / math.sqrt(dim), heads, queries, keys, *distances, keys, *of_bias,
        GROUP=heads // k.shape[1], DIM=dim, BLOCK_Q=block_q, BLOCK_K=block_k, CAUSAL=ahead is not None, MASK=keep is not None,
        BIAS=bias is not None, OFFSET=on_device)
    return out


def expected(q: np.ndarray, k: np.ndarray, v: np.ndarray, keep: np.ndarray | None, bias: np.ndarray | None, ahead: int | None,
             ) -> np.ndarray:
    group, keys = q.shape[1] // k.shape[1], k.shape[2]
    k, v = (np.repeat(x.astype("f8"), group, axis=1) for x in (k, v))
    scores = q.astype("f8") @ k.transpose(0, 1, 3, 2) / math.sqrt(q.shape[3])
    scores = scores if bias is None else scores + bias
    allowed = np.ones(scores.shape, bool) if keep is None else np.broadcast_to(keep[:, None, None, :], scores.shape).copy()
    if ahead is not None:
        allowed &= np.arange(keys) <= np.arange(q.shape[2])[:, None] + ahead
    with np.errstate(invalid="ignore"):
        peak = np.max(np.where(allowed, scores, -np.inf), axis=-1, keepdims=True, initial=-np.inf)
        weights = np.where(allowed, np.exp(scores - peak), 0)
        weights = np.where(allowed.any(-1, keepdims=True), weights / weights.sum(-1, keepdims=True), 0)
    return weights @ v


def attentions() -> Iterator[tuple[str, float]]:
    random = np.random.default_rng(0)
    sizes = ((2, 33, 70, 4, 2), (1, 1, 1, 1, 1), (1, 40, 64, 2, 2), (2, 65, 3, 2, 1), (1, 5, 0, 1, 1))
    for (batch, queries, keys, heads, kv_heads), mask, bias, ahead in itertools.product(
            sizes, (None, "some", "prefix", "none"), (False, True), (None, 0, -7, 30, -100)):
        q = random.standard_normal((batch, queries, heads, 32)).astype("f2").transpose(0, 2, 1, 3)
        packed = random.standard_normal((batch, keys, 2 * kv_heads * 32)).astype("f2")
        k, v = (np.lib.stride_tricks.as_strided(packed[:, :, start:], (batch, kv_heads, keys, 32), (
            packed.strides[0], 64, packed.strides[1], 2)) for start in (0, kv_heads * 32))
        keep = None if mask is None else random.random((batch, keys)) < 0.4 if mask == "some" else np.tile(
            np.arange(keys) < (keys // 2 if mask == "prefix" else 0), (batch, 1))
        added = random.standard_normal((batch, heads, queries, keys)).astype("f2") if bias else None
        found = attend(q, k, v, keep, added, ahead, bias, 16 if bias else 32)
        name = f"{(batch, queries, keys, heads, kv_heads)} {mask} {bias} {ahead}"
        yield name, error(found, expected(q, k, v, keep, added, ahead))
    # a key that is allowed with a score of -inf is not the same as no key
    q, k, v = (random.standard_normal((1, 1, 3, 32)).astype("f2") for _ in range(3))
    added = np.zeros((1, 1, 3, 3), "f2")
    added[0, 0, 0], added[0, 0, 1, :2] = -np.inf, -np.inf
    yield "scores of -inf", error(attend(q, k, v, None, added, None, False, 16), expected(q, k, v, None, added, None))


def products() -> Iterator[tuple[str, float]]:
    random = np.random.default_rng(0)
    for (m, n, k), bias, gelu, residual in itertools.product(
            ((40, 48, 64), (1, 16, 16), (97, 33, 32)), *[(False, True)] * 3):
        x, w = (random.standard_normal((rows, k + 16)).astype("f2")[:, 16:] / 4 for rows in (m, n))
        b, r = random.standard_normal(n).astype("f2"), random.standard_normal((m, n + 3)).astype("f2")[:, :n]
        out = np.full((m, n), np.nan, "f2")
        linear[(-(-m // 16) * -(-n // 32),)](
            *map(Array, (x, w, out, b, r)), m, n, k, *(a.strides[0] // 2 for a in (x, w, out, r)),
            BLOCK_M=16, BLOCK_N=32, BLOCK_K=16, BAND=2, BIAS=bias, GELU=gelu, RESIDUAL=residual)
        wanted = x.astype("f8") @ w.astype("f8").T + (b if bias else 0)
        wanted = wanted / 2 * (1 + np.vectorize(math.erf)(wanted * math.sqrt(0.5))) if gelu else wanted
        yield f"product {(m, n, k)} {bias} {gelu} {residual}", error(out, wanted + (r if residual else 0))


def error(found: np.ndarray, wanted: np.ndarray) -> float:
    """The largest; infinity for a NaN that should not be there, or the other way round."""
    if not np.array_equal(np.isnan(found), np.isnan(wanted)):
        return math.inf
    return float(np.max(np.abs(np.nan_to_num(found.astype("f8")) - np.nan_to_num(wanted)), initial=0))


if __name__ == "__main__":
    assert isinstance(attention, InterpretedFunction), "TRITON_INTERPRET=1 is not set"
    wrong = [(name, size) for name, size in (*attentions(), *products()) if not size <= 4e-3]
    for name, size in wrong:
        print(f"{name}: {size:.1e}")
    sys.exit(bool(wrong))

"""Rotary embeddings in kernels: attention turns q and k while it reads them, and whole vectors are read."""

from __future__ import annotations

import re

import numpy as np
import pytest

import tgraph as tg
from tgraph import nn

B, S = tg.dim("B"), tg.dim("S", max=64)


@pytest.mark.parametrize("interleaved", [False, True])
def test_attention_reads_what_is_turned(interleaved: bool) -> None:
    def function(q, k, v, cos, sin):  # type: ignore[no-untyped-def]
        q, k = (tg.rotary(x, cos, sin, interleaved=interleaved) for x in (q, k))
        return tg.attention(q, k, v, causal=True)

    x, table = tg.f32[B, 2, S, 32], tg.f32[S, 16]
    exe = tg.compile(tg.trace(function, q=x, k=x, v=x, cos=table, sin=table))
    assert [n.op.name for n in exe.kernels.nodes] == ["call"], "one kernel, and no copy of q or k"
    assert tg.check(exe, sizes=[{"B": 2, "S": 40}])


def test_a_layer_adds_no_kernel_but_its_tables() -> None:
    plain, turned = (tg.compile(tg.trace(nn.MultiHeadAttention(64, 2, rotary=rotary), tg.f32[B, S, 64]))
                     for rotary in (None, nn.RotaryPositions(32, max_length=64)))
    assert len(turned.kernels) == len(plain.kernels) + 2, "the rows of cos and sin that this length needs"
    assert tg.check(turned)


def test_half_precision_turns_in_f32_and_rounds_as_it_reads() -> None:
    passes = "fuse-qkv,mixed-precision,cse,dce"
    plain, turned = (tg.compile(tg.trace(nn.MultiHeadAttention(64, 2, rotary=rotary), tg.f32[B, S, 64]), passes=passes)
                     for rotary in (None, nn.RotaryPositions(32, max_length=64)))
    assert len(turned.kernels) == len(plain.kernels) + 2, "its tables: q and k are widened, turned and rounded as they are read"
    assert tg.check(turned)


def test_halves_are_read_in_whole_vectors() -> None:
    """The condition which half an element is in is one for all lanes, so that nothing is read lane by lane."""
    exe = tg.compile(tg.trace(tg.rotary, x=tg.f32[B, 2, S, 64], cos=tg.f32[S, 32], sin=tg.f32[S, 32]), "cpu:x86-64-v3")
    code = exe.source("llvm")
    assert re.search(r"load <\d+ x float>", code) and "insertelement" not in code


def test_two_readers_read_one_copy() -> None:
    def function(x, cos, sin):  # type: ignore[no-untyped-def]
        k = tg.rotary(x, cos, sin)
        return tg.attention(x, k, x), k

    x = tg.f32[B, 2, S, 8]
    exe = tg.compile(tg.trace(function, x=x, cos=tg.f32[S, 4], sin=tg.f32[S, 4]))
    assert len(exe.kernels) == 2 and tg.check(exe)
    assert all(np.isfinite(v).all() for v in exe(np.ones((1, 2, 3, 8), np.float32), *np.ones((2, 3, 4), np.float32)))

"""remove-padding on random graphs of row-wise ops, attention, masks and reads of single positions."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import tgraph as tg
from passes import run_pipeline
from tgraph.ir.builder import Builder
from tgraph.reference import run

B, S = tg.dims("B S")
STEPS = ("linear", "gelu", "add", "layer_norm", "heads", "zero_padding", "where", "attention", "unmasked", "uniform",
         "centre", "first", "position", "per_batch", "split", "softmax_across", "both_masks", "causal", "both_keys", "biased",
         "scaled_heads")


ATTENTIONS = ("attention", "unmasked", "uniform", "both_masks", "causal", "both_keys", "biased", "scaled_heads",
              "window", "capped")


def merged(b: Builder, heads: Any) -> Any:
    """Heads [B, 2, S, 2] beside each other, [B, S, 4]."""
    return b.reshape(b.transpose(heads, perm=(0, 2, 1, 3)), shape=(B, S, 4))


def step(b: Builder, name: str, x: Any, y: Any, masks: list[Any], leaves: dict[str, Any]) -> Any:
    """One more value [B, S, 4], from two others."""
    mask = masks[0]
    if name == "linear":
        return b.linear(x, leaves["w"], leaves["b"])
    if name == "add":
        return b.add(x, y)
    if name == "heads":
        halves = b.transpose(b.reshape(x, shape=(B, S, 2, 2)), perm=(0, 1, 3, 2))
        return b.reshape(b.softmax(halves), shape=(B, S, 4))
    if name == "zero_padding":
        return b.zero_padding(x, mask)
    if name == "where":
        return b.where(b.unsqueeze(mask, axes=(-1,)), x, b.mul(y, 0.5))
    if name in ATTENTIONS:
        q, k = (b.transpose(b.reshape(v, shape=(B, S, 2, 2)), perm=(0, 2, 1, 3)) for v in (x, y))
        wide = b.logical_and(b.unsqueeze(mask, axes=(1, 2)), b.unsqueeze(masks[1], axes=(1, 3)))
        kept = {"unmasked": None, "both_masks": wide, "both_keys": b.logical_and(mask, masks[1])}.get(name, mask)
        if name == "scaled_heads":  # by head, by position, by sequence
            q = b.mul(q, np.array([[[0.5]], [[2.0]]], np.float32))
            q = b.mul(q, b.unsqueeze(b.cast(masks[1], dtype=tg.f32), axes=(1, 3)))
        if name == "biased":
            return merged(b, b.attention(q, k, k, kept, b.range(stop=S, dtype=tg.f32)))
        z = b.attention(q, k, k, kept, empty_row="uniform" if name == "uniform" else "zero", causal=name == "causal",
                        window=(2, 1) if name == "window" else None, softcap=0.5 if name == "capped" else 0.0)
        return merged(b, z)
    if name == "centre":
        return b.sub(x, b.reduce_mean(x, axes=(1,), keepdims=True))
    if name == "first":
        return b.add(y, b.unsqueeze(b.gather(x, np.int64(0), axis=1), axes=(1,)))
    if name == "position":
        return b.mul(x, b.unsqueeze(b.range(stop=S, dtype=tg.f32), axes=(1,)))
    if name == "per_batch":
        return b.add(x, leaves["shift"])
    if name == "split":
        left, right = b.split(b.linear(x, leaves["wide"]), sizes=(4, 2), axis=-1)
        return b.add(left, b.reduce_max(right, axes=(-1,), keepdims=True))
    if name == "softmax_across":
        return b.softmax(x, axis=1)
    return getattr(b, name)(x)


@st.composite
def graphs(draw: st.DrawFn) -> tg.Graph:
    graph = tg.Graph("random")
    b = Builder(graph)
    x = graph.input("x", tg.f32[B, S, 4])
    masks: list[Any] = [graph.input("mask", tg.bool_[B, S]), graph.input("other", tg.bool_[B, S])]
    leaves = {"shift": graph.input("shift", tg.f32[B, 1, 4]), "w": graph.parameter("w", tg.f32[4, 4]),
              "b": graph.parameter("b", tg.f32[4]), "wide": graph.parameter("wide", tg.f32[6, 4])}
    values: list[Any] = [x]
    for name in draw(st.lists(st.sampled_from(STEPS), min_size=2, max_size=12)):
        recent = st.sampled_from(values[-3:])
        used = masks if draw(st.integers(0, 5)) else masks[::-1]
        values.append(step(b, name, draw(recent), draw(recent), used, leaves))
    ends = [b.zero_padding(values[-1], masks[0])]
    if draw(st.booleans()):
        second = b.gather(values[-1], np.int64(1), axis=1)
        ends.append(draw(st.sampled_from((values[-1], second, b.reduce_sum(values[-2], axes=(1,))))))
    graph.set_outputs((f"y{i}", v) for i, v in enumerate(ends))
    return graph


@settings(max_examples=200)
@given(graph=graphs(), seed=st.integers(0, 2**16))
def test_the_results_stay(graph: tg.Graph, seed: int) -> None:
    generator = np.random.default_rng(seed)
    feeds = {"x": generator.standard_normal((3, 4, 4)), "shift": generator.standard_normal((3, 1, 4)),
             "mask": generator.random((3, 4)) < generator.choice([0.2, 0.6, 1.0]),
             "other": generator.random((3, 4)) < 0.6}
    feeds = {i.name: feeds[i.name].astype(i.dtype.numpy) for i in graph.inputs}
    for name, parameter in graph.parameters.items():
        graph.weights.initialize(name, parameter.type, lambda g, shape: g.standard_normal(shape))
    packed = run_pipeline(graph, "cse,dce,remove-padding", verify_each=True)[0]
    expected, found = run(graph, feeds), run(packed, feeds)
    for name, r in expected.items():
        assert np.abs(found[name] - r).max() <= 1e-9 * max(1.0, np.abs(r).max()), name
    assert run_pipeline(packed, "remove-padding")[0] == packed
    assert tg.parse(str(packed)) == packed

"""Variants of norms, softmax, GELU and SiLU: each becomes one op, and its numbers are those of the variant."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tgraph as tg
from passes import optimize
from tgraph.reference import generate_inputs, run

N = 8
B, S = tg.dims("B S")
Variant = Callable[..., Any]


def mean(x: Any) -> Any:
    return tg.reduce_mean(x, axes=-1, keepdims=True)


def total(x: Any) -> Any:
    return tg.reduce_sum(x, axes=-1, keepdims=True)


CENTRES: dict[str, Variant] = {
    "mean": lambda x: x - mean(x),
    "sum over count": lambda x: x - total(x) / float(N),
    "sum times inverse": lambda x: x - (1 / N) * total(x),
    "mean without keepdims": lambda x: x - tg.unsqueeze(tg.reduce_mean(x, axes=-1), axes=-1),
}
SQUARES: dict[str, Variant] = {"square": tg.square, "product": lambda v: v * v, "power": lambda v: v ** 2.0}
VARIANCES: dict[str, Variant] = {
    "of the centred values": lambda x, square: mean(square(x - mean(x))),
    "as a difference": lambda x, square: mean(square(x)) - square(mean(x)),
    "as a difference, not below 0": lambda x, square: tg.maximum(mean(square(x)) - square(mean(x)), 0.0),
}
EPSILONS: dict[str, Variant] = {"after": lambda v: v + 1e-3, "before": lambda v: 1e-3 + v, "absent": lambda v: v}
ROOTS: dict[str, Variant] = {
    "rsqrt": lambda c, v: c * tg.rsqrt(v),
    "rsqrt first": lambda c, v: tg.rsqrt(v) * c,
    "division by sqrt": lambda c, v: c / tg.sqrt(v),
    "times 1 / sqrt": lambda c, v: c * (1.0 / tg.sqrt(v)),
    "times reciprocal of sqrt": lambda c, v: c * tg.reciprocal(tg.sqrt(v)),
    "power of 0.5": lambda c, v: c / v ** 0.5,
    "power of -0.5": lambda c, v: v ** -0.5 * c,
    "times 1 / power of 0.5": lambda c, v: c * (1.0 / v ** 0.5),
}
AFFINES: dict[str, Variant] = {
    "none": lambda y, w, b: y,
    "weight": lambda y, w, b: y * w,
    "weight first": lambda y, w, b: w * y,
    "bias": lambda y, w, b: y + b,
    "both": lambda y, w, b: y * w + b,
    "both, reversed": lambda y, w, b: b + w * y,
}


def check(function: Variant, op: str, pipeline: str, types: dict[str, Any], *, sizes: dict[str, int] | None = None,
          at_most: float = 1e-6) -> tg.Graph:
    """`function` becomes one `op` and nothing else; both graphs agree in the reference."""
    graph = tg.trace(function, **types)
    fused = optimize(graph, pipeline, verify_each=True)
    assert [n.op.name for n in fused.nodes] == [op], str(fused)
    for seed in range(3):
        feeds = generate_inputs(graph, sizes, seed=seed)
        before, after = run(graph, feeds), run(fused, feeds)
        for name in before:
            np.testing.assert_allclose(after[name], before[name], rtol=at_most, atol=at_most)
    return fused


NORM = {"x": tg.f32[B, S, N], "w": tg.f32[N], "b": tg.f32[N]}


@pytest.mark.parametrize("centre", CENTRES)
@pytest.mark.parametrize("variance", VARIANCES)
@pytest.mark.parametrize("square", SQUARES)
def test_layer_norm_from_any_variance(centre: str, variance: str, square: str) -> None:
    def variant(x: Any, w: Any, b: Any) -> Any:
        return CENTRES[centre](x) / tg.sqrt(VARIANCES[variance](x, SQUARES[square]) + 1e-3) * w + b

    check(variant, "layer_norm", "cse,fuse-layer-norm", NORM)


@pytest.mark.parametrize("root", ROOTS)
@pytest.mark.parametrize("epsilon", EPSILONS)
@pytest.mark.parametrize("affine", AFFINES)
def test_layer_norm_from_any_root_and_affine_map(root: str, epsilon: str, affine: str) -> None:
    def variant(x: Any, w: Any, b: Any) -> Any:
        c = x - mean(x)
        return AFFINES[affine](ROOTS[root](c, EPSILONS[epsilon](mean(c * c))), w, b)

    fused = check(variant, "layer_norm", "fuse-layer-norm", NORM)
    assert fused.nodes[0].attrs["epsilon"] == pytest.approx(0 if epsilon == "absent" else 1e-3)


@pytest.mark.parametrize("root", ROOTS)
@pytest.mark.parametrize("square", SQUARES)
@pytest.mark.parametrize("affine", ["none", "weight", "weight first"])
def test_rms_norm_from_any_variant(root: str, square: str, affine: str) -> None:
    def variant(x: Any, w: Any) -> Any:
        return AFFINES[affine](ROOTS[root](x, mean(SQUARES[square](x)) + 1e-3), w, None)

    check(variant, "rms_norm", "fuse-rms-norm", {"x": NORM["x"], "w": NORM["w"]})


@pytest.mark.parametrize("variant", [
    lambda x, w, b: (x - mean(x)) * w * tg.rsqrt(mean(tg.square(x - mean(x))) + 1e-3) + b,
    lambda x, w, b: (x - mean(x)) * (w * tg.rsqrt(mean(tg.square(x - mean(x))) + 1e-3)) + b,
    lambda x, w, b: tg.rms_norm(x - mean(x), w, epsilon=1e-3) + b,
    lambda x, w, b: tg.rms_norm(x - mean(x), epsilon=1e-3) * w + b,
], ids=["weight before the root", "weight times the root", "rms_norm with weight", "rms_norm"])
def test_layer_norm_with_the_weight_elsewhere(variant: Variant) -> None:
    check(variant, "layer_norm", "cse,fuse-layer-norm", NORM)


def test_layer_norm_folded_to_scale_and_shift() -> None:
    def variant(x: Any, w: Any, b: Any) -> Any:
        m = mean(x)
        k = tg.rsqrt(mean(tg.square(x - m)) + 1e-3) * w
        return x * k + (b - m * k)

    check(variant, "layer_norm", "fuse-layer-norm", NORM)


@pytest.mark.parametrize("dtype", [tg.f16, tg.bf16], ids=str)
@pytest.mark.parametrize("norm", ["layer_norm", "rms_norm"])
def test_norms_between_casts(dtype: tg.DType, norm: str) -> None:
    def variant(x: Any, w: Any) -> Any:
        wide = tg.cast(x, dtype=tg.f32)
        c = wide - mean(wide) if norm == "layer_norm" else wide
        return w * tg.cast(c * tg.rsqrt(mean(c ** 2.0) + 1e-3), dtype=dtype)

    graph = tg.trace(variant, x=dtype[B, N], w=dtype[N])
    fused = optimize(graph, f"fuse-{norm.replace('_', '-')}", verify_each=True)
    assert [n.op.name for n in fused.nodes] == [norm], str(fused)
    feeds = generate_inputs(graph)
    before, after = (run(g, feeds, faithful=True)["output"].astype(np.float64) for g in (graph, fused))
    np.testing.assert_allclose(after, before, rtol=2 * float(2.0 ** -(7 if dtype is tg.bf16 else 10)), atol=1e-7)


HALVES: dict[str, Variant] = {
    "x/2 first": lambda x, g: x * 0.5 * (1.0 + g),
    "half in front": lambda x, g: 0.5 * x * (g + 1.0),
    "half last": lambda x, g: x * (1.0 + g) * 0.5,
    "half of the gate": lambda x, g: x * (0.5 * (1.0 + g)),
    "gate first": lambda x, g: (1.0 + g) * (x / 2.0),
    "over two": lambda x, g: x * (1.0 + g) / 2.0,
    "half inside": lambda x, g: x * (0.5 * g + 0.5),
    "multiplied out": lambda x, g: 0.5 * x + 0.5 * x * g,
}
CUBES: dict[str, Variant] = {
    "power": lambda x: 0.044715 * x ** 3.0,
    "products": lambda x: 0.044715 * (x * x * x),
    "products from the right": lambda x: (x * (x * x)) * 0.044715,
    "constant first": lambda x: 0.044715 * x * x * x,
    "square": lambda x: 0.044715 * tg.square(x) * x,
}
SLOPE = math.sqrt(2 / math.pi)


@pytest.mark.parametrize("halves", HALVES)
@pytest.mark.parametrize("by", ["division", "product"])
def test_gelu_by_erf(halves: str, by: str) -> None:
    def variant(x: Any) -> Any:
        return HALVES[halves](x, tg.erf(x / math.sqrt(2) if by == "division" else x * 0.7071067811865475))

    fused = check(variant, "gelu", "cse,fuse-gelu", {"x": tg.f32[B, N]})
    assert fused.nodes[0].attrs["approximate"] == "none"


@pytest.mark.parametrize("halves", HALVES)
@pytest.mark.parametrize("cubes", CUBES)
def test_gelu_by_tanh(halves: str, cubes: str) -> None:
    def variant(x: Any) -> Any:
        return HALVES[halves](x, tg.tanh(SLOPE * (x + CUBES[cubes](x))))

    fused = check(variant, "gelu", "cse,fuse-gelu", {"x": tg.f32[B, N]})
    assert fused.nodes[0].attrs["approximate"] == "tanh"


@pytest.mark.parametrize("variant", [
    lambda x: 0.5 * x * (1.0 + tg.tanh(x * 0.7978845608 * (1.0 + 0.044715 * x * x))),
    lambda x: 0.5 * x * (1.0 + tg.tanh(0.7978845608 * (x * (1.0 + 0.044715 * (x * x))))),
    lambda x: x * tg.sigmoid(2 * SLOPE * (x + 0.044715 * x ** 3.0)),
], ids=["x in front", "x in front, inside", "logistic"])
def test_gelu_by_tanh_in_other_orders(variant: Variant) -> None:
    check(variant, "gelu", "fuse-gelu", {"x": tg.f32[B, N]})


@pytest.mark.parametrize("variant", [
    lambda x: x * tg.sigmoid(1.702 * x),
    lambda x: tg.sigmoid(x * 1.702) * x,
    lambda x: x / (1.0 + tg.exp(-1.702 * x)),
    lambda x: x / (1.0 + tg.exp(-(1.702 * x))),
    lambda x: x * (1.0 / (1.0 + tg.exp(x * -1.702))),
], ids=["sigmoid", "sigmoid first", "division", "division, negated", "reciprocal"])
def test_quick_gelu(variant: Variant) -> None:
    check(variant, "quick_gelu", "fuse-gelu", {"x": tg.f32[B, N]})


@pytest.mark.parametrize("variant", [
    lambda x: x / (1.0 + tg.exp(-x)),
    lambda x: x * (1.0 / (1.0 + tg.exp(-x))),
    lambda x: x * tg.reciprocal(1.0 + tg.exp(-1.0 * x)),
    lambda x: tg.sigmoid(x) * x,
    lambda x: x * (0.5 * (1.0 + tg.tanh(0.5 * x))),
], ids=["division", "times 1 /", "times reciprocal", "sigmoid", "tanh"])
def test_silu(variant: Variant) -> None:
    check(variant, "silu", "fuse-silu", {"x": tg.f32[B, N]})


def largest(x: Any, axis: int = -1) -> Any:
    return tg.reduce_max(x, axes=axis, keepdims=True)


@pytest.mark.parametrize("axis", [-1, 1])
@pytest.mark.parametrize("shifted", [True, False])
@pytest.mark.parametrize("division", ["division", "reciprocal", "times 1 /"])
def test_softmax(axis: int, shifted: bool, division: str) -> None:
    def variant(x: Any) -> Any:
        e = tg.exp(x - largest(x, axis) if shifted else x)
        s = tg.reduce_sum(e, axes=axis, keepdims=True)
        return e / s if division == "division" else e * (tg.reciprocal(s) if division == "reciprocal" else 1.0 / s)

    fused = check(variant, "softmax", "fuse-softmax", {"x": tg.f32[B, S, N]})
    assert fused.nodes[0].attrs["axis"] == (-1 if axis == -1 else -2)


@pytest.mark.parametrize("variant", [
    lambda x: x - largest(x) - tg.log(total(tg.exp(x - largest(x)))),
    lambda x: x - (tg.log(total(tg.exp(x - largest(x)))) + largest(x)),
    lambda x: x - tg.log(total(tg.exp(x))),
    lambda x: tg.log(tg.exp(x) / total(tg.exp(x))),
], ids=["shifted", "log-sum-exp", "without maximum", "logarithm"])
def test_log_softmax(variant: Variant) -> None:
    check(variant, "log_softmax", "cse,fuse-softmax", {"x": tg.f32[B, S]})

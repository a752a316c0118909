"""Uses of the functions of the language, and what NumPy says that they mean, for any sizes of B, S and T."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import tgraph as tg
from tests.ops.sample import Sample, integers, uniform, values

B, S, T = tg.dims("B S T")
NAN, INF = np.nan, np.inf
X, Y = {"x": tg.f32[B, S, 4]}, {"x": tg.f32[B, S, 4], "y": tg.f32[B, S, 4]}
FULL = {"x": tg.f32[B, S + 1, 4]}  # axes that are not empty: what pads an empty one but with a constant?
I = {"x": tg.i32[B, S, 4]}  # noqa: E741
M = {"x": tg.bool_[B, S, 4]}


def case(name: str, variant: str, build: Any, specs: dict[str, tg.TensorType], expect: Any, make: Any = None) -> Sample:
    feeds = {k: values(v) if isinstance(v, list) else v for k, v in (make or {}).items()}
    return Sample(name, variant, build, specs, expect, feeds)


def total(x: np.ndarray, axis: Any = None, **named: Any) -> Any:
    """NumPy's logsumexp."""
    return np.logaddexp.reduce(x, axis=axis, **named) if x.size else np.full(np.sum(x, axis=axis, **named).shape, -INF)


def reductions() -> list[Sample]:
    special = [NAN, 1.0, -INF, INF, 0.0, -0.0, 2.0, NAN]
    return [
        case("sum", "dim", lambda x: x.sum(dim=-1, keepdim=True), X, lambda x: np.sum(x, -1, keepdims=True)),
        case("sum", "of_bools", lambda x: tg.sum(x, 1), M, lambda x: np.sum(x, 1)),
        case("mean", "dims", lambda x: x.mean(dim=(0, -1)), X, lambda x: np.mean(x, (0, -1))),
        case("prod", "all", lambda x: x.prod(), X, np.prod),
        case("max", "axis", lambda x: x.max(axis=-1), X, lambda x: np.max(x, -1)),
        case("min", "kept", lambda x: tg.min(x, -1, keepdims=True), X, lambda x: np.min(x, -1, keepdims=True)),
        case("amax", "dim", lambda x: x.amax(dim=2), X, lambda x: np.max(x, 2)),
        case("amin", "dim", lambda x: x.amin(dim=2), X, lambda x: np.min(x, 2)),
        case("any", "last", lambda x: x.any(-1), M, lambda x: np.any(x, -1)),
        case("any", "of_numbers", lambda x: tg.any(x, dim=1, keepdim=True), X, lambda x: np.any(x, 1, keepdims=True)),
        case("any", "everywhere", lambda x: x.any(), M, np.any),
        case("any", "nan", lambda x: x.any(-1), {"x": tg.f32[3]}, lambda x: np.any(x, -1), {"x": [0.0, NAN, 0.0]}),
        case("all", "last", lambda x: x.all(-1), M, lambda x: np.all(x, -1)),
        case("all", "middle", lambda x: tg.all(x, axis=1), I, lambda x: np.all(x, 1)),
        case("all", "everywhere", lambda x: (x > -9.0).all(), X, lambda x: np.all(x > -9)),
        case("argmax", "flat", lambda x: x.argmax(), {"x": tg.f32[3, S + 1]}, np.argmax),
        case("argmax", "dim", lambda x: x.argmax(dim=-1, keepdim=True), X, lambda x: np.argmax(x, -1, keepdims=True)),
        case("argmin", "last", lambda x: x.argmin(-1), X, lambda x: np.argmin(x, -1)),
        case("argmin", "flat_kept", lambda x: tg.argmin(x, keepdims=True), {"x": tg.f32[3, S + 1]},
             lambda x: np.argmin(x, keepdims=True)),
        case("argmin", "nan", lambda x: x.argmin(-1), {"x": tg.f32[2, 4]}, lambda x: np.argmin(x, -1), {"x": special}),
        case("argmin", "ends", lambda x: x.argmin(-1), {"x": tg.i8[4]}, lambda x: np.argmin(x, -1), {"x": [127, -128, 0, -128]}),
        case("argmin", "u8", lambda x: x.argmin(-1), {"x": tg.u8[4]}, lambda x: np.argmin(x, -1), {"x": [255, 1, 0, 255]}),
        case("cumsum", "dim", lambda x: x.cumsum(dim=1), X, lambda x: np.cumsum(x, 1)),
        case("cumsum", "vector", lambda x: tg.cumsum(x), {"x": tg.f32[S]}, np.cumsum),
        case("var", "default", lambda x: x.var(-1), X, lambda x: np.var(x, -1)),
        case("var", "correction", lambda x: tg.var(x, dim=-1, correction=1, keepdim=True), X,
             lambda x: np.var(x, -1, ddof=1, keepdims=True)),
        case("var", "unbiased", lambda x: x.var((1, 2), unbiased=True), {"x": tg.f32[B, S + 1, 4]},
             lambda x: np.var(x, (1, 2), ddof=1)),
        case("var", "symbolic", lambda x: x.var(1, ddof=1), {"x": tg.f32[B, S, 4]}, lambda x: np.var(x, 1, ddof=1)),
        case("var", "of_one", lambda x: x.var(-1, correction=1), {"x": tg.f32[B, 1]}, lambda x: np.var(x, -1, ddof=1)),
        case("std", "all", lambda x: x.std(), X, np.std),
        case("std", "correction", lambda x: x.std(-1, correction=1), X, lambda x: np.std(x, -1, ddof=1)),
        case("std", "f16", lambda x: x.std(-1), {"x": tg.f16[B, 40]}, lambda x: np.std(x, -1), {"x": uniform(-900, 900)}),
        case("norm", "all", lambda x: x.norm(), X, lambda x: np.sqrt(np.sum(x * x))),
        case("norm", "rows", lambda x: tg.norm(x, 2, -1, True), X, lambda x: np.linalg.norm(x, 2, -1, True)),
        case("norm", "frobenius", lambda x: x.norm("fro", (1, 2)), X, lambda x: np.sqrt(np.sum(x * x, (1, 2)))),
        case("norm", "one", lambda x: x.norm(p=1, dim=-1), X, lambda x: np.sum(np.abs(x), -1)),
        case("norm", "zero", lambda x: x.norm(0, -1), {"x": tg.f32[2, 3]}, lambda x: np.sum(x != 0, -1), {"x": [0.0, 2.0, NAN]}),
        case("norm", "largest", lambda x: x.norm(INF, 1), X, lambda x: np.max(np.abs(x), 1, initial=0)),
        case("norm", "smallest", lambda x: x.norm(-INF, -1), X, lambda x: np.min(np.abs(x), -1)),
        case("norm", "three", lambda x: x.norm(3, axis=-1), X, lambda x: np.sum(np.abs(x) ** 3, -1) ** (1 / 3)),
        case("norm", "f16", lambda x: x.norm(2, -1), {"x": tg.f16[B, 8]}, lambda x: np.sqrt(np.sum(x * x, -1)),
             {"x": uniform(300, 900)}),
        case("logsumexp", "last", lambda x: x.logsumexp(-1), X, lambda x: total(x, -1)),
        case("logsumexp", "middle", lambda x: tg.logsumexp(x, dim=1, keepdim=True), X, lambda x: total(x, 1, keepdims=True)),
        case("logsumexp", "large", lambda x: x.logsumexp(-1), {"x": tg.f32[3]}, lambda x: total(x, -1), {"x": [1e4, 1e4, -1e4]}),
        case("logsumexp", "special", lambda x: x.logsumexp(-1), {"x": tg.f32[4, 2]}, lambda x: total(x, -1),
             {"x": [-INF, -INF, INF, 1.0, NAN, 1.0, -INF, 3.0]}),
        case("softmax", "position", lambda x: tg.softmax(x, -1) + x.softmax(dim=-1), X,
             lambda x: 2 * np.exp(x) / np.sum(np.exp(x), -1, keepdims=True)),
        case("log_softmax", "method", lambda x: x.log_softmax(-1), X, lambda x: x - np.log(np.sum(np.exp(x), -1, keepdims=True))),
    ]


def pointwise() -> list[Sample]:
    tiny = [1e-12, -1e-7, 1e-4, 0.3, 5.0, 80.0, -0.4, -0.99, 0.0, -0.0, 1e30, INF, NAN]
    return [
        case("log1p", "small", lambda x: x.log1p(), {"x": tg.f32[15]}, np.log1p, {"x": [*tiny, -1.0, -2.0]}),
        case("log1p", "f64", lambda x: tg.log1p(x), {"x": tg.f64[15]}, np.log1p, {"x": [*tiny, -1.0, -2.0]}),
        case("expm1", "small", lambda x: x.expm1(), {"x": tg.f32[16]}, np.expm1, {"x": [*tiny, -INF, -50.0, -1.0]}),
        case("expm1", "f64", lambda x: tg.expm1(x), {"x": tg.f64[16]}, np.expm1, {"x": [*tiny, -INF, -50.0, -1.0]}),
        case("masked_fill", "number", lambda x, m: x.masked_fill(m, -1e9), {"x": tg.f32[B, S, 4], "m": tg.bool_[S, 4]},
             lambda x, m: np.where(m, -1e9, x)),
        case("masked_fill", "not_mask", lambda x, m: tg.masked_fill(x, mask=~m, value=-INF), {**X, "m": tg.bool_[B, 1, 4]},
             lambda x, m: np.where(m, x, -INF)),
        case("masked_fill", "integers", lambda x, m: x.masked_fill(m, 7), {**I, "m": tg.bool_[B, S, 4]},
             lambda x, m: np.where(m, 7, x)),
        case("clip", "positions", lambda x: tg.clip(x, 0, 1), X, lambda x: np.clip(x, 0, 1)),
        case("clamp", "names", lambda x: x.clamp(min=-0.5), X, lambda x: np.clip(x, -0.5, None)),
        case("clip", "tensors", lambda x, y: x.clip(-0.5, y), Y, lambda x, y: np.minimum(np.maximum(x, -0.5), y)),
        case("exp", "methods", lambda x: x.exp().log().tanh().abs().sqrt().sigmoid(), X,
             lambda x: 1 / (1 + np.exp(-np.sqrt(np.abs(np.tanh(x)))))),
    ]


def shapes() -> list[Sample]:
    return [
        case("permute", "axes", lambda x: x.permute(0, 2, 1), X, lambda x: np.transpose(x, (0, 2, 1))),
        case("permute", "tuple", lambda x: tg.permute(x, (-1, 0, 1)), X,
             lambda x: np.transpose(x, (2, 0, 1))),
        case("transpose", "two", lambda x: x.transpose(1, 2), X, lambda x: np.swapaxes(x, 1, 2)),
        case("transpose", "names", lambda x: tg.transpose(x, dim0=-2, dim1=-1), X, lambda x: np.swapaxes(x, 1, 2)),
        case("transpose", "order", lambda x: x.transpose(2, 0, 1), X, lambda x: np.transpose(x, (2, 0, 1))),
        case("transpose", "axes", lambda x: tg.transpose(x, axes=(2, 0, 1)), X, lambda x: np.transpose(x, (2, 0, 1))),
        case("transpose", "matrix", lambda x: x.transpose(1, 0), {"x": tg.f32[B, S]}, np.transpose),
        case("swapaxes", "last", lambda x: x.swapaxes(-1, -2), X, lambda x: np.swapaxes(x, 1, 2)),
        case("moveaxis", "one", lambda x: tg.moveaxis(x, -1, 0), X, lambda x: np.moveaxis(x, -1, 0)),
        case("movedim", "two", lambda x: x.movedim((0, 1), (2, 0)), X, lambda x: np.moveaxis(x, (0, 1), (2, 0))),
        case("reshape", "sizes", lambda x: tg.reshape(x, -1, 2), X, lambda x: x.reshape(-1, 2)),
        case("view", "method", lambda x: x.view(x.size(0), x.size(1), 2, 2), X, lambda x: x.reshape(*x.shape[:2], 2, 2)),
        case("squeeze", "all", lambda x: x.squeeze(), {"x": tg.f32[1, B + 2, 1, S + 2]}, lambda x: x[0, :, 0]),
        case("squeeze", "dim", lambda x: x.squeeze(dim=2), {"x": tg.f32[1, B, 1, S]}, lambda x: x[:, :, 0]),
        case("squeeze", "nothing", lambda x: x.squeeze() + 0.0, {"x": tg.f32[B + 2, S + 2]}, lambda x: x),
        case("unsqueeze", "last", lambda x: x.unsqueeze(-1), X, lambda x: x[..., None]),
        case("expand_dims", "first", lambda x: tg.expand_dims(x, axis=0), X, lambda x: x[None]),
        case("flatten", "all", lambda x: x.flatten(), X, np.ravel),
        case("flatten", "last", lambda x: x.flatten(1), X, lambda x: x.reshape(len(x), 4 * x.shape[1])),
        case("flatten", "names", lambda x: tg.flatten(x, start_dim=0, end_dim=1), X, lambda x: x.reshape(-1, 4)),
        case("flatten", "number", lambda x: x.sum().flatten(), X, lambda x: np.array([x.sum()])),
        case("ravel", "all", lambda x: x.ravel(), X, np.ravel),
        case("unflatten", "heads", lambda x: x.unflatten(-1, (2, -1)), X, lambda x: x.reshape(*x.shape[:2], 2, 2)),
        case("unflatten", "names", lambda x: tg.unflatten(x, dim=-1, sizes=(4, 1)), X, lambda x: x[..., None]),
        case("expand", "method", lambda x: x.expand(3, -1, -1), {"x": tg.f32[1, S, 4]}, lambda x: np.repeat(x, 3, 0)),
        case("expand", "new_axis", lambda x: tg.expand(x, (2, -1, -1)), {"x": tg.f32[S, 4]}, lambda x: np.stack([x, x])),
        case("broadcast_to", "shape", lambda x: tg.broadcast_to(x, (3, x.shape[0])), {"x": tg.f32[S]},
             lambda x: np.stack([x] * 3)),
        case("tile", "matrix", lambda x: tg.tile(x, (2, 3)), {"x": tg.f32[B, S]}, lambda x: np.tile(x, (2, 3))),
        case("tile", "fewer", lambda x: x.tile(2), X, lambda x: np.tile(x, 2)),
        case("tile", "more", lambda x: x.tile((2, 1, 3)), {"x": tg.f32[S]}, lambda x: np.tile(x, (2, 1, 3))),
        case("tile", "none", lambda x: x.tile((0, 1)), {"x": tg.f32[B, S]}, lambda x: np.tile(x, (0, 1))),
        case("repeat", "torch", lambda x: x.repeat(2, 1, 3), X, lambda x: np.tile(x, (2, 1, 3))),
        case("repeat", "numpy", lambda x: x.repeat(2, axis=1), X, lambda x: np.repeat(x, 2, 1)),
        case("repeat_interleave", "heads", lambda x: x.repeat_interleave(3, dim=1), X, lambda x: np.repeat(x, 3, 1)),
        case("repeat_interleave", "flat", lambda x: tg.repeat_interleave(x, 2), X, lambda x: np.repeat(x, 2)),
        case("flip", "one", lambda x: x.flip(1), X, lambda x: np.flip(x, 1)),
        case("flip", "all", lambda x: tg.flip(x), X, np.flip),
        case("flip", "dims", lambda x: tg.flip(x, dims=(0, -1)), X, lambda x: np.flip(x, (0, -1))),
        case("roll", "known", lambda x: x.roll(1, -1), X, lambda x: np.roll(x, 1, -1)),
        case("roll", "symbolic", lambda x: tg.roll(x, shifts=-2, dims=1), X, lambda x: np.roll(x, -2, 1)),
        case("roll", "far", lambda x: tg.roll(x, 7, axis=1), X, lambda x: np.roll(x, 7, 1)),
        case("roll", "several", lambda x: tg.roll(x, (1, -5), (0, 2)), X, lambda x: np.roll(x, (1, -5), (0, 2))),
        case("roll", "flat", lambda x: tg.roll(x, 3), X, lambda x: np.roll(x, 3)),
        case("roll", "by_a_size", lambda x: tg.roll(x, x.shape[0], 1), X, lambda x: np.roll(x, len(x), 1)),
    ]


def pieces() -> list[Sample]:
    return [
        case("concat", "list", lambda x, y: tg.concat([x, y], axis=1), Y, lambda x, y: np.concatenate([x, y], 1)),
        case("cat", "dim", lambda x, y: tg.cat((x, y), dim=-1), Y, lambda x, y: np.concatenate([x, y], -1)),
        case("cat", "position", lambda x, y: tg.cat([x, y, x], 2), Y, lambda x, y: np.concatenate([x, y, x], 2)),
        case("concatenate", "default", lambda x, y: tg.concatenate([x, y]), Y, lambda x, y: np.concatenate([x, y])),
        case("stack", "default", lambda x, y: tg.stack([x, y]), Y, lambda x, y: np.stack([x, y])),
        case("stack", "last", lambda x, y: tg.stack((x, y), dim=-1), Y, lambda x, y: np.stack([x, y], -1)),
        case("stack", "position", lambda x, y: tg.stack([x, y], 1), Y, lambda x, y: np.stack([x, y], 1)),
        case("split", "parts", lambda x: tg.split(x, sizes=2, dim=-1), X, lambda x: (x[..., :2], x[..., 2:])),
        case("split", "sizes", lambda x: x.split([1, 3], -1), X, lambda x: (x[..., :1], x[..., 1:])),
        case("chunk", "last", lambda x: x.chunk(2, dim=-1), X, lambda x: (x[..., :2], x[..., 2:])),
        case("chunk", "uneven", lambda x: tg.chunk(x, 3, -1), X, lambda x: (x[..., :2], x[..., 2:])),
        case("chunk", "first", lambda x: x.chunk(3), {"x": tg.f32[7, B]}, lambda x: (x[:3], x[3:6], x[6:])),
        case("unbind", "qkv", lambda x: x.unbind(2), {"x": tg.f32[B, S, 3, 4]}, lambda x: tuple(x[:, :, i] for i in range(3))),
        case("tril", "default", lambda x: tg.tril(x), X, np.tril),
        case("tril", "diagonal", lambda x: x.tril(diagonal=-1), {"x": tg.i32[S, T]}, lambda x: np.tril(x, -1)),
        case("tril", "nan", lambda x: x.tril(), {"x": tg.f32[3, 3]}, np.tril, {"x": [1.0, NAN, INF]}),
        case("tril", "mask", lambda x: tg.ones(x.shape[1], x.shape[1], dtype=tg.bool_).tril(), X,
             lambda x: np.tril(np.ones((x.shape[1],) * 2, bool))),
        case("triu", "above", lambda x: tg.triu(x, 1), X, lambda x: np.triu(x, 1)),
        case("triu", "by_a_size", lambda x: x.triu(x.shape[1] - x.shape[0]), {"x": tg.f32[S, T]},
             lambda x: np.triu(x, x.shape[1] - x.shape[0])),
        case("pad", "pairs", lambda x: tg.pad(x, ((0, 0), (1, 2), (0, 1)), constant_values=2.0), X,
             lambda x: np.pad(x, ((0, 0), (1, 2), (0, 1)), constant_values=2)),
        case("pad", "torch", lambda x: tg.pad(x, (0, 1, 2, 0), value=-1.0), X,
             lambda x: np.pad(x, ((0, 0), (2, 0), (0, 1)), constant_values=-1)),
        case("pad", "torch_last", lambda x: tg.pad(x, pad=(1, 1)), X, lambda x: np.pad(x, ((0, 0), (0, 0), (1, 1)))),
        case("pad", "all", lambda x: tg.pad(x, 1), X, lambda x: np.pad(x, 1)),
        *[case("pad", f"{mode}_{n}", lambda x, m=mode, n=n: tg.pad(x, ((0, 0), (0, 1), (n, 2)), m), FULL,
               lambda x, m=mode, n=n: np.pad(x, ((0, 0), (0, 1), (n, 2)), m))
          for mode in ("edge", "reflect", "symmetric", "wrap") for n in (1, 9)],
        case("pad", "circular", lambda x: tg.pad(x, pad=(2, 1), mode="circular"), {"x": tg.f32[B, S + 1]},
             lambda x: np.pad(x, ((0, 0), (2, 1)), "wrap")),
        case("pad", "replicate", lambda x: tg.pad(x, pad=(2, 1), mode="replicate"), {"x": tg.f32[B, S + 1]},
             lambda x: np.pad(x, ((0, 0), (2, 1)), "edge")),
        case("pad", "vector", lambda x: tg.pad(x, (1, 2)), {"x": tg.f32[S]}, lambda x: np.pad(x, (1, 2))),
        case("gather", "rows", lambda x, i: tg.gather(x, i, 2), {**X, "i": tg.i64[T]}, lambda x, i: x[:, :, i],
             {"i": integers(-4, 4)}),
        case("one_hot", "classes", lambda i: tg.one_hot(i, 5) + tg.one_hot(i, num_classes=5), {"i": tg.i64[B, S]},
             lambda i: 2 * np.eye(5)[i], {"i": integers(0, 5)}),
    ]


def made() -> list[Sample]:
    def of(name: str, variant: str, build: Any, expect: Any) -> Sample:
        return case(name, variant, build, X, expect)

    return [
        of("zeros", "sizes", lambda x: tg.zeros(x.shape[0], 3), lambda x: np.zeros((len(x), 3))),
        of("zeros", "tuple", lambda x: tg.zeros((x.shape[1],), dtype=tg.i64), lambda x: np.zeros(x.shape[1], np.int64)),
        of("ones", "bools", lambda x: tg.ones(x.shape, dtype=tg.bool_), lambda x: np.ones(x.shape, bool)),
        of("full", "positions", lambda x: tg.full((x.shape[0], 2), 0.5), lambda x: np.full((len(x), 2), 0.5)),
        of("zeros_like", "same", lambda x: tg.zeros_like(x), np.zeros_like),
        of("ones_like", "integers", lambda x: tg.ones_like(x, dtype=tg.i32), lambda x: np.ones(x.shape, np.int32)),
        of("full_like", "value", lambda x: tg.full_like(x, -2), lambda x: np.full_like(x, -2)),
        of("range", "stop", lambda x: tg.range(8) + tg.range(x.shape[2] * 2), lambda x: 2 * np.arange(8)),
        of("range", "start", lambda x: tg.range(2, 8, dtype=tg.f32), lambda x: np.arange(2, 8)),
        of("arange", "size", lambda x: tg.arange(x.shape[1]), lambda x: np.arange(x.shape[1])),
        of("arange", "start", lambda x: tg.arange(-1, x.shape[1], dtype=tg.f32), lambda x: np.arange(-1, x.shape[1])),
        of("arange", "step", lambda x: tg.arange(1, 10, 3), lambda x: np.arange(1, 10, 3)),
        of("arange", "symbolic_step", lambda x: tg.arange(0, x.shape[1], 2), lambda x: np.arange(0, x.shape[1], 2)),
        of("arange", "down", lambda x: tg.arange(7, -2, -2), lambda x: np.arange(7, -2, -2)),
        of("arange", "down_a_size", lambda x: tg.arange(x.shape[1] - 1, -1, -1), lambda x: np.arange(x.shape[1])[::-1]),
        of("arange", "floats", lambda x: tg.arange(0, 1, 0.1), lambda x: np.arange(0, 1, 0.1)),
        of("arange", "float_stop", lambda x: tg.arange(4.0), lambda x: np.arange(4.0)),
        of("arange", "nothing", lambda x: tg.arange(5, 1, 2), lambda x: np.arange(5, 1, 2)),
        of("arange", "names", lambda x: tg.arange(start=2, end=12, step=4), lambda x: np.arange(2, 12, 4)),
        of("eye", "square", lambda x: tg.eye(x.shape[1]), lambda x: np.eye(x.shape[1])),
        of("eye", "wide", lambda x: tg.eye(2, 3, dtype=tg.i32), lambda x: np.eye(2, 3)),
    ]


def products() -> list[Sample]:
    p, q = tg.f32[B, S, 4], tg.f32[4]
    return [
        case("matmul", "vector_right", lambda x, y: x @ y, {"x": p, "y": q}, lambda x, y: x @ y),
        case("matmul", "vector_left", lambda x, y: x @ y, {"x": tg.f32[S], "y": p}, lambda x, y: x @ y),
        case("matmul", "vectors", lambda x, y: tg.matmul(x, y) + x.dot(y), {"x": tg.f32[S], "y": tg.f32[S]},
             lambda x, y: 2 * (x @ y)),
        case("matmul", "array", lambda x: x @ np.arange(4, dtype=np.float32), {"x": p}, lambda x: x @ np.arange(4)),
        case("matmul", "array_left", lambda x: np.ones(4, np.float32) @ x, {"x": tg.f32[4, S]}, lambda x: np.ones(4) @ x),
        case("dot", "array", lambda x: x.dot(np.arange(4, dtype=np.float32)), {"x": q}, lambda x: x @ np.arange(4)),
        case("bmm", "method", lambda x, y: x.bmm(y.transpose(1, 2)), Y, lambda x, y: x @ np.swapaxes(y, 1, 2)),
        case("outer", "vectors", lambda x, y: tg.outer(x, y), {"x": tg.f32[S], "y": tg.f32[T]}, np.outer),
        case("einsum", "first", lambda x, y: tg.einsum("bij,bkj->bik", x, y), Y, lambda x, y: np.einsum("bij,bkj->bik", x, y)),
        case("einsum", "list", lambda x, y: tg.einsum("bij,bkj->bik", [x, y]), Y, lambda x, y: np.einsum("bij,bkj->bik", x, y)),
        case("einsum", "dots", lambda x, y: tg.einsum("...ij,...kj->...ik", x, y), Y,
             lambda x, y: np.einsum("bij,bkj->bik", x, y)),
        case("einsum", "dots_implied", lambda x, y: tg.einsum("...i,i", x, y), {"x": p, "y": q}, lambda x, y: x @ y),
        case("einsum", "dots_broadcast", lambda x, y: tg.einsum("...i,...i->...", x, y), {"x": p, "y": tg.f32[1, 4]},
             lambda x, y: x @ y[0]),
        case("einsum", "dots_elsewhere", lambda x, y: tg.einsum("i...,j...->...ij", x, y),
             {"x": tg.f32[B, S, T], "y": tg.f32[4, S, T]}, lambda x, y: np.einsum("i...,j...->...ij", x, y)),
        case("einsum", "dots_summed", lambda x: tg.einsum("...i->i", x), {"x": p}, lambda x: x.sum((0, 1))),
        case("shape", "scale", lambda x: x * x.shape[1] ** -0.5 + x.shape[2] ** -0.5, {"x": tg.f32[B, S + 1, 4]},
             lambda x: x / np.sqrt(x.shape[1]) + 0.5),
    ]


def lookups() -> list[Sample]:
    few = integers(0, 3)
    return [
        case("sort", "values", lambda x: x.sort(-1).values, X, lambda x: np.sort(x, -1)),
        case("sort", "indices", lambda x: tg.sort(x, dim=1, descending=True)[1], {"x": tg.i32[B, S]},
             lambda x: x.shape[1] - 1 - np.argsort(x[:, ::-1], 1, kind="stable")[:, ::-1], {"x": few}),
        case("sort", "stable", lambda x: tg.sort(x, stable=True).indices, {"x": tg.i32[B, S]},
             lambda x: np.argsort(x, kind="stable"), {"x": few}),
        case("argsort", "method", lambda x: x.argsort(1), X, lambda x: np.argsort(x, 1, kind="stable")),
        case("topk", "method", lambda x: tuple(x.topk(2)), X,
             lambda x: (-np.sort(-x, -1)[..., :2], np.argsort(-x, -1, kind="stable")[..., :2])),
        case("topk", "names", lambda x: x.topk(3, dim=-1, largest=False, sorted=True).indices, X,
             lambda x: np.argsort(x, -1, kind="stable")[..., :3]),
        case("take_along_axis", "torch", lambda x, i: tg.take_along_axis(x, index=i, dim=2),
             {**X, "i": tg.i64[B, S, 2]}, lambda x, i: np.take_along_axis(x, i, 2), {"i": integers(-4, 4)}),
        case("take_along_axis", "broadcast", lambda x, i: x.take_along_axis(i, -1), {**X, "i": tg.i64[1, 1, 3]},
             lambda x, i: x[..., i[0, 0]], {"i": integers(-4, 4)}),
        case("scatter", "torch_order", lambda x, i, y: x.scatter(-1, i, y), {**X, "i": tg.i64[B, S, 1], "y": tg.f32[B, S, 1]},
             lambda x, i, y: np.where(np.arange(4) == i, y, x), {"i": integers(0, 4)}),
        case("scatter", "number", lambda x, i: tg.scatter(x, 2, i, 1.5), {**X, "i": tg.i64[B, S, 1]},
             lambda x, i: np.where(np.arange(4) == i, 1.5, x), {"i": integers(0, 4)}),
        case("scatter_add", "names", lambda x, i, y: tg.scatter_add(x, dim=-1, index=i, src=y),
             {**X, "i": tg.i64[B, S, 2], "y": tg.f32[B, S, 2]},
             lambda x, i, y: x + np.sum((np.arange(4) == i[..., None]) * y[..., None], -2), {"i": integers(0, 4)}),
    ]


def convolve(x: np.ndarray, w: np.ndarray, b: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
             groups: int = 1) -> Any:
    """Cross-correlation by its definition, window by window."""
    rank = x.ndim - 2
    step, gap, sides = ((n,) * rank if isinstance(n, int) else n for n in (stride, dilation, padding))
    x = np.pad(x, [(0, 0), (0, 0), *[(s, s) if isinstance(s, int) else s for s in sides]])
    sizes = [(n - g * (k - 1) - 1) // s + 1 for n, k, g, s in zip(x.shape[2:], w.shape[2:], gap, step)]
    y = np.zeros((len(x), len(w), *sizes))
    for place in np.ndindex(*sizes):
        window = x[(slice(None), slice(None), *[slice(p * s, p * s + g * (k - 1) + 1, g)
                                                for p, s, g, k in zip(place, step, gap, w.shape[2:])])]
        for o in range(len(w)):
            first = o // (len(w) // groups) * w.shape[1]
            part = window[:, first:first + w.shape[1]] * w[o]
            y[(slice(None), o, *place)] = part.reshape(len(x), math.prod(part.shape[1:])).sum(1) + (0 if b is None else b[o])
    return y


def convolutions() -> list[Sample]:
    w = {"w": tg.f32[6, 4, 3]}
    x1, x2 = tg.f32[B, 4, S + 9], tg.f32[B, 4, 9, 8]
    kernels: dict[str, tuple[dict[str, tg.TensorType], dict[str, Any]]] = {
        "plain": ({"x": x1, **w}, {}), "bias": ({"x": x1, **w, "b": tg.f32[6]}, {"padding": 1}),
        "stride": ({"x": x1, **w}, {"stride": 2}), "dilation": ({"x": x1, **w}, {"dilation": 2, "padding": (2,)}),
        "groups": ({"x": x1, "w": tg.f32[6, 2, 3], "b": tg.f32[6]}, {"groups": 2}),
        "depthwise": ({"x": x1, "w": tg.f32[4, 1, 3]}, {"groups": 4, "stride": 2}),
        "point": ({"x": x1, "w": tg.f32[6, 4, 1]}, {}), "patches": ({"x": tg.f32[B, 4, 3 * S + 3], **w}, {"stride": 3}),
        "ragged_patches": ({"x": tg.f32[B, 4, 11], **w}, {"stride": 3}),
        "point_stride": ({"x": tg.f32[B, 4, 8], "w": tg.f32[6, 4, 1]}, {"stride": 3}),
    }
    images: dict[str, tuple[dict[str, tg.TensorType], dict[str, Any]]] = {
        "plain": ({"x": x2, "w": tg.f32[5, 4, 3, 2]}, {}),
        "all": ({"x": x2, "w": tg.f32[6, 2, 3, 2], "b": tg.f32[6]},
                {"stride": (2, 1), "padding": (1, 2), "dilation": (1, 3), "groups": 2}),
        "patches": ({"x": tg.f32[B, 3, 8, 12], "w": tg.f32[5, 3, 4, 4], "b": tg.f32[5]}, {"stride": 4}),
        "symbolic": ({"x": tg.f32[B, 4, S + 3, T + 2], "w": tg.f32[5, 4, 3, 3]}, {"padding": 1}),
    }
    found = [case("conv1d", k, lambda *v, n=named: tg.conv1d(*v, **n), specs, lambda *v, n=named: convolve(*v, **n))
             for k, (specs, named) in kernels.items()]
    found += [case("conv2d", k, lambda *v, n=named: tg.conv2d(*v, **n), specs, lambda *v, n=named: convolve(*v, **n))
              for k, (specs, named) in images.items()]
    return [*found,
            case("conv1d", "same", lambda x, w: tg.conv1d(x, w, padding="same"), {"x": x1, "w": tg.f32[6, 4, 4]},
                 lambda x, w: convolve(x, w, padding=((1, 2),))),
            case("conv1d", "valid", lambda x, w: tg.conv1d(x, w, padding="valid"), {"x": x1, **w}, convolve)]


FAMILIES: dict[str, list[Sample]] = {"reductions": reductions(), "pointwise": pointwise(), "shapes": shapes(), "pieces": pieces(),
                                     "made": made(), "products": products(), "lookups": lookups(), "convolutions": convolutions()}
SAMPLES = [s for family in FAMILIES.values() for s in family]

"""Samples of the ops along axes: reductions, normalisations, running sums, padding."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import tgraph as tg
from tests.ops.sample import EVERY, FLOATS, NUMBERS, Sample, integers, uniform, values

B, S, T = tg.dims("B S T")
EMPTY = {"B": 2, "S": 0, "T": 3}
SMALL = {"u8": (0, 4), "i8": (-3, 4)}  # sums and products that stay within the type


def fold(function: np.ufunc) -> Any:
    """A reduction by repeated application, axis by axis."""
    return lambda x, axes, keepdims: function.reduce(x, axis=axes, keepdims=keepdims, dtype=x.dtype)


def mean(x: np.ndarray, axes: Any, keepdims: bool) -> np.ndarray:
    count = math.prod(x.shape[a] for a in (range(x.ndim) if axes is None else axes))
    return np.add.reduce(x, axis=axes, keepdims=keepdims) / count


REDUCE = {
    "reduce_sum": (NUMBERS, fold(np.add)), "reduce_mean": (FLOATS, mean), "reduce_max": (NUMBERS, fold(np.maximum)),
    "reduce_min": (NUMBERS, fold(np.minimum)), "reduce_prod": (NUMBERS, fold(np.multiply)),
}
ALONG = {  # variant: (type, axes, keepdims)
    "last": (tg.f32[B, S, 37], (-1,), False), "last_two": (tg.f32[B, S, 6], (1, 2), True), "first": (tg.f32[S, 19], (0,), False),
    "middle": (tg.f32[B, S, 4], (-2,), True), "ends": (tg.f32[B, 3, S], (0, -1), False), "all": (tg.f32[B, S], None, False),
    "of_one": (tg.f32[B, 1], (1,), False), "none": (tg.f32[B, S], (), False), "rank0": (tg.f32[()], None, False),
    "kept_inner": (tg.f32[B, S, 3, T], (1, 3), True), "long": (tg.f32[3, 1000], (1,), False),
}


def reductions() -> list[Sample]:
    found = []
    for name, (dtypes, formula) in REDUCE.items():
        function = getattr(tg, name)
        for variant, (type, axes, keep) in ALONG.items():
            if name in ("reduce_sum", "reduce_max") or variant in ("last", "first", "middle"):
                make = {"x": uniform(0.8, 1.2)} if name == "reduce_prod" else {}
                found.append(Sample(name, variant, lambda x, f=function, a=axes, k=keep: f(x, axes=a, keepdims=k), {"x": type},
                                    lambda x, f=formula, a=axes, k=keep: f(x, a, k), make))
        for d in dtypes:
            for axis, axes in (("rows", (1,)), ("columns", (0,))):
                make = {"x": integers(*SMALL.get(d.name, (-4, 5)))} if not d.is_float else {"x": uniform(0.5, 1.5)}
                found.append(Sample(name, f"{axis}_{d.name}", lambda x, f=function, a=axes: f(x, axes=a), {"x": d[3, 5]},
                                    lambda x, f=formula, a=axes: f(x, a, False), make))
    over_nothing = {"reduce_sum": 0.0, "reduce_max": -math.inf, "reduce_min": math.inf, "reduce_prod": 1.0,
                    "reduce_mean": math.nan}
    for name, start in over_nothing.items():
        for variant, axes in (("rows", (1,)), ("columns", (0,))):
            shape = {"rows": tg.f32[B, S], "columns": tg.f32[S, B]}[variant]
            found.append(Sample(name, f"nothing_{variant}", lambda x, n=name, a=axes: getattr(tg, n)(x, axes=a), {"x": shape},
                                lambda x, v=start: np.array([v, v]), {}, EMPTY))
    found += [
        Sample("reduce_max", "nan", lambda x: tg.reduce_max(x, axes=(-1,)), {"x": tg.f32[2, 18]},
               lambda x: np.array([math.nan, math.nan]), {"x": values(1.0, 2.0, math.nan, 5.0, math.inf)}),
        Sample("reduce_min", "nan_down", lambda x: tg.reduce_min(x, axes=(0,)), {"x": tg.f32[5, 2]},
               lambda x: np.array([math.nan, 1.0]), {"x": values(1.0, 2.0, math.nan, 5.0, 3.0, 1.0, 0.0, 7.0, 9.0, 4.0)}),
        Sample("reduce_max", "nothing_i32", lambda x: tg.reduce_max(x, axes=(0,)), {"x": tg.i32[0, 2]},
               lambda x: np.array([-(2**31)] * 2)),
        Sample("reduce_sum", "of_product", lambda x, y: tg.reduce_sum(x * y, axes=(-1,)), {"x": tg.f32[B, S], "y": tg.f32[S]},
               lambda x, y: np.einsum("bs,s->b", x, y)),
        Sample("reduce_sum", "then_more", lambda x: tg.sqrt(tg.reduce_sum(x * x, axes=(-1,), keepdims=True)), {"x": tg.f32[B, S]},
               lambda x: np.linalg.norm(x, axis=-1, keepdims=True)),
        Sample("reduce_mean", "empty_result", lambda x: tg.reduce_mean(x, axes=(1,)), {"x": tg.f32[S, 4]}, lambda x: np.zeros(0),
               {}, EMPTY),
    ]
    return found


def running() -> list[Sample]:
    ties = integers(0, 4)
    found = [
        Sample("argmax", "last", lambda x: tg.argmax(x, axis=-1), {"x": tg.f32[B, S]},
               lambda x: np.argsort(-x, axis=-1, kind="stable")[..., 0]),
        Sample("argmax", "first_axis", lambda x: tg.argmax(x, axis=0, keepdims=True), {"x": tg.f32[S, T]},
               lambda x: np.argsort(-x, axis=0, kind="stable")[:1]),
        Sample("argmax", "middle", lambda x: tg.argmax(x, axis=1), {"x": tg.f32[B, S, 3]},
               lambda x: np.argsort(-x, axis=1, kind="stable")[:, 0]),
        Sample("argmax", "nan", lambda x: tg.argmax(x, axis=-1), {"x": tg.f32[2, 4]}, lambda x: np.array([2, 0]),
               {"x": values(1.0, 5.0, math.nan, math.nan, math.inf, -1.0, 3.0, 2.0)}),
        Sample("argmax", "nothing", lambda x: tg.argmax(x, axis=-1), {"x": tg.f32[B, S]}, lambda x: np.zeros(2), {}, EMPTY),
        Sample("cumsum", "last", lambda x: tg.cumsum(x, axis=-1), {"x": tg.f32[B, S]}, lambda x: x @ np.triu(np.ones((5, 5)))),
        Sample("cumsum", "exclusive", lambda x: tg.cumsum(x, axis=-1, exclusive=True), {"x": tg.f32[B, S]},
               lambda x: x @ np.triu(np.ones((5, 5)), 1)),
        Sample("cumsum", "exclusive_special", lambda x: tg.cumsum(x, axis=-1, exclusive=True), {"x": tg.f32[3, 4]},
               lambda x: np.array([[0, 1, np.inf, np.inf], [0, 1e9, 0, 2], [0, np.nan, np.nan, np.nan]]),
               {"x": values(1.0, math.inf, 2.0, 3.0, 1e9, -1e9, 2.0, math.inf, math.nan, 1.0, 1.0, 1.0)}),
        Sample("cumsum", "exclusive_middle", lambda x: tg.cumsum(x, axis=1, exclusive=True), {"x": tg.i32[B, S, 3]},
               lambda x: np.cumsum(x, axis=1, dtype=x.dtype) - x),
        Sample("cumsum", "exclusive_empty", lambda x: tg.cumsum(x, axis=-1, exclusive=True), {"x": tg.f32[B, S]},
               lambda x: np.zeros((2, 0)), {}, EMPTY),
        Sample("cumsum", "middle", lambda x: tg.cumsum(x, axis=1), {"x": tg.f32[B, S, 3]},
               lambda x: np.tril(np.ones((5, 5))) @ x),
        Sample("cumsum", "empty", lambda x: tg.cumsum(x, axis=-1), {"x": tg.f32[B, S]}, lambda x: np.zeros((2, 0)), {}, EMPTY),
        Sample("cumsum", "then_scaled", lambda x: tg.cumsum(x, axis=-1) * 0.5 + 1.0, {"x": tg.f32[B, S]},
               lambda x: x @ np.triu(np.ones((5, 5))) / 2 + 1),
    ]
    for d in NUMBERS:
        found.append(Sample("argmax", d.name, lambda x: tg.argmax(x, axis=-1), {"x": d[3, 7]},
                            lambda x: np.argsort(-x.astype(float), kind="stable")[:, 0],
                            {"x": ties}))
        found.append(Sample("cumsum", d.name, lambda x: tg.cumsum(x, axis=-1), {"x": d[3, 7]},
                            lambda x: np.add.accumulate(x, axis=-1, dtype=x.dtype),
                            {"x": ties}))
    return found


def soft(x: np.ndarray, axis: int = -1) -> np.ndarray:
    """Softmax by the logarithm of the sum."""
    return np.exp(x - np.logaddexp.reduce(x, axis=axis, keepdims=True))


def normal(x: np.ndarray, epsilon: float = 1e-5) -> np.ndarray:
    return (x - np.average(x, axis=-1)[..., None]) / np.sqrt(np.var(x, axis=-1, keepdims=True) + epsilon)


def root_mean(x: np.ndarray, epsilon: float = 1e-6) -> np.ndarray:
    return x / np.sqrt(np.einsum("...i,...i->...", x, x)[..., None] / x.shape[-1] + epsilon)


WEIGHT, BIAS = np.linspace(0.5, 1.5, 37, dtype=np.float32), np.linspace(-1, 1, 37, dtype=np.float32)


def norms() -> list[Sample]:
    row, x = {"x": tg.f32[B, S, 37]}, {"x": tg.f32[B, S, 37], "w": tg.f32[37], "b": tg.f32[37]}
    found = [
        Sample("softmax", "middle", lambda x: tg.softmax(x, axis=1), {"x": tg.f32[B, S, 3]}, lambda x: soft(x, 1)),
        Sample("softmax", "first", lambda x: tg.softmax(x, axis=-2), {"x": tg.f32[S, T]}, lambda x: soft(x, 0)),
        Sample("softmax", "large", tg.softmax, row, lambda x: soft(x), {"x": uniform(-500, 500)}),
        Sample("softmax", "masked", lambda x, m: tg.softmax(tg.where(m, x, -1e30)), {"x": tg.f32[B, S], "m": tg.bool_[S]},
               lambda x, m: soft(np.where(m, x, -1e30)), {"m": values(True, False, True)}),
        Sample("softmax", "minus_infinity", tg.softmax, {"x": tg.f32[2, 4]},
               lambda x: np.array([[0.5, 0, 0.5, 0], [math.nan] * 4]), {"x": values(*[1.0, -math.inf] * 2, *[-math.inf] * 4)}),
        Sample("softmax", "of_one", tg.softmax, {"x": tg.f32[B, 1]}, np.ones_like),
        Sample("softmax", "empty", tg.softmax, {"x": tg.f32[B, S]}, lambda x: np.zeros((2, 0)), {}, EMPTY),
        Sample("softmax", "scaled", lambda x: tg.softmax(x * 0.125) * 2.0, row, lambda x: 2 * soft(x / 8)),
        Sample("log_softmax", "first", lambda x: tg.log_softmax(x, axis=0), {"x": tg.f32[S, T]}, lambda x: np.log(soft(x, 0))),
        Sample("log_softmax", "large", tg.log_softmax, row, lambda x: x - np.logaddexp.reduce(x, axis=-1, keepdims=True),
               {"x": uniform(-500, 500)}),
        Sample("layer_norm", "plain", tg.layer_norm, row, normal),
        Sample("layer_norm", "affine", tg.layer_norm, x, lambda x, w, b: normal(x) * w + b),
        Sample("layer_norm", "weight_only", tg.layer_norm, {"x": tg.f32[S, 9], "w": tg.f32[9]}, lambda x, w: w * normal(x)),
        Sample("layer_norm", "bias_only", lambda x, b: tg.layer_norm(x, bias=b), {"x": tg.f32[S, 9], "b": tg.f32[9]},
               lambda x, b: normal(x) + b),
        Sample("layer_norm", "parameters", lambda x: tg.layer_norm(x, WEIGHT, BIAS, epsilon=1e-12), row,
               lambda x: normal(x, 1e-12) * WEIGHT + BIAS),
        Sample("layer_norm", "large_mean", tg.layer_norm, row, normal, {"x": lambda g, s: g.standard_normal(s) + 1000}, loss=300),
        Sample("layer_norm", "of_sum", lambda x, y: tg.layer_norm(x + y) * 2.0, {"x": tg.f32[B, S, 8], "y": tg.f32[B, S, 8]},
               lambda x, y: 2 * normal(x + y)),
        Sample("layer_norm", "symbolic_width", tg.layer_norm, {"x": tg.f32[B, S]}, normal),
        Sample("layer_norm", "rank1", tg.layer_norm, {"x": tg.f32[S]}, normal),
        Sample("layer_norm", "no_rows", tg.layer_norm, {"x": tg.f32[S, 4]}, lambda x: np.zeros((0, 4)), {}, EMPTY),
        Sample("rms_norm", "plain", tg.rms_norm, row, root_mean),
        Sample("rms_norm", "weight", lambda x, w: tg.rms_norm(x, w, epsilon=0.1), {"x": tg.f32[S, 9], "w": tg.f32[9]},
               lambda x, w: root_mean(x, 0.1) * w),
        Sample("zero_padding", "hidden", tg.zero_padding, {"x": tg.f32[B, S, 4], "m": tg.bool_[B, S]},
               lambda x, m: np.einsum("bsh,bs->bsh", x, m)),
        Sample("zero_padding", "same_rank", tg.zero_padding, {"x": tg.f32[B, S], "m": tg.bool_[B, S]}, lambda x, m: x * m),
        Sample("zero_padding", "nan_out", tg.zero_padding, {"x": tg.f32[2, 2], "m": tg.bool_[2, 2]},
               lambda x, m: np.array([[1.0, 0], [1.0, 0]]), {"x": values(1.0, math.nan), "m": values(True, False)}),
        Sample("number_rows", "batch", tg.number_rows, {"m": tg.bool_[B, S]},
               lambda m: np.array([[0, -1, 1, -1, -1], [2, 3, -1, -1, 4]]), {"m": values(1, 0, 1, 0, 0, 1, 1, 0, 0, 1)}),
        Sample("number_rows", "none", tg.number_rows, {"m": tg.bool_[S]}, lambda m: np.full(5, -1), {"m": values(False)}),
        Sample("number_rows", "one", lambda m: tg.number_rows(m) + 5, {"m": tg.bool_[()]}, lambda m: np.array(5 if m else 4)),
        Sample("number_rows", "empty", tg.number_rows, {"m": tg.bool_[B, S]}, lambda m: np.zeros((2, 0)), {}, EMPTY),
        Sample("pad_rows", "batch", tg.pad_rows, {"x": tg.f32[S, 4], "p": tg.i64[B, T]},
               lambda x, p: np.vstack([x, np.zeros(4)])[p], {"p": values(0, -1, 4, 2, 3, -1)}),
        Sample("pad_rows", "any_negative", tg.pad_rows, {"x": tg.f32[S], "p": tg.i32[T]},
               lambda x, p: np.array([x[2], 0, 0]), {"p": values(2, -7, -1)}),
        Sample("pad_rows", "no_rows", tg.pad_rows, {"x": tg.f32[0, 2], "p": tg.i64[B, T]}, lambda x, p: np.zeros((2, 3, 2)),
               {"p": values(-1)}),
        Sample("pad_rows", "heads", lambda x, p: tg.pad_rows(x * 2.0, p).transpose(0, 2, 1, 3),
               {"x": tg.f32[S, 2, 3], "p": tg.i64[B, T]},
               lambda x, p: 2 * np.concatenate([x, np.zeros((1, 2, 3))])[p].swapaxes(1, 2), {"p": values(4, 3, 2, -1, 0, -1)}),
        Sample("pad_rows", "undoes_unpack", lambda m, x: tg.pad_rows(
            tg.gather(x.reshape(-1, 3), tg.unpack(m, name="N5")[0]),
            tg.number_rows(m)),
               {"m": tg.bool_[B, S], "x": tg.f32[B, S, 3]}, lambda m, x: np.einsum("bsh,bs->bsh", x, m)),
        Sample("unpack", "mask", lambda m: tg.unpack(m, name="N1"), {"m": tg.bool_[B, S]},
               lambda m: (np.arange(m.size)[m.ravel()], np.array([0, 2, 5])), {"m": values(1, 0, 1, 0, 0, 1, 1, 0, 0, 1)}),
        Sample("unpack", "none", lambda m: tg.unpack(m, name="N2"), {"m": tg.bool_[B, S]},
               lambda m: (np.zeros(0), np.zeros(3)), {"m": values(False)}),
        Sample("unpack", "then_gather", lambda m, x: tg.gather(x.reshape(-1, 3), tg.unpack(m, name="N3")[0]) * 2.0,
               {"m": tg.bool_[B, S], "x": tg.f32[B, S, 3]}, lambda m, x: 2 * x[m]),
        Sample("unpack", "of_comparison", lambda x: tg.gather(tg.exp(x).reshape(-1), tg.unpack(x > 0.0, name="N4")[0]),
               {"x": tg.f32[B, S]}, lambda x: np.exp(x[x > 0])),
    ]
    for d in FLOATS:
        found += [
            Sample("softmax", d.name, tg.softmax, {"x": d[3, 19]}, soft),
            Sample("log_softmax", d.name, tg.log_softmax, {"x": d[3, 19]}, lambda x: np.log(soft(x))),
            Sample("layer_norm", d.name, tg.layer_norm, {"x": d[3, 19], "w": d[19], "b": d[19]}, lambda x, w,
                   b: normal(x) * w + b),
            Sample("rms_norm", d.name, tg.rms_norm, {"x": d[3, 19], "w": d[19]}, lambda x, w: root_mean(x) * w),
        ]
    for d in EVERY:
        found.append(Sample("zero_padding", d.name, tg.zero_padding, {"x": d[3, 2], "m": tg.bool_[3]},
                            lambda x, m: np.where(np.repeat(m[:, None], 2, 1), x, 0)))
        found.append(Sample("pad_rows", d.name, tg.pad_rows, {"x": d[3, 2], "p": tg.i64[4]},
                            lambda x, p: np.vstack([x, 0 * x[:1]])[p], {"p": values(2, -1, 0, 1)}))
    return found


REDUCTIONS = [*reductions(), *running(), *norms()]

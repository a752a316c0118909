"""Softmax and the normalisations over the last axes."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from ..ir.attributes import AtLeast
from ..ir.errors import RuleError
from ..ir.registry import op
from ..ir.rules import axis_from_end, axis_index, require_float, same, same_dtype
from ..ir.types import TensorType
from .numbers import in_f32

Epsilon = Annotated[float, AtLeast(0)]


@op(along="axis", magnitude="bounded")
def softmax(x: TensorType, *, axis: int = -1) -> TensorType:
    """Softmax along an axis: e^(x - max x) / sum of e^(x - max x). ONNX Softmax."""
    require_float(x)
    axis_index(axis, x.rank)
    return x


@softmax.canonicalize
def _(types, attrs):  # type: ignore[no-untyped-def]
    return {"axis": axis_from_end(attrs["axis"], types[0].rank)}


@softmax.reference
def _(x, *, axis):  # type: ignore[no-untyped-def]
    e = np.exp(x - np.max(x, axis=axis, keepdims=True, initial=-np.inf))
    return e / e.sum(axis=axis, keepdims=True, dtype=np.float64)


@softmax.cost
def _(operands, results, attrs):  # type: ignore[no-untyped-def]
    return 5 * results[0].size


@softmax.decomposition
@in_f32
def _(b, x, *, axis):  # type: ignore[no-untyped-def]
    e = b.exp(b.sub(x, b.reduce_max(x, axes=(axis,), keepdims=True)))
    return b.div(e, b.reduce_sum(e, axes=(axis,), keepdims=True))


@op(along="axis")
def log_softmax(x: TensorType, *, axis: int = -1) -> TensorType:
    """Logarithm of the softmax along an axis: x - max x - ln sum of e^(x - max x). ONNX LogSoftmax."""
    require_float(x)
    axis_index(axis, x.rank)
    return x


@log_softmax.canonicalize
def _(types, attrs):  # type: ignore[no-untyped-def]
    return {"axis": axis_from_end(attrs["axis"], types[0].rank)}


@log_softmax.reference
def _(x, *, axis):  # type: ignore[no-untyped-def]
    shifted = x - np.max(x, axis=axis, keepdims=True, initial=-np.inf)
    return shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True, dtype=np.float64))


@log_softmax.cost
def _(operands, results, attrs):  # type: ignore[no-untyped-def]
    return 5 * results[0].size


@log_softmax.decomposition
@in_f32
def _(b, x, *, axis):  # type: ignore[no-untyped-def]
    shifted = b.sub(x, b.reduce_max(x, axes=(axis,), keepdims=True))
    return b.sub(shifted, b.log(b.reduce_sum(b.exp(shifted), axes=(axis,), keepdims=True)))


def _affine(x: TensorType, scale: TensorType | None, shift: TensorType | None) -> None:
    require_float(x)
    for name, t in (("weight", scale), ("bias", shift)):
        if t is not None:
            same_dtype(x, t)
            if t.rank != 1:
                raise RuleError(f"{name} must have rank 1, got {t}")
            same(x.shape[-1], t.shape[0], f"{name} must have the size of the last axis of {x}")


@op(along=-1, precision="activation", magnitude="bounded")
def layer_norm(x: TensorType, weight: TensorType | None = None, bias: TensorType | None = None, *,
               epsilon: Epsilon = 1e-5) -> TensorType:
    """Layer normalisation over the last axis (arXiv:1607.06450): (x - mean) / sqrt(variance + epsilon) * weight + bias.

    x [..., n], weight [n], bias [n]; the variance divides by n. ONNX LayerNormalization, axis -1.
    """
    if x.rank < 1:
        raise RuleError(f"needs at least one axis, got {x}")
    _affine(x, weight, bias)
    return x


@layer_norm.reference
def _(x, weight, bias, *, epsilon):  # type: ignore[no-untyped-def]
    x = x.astype(np.float64)  # whose range holds the squares of all f32
    centred = x - x.mean(axis=-1, keepdims=True)
    y = centred / np.sqrt(np.square(centred).mean(axis=-1, keepdims=True) + epsilon)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


@layer_norm.cost
def _(operands, results, attrs):  # type: ignore[no-untyped-def]
    return 8 * results[0].size


@layer_norm.decomposition
@in_f32
def _(b, x, weight, bias, *, epsilon):  # type: ignore[no-untyped-def]
    centred = b.sub(x, b.reduce_mean(x, axes=(-1,), keepdims=True))
    variance = b.reduce_mean(b.mul(centred, centred), axes=(-1,), keepdims=True)
    y = b.div(centred, b.sqrt(b.add(variance, float(epsilon))))
    y = y if weight is None else b.mul(y, weight)
    return y if bias is None else b.add(y, bias)


@op(along=-1, precision="activation", magnitude="bounded")
def rms_norm(x: TensorType, weight: TensorType | None = None, *, epsilon: Epsilon = 1e-6) -> TensorType:
    """Root mean square normalisation over the last axis (arXiv:1910.07467): x / sqrt(mean of x^2 + epsilon) * weight.

    x [..., n], weight [n]. ONNX RMSNormalization, axis -1.
    """
    if x.rank < 1:
        raise RuleError(f"needs at least one axis, got {x}")
    _affine(x, weight, None)
    return x


@rms_norm.reference
def _(x, weight, *, epsilon):  # type: ignore[no-untyped-def]
    x = x.astype(np.float64)  # whose range holds the squares of all f32
    y = x / np.sqrt(np.square(x).mean(axis=-1, keepdims=True) + epsilon)
    return y if weight is None else y * weight


@rms_norm.cost
def _(operands, results, attrs):  # type: ignore[no-untyped-def]
    return 5 * results[0].size


@rms_norm.decomposition
@in_f32
def _(b, x, weight, *, epsilon):  # type: ignore[no-untyped-def]
    mean = b.reduce_mean(b.mul(x, x), axes=(-1,), keepdims=True)
    y = b.div(x, b.sqrt(b.add(mean, float(epsilon))))
    return y if weight is None else b.mul(y, weight)

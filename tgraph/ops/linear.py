"""Matrix products."""

from __future__ import annotations

import numpy as np

from ..ir.axis_maps import Labels
from ..ir.dims import DimLike
from ..ir.errors import RuleError
from ..ir.registry import op
from ..ir.rules import broadcast_shapes, require_rank, same, same_dtype
from ..ir.types import TensorType


def _no_bool(t: TensorType) -> None:
    if t.dtype.is_bool:
        raise RuleError(f"needs numbers, got {t}; cast it first")


@op(batched=True, precision="product", magnitude="bounded")
def matmul(x: TensorType, y: TensorType) -> TensorType:
    """Matrix product over the last two axes: z[..., i, j] = sum over k of x[..., i, k] y[..., k, j].

    x [..., M, K], y [..., K, N] of rank 2 or more, leading axes broadcast. Sums of half precisions are kept in f32.
    ONNX MatMul.
    """
    same_dtype(x, y)
    _no_bool(x)
    require_rank(x, 2, "the left operand")
    require_rank(y, 2, "the right operand")
    same(x.shape[-1], y.shape[-2], "the inner dimensions must agree")
    batch = broadcast_shapes(x.shape[:-2], y.shape[:-2])
    return x.with_shape((*batch, x.shape[-2], y.shape[-1]))


@matmul.contraction
def _(operands, result, attrs):  # type: ignore[no-untyped-def]
    batch = tuple(range(result.rank - 2))
    x, y = ((*batch[result.rank - t.rank:], row, column) for t, row, column in zip(operands, ("m", "k"), ("k", "n")))
    return (x, y), (*batch, "m", "n")


@matmul.reference
def _(x, y):  # type: ignore[no-untyped-def]
    return np.matmul(x, y)


@matmul.cost
def _(operands, results, attrs):  # type: ignore[no-untyped-def]
    return 2 * results[0].size * operands[0].shape[-1]


@op(along=-1, precision="product", magnitude="bounded")
def linear(x: TensorType, weight: TensorType, bias: TensorType | None = None) -> TensorType:
    """Affine map: y = x W^T + b, on the last axis.

    x [..., in], weight [out, in], bias [out]; y [..., out]. Sums of half precisions are kept in f32.
    """
    same_dtype(*[t for t in (x, weight, bias) if t is not None])
    _no_bool(x)
    require_rank(x, 1, "x")
    if weight.rank != 2:
        raise RuleError(f"weight must be [out, in], got {weight}")
    same(x.shape[-1], weight.shape[1], "the last axis of x must be the `in` axis of weight [out, in]")
    if bias is not None:
        if bias.rank != 1:
            raise RuleError(f"bias must be [out], got {bias}")
        same(weight.shape[0], bias.shape[0], "bias must have the `out` size of weight")
    return x.with_shape((*x.shape[:-1], weight.shape[0]))


@linear.contraction
def _(operands, result, attrs):  # type: ignore[no-untyped-def]
    return affine_labels(result.rank)


def affine_labels(rank: int) -> tuple[tuple[Labels, Labels], Labels]:
    """The labels of x [..., in], weight [out, in] and of the product x W^T [..., out] of that rank."""
    lead = tuple(range(rank - 1))
    return ((*lead, "in"), ("out", "in")), (*lead, "out")


@linear.reference
def _(x, weight, bias):  # type: ignore[no-untyped-def]
    y = np.matmul(x, weight.T)
    return y if bias is None else y + bias


@linear.cost
def _(operands, results, attrs):  # type: ignore[no-untyped-def]
    products: DimLike = 2 * results[0].size * operands[0].shape[-1]
    return products if operands[2] is None else products + results[0].size


@linear.decomposition
def _(b, x, weight, bias):  # type: ignore[no-untyped-def]
    transposed = b.transpose(weight)
    vector = x.type.rank == 1  # matmul wants matrices
    y = b.matmul(b.unsqueeze(x, axes=(0,)) if vector else x, transposed)
    y = b.squeeze(y, axes=(0,)) if vector else y
    return y if bias is None else b.add(y, bias)

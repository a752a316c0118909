"""Layers with parameters of their own and one op each."""

from __future__ import annotations

from ..current_tracer import apply
from ..ir.dtypes import DType, f32
from ..module import Module
from ..tensor import Parameter, Tensor, constant, normal


class Linear(Module):
    """y = x W^T + b on the last axis; `weight` [out, in], `bias` [out]."""

    weight: Parameter
    bias: Parameter | None

    def __init__(self, in_features: int, out_features: int, bias: bool = True, dtype: DType = f32):
        self.weight = Parameter(dtype[out_features, in_features], normal(0.02))
        self.bias = Parameter(dtype[out_features], constant(0.0)) if bias else None

    def __call__(self, x: Tensor) -> Tensor:
        """x [..., in] to [..., out]."""
        return apply("linear", x, self.weight, self.bias)


class Embedding(Module):
    """Rows of a table by number; `weight` [count, dim]."""

    weight: Parameter

    def __init__(self, count: int, dim: int, dtype: DType = f32):
        self.weight = Parameter(dtype[count, dim], normal(0.02))

    def __call__(self, indices: Tensor) -> Tensor:
        """Integers 0 .. count-1 of any shape to [..., dim]; an index outside raises InputError at run time."""
        return apply("embedding", indices, self.weight)


class LayerNorm(Module):
    """Layer normalisation over the last axis (arXiv:1607.06450); `weight` [dim], `bias` [dim]."""

    weight: Parameter
    bias: Parameter | None
    epsilon: float

    def __init__(self, dim: int, epsilon: float = 1e-5, bias: bool = True, dtype: DType = f32):
        self.weight = Parameter(dtype[dim], constant(1.0))
        self.bias = Parameter(dtype[dim], constant(0.0)) if bias else None
        self.epsilon = epsilon

    def __call__(self, x: Tensor) -> Tensor:
        return apply("layer_norm", x, self.weight, self.bias, epsilon=self.epsilon)


class RMSNorm(Module):
    """Root mean square normalisation over the last axis (arXiv:1910.07467); `weight` [dim]."""

    weight: Parameter
    epsilon: float

    def __init__(self, dim: int, epsilon: float = 1e-6, dtype: DType = f32):
        self.weight = Parameter(dtype[dim], constant(1.0))
        self.epsilon = epsilon

    def __call__(self, x: Tensor) -> Tensor:
        return apply("rms_norm", x, self.weight, epsilon=self.epsilon)

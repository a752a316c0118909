"""Activation functions. Each is a composite: its decomposition is its definition in primitives."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from ..ir.registry import OPS, op
from ..ir.rules import require_float
from ..ir.types import TensorType
from .numbers import in_f32


@op(elementwise=True, activation=True, precision="activation", exact=True)
def relu(x: TensorType) -> TensorType:
    """Rectified linear unit: max(x, 0). ONNX Relu."""
    require_float(x)
    return x


@relu.reference
def _(x):  # type: ignore[no-untyped-def]
    return np.maximum(x, 0)


@relu.decomposition
def _(b, x):  # type: ignore[no-untyped-def]
    return b.maximum(x, 0.0)


@op(elementwise=True, activation=True)
def leaky_relu(x: TensorType, *, alpha: float = 0.01) -> TensorType:
    """x where x >= 0, alpha x elsewhere. ONNX LeakyRelu."""
    require_float(x)
    return x


@leaky_relu.reference
def _(x, *, alpha):  # type: ignore[no-untyped-def]
    return np.where(x >= 0, x, x * alpha)


@leaky_relu.decomposition
def _(b, x, *, alpha):  # type: ignore[no-untyped-def]
    return b.where(b.less(x, 0.0), b.mul(x, float(alpha)), x)


@op(elementwise=True, activation=True, magnitude="bounded", work=20)
def sigmoid(x: TensorType) -> TensorType:
    """Logistic function: 1 / (1 + e^-x). ONNX Sigmoid."""
    require_float(x)
    return x


@sigmoid.reference
def _(x):  # type: ignore[no-untyped-def]
    return 1 / (1 + np.exp(-x))


@sigmoid.decomposition
@in_f32
def _(b, x):  # type: ignore[no-untyped-def]
    return b.div(1.0, b.add(b.exp(b.neg(x)), 1.0))


@op(elementwise=True, activation=True, precision="activation", work=20)
def silu(x: TensorType) -> TensorType:
    """Sigmoid linear unit, also called swish: x sigmoid(x) (arXiv:1702.03118)."""
    require_float(x)
    return x


@silu.reference
def _(x):  # type: ignore[no-untyped-def]
    return x / (1 + np.exp(-x))


@silu.decomposition
def _(b, x):  # type: ignore[no-untyped-def]
    return b.mul(x, b.sigmoid(x))


@op(elementwise=True, activation=True, precision="activation", work=30)
def gelu(x: TensorType, *, approximate: Literal["none", "tanh"] = "none") -> TensorType:
    """Gaussian error linear unit (arXiv:1606.08415): x Phi(x), Phi the normal distribution function.

    approximate="none": x/2 (1 + erf(x / sqrt 2)); "tanh": x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))). ONNX Gelu.
    """
    require_float(x)
    return x


@gelu.reference
def _(x, *, approximate):  # type: ignore[no-untyped-def]
    if approximate == "tanh":
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    erf = OPS["erf"].numpy
    assert erf is not None
    return 0.5 * x * (1 + erf(x * math.sqrt(0.5)))


@gelu.decomposition
@in_f32
def _(b, x, *, approximate):  # type: ignore[no-untyped-def]
    if approximate == "tanh":
        cube = b.mul(b.mul(x, x), x)
        inner = b.mul(b.add(x, b.mul(cube, 0.044715)), math.sqrt(2 / math.pi))
        return b.mul(b.mul(x, 0.5), b.add(b.tanh(inner), 1.0))
    return b.mul(b.mul(x, 0.5), b.add(b.erf(b.mul(x, math.sqrt(0.5))), 1.0))


@op(elementwise=True, activation=True, work=20)
def quick_gelu(x: TensorType) -> TensorType:
    """GELU as CLIP approximates it: x sigmoid(1.702 x) (arXiv:1606.08415, section 2)."""
    require_float(x)
    return x


@quick_gelu.reference
def _(x):  # type: ignore[no-untyped-def]
    return x / (1 + np.exp(-1.702 * x))


@quick_gelu.decomposition
@in_f32
def _(b, x):  # type: ignore[no-untyped-def]
    return b.mul(x, b.sigmoid(b.mul(x, 1.702)))


@op(elementwise=True, activation=True, work=45)
def softplus(x: TensorType) -> TensorType:
    """Smooth rectifier: ln(1 + e^x). ONNX Softplus."""
    require_float(x)
    return x


@softplus.reference
def _(x):  # type: ignore[no-untyped-def]
    return np.logaddexp(x, 0)


@softplus.decomposition
@in_f32
def _(b, x):  # type: ignore[no-untyped-def]
    return b.add(b.maximum(x, 0.0), b.log(b.add(b.exp(b.neg(b.abs(x))), 1.0)))

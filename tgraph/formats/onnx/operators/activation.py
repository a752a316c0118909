"""Activations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..node import OnnxNode
from ..registry import importer
from .language import t


def _same(function: Callable[[Any], Any]) -> Callable[..., Any]:
    return lambda node, x: function(x)


for _name, _function in {"Relu": t.relu, "Sigmoid": t.sigmoid, "Tanh": t.tanh, "Softplus": t.softplus}.items():
    importer(_name)(_same(_function))


@importer("Gelu", since=20)
def gelu(node: OnnxNode, x: Any) -> Any:
    return t.gelu(x, approximate=node.attribute("approximate", "none"))


@importer("LeakyRelu")
def leaky_relu(node: OnnxNode, x: Any) -> Any:
    return t.leaky_relu(x, alpha=node.attribute("alpha", 0.01))


@importer("PRelu")
def prelu(node: OnnxNode, x: Any, slope: Any) -> Any:
    if node.version < 9 and slope.rank == 1 and x.rank > 2:  # one slope a channel
        slope = t.reshape(slope, shape=(*slope.shape, *[1] * (x.rank - 2)))
    return t.where(x < 0, x * slope, x)


@importer("Elu")
def elu(node: OnnxNode, x: Any) -> Any:
    return t.where(x < 0, (t.exp(t.minimum(x, 0.0)) - 1.0) * node.attribute("alpha", 1.0), x)


@importer("Celu")
def celu(node: OnnxNode, x: Any) -> Any:
    alpha = node.attribute("alpha", 1.0)
    return t.maximum(x, 0.0) + t.minimum((t.exp(t.minimum(x, 0.0) / alpha) - 1.0) * alpha, 0.0)


@importer("Selu")
def selu(node: OnnxNode, x: Any) -> Any:
    defaults = (1.67326319217681884765625, 1.05070102214813232421875) if node.version >= 6 else (1.6732, 1.0507)
    alpha, gamma = node.attribute("alpha", defaults[0]), node.attribute("gamma", defaults[1])
    return t.where(x > 0, x * gamma, (t.exp(t.minimum(x, 0.0)) - 1.0) * (alpha * gamma))


@importer("HardSigmoid")
def hard_sigmoid(node: OnnxNode, x: Any) -> Any:
    return t.clip(x * node.attribute("alpha", 0.2) + node.attribute("beta", 0.5), 0.0, 1.0)


@importer("HardSwish")
def hard_swish(node: OnnxNode, x: Any) -> Any:
    return x * t.clip(x * (1.0 / 6.0) + 0.5, 0.0, 1.0)


@importer("Mish")
def mish(node: OnnxNode, x: Any) -> Any:
    return x * t.tanh(t.softplus(x))


@importer("Swish")
def swish(node: OnnxNode, x: Any) -> Any:
    alpha = node.attribute("alpha", 1.0)
    return t.silu(x) if alpha == 1.0 else x * t.sigmoid(x * alpha)


@importer("SwiGLU", since=28)
def swiglu(node: OnnxNode, gate: Any, x: Any) -> Any:
    return swish(node, gate) * x


@importer("Softsign")
def softsign(node: OnnxNode, x: Any) -> Any:
    return x / (t.abs(x) + 1.0)


@importer("ThresholdedRelu")
def thresholded_relu(node: OnnxNode, x: Any) -> Any:
    return t.where(x > node.attribute("alpha", 1.0), x, 0.0)


@importer("Shrink")
def shrink(node: OnnxNode, x: Any) -> Any:
    bias, limit = node.attribute("bias", 0.0), node.attribute("lambd", 0.5)
    return t.where(x < -limit, x + bias, t.where(x > limit, x - bias, x * 0))


def _rows(node: OnnxNode, x: Any, function: Any) -> Any:
    """Before opset 13, a softmax is of all axes from `axis` on."""
    axis = node.attribute("axis", 1) % max(x.rank, 1)
    if axis == x.rank - 1:
        return function(x, axis=-1)
    return t.reshape(function(t.flatten(x, axis), axis=-1), shape=x.shape)


@importer("Softmax", since=1)
def softmax_of_rows(node: OnnxNode, x: Any) -> Any:
    return _rows(node, x, t.softmax)


@importer("Softmax", since=13)
def softmax(node: OnnxNode, x: Any) -> Any:
    return t.softmax(x, axis=node.attribute("axis", -1))


@importer("LogSoftmax", since=1)
def log_softmax_of_rows(node: OnnxNode, x: Any) -> Any:
    return _rows(node, x, t.log_softmax)


@importer("LogSoftmax", since=13)
def log_softmax(node: OnnxNode, x: Any) -> Any:
    return t.log_softmax(x, axis=node.attribute("axis", -1))


@importer("Hardmax")
def hardmax(node: OnnxNode, x: Any) -> Any:
    axis = node.attribute("axis", -1 if node.version >= 13 else 1)
    if node.version < 13 and axis % x.rank != x.rank - 1:
        flat = t.flatten(x, axis % x.rank)
        return t.reshape(_first_largest(flat, -1), shape=x.shape)
    return _first_largest(x, axis)


def _first_largest(x: Any, axis: int) -> Any:
    moved = t.moveaxis(x, axis, -1)
    found = t.one_hot(t.argmax(moved, axis=-1), moved.shape[-1], dtype=x.dtype)
    return t.moveaxis(found, -1, axis)

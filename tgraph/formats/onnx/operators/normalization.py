"""Normalisation."""

from __future__ import annotations

from typing import Any

from ..node import OnnxNode, UnsupportedError
from ..registry import importer
from .language import t


@importer("LayerNormalization", since=17)
def layer_norm(node: OnnxNode, x: Any, weight: Any, bias: Any = None) -> Any:
    axis = node.attribute("axis", -1) % x.rank
    epsilon = node.attribute("epsilon", 1e-5)
    axes = tuple(range(axis, x.rank))
    if len(axes) == 1 and node.results == 1 and weight.shape == x.shape[axis:]:
        return t.layer_norm(x, weight, bias, epsilon=epsilon)
    mean = t.mean(x, axis=axes, keepdims=True)
    rest = x - mean
    scale = t.rsqrt(t.mean(rest * rest, axis=axes, keepdims=True) + epsilon)
    y = rest * scale * weight
    return (y if bias is None else y + bias, mean, scale)[:max(node.results, 1)]


@importer("RMSNormalization", since=23)
def rms_norm(node: OnnxNode, x: Any, weight: Any) -> Any:
    axis = node.attribute("axis", -1) % x.rank
    epsilon = node.attribute("epsilon", 1e-5)
    if axis == x.rank - 1 and weight.shape == x.shape[axis:]:
        return t.rms_norm(x, weight, epsilon=epsilon)
    square = t.mean(x * x, axis=tuple(range(axis, x.rank)), keepdims=True)
    return x * t.rsqrt(square + epsilon) * weight


def _channels(x: Any, parameter: Any) -> Any:
    """One number a channel, of axis 1."""
    return t.reshape(parameter, shape=(1, *parameter.shape, *[1] * (x.rank - 2)))


@importer("BatchNormalization", since=7, limits="at inference")
def batch_norm(node: OnnxNode, x: Any, weight: Any, bias: Any, mean: Any, variance: Any) -> Any:
    if node.attribute("training_mode", 0) or (7 <= node.version < 14 and node.wants(1)):
        raise UnsupportedError("normalises by the batch at hand, as in training; export the model for inference")
    if not node.attribute("spatial", 1):
        raise UnsupportedError("has a mean of each place, not of each channel, as no opset from 9 on; export it with a newer one")
    scale = weight * t.rsqrt(variance + node.attribute("epsilon", 1e-5))
    return x * _channels(x, scale) + _channels(x, bias - mean * scale)


@importer("BatchNormalization")
def batch_norm_by_test(node: OnnxNode, x: Any, weight: Any, bias: Any, mean: Any, variance: Any) -> Any:
    """Before opset 7, is_test says that it is inference, whatever other results the node names."""
    if not node.attribute("is_test", 0):
        raise UnsupportedError("normalises by the batch at hand, as in training; export the model for inference")
    return batch_norm(node, x, weight, bias, mean, variance)


@importer("InstanceNormalization")
def instance_norm(node: OnnxNode, x: Any, weight: Any, bias: Any) -> Any:
    axes = tuple(range(2, x.rank))
    rest = x - t.mean(x, axis=axes, keepdims=True)
    scale = t.rsqrt(t.mean(rest * rest, axis=axes, keepdims=True) + node.attribute("epsilon", 1e-5))
    return rest * scale * _channels(x, weight) + _channels(x, bias)


@importer("GroupNormalization", since=18)
def group_norm(node: OnnxNode, x: Any, weight: Any, bias: Any) -> Any:
    groups, (b, c, *rest) = node.attribute("num_groups"), x.shape
    apart = t.reshape(x, shape=(b, groups, c // groups, *rest))
    axes = tuple(range(2, apart.rank))
    centred = apart - t.mean(apart, axis=axes, keepdims=True)
    y = centred * t.rsqrt(t.mean(centred * centred, axis=axes, keepdims=True) + node.attribute("epsilon", 1e-5))
    if node.version < 21:  # one weight a group
        return t.reshape(y * _channels(apart, weight) + _channels(apart, bias), shape=x.shape)
    y = t.reshape(y, shape=x.shape)
    return y * _channels(x, weight) + _channels(x, bias)


@importer("LpNormalization")
def lp_norm(node: OnnxNode, x: Any) -> Any:
    axis = node.attribute("axis", -1)
    size = t.sum(t.abs(x), axis=axis, keepdims=True) if node.attribute("p", 2) == 1 else t.sqrt(
        t.sum(x * x, axis=axis, keepdims=True))
    return t.where(size > 0, x / t.where(size > 0, size, size + 1), x * 0)


@importer("MeanVarianceNormalization")
def mean_variance(node: OnnxNode, x: Any) -> Any:
    axes = tuple(node.attribute("axes", [0, 2, 3]))
    rest = x - t.mean(x, axis=axes, keepdims=True)
    return rest / (t.sqrt(t.mean(rest * rest, axis=axes, keepdims=True)) + 1e-9)


@importer("LRN")
def local_response(node: OnnxNode, x: Any) -> Any:
    """x over a power of the sum of squares of neighbouring channels."""
    size, alpha, beta, bias = (node.attribute(n, d) for n, d in (("size", 1), ("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0)))
    low, high = (size - 1) // 2, size - 1 - (size - 1) // 2
    square = t.pad(x * x, before=(0, low, *[0] * (x.rank - 2)), after=(0, high, *[0] * (x.rank - 2)))
    total: Any = None
    for i in range(size):
        part = t.slice(square, starts=(i,), stops=(x.shape[1] + i,), axes=(1,))
        total = part if total is None else total + part
    return x / t.pow(total * (alpha / size) + bias, beta)



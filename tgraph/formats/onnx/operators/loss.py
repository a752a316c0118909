"""Losses: the mean negative logarithm of the probability that a model gives the classes that are right."""

from __future__ import annotations

from typing import Any

from ....ir.dtypes import i64
from ..node import OnnxNode
from ..registry import importer
from .language import t


@importer("NegativeLogLikelihoodLoss", since=12)
def negative_log_likelihood(node: OnnxNode, x: Any, target: Any, weight: Any = None) -> Any:
    return _loss(node, x, target, weight)


@importer("SoftmaxCrossEntropyLoss", since=12)
def cross_entropy(node: OnnxNode, scores: Any, labels: Any, weight: Any = None) -> Any:
    logarithms = t.log_softmax(scores, axis=1)
    return (_loss(node, logarithms, labels, weight), logarithms)[:max(node.results, 1)]


def _loss(node: OnnxNode, x: Any, target: Any, weight: Any) -> Any:
    """x [N, C, ...]: logarithms of probabilities; target [N, ...]: classes, of which one number may stand for none."""
    ignored, reduction = node.attribute("ignore_index", None), node.attribute("reduction", "mean")
    classes = t.cast(target, dtype=i64)
    counted = None if ignored is None else t.not_equal(classes, ignored)
    classes = classes if counted is None else t.where(counted, classes, 0)
    loss = -t.squeeze(t.take_along_axis(x, t.unsqueeze(classes, axis=1), axis=1), axis=1)
    weights = None if weight is None else t.gather(weight, classes, axis=0)
    if counted is not None:
        weights = t.cast(counted, dtype=x.dtype) if weights is None else t.where(counted, weights, 0.0)
        loss = t.where(counted, loss, 0.0)
    loss = loss if weights is None else loss * weights
    if reduction == "none":
        return loss
    total = t.sum(loss)
    if reduction == "sum":
        return total
    return t.mean(loss) if weights is None else total / t.sum(weights)

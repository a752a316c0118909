"""Reductions over axes, and the places of the largest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ....ir.dtypes import bool_, i64
from ..node import OnnxNode
from ..registry import importer
from .language import t

REDUCTIONS: dict[str, Callable[..., Any]] = {
    "ReduceSum": t.sum, "ReduceMean": t.mean, "ReduceProd": t.prod,
    "ReduceSumSquare": lambda x, **how: t.sum(x * x, **how), "ReduceL1": lambda x, **how: t.sum(t.abs(x), **how),
    "ReduceL2": lambda x, **how: t.sqrt(t.sum(x * x, **how)), "ReduceLogSum": lambda x, **how: t.log(t.sum(x, **how)),
    "ReduceLogSumExp": t.logsumexp,
    "ReduceMax": lambda x, **how: t.any(x, **how) if x.dtype == bool_ else t.amax(x, **how),
    "ReduceMin": lambda x, **how: t.all(x, **how) if x.dtype == bool_ else t.amin(x, **how),
}


def _reduction(function: Callable[..., Any]) -> Callable[..., Any]:
    def reduce(node: OnnxNode, x: Any, axes: Any = None) -> Any:
        found = node.axes(1)
        if not found:
            if node.attribute("noop_with_empty_axes", 0):
                return function(x[None], axis=0, keepdims=False)  # of each element alone
            found = tuple(range(x.rank))
        if not x.rank:
            return function(x[None], axis=0, keepdims=False)
        return function(x, axis=found, keepdims=bool(node.attribute("keepdims", 1)))

    return reduce


for _name, _function in REDUCTIONS.items():
    importer(_name)(_reduction(_function))


@importer("ArgMax", "ArgMin")
def place(node: OnnxNode, x: Any) -> Any:
    axis, function = node.attribute("axis", 0), t.argmax if node.op == "ArgMax" else t.argmin
    keep = bool(node.attribute("keepdims", 1))
    if not node.attribute("select_last_index", 0):
        return function(x, axis=axis, keepdims=keep)
    size = x.shape[axis]
    return t.dim_size(size=size, dtype=i64) - 1 - function(t.flip(x, axis=axis), axis=axis, keepdims=keep)


@importer("TopK", since=1)
def largest_by_attribute(node: OnnxNode, x: Any) -> Any:
    return t.topk(x, node.attribute("k"), axis=node.attribute("axis", -1))


@importer("TopK", since=10)
def largest(node: OnnxNode, x: Any, k: Any) -> Any:
    count = node.sizes(1, "the number of elements")[0]
    return t.topk(x, count, axis=node.attribute("axis", -1), largest=bool(node.attribute("largest", 1)))

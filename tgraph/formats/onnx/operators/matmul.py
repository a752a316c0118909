"""Products."""

from __future__ import annotations

from typing import Any

from ..node import OnnxNode
from ..registry import importer
from .language import t


@importer("MatMul")
def matmul(node: OnnxNode, x: Any, y: Any) -> Any:
    return t.matmul(x, y)


@importer("Gemm")
def gemm(node: OnnxNode, x: Any, y: Any, c: Any = None) -> Any:
    x = t.permute(x, 1, 0) if node.attribute("transA", 0) else x
    y = t.permute(y, 1, 0) if node.attribute("transB", 0) else y
    alpha, beta = node.attribute("alpha", 1.0), node.attribute("beta", 1.0)
    product = t.matmul(x, y)
    if alpha != 1.0:
        product = product * _number(product, alpha)
    if c is None or beta == 0.0:
        return product
    return product + (c if beta == 1.0 else c * _number(c, beta))


def _number(x: Any, value: float) -> Any:
    return value if x.dtype.is_float else int(value)


@importer("Einsum", since=12, limits="no letter twice in one operand")
def einsum(node: OnnxNode, *xs: Any) -> Any:
    return t.einsum(*xs, equation=node.attribute("equation").replace(" ", ""))



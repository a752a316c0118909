"""Comparison, logic and selection."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ir.dtypes import bool_
from ..ir.registry import Op, op
from ..ir.rules import broadcast, require_bool, require_float, same_dtype
from ..ir.types import TensorType
from .elementwise import binary


def _comparison(name: str, doc: str, numpy: np.ufunc, **traits: Any) -> Op:
    def rule(x: TensorType, y: TensorType) -> TensorType:
        same_dtype(x, y)
        return TensorType(bool_, broadcast(x, y))

    rule.__doc__, rule.__module__ = doc, __name__
    new: Op = op(name=name, elementwise=True, **traits)(rule)
    new.reference(numpy)
    return new


_comparison("equal", "Whether x == y (NaN equals nothing).\n\nBroadcasts; ONNX Equal.", np.equal, commutative=True,
            negated="not_equal")
_comparison("not_equal", "Whether x != y.\n\nBroadcasts.", np.not_equal, commutative=True, negated="equal")
_comparison("less", "Whether x < y.\n\nBroadcasts; ONNX Less.", np.less, mirrored="greater", negated="greater_or_equal")
_comparison("less_or_equal", "Whether x <= y.\n\nBroadcasts; ONNX LessOrEqual.", np.less_equal,
            mirrored="greater_or_equal", negated="greater")
_comparison("greater", "Whether x > y.\n\nBroadcasts; ONNX Greater.", np.greater, mirrored="less", negated="less_or_equal")
_comparison("greater_or_equal", "Whether x >= y.\n\nBroadcasts; ONNX GreaterOrEqual.", np.greater_equal,
            mirrored="less_or_equal", negated="less")

binary("logical_and", "Conjunction: x and y.\n\nBroadcasts; ONNX And.", np.logical_and, check=require_bool, commutative=True)
binary("logical_or", "Disjunction: x or y, or both.\n\nBroadcasts; ONNX Or.", np.logical_or, check=require_bool, commutative=True)
binary("logical_xor", "Either x or y, not both.\n\nBroadcasts; ONNX Xor.", np.logical_xor, check=require_bool, commutative=True)


@op(elementwise=True)
def logical_not(x: TensorType) -> TensorType:
    """Not x. ONNX Not."""
    require_bool(x)
    return x


logical_not.reference(np.logical_not)


@op(elementwise=True)
def isnan(x: TensorType) -> TensorType:
    """Whether x is not a number. ONNX IsNaN."""
    require_float(x)
    return x.with_dtype(bool_)


isnan.reference(np.isnan)


@op(elementwise=True)
def isinf(x: TensorType) -> TensorType:
    """Whether x is infinite, of either sign. ONNX IsInf."""
    require_float(x)
    return x.with_dtype(bool_)


isinf.reference(np.isinf)


@op(elementwise=True, exact=True, magnitude="carried")
def where(condition: TensorType, x: TensorType, y: TensorType) -> TensorType:
    """x where the condition holds, y elsewhere.

    Broadcasts all three; ONNX Where.
    """
    require_bool(condition)
    same_dtype(x, y)
    return x.with_shape(broadcast(condition, x, y))


where.reference(np.where)

"""Ops that are methods of tensors too, and what tensors are asked for their shape by."""

from __future__ import annotations

from typing import Any

from ..ir.registry import get_op
from ..tensor import Operators
from .calls import frontend

OPS_AS_METHODS = ("softmax", "log_softmax", "exp", "log", "sqrt", "rsqrt", "reciprocal", "square", "sin", "cos", "tanh", "erf",
                  "sigmoid", "relu", "abs", "neg", "sign", "floor", "ceil", "round", "isnan", "isinf", "pow")


def _size(self: Any, axis: int | None = None) -> Any:
    """PyTorch's size: that of an axis, or the shape."""
    return self.shape if axis is None else self.shape[axis]


for _name in OPS_AS_METHODS:
    setattr(Operators, _name, frontend(get_op(_name)))


Operators.ndim = Operators.rank  # type: ignore[attr-defined]
Operators.size = _size  # type: ignore[attr-defined]

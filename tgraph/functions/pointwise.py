"""Functions of single elements that are no ops."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..current_tracer import apply
from ..ir.errors import RuleError
from ..tensor import Operators, Tensor
from .calls import as_tensor, function


@function(method=True)
def log1p(x: Any) -> Tensor:
    """ln(1 + x), exact for small x too: with u = 1 + x rounded, ln(u) x / (u - 1) (Goldberg 1991, theorem 4)."""
    x = as_tensor(x)
    u = x + 1.0
    small = apply("where", apply("equal", u, 1.0), x, apply("log", u) * (x / (u - 1.0)))
    return apply("where", apply("greater", x, 1.0), apply("log", u), small)


@function(method=True)
def expm1(x: Any) -> Tensor:
    """e^x - 1, exact for small x too: tanh(x / 2) (e^x + 1)."""
    x = as_tensor(x)
    return apply("tanh", x * 0.5) * (apply("exp", x) + 1.0)


@function(method=True)
def masked_fill(x: Any, mask: Any, fill_value: Any) -> Tensor:
    """`fill_value` where the mask is True, x elsewhere. (A mask of tgraph's attention is True where a key takes part.)"""
    x = as_tensor(x)
    tensors, numbers = (Operators, np.ndarray, np.generic), (bool, int, float)
    if not isinstance(mask, tensors) or not isinstance(fill_value, (*tensors, *numbers)):
        raise RuleError("is called as masked_fill(x, mask, value), with a boolean tensor and a number")
    return apply("where", mask, fill_value, x)


@function(method=True, aliases=("clamp",))
def clip(x: Any, min: Any = None, max: Any = None) -> Tensor:
    """A bound that is a tensor is applied by maximum or minimum."""
    numbers = {k: v for k, v in (("min", min), ("max", max)) if not isinstance(v, (Operators, np.ndarray))}
    made = apply("clip", x, **numbers) if len(numbers) == 2 or any(v is not None for v in numbers.values()) else x
    made = apply("maximum", made, min) if "min" not in numbers else made
    return apply("minimum", made, max) if "max" not in numbers else made

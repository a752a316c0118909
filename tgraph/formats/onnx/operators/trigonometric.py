"""Trigonometric and hyperbolic functions and their inverses, of sines, cosines, exponentials and logarithms."""

from __future__ import annotations

import math
from typing import Any

from ....ir.dtypes import f32, f64
from ..node import OnnxNode
from ..registry import importer
from .language import t


@importer("Tan")
def tan(node: OnnxNode, x: Any) -> Any:
    return t.sin(x) / t.cos(x)


@importer("Sinh")
def sinh(node: OnnxNode, x: Any) -> Any:
    """(e^x - e^-x) / 2; near 0, where that cancels, by m = e^x - 1: (m + m / (m + 1)) / 2."""
    near = t.expm1(t.clip(x, -1.0, 1.0))
    return t.where(t.abs(x) < 1.0, (near + near / (near + 1.0)) * 0.5, (t.exp(x) - t.exp(-x)) * 0.5)


@importer("Cosh")
def cosh(node: OnnxNode, x: Any) -> Any:
    return (t.exp(x) + t.exp(-x)) * 0.5


@importer("Asinh")
def asinh(node: OnnxNode, x: Any) -> Any:
    """ln(|x| + sqrt(x^2 + 1)) of the sign of x; as ln(1 + ...) up to 1, which keeps small x, and without the square beyond."""
    size = t.abs(x)
    near, part = t.minimum(size, 1.0), t.reciprocal(t.maximum(size, 1.0))
    small = t.log1p(near + near * near / (t.sqrt(near * near + 1.0) + 1.0))
    return t.sign(x) * t.where(size > 1.0, t.log(size) + t.log(t.sqrt(part * part + 1.0) + 1.0), small)


@importer("Acosh")
def acosh(node: OnnxNode, x: Any) -> Any:
    """ln(x + sqrt(x^2 - 1)) by how far x is above 1."""
    above = x - 1.0
    return t.log1p(above + t.sqrt(above) * t.sqrt(above + 2.0))


@importer("Atanh")
def atanh(node: OnnxNode, x: Any) -> Any:
    return (t.log1p(x) - t.log1p(-x)) * 0.5


@importer("Atan")
def atan(node: OnnxNode, x: Any) -> Any:
    return _wide(_atan, x)


@importer("Asin")
def asin(node: OnnxNode, x: Any) -> Any:
    """The angle of a triangle with the sides x and sqrt(1 - x^2)."""
    return _wide(lambda x: _atan(x / t.sqrt((1.0 - x) * (1.0 + x))), x)


@importer("Acos")
def acos(node: OnnxNode, x: Any) -> Any:
    """Twice the angle whose tangent is sqrt((1 - x) / (1 + x))."""
    return _wide(lambda x: _atan(t.sqrt((1.0 - x) / (1.0 + x))) * 2.0, x)


def _wide(function: Any, x: Any) -> Any:
    """Halves are computed in f32, and rounded once."""
    return function(x) if x.dtype in (f32, f64) else t.cast(function(t.cast(x, dtype=f32)), dtype=x.dtype)


def _atan(x: Any) -> Any:
    """Arc tangent: pi/2 - atan(1/x) beyond 1; then the angle is halved twice, tan(a/2) = tan(a) / (1 + sqrt(1 + tan(a)^2)), and
    its tangent, at most 0.2, goes into the Taylor series."""
    size = t.abs(x)
    beyond = size > 1.0
    part = t.where(beyond, 1.0 / size, size)
    for _ in range(2):
        part = part / (t.sqrt(part * part + 1.0) + 1.0)
    square = part * part
    last = 10 if x.dtype == f64 else 5  # 0.2^(2 last + 3) is below the type's precision
    series: Any = (-1) ** last / (2 * last + 1)
    for n in range(last - 1, -1, -1):
        series = square * series + (-1) ** n / (2 * n + 1)
    angle = part * series * 4.0
    angle = t.where(beyond, math.pi / 2 - angle, angle)
    return t.where(x < 0.0, -angle, angle)

"""Arithmetic, one element at a time, with NumPy's broadcasting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..ir.dtypes import f64
from ..ir.errors import RuleError
from ..ir.registry import Op, op
from ..ir.rules import broadcast, require_float, same_dtype
from ..ir.types import TensorType
from .numbers import require_number


def _numeric(*types: TensorType) -> None:
    for t in types:
        if t.dtype.is_bool:
            raise RuleError(f"needs numbers, got {t}; cast it first")


def unary(name: str, doc: str, numpy: Callable[..., Any], check: Callable[..., None] = require_float, **traits: Any) -> Op:
    """Define an elementwise op of one operand whose result has the operand's type."""

    def rule(x: TensorType) -> TensorType:
        check(x)
        return x

    rule.__doc__, rule.__module__ = doc, __name__
    new: Op = op(name=name, elementwise=True, **traits)(rule)
    new.reference(numpy)
    return new


def binary(name: str, doc: str, numpy: Callable[..., Any], check: Callable[..., None] = _numeric, **traits: Any) -> Op:
    """Define an elementwise op of two operands of one element type, broadcast together."""

    def rule(x: TensorType, y: TensorType) -> TensorType:
        same_dtype(x, y)
        check(x, y)
        return x.with_shape(broadcast(x, y))

    rule.__doc__, rule.__module__ = doc, __name__
    new: Op = op(name=name, elementwise=True, **traits)(rule)
    new.reference(numpy)
    return new


def _divide(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    if x.dtype.kind == "f":
        return np.asarray(np.divide(x, y))
    # integers: C's rule, towards zero; exact for all of them, where absolute values and floats are not
    rounded_down = (np.remainder(x, y) != 0) & ((x < 0) != (y < 0))
    return np.asarray(np.floor_divide(x, y) + rounded_down, dtype=x.dtype)


def _erf(x: np.ndarray) -> np.ndarray:
    return np.asarray(np.vectorize(_MATH_ERF, otypes=[x.dtype])(x)) if x.size else x


def _math_erf() -> Callable[[float], float]:
    import math

    return math.erf


_MATH_ERF = _math_erf()


def _power(x: Any, y: Any) -> Any:
    """NumPy's power, which takes a square root for an exponent 0.5 that is one number: of -0.0 and -inf that is another."""
    result = np.power(x, y)
    roots = (y == 0.5) & ((x == 0) | (x == -np.inf))
    return np.where(roots, np.abs(x), result) if np.any(roots) else result


binary("add", "Sum: x + y.\n\nBroadcasts; ONNX Add.", np.add, commutative=True, precision="activation", magnitude="carried")
binary("sub", "Difference: x - y.\n\nBroadcasts; ONNX Sub.", np.subtract, precision="activation", magnitude="carried")
binary("mul", "Product, element by element: x * y.\n\nBroadcasts; ONNX Mul.", np.multiply, commutative=True,
       precision="activation", magnitude="carried")
_INTEGERS = "\n\nIntegers divided by 0 give 0, as in NumPy"
binary("div", f"Quotient: x / y; integers round towards zero.{_INTEGERS}; the lowest of a type / -1 wraps around to itself. "
       "Broadcasts; ONNX Div.", _divide, work=8)
binary("floor_div", f"Quotient rounded down: floor(x / y).{_INTEGERS}; the lowest of a type // -1 wraps around to itself. "
       "Broadcasts; Python's //, NumPy's floor_divide.", np.floor_divide, work=20)
binary("mod", f"Remainder with the sign of y: x - y floor(x / y), exact for floats too.{_INTEGERS}. "
       "Broadcasts; Python's %, NumPy's mod, ONNX Mod.", np.mod, work=20)
binary("pow", "Power: x^y, of floats.\n\nBroadcasts; ONNX Pow.", _power, check=lambda *t: require_float(*t), work=60)
binary("maximum", "The larger of x and y; NaN if either is.\n\nBroadcasts; ONNX Max.", np.maximum, commutative=True, exact=True,
       magnitude="carried")
binary("minimum", "The smaller of x and y; NaN if either is.\n\nBroadcasts; ONNX Min.", np.minimum, commutative=True, exact=True,
       magnitude="carried")

unary("neg", "Negation: -x.\n\nONNX Neg.", np.negative, _numeric, exact=True, magnitude="carried")
unary("abs", "Absolute value: |x|.\n\nONNX Abs.", np.abs, _numeric, exact=True)
unary("sign", "Sign: -1, 0 or 1.\n\nONNX Sign.", np.sign, _numeric, exact=True)
unary("exp", "Exponential: e^x.\n\nONNX Exp.", np.exp, work=15)
unary("log", "Natural logarithm: ln x; NaN below 0.\n\nONNX Log.", np.log, work=25)
unary("sqrt", "Square root; NaN below 0.\n\nONNX Sqrt.", np.sqrt, work=4)
unary("rsqrt", "Reciprocal square root: 1 / sqrt(x).", lambda x: 1 / np.sqrt(x), work=5)
unary("reciprocal", "Reciprocal: 1 / x.\n\nONNX Reciprocal.", lambda x: 1 / x, work=4)
unary("square", "Square: x * x.", np.square, _numeric)
unary("sin", "Sine of x in radians.\n\nONNX Sin.", np.sin, magnitude="bounded", work=25)
unary("cos", "Cosine of x in radians.\n\nONNX Cos.", np.cos, magnitude="bounded", work=25)
unary("erf", "Error function: 2/sqrt(pi) times the integral of e^(-t^2) from 0 to x.\n\nONNX Erf.", _erf,
      magnitude="bounded", work=25)
unary("tanh", "Hyperbolic tangent: (e^x - e^-x) / (e^x + e^-x).\n\nONNX Tanh.", np.tanh, activation=True,
      precision="activation", magnitude="bounded", work=20)
unary("floor", "Largest integer not above x.\n\nONNX Floor.", np.floor, exact=True)
unary("ceil", "Smallest integer not below x.\n\nONNX Ceil.", np.ceil, exact=True)
unary("round", "Nearest integer, halves to even.\n\nONNX Round.", np.round, exact=True)


@op(elementwise=True)
def clip(x: TensorType, *, min: bool | int | float | None = None, max: bool | int | float | None = None) -> TensorType:
    """Limit to an interval: min(max(x, low), high); a bound that is none does not limit. ONNX Clip."""
    _numeric(x)
    for bound in (min, max):
        if isinstance(bound, bool) or bound != bound:
            raise RuleError(f"bounds are numbers or none, got {bound!r}")
        if bound is not None:
            require_number(bound, f64 if x.dtype.is_float else x.dtype, "a bound")  # beyond all floats is no bound
    if min is not None and max is not None and min > max:
        raise RuleError(f"empty interval: min {min} > max {max}")
    return x


@clip.reference
def _(x, *, min, max):  # type: ignore[no-untyped-def]
    return x if min is None and max is None else np.clip(x, min, max).astype(x.dtype)

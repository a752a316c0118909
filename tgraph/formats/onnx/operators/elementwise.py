"""Arithmetic, comparison and logic, element by element."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ....ir.dtypes import DType, bool_, f64
from ..known import Known, cast_array
from ..node import OnnxNode, UnsupportedError
from ..registry import importer
from .language import t

UNARY: dict[str, Callable[[Any], Any]] = {
    "Abs": t.abs, "Neg": t.neg, "Exp": t.exp, "Log": t.log, "Sqrt": t.sqrt, "Erf": t.erf, "Sin": t.sin, "Cos": t.cos,
    "Floor": t.floor, "Ceil": t.ceil, "Round": t.round, "Sign": t.sign, "Reciprocal": t.reciprocal, "Not": t.logical_not,
    "IsNaN": t.isnan,
}
BINARY = {
    "Sub": t.sub, "Mul": t.mul, "Add": t.add, "Equal": t.equal, "Greater": t.greater, "GreaterOrEqual": t.greater_or_equal,
    "Less": t.less, "LessOrEqual": t.less_or_equal, "And": t.logical_and, "Or": t.logical_or, "Xor": t.logical_xor,
}
MANY = {"Max": t.maximum, "Min": t.minimum, "Sum": t.add}


def _unary(function: Callable[[Any], Any]) -> Callable[..., Any]:
    return lambda node, x: function(x)


def _binary(function: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    return lambda node, x, y: function(*aligned(node, x, y))


for _name, _function in UNARY.items():
    importer(_name)(_unary(_function))
for _name, _function in BINARY.items():
    importer(_name)(_binary(_function))


def aligned(node: OnnxNode, x: Any, y: Any) -> tuple[Any, Any]:
    """Operands as broadcasting wants them; before opset 7, `axis` said where the second one lies in the first."""
    axis = node.attribute("axis", None)
    if node.version >= 7 or axis is None or x.rank == y.rank:
        return x, y
    return x, t.reshape(y, shape=(*y.shape, *[1] * (x.rank - (axis % x.rank) - y.rank)))


@importer("Div")
def divide(node: OnnxNode, x: Any, y: Any) -> Any:
    return t.div(*aligned(node, x, y))


@importer("Mod")
def modulo(node: OnnxNode, x: Any, y: Any) -> Any:
    if not node.attribute("fmod", 0):
        return t.mod(x, y)
    rest = t.mod(t.abs(x), t.abs(y))
    signed = t.where(x < 0, -rest, rest)  # of the sign of x, as a rest of 0 is
    return t.where(rest == 0, x * 0.0, signed) if x.dtype.is_float else signed


@importer("Pow")
def power(node: OnnxNode, x: Any, y: Any) -> Any:
    x, y = aligned(node, x, y)
    if x.dtype.is_float:
        return t.pow(x, y if x.dtype == y.dtype else t.cast(y, dtype=x.dtype))
    if y.dtype.is_float:
        return t.cast(t.pow(t.cast(x, dtype=y.dtype), y), dtype=x.dtype)
    return t.cast(t.round(t.pow(t.cast(x, dtype=f64), t.cast(y, dtype=f64))), dtype=x.dtype)  # exact below 2^53


def _many(name: str) -> Callable[..., Any]:
    def function(node: OnnxNode, *xs: Any) -> Any:
        result = xs[0]
        for x in xs[1:]:
            result = MANY[name](result, x)
        return result

    return function


for _name in MANY:
    importer(_name)(_many(_name))


@importer("Mean")
def mean(node: OnnxNode, *xs: Any) -> Any:
    return _many("Sum")(node, *xs) / float(len(xs))


@importer("Where")
def where(node: OnnxNode, condition: Any, x: Any, y: Any) -> Any:
    return t.where(condition, x, y)


@importer("Clip", since=1)
def clip_by_attributes(node: OnnxNode, x: Any) -> Any:
    return t.clip(x, node.attribute("min", None), node.attribute("max", None))


@importer("Clip", since=11)
def clip(node: OnnxNode, x: Any, low: Any = None, high: Any = None) -> Any:
    if low is not None:
        x = t.maximum(x, low)
    return x if high is None else t.minimum(x, high)


@importer("Cast", since=6)
def cast(node: OnnxNode, x: Any) -> Any:
    return converted(x, node.dtype("to"))


@importer("CastLike")
def cast_like(node: OnnxNode, x: Any, like: Any) -> Any:
    known = node.operands[0]
    if isinstance(known, Known) and known.is_constant:
        return Known.of(cast_array(known.array, like.dtype.numpy))
    return converted(x, like.dtype)


def converted(x: Any, dtype: DType) -> Any:
    """Numbers in another type; a float is true if it is not 0."""
    if x.dtype == dtype:
        return x
    return t.not_equal(x, 0) if dtype == bool_ else t.cast(x, dtype=dtype)


@importer("IsInf")
def is_infinite(node: OnnxNode, x: Any) -> Any:
    negative, positive = node.attribute("detect_negative", 1), node.attribute("detect_positive", 1)
    found = t.isinf(x)
    if negative and positive:
        return found
    return found & (x < 0 if negative else x > 0) if negative or positive else found & False


@importer("Dropout", since=7, limits="at inference, where it does nothing")
def dropout(node: OnnxNode, x: Any, *operands: Any) -> Any:
    """Nothing, at inference. From opset 12 on, an operand says whether it is that."""
    if node.given(2) and node.array(2, "training_mode").any() and not (node.given(1) and not node.array(1, "the ratio").any()):
        raise UnsupportedError("drops elements at random, as in training; export the model for inference")
    mask = t.full(x.shape, True, dtype=bool_) if node.wants(1) else None
    return (x, mask)[:max(node.results, 1)]

"""Kinds of attributes: the values that an op allows, read from its signature's annotations and checked when a node is made.

    epsilon: Annotated[float, AtLeast(0)]       a finite number, kept as a float (an int is welcome)
    causal: bool                                true or false; 1 and "false" are neither
    approximate: Literal["none", "tanh"]        one of these strings
    axes: tuple[int, ...] | None                several integers or one (kept as a tuple), or none
    value: bool | int | float                   any number, kept as it is, NaN and infinities too
    size: DimLike, dtype: DType, function: Graph

NumPy's numbers count as Python's, lists as tuples. An attribute without an annotation may be anything.
"""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Union

import numpy as np

from .dims import Dim
from .dtypes import DType
from .errors import RuleError


@dataclass(frozen=True)
class AtLeast:
    """The least value of a number, in `Annotated[int, AtLeast(1)]`."""

    value: float


@dataclass(frozen=True)
class Kind:
    """The values that an annotation allows. `take` returns one in canonical form, and raises ValueError for others."""

    says: str
    take: Callable[[Any], Any]
    several: str = "such values"


def kinds_of(function: Callable[..., Any]) -> dict[str, Kind]:
    """The kind of each annotated parameter; an empty dict if an annotation cannot be evaluated."""
    try:
        hints = typing.get_type_hints(function, localns={"Dim": Dim}, include_extras=True)
    except (NameError, TypeError, AttributeError, SyntaxError):
        return {}
    return {name: _kind(hint) for name, hint in hints.items()}


def check_attribute(name: str, value: Any, kind: Kind | None) -> Any:
    """The value in canonical form. Raises RuleError that names the attribute, what it may be, and what was given."""
    plain = plain_attribute(value)
    if kind is None:
        return plain
    try:
        return kind.take(plain)
    except (ValueError, OverflowError):
        raise RuleError(f"attribute {name!r} must be {kind.says}, got {value!r}") from None


def plain_attribute(value: Any) -> Any:
    """The value with lists as tuples and NumPy numbers as Python numbers, so that equal attributes have equal text."""
    if isinstance(value, (list, tuple)):
        return tuple(plain_attribute(v) for v in value)
    return value.item() if isinstance(value, np.generic) else value


def _kind(hint: Any) -> Kind:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        least = [a.value for a in arguments[1:] if isinstance(a, AtLeast)]
        return _bounded(_kind(arguments[0]), least[0]) if least else _kind(arguments[0])
    if origin in (Union, types.UnionType):
        return _union(arguments)
    if origin is Literal:
        return Kind("one of " + ", ".join(f'"{a}"' for a in arguments), lambda value: _require(value in arguments, value))
    if origin is tuple:
        return _tuple(_kind(arguments[0]))
    if hint in _KINDS:
        return _KINDS[hint]
    if isinstance(hint, type):
        return Kind(f"a {hint.__name__.lower()}", lambda value: _require(isinstance(value, hint), value))
    return Kind("anything", lambda value: value)


def _require(holds: bool, value: Any) -> Any:
    if not holds:
        raise ValueError
    return value


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _float(value: Any) -> float:
    number = float(_require(_is_int(value) or isinstance(value, float), value))
    return float(_require(math.isfinite(number), number))


DTYPE_KIND = Kind("a dtype like f32", lambda value: _require(isinstance(value, DType), value))
_KINDS: Mapping[Any, Kind] = {
    bool: Kind("true or false", lambda value: _require(isinstance(value, bool), value)),
    int: Kind("an integer", lambda value: _require(_is_int(value), value), "integers"),
    float: Kind("a finite number", _float),
    str: Kind("a string", lambda value: _require(isinstance(value, str), value)),
    DType: DTYPE_KIND,
    Dim: Kind("a dim", lambda value: _require(isinstance(value, Dim), value)),
    type(None): Kind("none", lambda value: _require(value is None, value)),
}
_NUMBER = frozenset({bool, int, float})
_SIZE = frozenset({int, Dim})


def _bounded(kind: Kind, least: float) -> Kind:
    def take(value: Any) -> Any:
        taken = kind.take(value)
        return _require(taken >= least, taken)

    return Kind(f"{kind.says} of at least {least}", take)


def _union(hints: tuple[Any, ...]) -> Kind:
    """A union: a value is taken by the first kind that allows it; `bool | int | float` keeps each number's own type."""
    left = set(hints)
    kinds = []
    if left >= _NUMBER:
        kinds.append(Kind("a number", lambda value: _require(isinstance(value, (bool, int, float)), value)))
        left -= _NUMBER
    if left >= _SIZE:
        kinds.append(Kind("a size (an integer or a dim)", lambda value: _require(_is_int(value) or isinstance(value, Dim), value),
                          "sizes (integers or dims)"))
        left -= _SIZE
    kinds += [_kind(h) for h in hints if h in left]

    none = _KINDS[type(None)]

    def take(value: Any) -> Any:
        for kind in kinds:
            try:
                return kind.take(value)
            except ValueError:
                continue
        raise ValueError

    return Kind(" or ".join(k.says for k in kinds), take, " or ".join(k.several if k is not none else "none" for k in kinds))


def _tuple(kind: Kind) -> Kind:
    def take(value: Any) -> Any:
        return tuple(kind.take(v) for v in (value if isinstance(value, tuple) else (value,)))

    return Kind(f"a tuple of {kind.several}", take)

"""Boolean tensors in arithmetic: beside numbers a mask counts as 0 and 1, unless it could mean something else."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np

from .conversions import Conversions
from .current_tracer import apply, current_tracer
from .ir.dims import Dim
from .ir.dtypes import DType, as_dtype, f32, i64
from .ir.errors import OpError
from .ir.numbers import SizeNumber

_COMPARES = frozenset({"less", "less_or_equal", "greater", "greater_or_equal", "equal", "not_equal"})
_LOGIC = frozenset({"logical_and", "logical_or", "logical_xor"})
# of two masks, and of a mask with a whole number
_OF_MASKS = {"add": "mask | other for either", "mul": "mask & other for both", "sub": "mask & ~other, or mask ^ other"}
_OF_NUMBERS = {"sub": "~mask for the opposite mask", "neg": "~mask for the opposite mask"}


def unmasked(op: str, x: Any, y: Any) -> tuple[Any, Any]:
    """The operands of a Python operator, with masks beside numbers cast. Raises OpError where a mask is ambiguous."""
    kinds = _kind(x), _kind(y)
    if op in _LOGIC and "number" in kinds:
        number = x if kinds[0] == "number" else y
        named = "x" if hasattr(number, "dtype") else repr(number)
        _raise(op, (x, y), f"&, | and ^ need boolean operands; write {named} != 0 for the mask of what is not 0")
    if op in _LOGIC or "bool" not in kinds:
        return x, y
    if kinds == ("bool", "bool"):
        if op in _COMPARES:
            return x, y
        _refuse(op, (x, y), _OF_MASKS.get(op))
    mask, other = (x, y) if kinds[0] == "bool" else (y, x)
    wanted = _number_type(other)
    if isinstance(mask, (bool, np.bool_)):
        return (int(mask), y) if mask is x else (x, int(mask))
    if wanted is None and op not in _COMPARES:
        _refuse(op, (x, y), _OF_NUMBERS.get(op))
    numbers = _cast(mask, wanted or i64)
    return (numbers, y) if mask is x else (x, numbers)


def counted(x: Any) -> Any:
    """A mask as integers 0 and 1, so that sums count it; anything else as it is."""
    return _cast(x, i64) if _kind(x) == "bool" else x


def not_a_mask(op: str, x: Any) -> Any:
    """x itself. Raises OpError that says what to write if it is a mask."""
    if _kind(x) == "bool":
        _refuse(op, (x,), _OF_NUMBERS.get(op))
    return x


def _kind(value: Any) -> str:
    """The kind of an operand: "bool", "number", or "" if it is neither."""
    if isinstance(value, (bool, np.bool_)):
        return "bool"
    dtype = getattr(value, "dtype", None)
    if isinstance(dtype, DType):
        return "bool" if dtype.is_bool else "number"
    if isinstance(dtype, np.dtype):
        return "bool" if dtype == np.bool_ else "number"
    return "number" if isinstance(value, (int, float, Dim, SizeNumber)) else ""


def _number_type(value: Any) -> DType | None:
    """The type that a mask is cast to beside a value; None beside a Python integer, which adapts to any type."""
    if isinstance(value, (int, np.integer, Dim)):
        return None
    if isinstance(value, (float, np.floating, SizeNumber)):
        return f32
    dtype = value.dtype
    return dtype if isinstance(dtype, DType) else as_dtype(dtype)


def _cast(mask: Any, dtype: DType) -> Any:
    return mask.astype(dtype.numpy) if isinstance(mask, np.ndarray) else apply("cast", mask, dtype=dtype)


def _refuse(op: str, operands: tuple[Any, ...], instead: str | None) -> NoReturn:
    either = f"{instead}, or " if instead else ""
    _raise(op, operands, f"needs numbers, and a mask is none; write {either}mask.astype(tg.f32) (or tg.i64) for 0 and 1")


def _raise(op: str, operands: tuple[Any, ...], rule: str) -> NoReturn:
    tracer = current_tracer.get()
    shown = [o.type if isinstance(o, Conversions) else o for o in operands]
    raise OpError(op, shown, rule, None if tracer is None else tracer.provenance())

"""Quotients and remainders as scalar expressions that are defined for all operands, with NumPy's results.

A processor's integer division traps at x / 0 and at the lowest number / -1, and a `Select` around it does not help: both of
its branches are evaluated. So the operands are replaced where they would trap: x / 0, x // 0 and x % 0 are
0, and the lowest number / -1 wraps around to itself.

Remainders of floats are exact (C's fmod), whatever the size of the quotient.
"""

from __future__ import annotations

from collections.abc import Callable

from tvm import tirx
from tvm.ir import Expr

from targets.codegen.vector_math import constant, dtype_of, let

Division = Callable[[Expr, Expr], Expr]


def _is_float(x: Expr) -> bool:
    return "float" in dtype_of(x)


def _is_signed(x: Expr) -> bool:
    return dtype_of(x).startswith("int")


def _integers(x: Expr, y: Expr, result: Division) -> Expr:
    """`result(dividend, divisor)` of operands that cannot trap: 0 and 1 where y is 0, x and 1 for the lowest number and -1, else
    x and y."""
    zero, one = (constant(value, dtype_of(x)) for value in (0, 1))
    if _literal(y) == 0:
        return zero
    if _literal(x) is not None and _literal(y) is not None:
        return result(x, one if _literal(y) == -1 and _literal(x) == _lowest(x) else y)
    if _literal(x) is not None:
        return let(y, lambda b: _integers(_hidden(x, b), b, result))
    if _literal(y) not in (None, -1, _lowest(y)):
        return let(x, lambda a: result(a, y))
    if _literal(y) is not None:
        return let(x, lambda a: _integers(a, _hidden(y, a), result))

    def guarded(a: Expr, b: Expr) -> Expr:
        by_zero = _is(b, 0)
        unsafe = tirx.Or(by_zero, tirx.And(_is(b, -1), _is(a, _lowest(a)))) if _is_signed(x) else by_zero
        dividend, divisor = tirx.Select(by_zero, zero, a), tirx.Select(unsafe, one, b)
        return let(dividend, lambda dividend: let(divisor, lambda divisor: result(dividend, divisor)))

    return let(x, lambda a: let(y, lambda b: guarded(a, b)))


def _literal(x: Expr) -> int | None:
    return int(x.value) if isinstance(x, tirx.IntImm) else None


def _lowest(x: Expr) -> int:
    return -(1 << (int(dtype_of(x).removeprefix("int")) - 1)) if _is_signed(x) else 0


def _hidden(literal: Expr, other: Expr) -> Expr:
    """A literal out of sight of TVM's analysis of bounds, which negates the lowest number of a type, and trips over a name whose
    bounds become narrower."""
    return (other ^ other) ^ literal


def _is(x: Expr, value: int) -> Expr:
    """x == value, in a form that TVM's simplifier does not look into.

    It takes a branch of a `Select` for evaluated only if it is chosen, and so drops a test that an outer one, such as a model's
    own `where(y == 0, 0, x // y)`, implies.
    """
    return tirx.EQ(x ^ constant(value, dtype_of(x)), constant(0, dtype_of(x)))


def _rounds_up(remainder: Expr, divisor: Expr) -> Expr:
    """Whether truncation has rounded a quotient of signed integers up: there is a remainder, not of the divisor's sign."""
    zero = constant(0, dtype_of(remainder))
    return tirx.And(tirx.NE(remainder, zero), tirx.LT(remainder ^ divisor, zero))


def divide(x: Expr, y: Expr) -> Expr:
    """x / y; integers round towards zero, as ONNX's Div does."""
    return tirx.Div(x, y) if _is_float(x) else _integers(x, y, lambda a, b: tirx.Div(a, b))


def floor_divide(x: Expr, y: Expr) -> Expr:
    """floor(x / y), of floats by way of their exact remainder, as in NumPy."""
    if _is_float(x):
        return let(x, lambda a: let(y, lambda b: let(tirx.Mod(a, b), lambda r: _floor_of_floats(a, b, r))))

    def floored(a: Expr, b: Expr) -> Expr:
        if not _is_signed(x):
            return tirx.Div(a, b)
        down = tirx.Select(_rounds_up(tirx.Mod(a, b), b), constant(1, dtype_of(x)), constant(0, dtype_of(x)))
        return tirx.Sub(tirx.Div(a, b), down)

    return _integers(x, y, floored)


def modulo(x: Expr, y: Expr) -> Expr:
    """The remainder with the divisor's sign, as NumPy's `mod` and Python's %: x - y floor(x / y)."""
    if _is_float(x):
        return let(x, lambda a: let(y, lambda b: let(tirx.Mod(a, b), lambda r: _with_sign_of(b, r))))

    def remainder(a: Expr, b: Expr) -> Expr:
        if not _is_signed(x):
            return tirx.Mod(a, b)
        return let(tirx.Mod(a, b), lambda r: tirx.Select(_rounds_up(r, b), tirx.Add(r, b), r))

    return _integers(x, y, remainder)


def _opposed(r: Expr, b: Expr) -> Expr:
    """Whether a remainder is not 0 and not of the divisor's sign; false for NaN."""
    zero = constant(0.0, dtype_of(r))
    return tirx.Or(tirx.And(tirx.LT(r, zero), tirx.LT(zero, b)), tirx.And(tirx.LT(zero, r), tirx.LT(b, zero)))


def _zero_like(b: Expr) -> Expr:
    """0.0 with the sign of b."""
    bits = "int64" if dtype_of(b) == "float64" else "int32"
    sign = constant(-(1 << (int(bits.removeprefix("int")) - 1)), bits)
    return tirx.reinterpret(dtype_of(b), tirx.reinterpret(bits, b) & sign)


def _with_sign_of(b: Expr, r: Expr) -> Expr:
    other = tirx.Select(_opposed(r, b), tirx.Add(r, b), r)
    return tirx.Select(tirx.EQ(r, constant(0.0, dtype_of(r))), _zero_like(b), other)


def _floor_of_floats(a: Expr, b: Expr, r: Expr) -> Expr:
    """floor(a / b), where r is the remainder: a - r is a multiple of b, and its quotient is rounded to the nearest integer.

    A quotient of 0 has the sign of a / b.
    """
    number = lambda value: constant(value, dtype_of(a))
    multiple = tirx.Div(tirx.Sub(a, r), b)
    whole = let(multiple, lambda q: tirx.Select(_opposed(r, b), tirx.Sub(q, number(1.0)), q))

    def nearest(q: Expr) -> Expr:
        up = lambda low: tirx.Select(tirx.LT(number(0.5), tirx.Sub(q, low)), tirx.Add(low, number(1.0)), low)
        return tirx.Select(tirx.EQ(q, number(0.0)), _zero_like(tirx.Div(a, b)), let(tirx.floor(q), up))

    return tirx.Select(tirx.EQ(b, number(0.0)), tirx.Div(a, b), let(whole, nearest))

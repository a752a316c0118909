"""Norms of rows whose squares leave the range of f32: measured again, multiplied by a power of two.

Squares overflow from 1.8e19 on; below 1e-19 they lose bits, which matters beside no epsilon of a usual size.
"""

from __future__ import annotations

from collections.abc import Callable

from targets.base.tvm_api import Expr, T, tirx
from targets.codegen.scalar import is_nan
from targets.codegen.vector_math import constant

HUGE, SMALL = 2.0**-96, 2.0**64  # what the values of such rows are multiplied by
LOWEST = 2.0**-90  # of a mean of squares that has all its bits


def measured_again(mean_square: Expr, epsilon: float, again: Callable[[float], None]) -> None:
    """`again(factor)`, at run time, for a row whose `mean_square` shows that its squares have left the range.

    A row with an infinity or a NaN is measured again too, to the same end. Nothing to do in f64.
    """
    if str(mean_square.ty.dtype) != "float32":
        return
    overflown = tirx.Or(is_nan(mean_square), tirx.EQ(mean_square, constant(float("inf"), "float32")))
    with T.If(overflown), T.Then():
        again(HUGE)
    if epsilon < LOWEST * 2**24:
        with T.If(mean_square < constant(LOWEST, "float32")), T.Then():
            again(SMALL)


def inverse_root(mean_square: Expr, epsilon: float, factor: float = 1.0) -> Expr:
    """1 / sqrt(mean square + epsilon), where `mean_square` is that of values multiplied by `factor`."""
    dtype = str(mean_square.ty.dtype)
    added = epsilon * factor * factor
    if dtype == "float32" and added < 2.0**-150:  # rounds to 0, which C compilers refuse to do with a literal
        added = 0.0
    return constant(factor, dtype) / tirx.sqrt(mean_square + constant(added, dtype))

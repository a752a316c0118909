"""Building blocks of type rules: equality of dims, broadcasting as NumPy does it, axes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tgraph.ir.dims import dim
from tgraph.ir.dtypes import bool_, f16, f32, i64
from tgraph.ir.errors import RuleError
from tgraph.ir.rules import (
    Constraints,
    axes_from_end,
    axis_from_end,
    axis_index,
    broadcast,
    broadcast_shapes,
    collect_constraints,
    require_bool,
    require_float,
    require_integer,
    require_rank,
    same,
    same_dtype,
    same_shape,
)
from tgraph.ir.types import TensorType

B, S, T = dim("B"), dim("S"), dim("T")

shapes = st.lists(st.integers(0, 3), max_size=4).map(tuple)


@given(shapes, shapes)
def test_broadcasting_is_that_of_numpy(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    try:
        wanted = np.broadcast_shapes(a, b)
    except ValueError:
        with pytest.raises(RuleError, match="do not broadcast"):
            broadcast_shapes(a, b)
    else:
        assert broadcast_shapes(a, b) == wanted == broadcast(TensorType(f32, a), TensorType(f32, b))


def test_a_dim_broadcasts_against_the_literal_one_only() -> None:
    assert broadcast_shapes((B, 1, 4), (S, 1)) == (B, S, 4)
    with collect_constraints() as constraints:
        assert broadcast_shapes((B, 4), (S, 1)) == (B, 4)
        assert broadcast_shapes((S, 4), (B, 4)) == (S, 4)
    assert constraints.added == [(B, S)]
    with pytest.raises(RuleError, match=r"shapes \[B, 4\] and \[B\+1, 4\] do not broadcast \(axis -2\): B != B\+1"):
        broadcast_shapes((B, 4), (B + 1, 4))


def test_same() -> None:
    with collect_constraints([(B, S)]) as constraints:
        assert same(S, B, "rule") is S and same(B + 1, S + 1, "rule") == B + 1
        assert constraints.added == []
        assert same(S, T, "rule") is S and same(B, T, "rule") is B
        assert constraints.added == [(S, T)]
        with collect_constraints() as inner:
            same(B, S, "rule")
        assert inner.added == [(B, S)] and constraints.added == [(S, T)]
    assert same(B, S, "outside of a graph nothing is kept") is B
    with pytest.raises(RuleError, match="rule: 3 != 4"):
        same(3, 4, "rule")


def test_known_equalities_in_any_order_and_direction() -> None:
    for known in ([(B, S), (S, T)], [(T, S), (B, S)], [(S, T), (T, B)], [(T, B), (S, B)]):
        found = Constraints(known)
        assert found.compare(B, T) == "equal" and found.compare(2 * B + 1, S + T + 1) == "equal"
        assert found.compare(B, T + 1) == "different" and found.compare(B, dim("N")) == "unknown"
    assert Constraints([(B, 4)]).compare(2 * B, 8) == "equal" and Constraints([(B, 4)]).compare(B, 5) == "different"
    assert Constraints([(B, 2 * S), (S, 3)]).compare(B, 6) == "equal"
    assert Constraints([(2 * B, 3 * S)]).compare(3 * S, 2 * B) == "equal"
    assert Constraints([(2 * B, 3 * S), (B, T)]).compare(2 * T, 3 * S) == "equal"
    assert Constraints([(B, B * S)]).compare(B, S) == "unknown"
    assert Constraints([(B, S)]).agree(f32[B, 4], f32[S, 4]) and not Constraints([(B, S)]).agree(f32[B], f16[S])
    assert not Constraints().agree(f32[B], f32[S]) and not Constraints().agree(f32[B], f32[B, 1])


@given(st.integers(-6, 6), st.integers(0, 4))
def test_axes(axis: int, rank: int) -> None:
    if -rank <= axis < rank:
        assert range(rank)[axis_index(axis, rank)] == range(rank)[axis]
        assert -rank <= axis_from_end(axis, rank) < 0 and axis_index(axis_from_end(axis, rank),
                                                                     rank) == axis_index(axis, rank)
        assert axes_from_end(axis, rank) == (axis_from_end(axis, rank),)
    else:
        for function in (axis_index, axis_from_end, axes_from_end):
            with pytest.raises(RuleError, match=rf"axis {axis} is not within {-rank} \.\. {rank - 1} for rank {rank}"):
                function(axis, rank)


def test_several_axes() -> None:
    assert axes_from_end(None, 3) == (-3, -2, -1) and axes_from_end([2, 0], 3) == (-3, -1) and axes_from_end((),
                                                                                                             3) == ()
    with pytest.raises(RuleError, match="name one axis twice"):
        axes_from_end((0, -3), 3)
    for bad in ("0", 1.5):
        with pytest.raises(RuleError):
            axes_from_end(bad, 3)
    for bad in (True, "0", None, 0.0):
        with pytest.raises(RuleError):
            axis_index(bad, 3)


def test_a_multiple_of_what_is_known_to_hold_holds() -> None:
    count = (S - 5) // 3
    known = Constraints(known_order=[(count, 0)])
    assert known.order(3 * count, 0) == known.order(3 * count + 2, 0) == known.order(2 * count, count) == "holds"
    assert known.order(3 * count, 1) == "unknown"


def test_requirements() -> None:
    same_dtype(f32[B], f32[S])
    same_shape(f32[B, 4], i64[B, 4], "rule")
    require_float(f32[B], f16[B])
    require_bool(bool_[B])
    require_integer(i64[B], "indices")
    require_rank(f32[B, 4], 2)
    for broken, message in (
        (lambda: same_dtype(f32[B], f16[B]), "dtypes differ: f32 and f16 .*cast one"),
        (lambda: same_shape(f32[B, 4], f32[B], "rule"), "rule: .* differ in rank"),
        (lambda: same_shape(f32[B, 4], f32[B, 5], "rule"), r"rule \(axis 1\): 4 != 5"),
        (lambda: require_float(i64[B]), "needs a floating-point operand, got i64"),
        (lambda: require_bool(f32[B]), "needs a boolean operand, got f32"),
        (lambda: require_integer(bool_[B], "indices"), "indices must be integers, got bool"),
        (lambda: require_rank(f32[B], 2, "x"), r"x must have rank 2 or more, got f32\[B\]"),
    ):
        with pytest.raises(RuleError, match=message):
            broken()

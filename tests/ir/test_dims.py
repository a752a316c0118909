"""Dims are a commutative ring with floor division, and agree with Python's integers at every size."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_graphs import dims as expressions
from random_graphs import evaluate_dim

from tgraph.ir.dims import (
    Dim,
    DimLike,
    Symbol,
    as_symbol,
    bounds,
    compare,
    dim,
    dims,
    evaluate,
    floordiv,
    substitute,
    symbols,
)
from tgraph.ir.errors import RuleError

sizes = st.fixed_dictionaries({name: st.integers(0, 12) for name in ("B", "S", "T")})


@given(expressions, expressions, expressions)
def test_ring_laws(a: DimLike, b: DimLike, c: DimLike) -> None:
    assert a + b == b + a and a * b == b * a
    assert (a + b) + c == a + (b + c) and (a * b) * c == a * (b * c)
    assert a * (b + c) == a * b + a * c
    assert a + 0 == a and a * 1 == a and a * 0 == 0 and a - a == 0 and -1 * (-a) == a
    assert a - b == a + -b == -(b - a)


@given(expressions, expressions)
def test_equal_expressions_have_one_form(a: DimLike, b: DimLike) -> None:
    square = (a + b) * (a + b)
    assert str(square) == str(a * a + 2 * a * b + b * b)
    assert hash(square) == hash(a * a + b * a * 2 + b * b)


@given(expressions, expressions, sizes)
def test_arithmetic_agrees_with_integers(a: DimLike, b: DimLike, at: dict[str, int]) -> None:
    x, y = evaluate(a, at), evaluate(b, at)
    assert x == evaluate_dim(a, at)
    for mine, python in ((a + b, x + y), (a - b, x - y), (a * b, x * y), (-a, -x)):
        assert evaluate(mine, at) == python


@given(expressions, st.integers(-6, 6).filter(bool), sizes)
def test_floor_division_and_remainder_by_a_number(a: DimLike, n: int, at: dict[str, int]) -> None:
    x = evaluate(a, at)
    assert evaluate(a // n, at) == x // n
    assert evaluate(a % n, at) == x % n
    assert a // n * n + a % n == a


@given(expressions, expressions, sizes)
def test_floor_division_by_a_dim(a: DimLike, b: DimLike, at: dict[str, int]) -> None:
    y = evaluate(b, at)
    if y == 0 or b == 0:
        return
    assert evaluate(floordiv(a, b), at) == evaluate(a, at) // y
    assert floordiv(a * b, b) == a


@given(expressions, expressions, st.dictionaries(st.sampled_from(["B", "S"]), expressions), sizes)
def test_substitution_commutes_with_evaluation(a: DimLike, b: DimLike, mapping: dict[str, DimLike],
                                               at: dict[str, int]) -> None:
    inner = {**at, **{name: evaluate(value, at) for name, value in mapping.items()}}
    assert evaluate(substitute(a + b, mapping), at) == evaluate(a + b, inner)


@given(expressions, expressions, st.lists(sizes, min_size=1, max_size=8))
def test_compare_is_sound(a: DimLike, b: DimLike, many: list[dict[str, int]]) -> None:
    verdict = compare(a, b)
    same = [evaluate(a, at) == evaluate(b, at) for at in many]
    assert verdict in ("equal", "different", "unknown")
    assert all(same) or verdict != "equal"
    assert not any(same) or verdict != "different"
    assert compare(b, a) == verdict


@given(expressions, st.lists(sizes, min_size=1, max_size=8))
def test_bounds_hold(a: DimLike, many: list[dict[str, int]]) -> None:
    low, high = bounds(a)
    for at in many:
        value = evaluate(a, at)
        assert (low is None or low <= value) and (high is None or value <= high)


@given(st.integers(0, 5), st.integers(0, 5), st.integers(0, 5), st.integers(1, 4))
def test_bounds_of_bounded_symbols(low: int, more: int, offset: int, n: int) -> None:
    s = dim("S", min=low, max=low + more)
    for value in (s + offset, s * n, offset - s, s // n, s * s, (s + offset) // n * s):
        floor, ceiling = bounds(value)
        found = [evaluate(value, {"S": size}) for size in range(low, low + more + 1)]
        assert (floor is None or floor <= min(found)) and (ceiling is None or max(found) <= ceiling)
    assert bounds(s) == (low, low + more) and bounds(-s) == (-low - more, -low)


def test_text() -> None:
    b, s, t = dims("B S T")
    for value, text in ((s + 1, "S+1"), (1 - s, "-S+1"), (2 * (s - b), "2*S-2*B"), (b * s, "B*S"), (s * s * 3, "3*S*S"),
                        (s // 2, "S//2"), ((s + 1) // 2, "(S+1)//2"), (-(s // 2), "-(S//2)"), (s - t // 3, "S-T//3"),
                        (2 * (s // 4), "2*(S//4)"), (s // 4 * b, "B*(S//4)"), ((s // 2) // 3, "(S//2)//3"),
                        (-(-s // 2), "-((-S)//2)"), (s // (b + 1), "S//(B+1)"), (5 // s, "5//S"), (s % 4,
                                                                                                   "S-4*(S//4)")):
        assert str(value) == text
        assert evaluate_dim(value, {"B": 7, "S": 11, "T": 5}) == evaluate(value, {"B": 7, "S": 11, "T": 5})


def test_what_divides_exactly_is_no_quotient() -> None:
    b, s = dims("B S")
    assert (4 * s) // 2 == 2 * s and (4 * s + 3) // 4 == s and (4 * s - 1) // 4 == s - 1
    assert (64 * b * s + 64 * b * b) // (16 * s + 16 * b) == 4 * b and (s * s - b * b) // (s + b) == s - b
    assert (b * s) // s == b and (6 * b * s) // (2 * s) == 3 * b and (s + 1) // (s + 1) == 1
    assert (2 * s) // 4 == s // 2 and (2 * s + 1) // 4 == s // 2 and s // -2 == (-s) // 2
    assert (4 * s) % 4 == 0 and 0 // s == 0
    assert dim("S", max=3) // 4 == 0


def test_compare() -> None:
    b, s = dims("B S")
    assert compare(s, s) == compare(3, 3) == compare(2 * s, s + s) == "equal"
    assert compare(s, s + 1) == compare(3, 4) == compare(dim("S", max=4), 5) == "different"
    assert compare(s, b) == compare(s, 5) == compare(s * b, s) == "unknown"
    assert compare(dim("S", min=1), 0) == "different"


def test_symbols_and_names() -> None:
    b, s = dims("B, S")
    assert [x.name for x in symbols(b * s + (s + 1) // 2)].count("S") == 2
    assert as_symbol(s) == Symbol("S") and all(as_symbol(other) is None for other in (s + 1, 2 * s, s * s, 4))
    assert dim("S", max=3) == s and hash(dim("S", max=3)) == hash(s)  # within a graph a dim is its name
    for name in ("", "2x", "a b", "a.b", "f32", "none", "gr\u00f6\u00dfe"):
        with pytest.raises(RuleError):
            dim(name)
    with pytest.raises(RuleError, match="no size within"):
        dim("S", min=3, max=2)
    with pytest.raises(RuleError, match="no size within"):
        dim("S", min=-1)


def test_a_dim_is_no_number() -> None:
    s = dim("S")
    for use in (lambda: int(s), lambda: range(s), lambda: s < 3, lambda: s >= 3, lambda: bool(s)):  # type: ignore[arg-type]
        with pytest.raises(RuleError, match="has no value while tracing"):
            use()
    with pytest.raises(RuleError, match="divided by zero"):
        s // 0
    with pytest.raises(RuleError, match="not float"):
        s // 0.5
    with pytest.raises(RuleError, match=r"no size known for S in S\+1"):
        evaluate(s + 1, {"B": 2})
    assert isinstance(s, Dim) and s != 3 and s != "S"

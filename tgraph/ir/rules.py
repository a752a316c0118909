"""Building blocks of type rules: equality and order of dims with run-time checks, broadcasting, axes, dtypes.

An equality or inequality of dims that can be neither proven nor refuted becomes a constraint of the graph under construction;
rules report it through `same` and `at_least`, and `Graph.insert` collects it with `collect_constraints`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from contextvars import ContextVar
from typing import Literal

from .dims import DimLike, as_symbol, compare, substitute, symbols
from .dtypes import bool_, f64
from .errors import RuleError
from .inequalities import Inequality, canonical, is_nonnegative
from .types import TensorType

Order = Literal["holds", "never", "unknown"]
Constraint = tuple[DimLike, DimLike]  # (left, right): equal at run time; the left one is used from here on


class Constraints:
    """Equalities and inequalities between dims, assumed by type rules and checked at run time."""

    def __init__(self, known: Iterable[Constraint] = (), known_order: Iterable[Inequality] = ()):
        self.known: list[Constraint] = list(known)
        self.added: list[Constraint] = []
        self.known_order: list[Inequality] = list(known_order)
        self.added_order: list[Inequality] = []

    def compare(self, a: DimLike, b: DimLike) -> str:
        """`dims.compare` under the known equalities, in whatever order they were found."""
        verdict = compare(a, b)
        if verdict == "unknown" and (self.known or self.added):
            solved, unsolved = self._solve()
            a, b = substitute(a, solved), substitute(b, solved)
            verdict = compare(a, b)
            if verdict == "unknown" and {a, b} in [{substitute(x, solved), substitute(y, solved)} for x, y in unsolved]:
                return "equal"
        return verdict

    def order(self, a: DimLike, b: DimLike) -> Order:
        """Whether a >= b: "holds" for all sizes that the graph takes, "never" for any of them, or "unknown"."""
        solved = self._solve()[0]
        difference = substitute(a - b, solved)
        margins: list[DimLike] = [0, *(substitute(x - y, solved) for x, y in (*self.known_order, *self.added_order))]
        left, right = canonical(difference, 0)  # as the known ones are written: 3 n >= 0 follows from n >= 0
        if any(is_nonnegative(d - m) for m in margins for d in (difference, left - right)):
            return "holds"
        return "never" if any(is_nonnegative(-difference - 1 - m) for m in margins) else "unknown"

    def agree(self, a: TensorType, b: TensorType) -> bool:
        """Whether two types are equal under the known equalities."""
        return a.dtype == b.dtype and a.rank == b.rank and all(
            self.compare(x, y) == "equal" for x, y in zip(a.shape, b.shape))

    def _solve(self) -> tuple[dict[str, DimLike], list[Constraint]]:
        """The equalities as a substitution of symbols, and those that cannot be solved for a symbol."""
        return _solution((*self.known, *self.added))


Solution = tuple[dict[str, DimLike], list[Constraint]]
# Of the equalities asked for last, which are kept with it: each insertion adds few, or none. The key is which objects they are,
# since equal dims may have other bounds.
_SOLUTIONS: dict[tuple[int, ...], tuple[tuple[Constraint, ...], Solution]] = {}
_KEPT = 16


def _solution(equalities: tuple[Constraint, ...]) -> Solution:
    """Equalities as a substitution of symbols, and those that cannot be solved for a symbol; neither is to be changed."""
    key = tuple(id(side) for equality in equalities for side in equality)
    found = _SOLUTIONS.get(key)
    if found is not None:
        return found[1]
    before = _SOLUTIONS.get(key[:-2])
    solved, unsolved = (dict(before[1][0]), list(before[1][1])) if before else ({}, [])
    for equality in equalities[-1:] if before else equalities:
        left, right = (substitute(side, solved) for side in equality)
        for symbol, value in ((as_symbol(right), left), (as_symbol(left), right)):
            if symbol is not None and symbol not in symbols(value):
                step = {symbol.name: value}
                solved = {n: substitute(v, step) for n, v in solved.items()} | step
                break
        else:
            unsolved.append((left, right))
    _SOLUTIONS[key] = equalities, (solved, unsolved)
    for oldest in list(_SOLUTIONS)[:-_KEPT]:
        _SOLUTIONS.pop(oldest, None)
    return solved, unsolved


_current: ContextVar[Constraints | None] = ContextVar("tgraph_constraints", default=None)


@contextlib.contextmanager
def collect_constraints(known: Iterable[Constraint] = (), known_order: Iterable[Inequality] = ()) -> Iterator[Constraints]:
    """Collect what type rules require (`same`, `at_least`) and what can be neither proven nor refuted."""
    constraints = Constraints(known, known_order)
    token = _current.set(constraints)
    try:
        yield constraints
    finally:
        _current.reset(token)


def same(a: DimLike, b: DimLike, rule: str) -> DimLike:
    """Require a == b; the result is `a`. Raises RuleError(rule) if they differ; unknown becomes a run-time check."""
    constraints = _current.get() or Constraints()
    verdict = constraints.compare(a, b)
    if verdict == "different":
        raise RuleError(f"{rule}: {a} != {b}")
    if verdict == "unknown":
        constraints.added.append((a, b))
    return a


def known_equal(a: DimLike, b: DimLike) -> bool:
    """Whether a == b for all sizes that the graph takes; unlike `same`, asks for no check at run time."""
    return (_current.get() or Constraints()).compare(a, b) == "equal"


def order(a: DimLike, b: DimLike) -> Order:
    """Whether a >= b for all sizes that the graph takes ("holds"), for none ("never"), or "unknown"."""
    return (_current.get() or Constraints()).order(a, b)


def at_least(a: DimLike, b: DimLike, rule: str) -> None:
    """Require a >= b. Raises RuleError(rule) if it never holds; unknown becomes a run-time check."""
    constraints = _current.get() or Constraints()
    verdict = constraints.order(a, b)
    if verdict == "never":
        raise RuleError(f"{rule}: {a} < {b}")
    if verdict == "unknown":
        constraints.added_order.append(canonical(a, b))


def broadcast_shapes(a: Sequence[DimLike], b: Sequence[DimLike]) -> tuple[DimLike, ...]:
    """The shape of two operands broadcast as in NumPy, but that only the literal size 1 broadcasts, never a symbolic dim."""
    result: list[DimLike] = []
    for i in range(max(len(a), len(b))):
        left = a[len(a) - 1 - i] if i < len(a) else 1
        right = b[len(b) - 1 - i] if i < len(b) else 1
        if left == 1:
            result.append(right)
        elif right == 1:
            result.append(left)
        else:
            result.append(same(left, right, f"shapes [{_join(a)}] and [{_join(b)}] do not broadcast (axis {-1 - i})"))
    return tuple(reversed(result))


def broadcast(*types: TensorType) -> tuple[DimLike, ...]:
    """The shape of several operands broadcast together."""
    shape: tuple[DimLike, ...] = ()
    for t in types:
        shape = broadcast_shapes(shape, t.shape)
    return shape


def same_shape(a: TensorType, b: TensorType, rule: str) -> None:
    """Require equal shapes, axis by axis."""
    if a.rank != b.rank:
        raise RuleError(f"{rule}: {a} and {b} differ in rank")
    for i, (x, y) in enumerate(zip(a.shape, b.shape)):
        same(x, y, f"{rule} (axis {i})")


def same_dtype(*types: TensorType) -> None:
    """Require one element type for all; there is no implicit promotion."""
    first = types[0].dtype
    for t in types[1:]:
        if t.dtype != first:
            to = t.dtype if first in (f64, bool_) else first  # NumPy makes f64 of what is written in decimals
            raise RuleError(f"dtypes differ: {first} and {t.dtype} (there is no implicit promotion; cast one: .astype(tg.{to}))")


def require_float(*types: TensorType) -> None:
    for t in types:
        if not t.dtype.is_float:
            raise RuleError(f"needs a floating-point operand, got {t}; cast it first: .astype(tg.f32)")


def require_bool(*types: TensorType) -> None:
    for t in types:
        if not t.dtype.is_bool:
            raise RuleError(f"needs a boolean operand, got {t}; write x != 0 for the mask of what is not 0")


def require_integer(t: TensorType, what: str) -> None:
    if not t.dtype.is_integer:
        raise RuleError(f"{what} must be integers, got {t}")


def require_rank(t: TensorType, at_least: int, what: str = "operand") -> None:
    if t.rank < at_least:
        raise RuleError(f"{what} must have rank {at_least} or more, got {t}")


def axis_index(axis: object, rank: int) -> int:
    """A non-negative axis from one in -rank .. rank-1."""
    if isinstance(axis, bool) or not isinstance(axis, int) or not -rank <= axis < rank:
        raise RuleError(f"axis {axis!r} is not within {-rank} .. {rank - 1} for rank {rank}")
    return axis % rank


def axis_from_end(axis: object, rank: int) -> int:
    """The canonical form of an axis: counted from the end (-1 is the last)."""
    return axis_index(axis, rank) - rank


def axes_from_end(axes: object, rank: int) -> tuple[int, ...]:
    """The canonical form of one axis, several distinct ones or, for None, all: sorted, counted from the end."""
    if axes is None:
        return tuple(range(-rank, 0))
    given = (axes,) if isinstance(axes, int) else axes
    if not isinstance(given, (tuple, list)):
        raise RuleError(f"axes must be an int or a tuple of ints, got {axes!r}")
    result = sorted(axis_from_end(a, rank) for a in given)
    if len(set(result)) != len(result):
        raise RuleError(f"axes {axes!r} name one axis twice")
    return tuple(result)


def _join(shape: Sequence[DimLike]) -> str:
    return ", ".join(str(d) for d in shape)

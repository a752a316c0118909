"""Symbolic dims: sizes that are known only at run time, with exact integer arithmetic.

A dim is an `int` or a `Dim`: an integer polynomial whose factors are named symbols (`B`, `S`) and floor quotients
that do not simplify (`S//2`). The polynomial is kept in one normal form, so that equal expressions are
equal objects: `(S + 1) * 2 == 2*S + 2`. A remainder is written with the quotient: `x % n` is `x - n*(x//n)`.

`compare` answers "equal", "different" or "unknown"; what stays unknown becomes a check at run time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import gcd
from typing import TYPE_CHECKING, Any, Union, overload

from .errors import InputError, RuleError
from .numbers import Sized, combine

if TYPE_CHECKING:
    from .numbers import SizeNumber

LARGEST, DEEPEST = 10_000, 50  # of an expression: factors in all its terms; quotients within quotients
LONGEST = 13_000  # bits of a number in one; Python writes integers of up to 4300 digits
RESERVED = {"true", "false", "none", "inf", "nan"}  # what means something else in the text form; `dtypes` adds its names

DimLike = Union[int, "Dim"]
Monomial = tuple[tuple["Factor", int], ...]  # ((factor, power), ...), sorted; () is the constant term


@dataclass(frozen=True)
class Symbol:
    """A named size with inclusive bounds. Within a graph the name identifies a symbol, so bounds take no part in `==`."""

    name: str
    min: int = field(default=0, compare=False)
    max: int | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Quotient:
    """floor(numerator / denominator), for operands that do not divide exactly."""

    numerator: DimLike
    denominator: DimLike

    def __str__(self) -> str:
        return f"{_wrap(self.numerator)}//{_wrap(self.denominator)}"


Factor = Symbol | Quotient


class Dim(Sized):
    """An integer polynomial over symbols; immutable, hashable, in normal form. Never a plain constant."""

    __slots__ = ("_hash", "depth", "terms", "weight")

    def __init__(self, terms: Mapping[Monomial, int]):
        self.weight: int
        self.depth: int
        self.weight, self.depth = _extent(terms)
        ordered = sorted(terms.items(), key=_term_key) if len(terms) > 1 else terms.items()
        self.terms: tuple[tuple[Monomial, int], ...] = tuple(ordered)
        self._hash = hash(self.terms)

    def __eq__(self, other: object) -> bool:
        return NotImplemented if _takes_over(other) else isinstance(other, Dim) and self.terms == other.terms

    def __hash__(self) -> int:
        return self._hash

    # Beside a tensor the operator is the tensor's, beside a float the result is a number (`numbers.py`).

    @overload
    def __add__(self, other: DimLike) -> DimLike: ...  # type: ignore[overload-overlap]

    @overload
    def __add__(self, other: float | SizeNumber) -> SizeNumber: ...

    def __add__(self, other: Any) -> Any:
        if not _integral(other):
            return combine("add", self, other)
        terms = dict(self.terms)
        for monomial, coefficient in _terms(other):
            terms[monomial] = terms.get(monomial, 0) + coefficient
        return _make(terms)

    @overload
    def __mul__(self, other: DimLike) -> DimLike: ...  # type: ignore[overload-overlap]

    @overload
    def __mul__(self, other: float | SizeNumber) -> SizeNumber: ...

    def __mul__(self, other: Any) -> Any:
        if not _integral(other):
            return combine("mul", self, other)
        terms: dict[Monomial, int] = {}
        if len(self.terms) * len(_terms(other)) > LARGEST:
            raise RuleError(_too_large())
        for left, a in self.terms:
            for right, b in _terms(other):
                monomial = _multiply(left, right)
                terms[monomial] = terms.get(monomial, 0) + a * b
        return _make(terms)

    def __neg__(self) -> DimLike:
        return self * -1

    @overload
    def __sub__(self, other: DimLike) -> DimLike: ...  # type: ignore[overload-overlap]

    @overload
    def __sub__(self, other: float | SizeNumber) -> SizeNumber: ...

    def __sub__(self, other: Any) -> Any:
        return self + -other if _integral(other) else combine("sub", self, other)

    @overload
    def __rsub__(self, other: DimLike) -> DimLike: ...  # type: ignore[overload-overlap]

    @overload
    def __rsub__(self, other: float | SizeNumber) -> SizeNumber: ...

    def __rsub__(self, other: Any) -> Any:
        return -self + other if _integral(other) else combine("sub", other, self)

    def __floordiv__(self, other: DimLike) -> DimLike:
        return NotImplemented if _takes_over(other) else floordiv(self, other)

    def __rfloordiv__(self, other: DimLike) -> DimLike:
        return floordiv(other, self)

    def __mod__(self, other: DimLike) -> DimLike:
        return NotImplemented if _takes_over(other) else self - other * floordiv(self, other)

    def __rmod__(self, other: DimLike) -> DimLike:
        return other - self * floordiv(other, self)

    __radd__ = __add__
    __rmul__ = __mul__

    def _no_value(self, *others: object) -> bool:
        if others and _takes_over(others[0]):
            return NotImplemented
        raise RuleError(f"dimension {self} has no value while tracing; only ==, + - * // % are defined on it")

    def __index__(self) -> int:
        raise RuleError(f"dimension {self} has no value while tracing, so it cannot be used as a Python integer")

    def __str__(self) -> str:
        text = ""
        for monomial, coefficient in self.terms:
            factors = [factor for factor, power in monomial for _ in range(power)]
            magnitude = [str(abs(coefficient))] if abs(coefficient) != 1 or not factors else []
            sign = "-" if coefficient < 0 else "+" if text else ""
            # A quotient stands without parentheses only if it is the whole term; -a//b would be floor((-a)/b).
            bare = len(factors) == 1 and not magnitude and (sign != "-" or text)
            words = [str(f) if bare or isinstance(f, Symbol) else f"({f})" for f in factors]
            text += sign + "*".join(magnitude + words)
        return text

    __repr__ = __str__


def dim(name: str, *, min: int = 0, max: int | None = None) -> Dim:
    """One symbolic dimension, `min <= name <= max`. Raises RuleError for a bad name or empty bounds."""
    if not name.isidentifier():
        raise RuleError(f"dimension name {name!r} is not an identifier")
    if name in RESERVED or not name.isascii():
        raise RuleError(f"dimension name {name!r} is {'a reserved word' if name.isascii() else 'not ASCII'}")
    if min < 0 or (max is not None and max < min):
        raise RuleError(f"dimension {name} has no size within {min} <= {name} <= {max}")
    return Dim({((Symbol(name, min, max), 1),): 1})


def dims(names: str) -> tuple[Dim, ...]:
    """Symbolic dimensions by name: `B, S = dims("B S")` (spaces or commas)."""
    return tuple(dim(name) for name in names.replace(",", " ").split())


def as_symbol(value: DimLike) -> Symbol | None:
    """The symbol if `value` is a bare one, else None."""
    if isinstance(value, Dim) and len(value.terms) == 1:
        (monomial, coefficient), = value.terms
        if coefficient == 1 and len(monomial) == 1 and monomial[0][1] == 1 and isinstance(monomial[0][0], Symbol):
            return monomial[0][0]
    return None


def symbols(value: DimLike) -> Iterator[Symbol]:
    """All symbols in an expression, with repetition."""
    for monomial, _ in _terms(value):
        for factor, _power in monomial:
            if isinstance(factor, Symbol):
                yield factor
            else:
                yield from symbols(factor.numerator)
                yield from symbols(factor.denominator)


def substitute(value: DimLike, mapping: Mapping[str, DimLike]) -> DimLike:
    """Replace symbols by name, all at once; those without an entry stay."""
    if isinstance(value, int):
        return value
    total: DimLike = 0
    for monomial, coefficient in value.terms:
        product: DimLike = coefficient
        for factor, power in monomial:
            if isinstance(factor, Symbol):
                base = mapping[factor.name] if factor.name in mapping else Dim({((factor, 1),): 1})
            else:
                base = floordiv(substitute(factor.numerator, mapping), substitute(factor.denominator, mapping))
            for _ in range(power):
                product = product * base
        total = total + product
    return total


def evaluate(value: DimLike, sizes: Mapping[str, int]) -> int:
    """The integer that `value` stands for. Raises RuleError if a symbol has no size, InputError if a divisor is 0."""
    try:
        result = substitute(value, sizes)
    except RuleError:
        known = ", ".join(f"{s.name} = {sizes[s.name]}" for s in sorted(set(symbols(value)), key=str) if s.name in sizes)
        raise InputError(f"{value} divides by 0 where {known}") from None
    if isinstance(result, int):
        return result
    missing = sorted({s.name for s in symbols(result)})
    raise RuleError(f"no size known for {', '.join(missing)} in {value}")


def linear_in(value: DimLike, name: str) -> tuple[DimLike, DimLike] | None:
    """(a, b) with value == a * name + b, where neither contains the symbol; None if `value` is not of that form."""
    slope: dict[Monomial, int] = {}
    rest: dict[Monomial, int] = {}
    for monomial, coefficient in _terms(value):
        others = tuple((factor, power) for factor, power in monomial if not (isinstance(factor, Symbol) and factor.name == name))
        power = sum(p for factor, p in monomial if isinstance(factor, Symbol) and factor.name == name)
        if power > 1 or any(s.name == name for s in symbols(_make({others: 1}))):
            return None
        into = slope if power else rest
        into[others] = into.get(others, 0) + coefficient
    return _make(slope), _make(rest)


def solve(value: DimLike, name: str, equals: DimLike) -> DimLike | None:
    """The size of a symbol for which `value` is `equals`: 2 N + 1 == 7 gives N = 3. None if none follows from that."""
    form = linear_in(value, name)
    if form is None or form[0] == 0:
        return None
    slope, rest = form
    size = floordiv(equals - rest, slope)
    return size if size * slope == equals - rest else None


def bounds(value: DimLike) -> tuple[int | None, int | None]:
    """Inclusive lower and upper bound by interval arithmetic; None where unbounded."""
    if isinstance(value, int):
        return value, value
    low: int | None = 0
    high: int | None = 0
    for monomial, coefficient in value.terms:
        term_low = 1  # every factor that can be bounded is a size, so >= 0
        term_high: int | None = 1
        for factor, power in monomial:
            factor_low, factor_high = (factor.min, factor.max) if isinstance(factor, Symbol) else _quotient_bounds(factor)
            if factor_low is None or factor_low < 0:
                return None, None
            term_low *= factor_low**power
            term_high = None if term_high is None or factor_high is None else term_high * factor_high**power
        term: tuple[int | None, int | None] = (
            term_low * coefficient,
            None if term_high is None else term_high * coefficient,
        )
        if coefficient < 0:
            term = term[1], term[0]
        low = None if low is None or term[0] is None else low + term[0]
        high = None if high is None or term[1] is None else high + term[1]
    return low, high


def compare(a: DimLike, b: DimLike) -> str:
    """"equal" if a == b for all sizes, "different" if for none, else "unknown"."""
    difference = a - b
    if isinstance(difference, int):
        return "equal" if difference == 0 else "different"
    low, high = bounds(difference)
    return "different" if (low is not None and low > 0) or (high is not None and high < 0) else "unknown"


def floordiv(a: DimLike, b: DimLike) -> DimLike:
    """floor(a / b), simplified where it is exact. Raises RuleError on division by the constant 0, and for other numbers."""
    for value in (a, b):
        _terms(value)
    if isinstance(b, int):
        if b == 0:
            raise RuleError(f"dimension {a} divided by zero")
        if isinstance(a, int):
            return a // b
        if b < 0:
            return floordiv(-a, -b)
        # What b divides comes out exactly: floor((b*q + r) / b) = q + floor(r / b).
        exact = _make({m: c // b for m, c in a.terms if c % b == 0})
        rest = _make({m: c for m, c in a.terms if c % b})
        if isinstance(rest, int):
            return exact + rest // b
        low, high = bounds(rest)
        if low is not None and high is not None and low // b == high // b:
            return exact + low // b
        common = gcd(b, *(c for m, c in rest.terms if m))
        if common > 1:  # floor((g*r + c) / (g*b)) = floor((r + floor(c/g)) / b)
            return exact + floordiv(_make({m: c // common for m, c in rest.terms}), b // common)
        return exact + Dim({((Quotient(rest, b), 1),): 1})
    if isinstance(a, int) and a == 0:
        return 0
    quotient = _divide(a, b)
    return Dim({((Quotient(a, b), 1),): 1}) if quotient is None else quotient


def _divide(a: DimLike, b: Dim) -> DimLike | None:
    """a / b as polynomials, if that leaves no rest: long division by the leading term, in graded lexicographic order."""
    factors = sorted({factor for value in (a, b) for monomial, _ in _terms(value) for factor, _ in monomial}, key=str)

    def order(term: tuple[Monomial, int]) -> tuple[int, ...]:
        powers = dict(term[0])
        found = [powers.get(factor, 0) for factor in factors]
        return (sum(found), *found)

    divisor, scale = max(b.terms, key=order)
    powers = dict(divisor)
    rest, result = dict(_terms(a)), dict[Monomial, int]()
    while rest:
        monomial, coefficient = max(rest.items(), key=order)
        left = dict(monomial)
        if coefficient % scale or any(left.get(factor, 0) < power for factor, power in powers.items()):
            return None
        quotient = tuple((factor, p - powers.get(factor, 0)) for factor, p in monomial if p > powers.get(factor, 0))
        result[quotient] = coefficient // scale
        for other, c in b.terms:
            product = _multiply(quotient, other)
            rest[product] = rest.get(product, 0) - result[quotient] * c
        rest = {m: c for m, c in rest.items() if c}
    return _make(result)


def _extent(terms: Mapping[Monomial, int]) -> tuple[int, int]:
    """The number of factors in all terms, those of quotients among them, and how deep quotients nest.

    Raises RuleError beyond what is reasonable: doubled often enough, an expression would take all time and memory.
    """
    weight, depth = len(terms), 0
    for monomial, coefficient in terms.items():
        if coefficient.bit_length() > LONGEST:
            raise RuleError("a size is a number of too many digits")
        for factor, power in monomial:
            if isinstance(factor, Quotient):
                parts = [part for part in (factor.numerator, factor.denominator) if isinstance(part, Dim)]
                weight += power * (1 + sum(part.weight for part in parts))
                depth = max(depth, 1 + max((part.depth for part in parts), default=0))
            else:
                weight += power
    if weight > LARGEST or depth > DEEPEST:
        raise RuleError(_too_large())
    return weight, depth


def _too_large() -> str:
    return f"a size is an expression of more than {LARGEST} parts, or of quotients nested more than {DEEPEST} deep"


def _quotient_bounds(quotient: Quotient) -> tuple[int | None, int | None]:
    low, high = bounds(quotient.numerator)
    divisor_low, divisor_high = bounds(quotient.denominator)
    if low is None or low < 0 or divisor_low is None or divisor_low < 0:
        return None, None
    smallest = max(divisor_low, 1)
    return (low // divisor_high if divisor_high else 0), (None if high is None else high // smallest)


def _takes_over(other: object) -> bool:
    """Whether the other operand of a binary operator is a tensor, whose operator then applies."""
    return getattr(type(other), "takes_sizes", False)


def _integral(other: object) -> bool:
    return isinstance(other, (int, Dim)) and not isinstance(other, bool)


def _terms(value: DimLike) -> tuple[tuple[Monomial, int], ...]:
    if isinstance(value, Dim):
        return value.terms
    if isinstance(value, int):
        return (((), value),) if value else ()
    raise RuleError(f"a dimension is an int or a symbolic dim, not {type(value).__name__} ({value!r})")


def _make(terms: Mapping[Monomial, int]) -> DimLike:
    kept = {m: c for m, c in terms.items() if c}
    if all(m == () for m in kept):
        return kept.get((), 0)
    return Dim(kept)


def _multiply(left: Monomial, right: Monomial) -> Monomial:
    if not left or not right:
        return left or right
    powers = dict(left)
    for factor, power in right:
        powers[factor] = powers.get(factor, 0) + power
    return tuple(sorted(powers.items(), key=lambda item: str(item[0])))


def _term_key(term: tuple[Monomial, int]) -> tuple[int, int, str]:
    monomial, coefficient = term
    degree = sum(power for _, power in monomial)
    return -degree, 0 if coefficient > 0 or not degree else 1, "*".join(f"{a}^{p}" for a, p in monomial)


def _wrap(value: DimLike) -> str:
    text = str(value)
    return f"({text})" if any(c in text for c in "+-*/") else text

"""Sums of products, named by the letters of their axes."""

from __future__ import annotations

import re

import numpy as np

from ..ir.dims import DimLike
from ..ir.errors import RuleError
from ..ir.registry import op
from ..ir.rules import same, same_dtype
from ..ir.types import TensorType
from .numbers import in_f32


def _terms(equation: object, count: int) -> tuple[list[str], str]:
    """The letters of each operand and of the result. Raises RuleError for an equation that is none."""
    if not isinstance(equation, str) or not re.fullmatch(r"[A-Za-z]*(,[A-Za-z]*)*(->[A-Za-z]*)?", equation.replace(" ", "")):
        raise RuleError(f'equation must be like "bhqd,bhkd->bhqk", got {equation!r}')
    left, arrow, result = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if not arrow:  # letters that occur once, in alphabetic order
        result = "".join(sorted(c for c in set(left) - {","} if left.count(c) == 1))
    if len(terms) != count:
        raise RuleError(f"equation {equation!r} names {len(terms)} operands, got {count}")
    for term in (*terms, result):
        if len(set(term)) != len(term):
            raise RuleError(f"equation {equation!r} repeats a letter within {term!r}, which is not supported")
    for letter in result:
        if letter not in left:
            raise RuleError(f"equation {equation!r}: {letter!r} of the result is in no operand")
    return terms, result


@op(magnitude="bounded", axis_attributes={"equation": "fixed rank"})
def einsum(*xs: TensorType, equation: str) -> TensorType:
    """Sum of products in Einstein's notation: "bhqd,bhkd->bhqk" sums over d.

    One letter an axis; letters that the result lacks are summed over. Without "->" the result has the letters that
    occur once, in alphabetic order, as in NumPy. A letter may not be twice in one operand. ONNX Einsum.

    Operands are multiplied pairwise from the left. What one of a pair alone has to sum is summed before, as PyTorch does it: of
    infinities and NaN, and in floats, that may make another number than the sum of all products.
    """
    terms, result = _terms(equation, len(xs))
    same_dtype(*xs)
    if xs[0].dtype.is_bool:
        raise RuleError(f"needs numbers, got {xs[0]}; cast it first")
    sizes: dict[str, DimLike] = {}
    for term, x in zip(terms, xs):
        if len(term) != x.rank:
            raise RuleError(f"{term!r} names {len(term)} axes, the operand has {x.rank}: {x}")
        for letter, size in zip(term, x.shape):
            sizes[letter] = same(sizes[letter], size, f"axes {letter!r} must agree") if letter in sizes else size
    return xs[0].with_shape(tuple(sizes[letter] for letter in result))


@einsum.contraction
def _(operands, result, attrs):  # type: ignore[no-untyped-def]
    return _terms(attrs["equation"], len(operands))


@einsum.canonicalize
def _(types, attrs):  # type: ignore[no-untyped-def]
    terms, result = _terms(attrs["equation"], len(types))
    return {"equation": f"{','.join(terms)}->{result}"}


@einsum.reference
def _(*xs, equation):  # type: ignore[no-untyped-def]
    terms, result = _terms(equation, len(xs))
    value, letters = xs[0], terms[0]
    for position in range(1, len(xs)):
        later = set(result).union(*terms[position + 1:])
        first, second = _kept(letters, later | set(terms[position])), _kept(terms[position], later | set(letters))
        both = _kept("".join(dict.fromkeys(first + second)), later)
        value = np.einsum(f"{first},{second}->{both}", np.einsum(f"{letters}->{first}", value),
                          np.einsum(f"{terms[position]}->{second}", xs[position]))
        letters = both
    return np.einsum(f"{letters}->{result}", value)


@einsum.cost
def _(operands, results, attrs):  # type: ignore[no-untyped-def]
    terms, _ = _terms(attrs["equation"], len(operands))
    sizes = {letter: size for term, x in zip(terms, operands) for letter, size in zip(term, x.shape)}
    total: DimLike = len(operands)
    for size in sizes.values():
        total = total * size
    return total


@einsum.decomposition
def _(b, *xs, equation):  # type: ignore[no-untyped-def]
    """Pairwise from the left; each pair is one batched matmul between transposes and reshapes.

    Of half precisions, what is summed before a product, or multiplied after one, is f32: a sum of f16 may leave its range.
    """
    terms, result = _terms(equation, len(xs))
    alone = any(sum(c in term for term in terms) == 1 and c not in result for c in set().union(*terms))
    return (in_f32(_pairwise) if len(xs) > 2 or (len(xs) == 2 and alone) else _pairwise)(b, *xs, terms=terms, result=result)


def _pairwise(b, *xs, terms, result):  # type: ignore[no-untyped-def]
    value, letters = xs[0], terms[0]
    for position in range(1, len(xs)):
        later = set(result).union(*terms[position + 1:])
        value, letters = _pair(b, value, letters, xs[position], terms[position], later)
    return _arrange(b, _sum_out(b, value, letters, set(result)), "".join(c for c in letters if c in result), result)


def _sum_out(b, x, letters, kept):  # type: ignore[no-untyped-def]
    axes = tuple(i for i, c in enumerate(letters) if c not in kept)
    return b.reduce_sum(x, axes=axes) if axes else x


def _arrange(b, x, letters, wanted):  # type: ignore[no-untyped-def]
    perm = tuple(letters.index(c) for c in wanted)
    return x if perm == tuple(range(len(perm))) else b.transpose(x, perm=perm)


def _pair(b, x, x_letters, y, y_letters, later):  # type: ignore[no-untyped-def]
    """One product: batch letters stay in front, shared letters that nobody needs later are summed by the matmul."""
    x, x_letters = _sum_out(b, x, x_letters, later | set(y_letters)), _kept(x_letters, later | set(y_letters))
    y, y_letters = _sum_out(b, y, y_letters, later | set(x_letters)), _kept(y_letters, later | set(x_letters))
    shared = [c for c in x_letters if c in y_letters]
    batch = "".join(c for c in shared if c in later)
    inner = "".join(c for c in shared if c not in later)
    rows = "".join(c for c in x_letters if c not in shared)
    columns = "".join(c for c in y_letters if c not in shared)
    sizes = dict(zip(x_letters, x.shape)) | dict(zip(y_letters, y.shape))

    def extent(letters: str) -> DimLike:
        total: DimLike = 1
        for c in letters:
            total = total * sizes[c]
        return total

    def shape(letters: str) -> tuple[DimLike, ...]:
        return tuple(sizes[c] for c in letters)

    def matrix(value, letters, first, second):  # type: ignore[no-untyped-def]
        value = _arrange(b, value, letters, batch + first + second)
        target = (*shape(batch), extent(first), extent(second))
        return value if value.shape == target else b.reshape(value, shape=target)

    product = b.matmul(matrix(x, x_letters, rows, inner), matrix(y, y_letters, inner, columns))
    target = (*shape(batch), *shape(rows), *shape(columns))
    return (product if product.shape == target else b.reshape(product, shape=target)), batch + rows + columns


def _kept(letters: str, kept: set[str]) -> str:
    return "".join(c for c in letters if c in kept)

"""Matrix products of vectors too, and einsum as NumPy and PyTorch call it."""

from __future__ import annotations

from typing import Any

from ..ir.errors import RuleError
from ..tensor import Operators, Tensor, apply
from .calls import as_tensor, function, is_traced, spread

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


@function(method=True, aliases=("mm", "bmm"))
def matmul(x: Any, y: Any) -> Tensor:
    """A vector on the left counts as [1, K], one on the right as [K, 1], and that axis of the result is dropped."""
    if not is_traced(x) and not is_traced(y):
        return apply("matmul", x, y)
    left, right = (as_tensor(v) if getattr(v, "ndim", 1) == 1 else v for v in (x, y))
    if not (isinstance(left, Operators) or isinstance(right, Operators)):
        return apply("matmul", x, y)
    rank_left, rank_right = (v.rank if isinstance(v, Operators) else getattr(v, "ndim", 0) for v in (left, right))
    if 1 not in (rank_left, rank_right) or 0 in (rank_left, rank_right):
        return apply("matmul", x, y)
    left = apply("unsqueeze", left, axes=(0,)) if rank_left == 1 else left
    right = apply("unsqueeze", right, axes=(1,)) if rank_right == 1 else right
    made = apply("matmul", left, right)
    return apply("squeeze", made, axes=((-2,) if rank_left == 1 else ()) + ((-1,) if rank_right == 1 else ()))


def _reversed_matmul(self: Any, other: Any) -> Tensor:
    return matmul(other, self)


Operators.__matmul__, Operators.__rmatmul__ = matmul, _reversed_matmul  # type: ignore[method-assign]


@function(method=True)
def dot(x: Any, y: Any) -> Tensor:
    """Product of two vectors. NumPy's dot of other ranks is refused: x @ y or an einsum says what is meant."""
    x, y = as_tensor(x), as_tensor(y)
    if x.rank != 1 or y.rank != 1:
        raise RuleError("takes two vectors; for tensors of other ranks write x @ y or an einsum")
    return matmul(x, y)


@function()
def outer(x: Any, y: Any) -> Tensor:
    """All products of the elements of two vectors: z[i, j] = x[i] y[j]."""
    x, y = as_tensor(x), as_tensor(y)
    if x.rank != 1 or y.rank != 1:
        raise RuleError("takes two vectors; for tensors of other ranks write an einsum")
    return apply("unsqueeze", x, axes=(1,)) * y


@function()
def einsum(*xs: Any, equation: Any = None) -> Tensor:
    """The equation is given first, or by name: einsum("bij,bkj->bik", x, y). "..." stands for the axes that are not named;
    they are the same in all operands that have them, and lead the result unless it says where they are."""
    if xs and isinstance(xs[0], str):
        if equation is not None:
            raise RuleError("the equation is given twice")
        equation, xs = xs[0], xs[1:]
    xs = spread(xs)
    if isinstance(equation, str) and "." in equation:
        xs = tuple(as_tensor(x) for x in xs)
        equation, xs = _without_dots(equation, xs)
    return apply("einsum", *xs, **({} if equation is None else {"equation": equation}))


def _without_dots(equation: str, xs: tuple[Any, ...]) -> tuple[str, tuple[Any, ...]]:
    """The equation with letters for each "...", and the operands without axes of size 1 that broadcast there."""
    left, arrow, result = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(xs):
        raise RuleError(f"equation {equation!r} names {len(terms)} operands, got {len(xs)}")
    free = [c for c in _LETTERS if c not in equation]
    counts = [x.rank - len(term.replace("...", "")) if "..." in term else 0 for term, x in zip(terms, xs)]
    if min(counts) < 0:
        term, x = next((t, x) for t, x, c in zip(terms, xs, counts) if c < 0)
        raise RuleError(f"{term!r} names {len(term.replace('...', ''))} axes, the operand has {x.rank}: {x.type}")
    most = max(counts)
    if most > len(free):
        raise RuleError(f"equation {equation!r} needs more letters than there are")
    named, kept, operands = free[:most], set(), []
    for term, x, count in zip(terms, xs, counts):
        first = len(term.partition("...")[0])
        letters = named[most - count:]
        ones = [i for i in range(count) if x.shape[first + i] == 1]
        kept |= {letters[i] for i in range(count) if i not in ones}
        operands.append((term, x, first, letters, ones))
    found, made = [], []
    for term, x, first, letters, ones in operands:
        gone = [i for i in ones if letters[i] in kept]
        made.append(apply("squeeze", x, axes=tuple(first + i for i in gone)) if gone else x)
        found.append(term.replace("...", "".join(c for i, c in enumerate(letters) if i not in gone)))
    if not arrow:  # as NumPy: the unnamed axes first, then letters that occur once, in alphabetic order
        once = sorted(c for c in set(left) - {",", "."} if left.count(c) == 1)
        result = "..." + "".join(once)
    return f"{','.join(found)}->{result.replace('...', ''.join(named))}", tuple(made)

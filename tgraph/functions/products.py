"""Matrix products of vectors too, and einsum as NumPy and PyTorch call it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..current_tracer import apply
from ..ir.errors import RuleError
from ..tensor import Operators, Tensor
from .calls import as_tensor, function, is_traced, spread

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


@function(method=True, aliases=("mm", "bmm"))
def matmul(x: Any, y: Any) -> Tensor:
    """A vector on the left counts as [1, K], one on the right as [K, 1], and that axis of the result is dropped."""
    return _of_vectors(x, y, lambda left, right: apply("matmul", left, right))


def _of_vectors(x: Any, y: Any, multiply: Callable[[Any, Any], Tensor]) -> Tensor:
    """`multiply` of what may be vectors."""
    ranks = [v.rank if isinstance(v, Operators) and is_traced(v) else getattr(v, "ndim", 0) for v in (x, y)]
    if 1 not in ranks or 0 in ranks:
        return multiply(x, y)
    left = apply("unsqueeze", x, axes=(0,)) if ranks[0] == 1 else x
    right = apply("unsqueeze", y, axes=(1,)) if ranks[1] == 1 else y
    gone = ((-2,) if ranks[0] == 1 else ()) + ((-1,) if ranks[1] == 1 else ())
    return apply("squeeze", multiply(left, right), axes=gone)


_forward, _reflected = Operators.__matmul__, Operators.__rmatmul__


def _multiply(x: Any, y: Any) -> Tensor:
    return _forward(x, y) if isinstance(x, Operators) else _reflected(y, x)


def _operator(self: Any, other: Any) -> Tensor:
    """x @ y, of vectors too."""
    return _of_vectors(self, other, _multiply)


def _reflected_operator(self: Any, other: Any) -> Tensor:
    return _of_vectors(other, self, _multiply)


Operators.__matmul__, Operators.__rmatmul__ = _operator, _reflected_operator  # type: ignore[method-assign]


@function(method=True)
def dot(x: Any, y: Any) -> Tensor:
    """Product of two vectors. NumPy's dot of other ranks is refused: x @ y or an einsum says what is meant."""
    x, y = as_tensor(x), as_tensor(y)
    if x.rank != 1 or y.rank != 1:
        raise RuleError("takes two vectors; for tensors of other ranks write x @ y or an einsum")
    return _of_vectors(x, y, _multiply)


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

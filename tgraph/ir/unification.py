"""Binding the dims of a function to those of a caller, by matching the types of its inputs with those of the arguments."""

from __future__ import annotations

from collections.abc import Mapping

from .dims import Dim, DimLike, as_symbol, compare, linear_in, solve, substitute, symbols
from .errors import RuleError
from .registry import Attribute
from .types import TensorType


def unify_shapes(formal: TensorType, actual: TensorType, sizes: dict[str, DimLike]) -> None:
    """Add to `sizes` what the symbols of `formal` are for `actual`. Raises RuleError if the two types do not match."""
    if formal.dtype != actual.dtype or formal.rank != actual.rank:
        raise RuleError(f"expected {formal}, got {actual}")
    bind_dims(formal, actual, sizes)
    for want, have in zip(formal.shape, actual.shape):
        if compare(substitute(want, sizes), have) == "different":
            raise RuleError(f"expected {formal}, got {actual}: {substitute(want, sizes)} != {have}")


def bind_dims(formal: TensorType, actual: TensorType, sizes: dict[str, DimLike]) -> None:
    """Add to `sizes` the symbols of `formal` that stand alone on an axis or are its only unknown (2*N for 2*M: N = M)."""
    for bare in (True, False):
        for want, have in zip(formal.shape, actual.shape):
            names = {s.name for s in symbols(want)}
            unknown = names - sizes.keys()
            if len(unknown) != 1 or (as_symbol(want) is not None) != bare:
                continue
            name = unknown.pop()
            if any(s.name == name for known in names & sizes.keys() for s in symbols(sizes[known])):
                continue  # the caller's dim of that name is another one
            given = substitute(want, sizes)
            size = solve(given, name, have)
            if size is not None:
                sizes[name] = size
            elif isinstance(have, int) and all(isinstance(part, int) for part in linear_in(given, name) or ()):
                raise RuleError(f"expected {formal}, got {actual}: no {name} makes {given} == {have}")


def substitute_attribute(value: Attribute, sizes: Mapping[str, DimLike]) -> Attribute:
    """The attribute with symbolic dims replaced by name."""
    if isinstance(value, Dim):
        return substitute(value, sizes)
    if isinstance(value, tuple):
        return tuple(substitute_attribute(v, sizes) for v in value)
    return value

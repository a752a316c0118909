"""Algebraic simplifications that remove work and keep results equal bit by bit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from passes.algebra.pieces import PIECE_RULES
from passes.base import register_pass
from passes.language import tg
from passes.matching import Match
from passes.patterns import attribute, either, like, rule, tensor
from passes.rewriting import RewritePass
from tgraph.ir.dtypes import DType

ANY = attribute()
FLOAT, SIGNED = tensor("float"), tensor("float+int")


def exactly(narrow: DType, wide: DType) -> bool:
    """Whether `wide` holds every number of `narrow`."""
    if narrow == wide or narrow.is_bool:
        return True
    if wide.is_bool:
        return False
    if narrow.is_float:
        return wide.is_float and wide.bits > narrow.bits
    digits = narrow.bits - (narrow.kind == "int")
    if wide.is_float:
        return digits <= {"f16": 11, "bf16": 8, "f32": 24, "f64": 53}[wide.name]
    if narrow.kind == "int" and wide.kind == "uint":
        return False
    return digits <= wide.bits - (wide.kind == "int")


def _same_conversion(match: Match) -> str | None:
    """A condition: the first cast keeps every number. A float between integers would saturate where a direct cast wraps."""
    source, middle, last = match["x"].dtype, match["inner"], match["outer"]
    if not exactly(source, middle):
        return f"{source} to {middle} rounds"
    if source.is_integer and middle.is_float and last.is_integer and not exactly(source, last):
        return f"{middle} to {last} saturates, {source} to {last} wraps"
    return None


def _saturates_as_well(match: Match) -> str | None:
    """A condition: the cast saturates where the clip does, or before it."""
    dtype, least, most = match["dtype"], match["min"], match["max"]
    if not dtype.is_integer:
        return f"a cast to {dtype} does not saturate"
    ends = np.iinfo(dtype.numpy)
    if (least is not None and least > ends.min) or (most is not None and most < ends.max):
        return f"{dtype} has numbers beyond {least} to {most}"
    return None


def _not_float(match: Match) -> str | None:
    """A condition: x is not a float, for with NaN x < y and x >= y are both false."""
    x = match["x"]
    return f"x may be NaN ({x.dtype})" if x.dtype.is_float else None


def _sizes_are_one(match: Match) -> str | None:
    """A condition: all reduced axes have size 1."""
    x, node = match["x"], match.root
    if wrong := [x.shape[a] for a in node.attrs["axes"] if x.shape[a] != 1]:
        return f"an axis of size {wrong[0]} is reduced"
    return None


def _opposite(name, op, other):  # type: ignore[no-untyped-def]
    return rule(name, lambda x, y: ~op(x, y), lambda x, y: other(x, y), where=_not_float)


def _opposites():  # type: ignore[no-untyped-def]
    pairs = (("<", tg.less, ">=", tg.greater_or_equal), (">", tg.greater, "<=", tg.less_or_equal))
    for sign, op, other_sign, other in (*pairs, *((c, d, a, b) for a, b, c, d in pairs)):
        yield _opposite(f"not x {sign} y = x {other_sign} y", op, other)


@register_pass
@dataclass(frozen=True)
class Simplify(RewritePass):
    """where(true, x, y) = x, concat(split(x)) = x, max(x, x) = x, not not x = x, and more; results are equal bit by bit.

    Removes splits and slices that a concat undoes, selections with a constant condition, casts that change no number, clips
    that a cast repeats, reductions of axes of size 1, and comparisons and logic that have a simpler form.
    """

    effect = "exact"
    rules = (
        rule("where(true, x, y) = x", lambda x, y: tg.where(True, x, y), lambda x: x),
        rule("where(false, x, y) = y", lambda x, y: tg.where(False, x, y), lambda y: y),
        rule("where(c, x, x) = x", lambda x, c: tg.where(c, x, x), lambda x: x),
        rule("where(not c, x, y) = where(c, y, x)", lambda x, y, c: tg.where(~c, x, y),
             lambda x, y, c: tg.where(c, y, x)),
        rule("where(c, where(c, x, z), y) = where(c, x, y)", lambda x, y, z, c: either(
            tg.where(c, tg.where(c, x, z), y), tg.where(c, x, tg.where(c, z, y))), lambda x, y, c: tg.where(c, x, y)),
        rule("max(x, x) = min(x, x) = x and x = x or x = x",
             lambda x: either(tg.maximum(x, x), tg.minimum(x, x), x & x, x | x), lambda x: x),
        rule("not not x = x", lambda x: tg.logical_not(tg.logical_not(x)), lambda x: x),
        rule("x and true = x or false = x xor false = x", lambda x: either(x & True, x | False, x ^ False),
             lambda x: x),
        rule("x xor true = not x", lambda x: x ^ True, lambda x: ~x),
        rule("x and false = false", lambda x: x & False, lambda x: tg.full(shape=x.shape, value=False, dtype=tg.bool_)),
        rule("x or true = true", lambda x: x | True, lambda x: tg.full(shape=x.shape, value=True, dtype=tg.bool_)),
        # right for NaN as well, which is unequal to all
        rule("not x == y = x != y", lambda x, y: ~tg.equal(x, y), lambda x, y: tg.not_equal(x, y)),
        rule("not x != y = x == y", lambda x, y: ~tg.not_equal(x, y), lambda x, y: tg.equal(x, y)),
        *_opposites(),
        rule("| |x| | = |x|", lambda x: tg.abs(tg.abs(x)), lambda x: tg.abs(x)),
        # of an unsigned integer, -x wraps to a positive number
        rule("|-x| = |x|", lambda x=SIGNED: tg.abs(-x), lambda x: tg.abs(x)),
        rule("(|x|)^2 = (-x)^2 = x^2", lambda x: either(tg.square(tg.abs(x)), tg.square(-x)), lambda x: tg.square(x)),
        rule("max(x, 0) = relu(x)", lambda x=FLOAT: tg.maximum(x, 0.0), lambda x: tg.relu(x)),
        rule("relu(relu(x)) = relu(x)", lambda x: tg.relu(tg.relu(x)), lambda x: tg.relu(x)),
        rule("f(f(x)) = f(x), f rounds to integers", lambda x: either(
            *[f(g(x)) for f in (tg.floor, tg.ceil, tg.round) for g in (tg.floor, tg.ceil, tg.round)]),
             lambda match, x: getattr(tg, match.nodes[1].op.name)(x)),
        rule("(x as t) as u = x as u", lambda x, inner=ANY, outer=ANY: tg.cast(tg.cast(x, dtype=inner), dtype=outer),
             lambda x, outer: tg.cast(x, dtype=outer) if outer != x.dtype else x, where=_same_conversion, shared=True),
        # NaN passes through the clip, and the cast makes 0 of it
        rule("clip(x) as t = x as t, t no wider than the clip",
             lambda x=FLOAT, min=ANY, max=ANY, dtype=ANY: tg.cast(tg.clip(x, min=min, max=max), dtype=dtype),
             lambda x, dtype: tg.cast(x, dtype=dtype), where=_saturates_as_well),
        rule("clip(x) without bounds = x", lambda x: tg.clip(x), lambda x: x),
        rule("zero_padding(zero_padding(x, m), m) = zero_padding(x, m)",
             lambda x, mask: tg.zero_padding(tg.zero_padding(x, mask), mask),
             lambda x, mask: tg.zero_padding(x, mask)),
        rule("reduce(x) over axes of size 1 = x",
             lambda x, axes=ANY, keepdims=ANY: like(tg.reduce_sum(x, axes=axes, keepdims=keepdims), "reduces"),
             lambda x, axes, keepdims: x if keepdims or not axes else tg.squeeze(x, axes=axes), where=_sizes_are_one),
        *PIECE_RULES,
    )

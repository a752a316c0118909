"""Attention in the forms that ONNX's standard and ONNX Runtime have: the op where it can say it, else spelled out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ....ir.dims import Dim, compare
from ....ir.dtypes import DType, f64, i64
from ....ir.values import Constant
from ..node import UnsupportedError
from .language import t

Parts = tuple[Any, Any]


@dataclass(frozen=True)
class Positions:
    """Which keys j a query i may see by their places: i + offset - left <= j <= i + offset + right.

    offset: how many keys lie before the first query: a size, or a tensor: one number, or one for each sequence [B]. right = 0 is
    causal; None does not limit.
    """

    left: int | None = None
    right: int | None = None
    offset: Any = 0

    @property
    def limited(self) -> bool:
        return self.left is not None or self.right is not None

    @property
    def of_the_op(self) -> bool:
        """Whether the op's own window says all of it."""
        return not (self._tensor and self.offset.rank)

    @property
    def window(self) -> tuple[int, int]:
        """The op's attribute."""
        return -1 if self.left is None else self.left, -1 if self.right is None else self.right

    @property
    def _tensor(self) -> bool:
        return not isinstance(self.offset, (int, Dim))

    def number(self) -> Any:
        """The offset as a tensor of rank 0, or None for 0."""
        if self._tensor:
            return self.offset
        return None if isinstance(self.offset, int) and not self.offset else t.dim_size(size=self.offset, dtype=i64)

    def mask(self, queries: Any, keys: Any) -> Any:
        """True where a query sees a key, [B or 1, 1, queries, keys]."""
        rows, columns = t.range(stop=queries, dtype=i64)[:, None], t.range(stop=keys, dtype=i64)[None, :]
        first = self.number()
        if first is not None:
            rows = rows + (t.reshape(t.cast(first, dtype=i64), shape=(-1, 1, 1, 1)) if first.rank else t.cast(first, dtype=i64))
        found: Any = None if self.right is None else columns <= rows + self.right
        if self.left is not None:
            after = columns >= rows - self.left
            found = after if found is None else found & after
        while found.rank < 4:
            found = found[None]
        return found


def scaled_dot_product(q: Any, k: Any, v: Any, *, mask: Any = None, bias: Any = None, positions: Positions | None = None,
                       scale: float | None = None, softcap: float = 0.0, precision: DType | None = None,
                       scores: int | None = None, excluding: bool = True) -> Parts:
    """softmax(scale q k^T, capped, + bias, where allowed) v, and the scores if they are asked for.

    q [B, H, Sq, D], k, v [B, Hk, Sk, D]; mask (True = attend) and bias broadcast to [B, H, Sq, Sk]. A query that sees no key
    gives zeros; a bias of minus infinity excludes like a mask. precision: the type of the softmax, at least. scores: which
    ones, as ONNX Attention numbers them. excluding: whether the bias may hold minus infinity.
    """
    places = positions or Positions()
    if scale is None and isinstance(q.shape[-1], Dim):
        raise UnsupportedError(f"has heads of {q.shape[-1]} elements, and no scale; that number must be known: fix it by dims=")
    if bias is not None:
        bias = t.cast(bias, dtype=q.dtype) if bias.dtype != q.dtype else bias
    if bias is not None and excluding:
        kept, bias = _excluded(bias)
        mask = _both(mask, kept)
    spelled = scores is not None or (precision == f64 and q.dtype != f64)
    if places.limited and (spelled or not places.of_the_op):
        mask = _both(mask, places.mask(q.shape[2], k.shape[2]))
        places = Positions()
    if spelled:
        return _spelled(q, k, v, mask, bias, scale, softcap, precision, scores)
    extra: dict[str, Any] = {"mask": mask, "bias": bias, "offset": places.number() if places.limited else None}
    how = {"softcap": softcap, "window": places.window, **({} if scale is None else {"scale": scale})}
    return t.attention(q, k, v, **{n: x for n, x in extra.items() if x is not None}, **how), None


def _both(x: Any, y: Any) -> Any:
    return y if x is None else x if y is None else x & y


def _excluded(bias: Any) -> Parts:
    """A bias as a mask (True where it is not minus infinity; None: everywhere) and finite numbers (None: all 0)."""
    data = bias.value.data if isinstance(bias.value, Constant) else None
    mask = t.not_equal(bias, float("-inf"))
    if data is not None:
        kept = data != -np.inf
        if kept.all():
            return None, bias
        if not data[kept].any():
            return mask, None
    return mask, t.where(mask, bias, 0.0)


def _spelled(q: Any, k: Any, v: Any, mask: Any, bias: Any, scale: float | None, cap: float, precision: DType | None,
             wanted: int | None) -> Parts:
    if q.shape[1] != k.shape[1]:
        k, v = (t.repeat_interleave(x, q.shape[1] // k.shape[1], axis=1) for x in (k, v))
    root = float(np.sqrt(q.shape[-1] ** -0.5 if scale is None else scale))
    raw = t.matmul(q * root, t.swapaxes(k * root, -1, -2))
    capped = t.tanh(raw / cap) * cap if cap else raw
    biased = capped if bias is None else capped + bias
    if mask is not None:
        biased = t.where(mask, biased, float("-inf"))
    wide = biased if precision is None or precision == q.dtype else t.cast(biased, dtype=precision)
    weights = t.softmax(wide, axis=-1)
    if mask is not None:
        weights = t.where(t.any(mask, axis=-1, keepdims=True), weights, 0.0)
    weights = weights if weights.dtype == q.dtype else t.cast(weights, dtype=q.dtype)
    return t.matmul(weights, v), None if wanted is None else (raw, capped, biased, weights)[wanted]


def split_heads(x: Any, heads: int) -> Any:
    """[B, S, H D] as [B, H, S, D]."""
    return t.permute(t.reshape(x, shape=(*x.shape[:2], heads, -1)), 0, 2, 1, 3)


def joined_heads(x: Any) -> Any:
    """[B, H, S, D] as [B, S, H D]."""
    return t.reshape(t.permute(x, 0, 2, 1, 3), shape=(x.shape[0], x.shape[2], x.shape[1] * x.shape[3]))


def up_to(lengths: Any, keys: Any) -> Any:
    """True for the keys of each sequence before its length [B]: [B, 1, 1, keys]."""
    inside = t.range(stop=keys, dtype=i64)[None, :] < t.cast(lengths, dtype=i64)[:, None]
    return inside[:, None, None, :]


def four_axes(x: Any, keys: Any) -> Any:
    """A mask or bias with as many keys as there are, those that it does not name excluded, and four axes."""
    if compare(x.shape[-1], keys) == "different":
        fill = False if x.dtype.is_bool else float("-inf")
        x = t.pad(x, before=(0,) * x.rank, after=(*[0] * (x.rank - 1), keys - x.shape[-1]), fill_value=fill)
    while x.rank < 4:
        x = x[None]
    return x

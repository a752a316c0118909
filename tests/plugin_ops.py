"""Ops as a user's file declares them: views, an elementwise op and a row-wise one, known by their traits alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

import tgraph as tg
import tgraph.ops
from tgraph.ir.registry import OPS


@contextmanager
def plugin_ops() -> Iterator[None]:
    """The ops exist inside only."""
    known = dict(OPS)
    try:
        _define()
        yield
    finally:
        OPS.clear()
        OPS.update(known)


def _define() -> None:
    @tg.op(view="permute")
    def heads_first(x: tg.TensorType) -> tg.TensorType:
        """Heads before positions: [B, S, H, D] to [B, H, S, D], and back."""
        b, s, h, d = x.shape
        return x.with_shape((b, h, s, d))

    @heads_first.axis_map
    def _(operands: Any, result: Any, attrs: Any) -> Any:
        return [(0, 2, 1, 3)]

    heads_first.reference(lambda x: np.swapaxes(x, 1, 2))

    @tg.op(view="regroup")
    def cut_first(x: tg.TensorType, *, size: int) -> tg.TensorType:
        """The first axis cut in two: [n size, ...] to [n, size, ...]."""
        return x.with_shape((x.shape[0] // size, size, *x.shape[1:]))

    cut_first.reference(lambda x, *, size: x.reshape(-1, size, *x.shape[1:]))

    @tg.op(view="regroup")
    def join_first(x: tg.TensorType) -> tg.TensorType:
        """The first two axes as one: [n, m, ...] to [n m, ...]."""
        return x.with_shape((x.shape[0] * x.shape[1], *x.shape[2:]))

    join_first.reference(lambda x: x.reshape(x.shape[0] * x.shape[1], *x.shape[2:]))

    @tg.op(view="regroup")
    def split_columns(x: tg.TensorType, *, parts: int) -> tg.TensorType:
        """The last axis cut into parts: [..., n] to [..., parts, n / parts]."""
        return x.with_shape((*x.shape[:-1], parts, x.shape[-1] // parts))

    split_columns.reference(lambda x, *, parts: x.reshape(*x.shape[:-1], parts, -1))

    @tg.op(elementwise=True)
    def third_power(x: tg.TensorType) -> tg.TensorType:
        """x^3."""
        return x

    third_power.reference(lambda x: x * x * x)
    third_power.decomposition(lambda b, x: b.mul(b.mul(x, x), x))

    @tg.op(along=-1)
    def centre(x: tg.TensorType) -> tg.TensorType:
        """x without its mean along the last axis."""
        return x

    centre.reference(lambda x: x - x.mean(axis=-1, keepdims=True))
    centre.decomposition(lambda b, x: b.sub(x, b.reduce_mean(x, axes=(-1,), keepdims=True)))

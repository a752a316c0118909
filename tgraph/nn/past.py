"""What a decoder keeps from call to call: keys and values of the tokens so far, their number, and which of them are padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..current_tracer import apply
from ..ir.dims import Dim, dim
from ..ir.dtypes import DType, bool_, f32, i64
from ..module import Module
from ..state import State
from ..tensor import Tensor


class KeyValueCache(Module):
    """Keys and values [B, heads, C, head_dim] of one attention, for up to C tokens."""

    key: State
    value: State

    def __init__(self, heads: int, head_dim: int, dtype: DType = f32, batch: Dim | None = None, capacity: Dim | None = None):
        shape = (dim("B") if batch is None else batch, heads, dim("C") if capacity is None else capacity, head_dim)
        self.key, self.value = State(dtype[shape]), State(dtype[shape])

    def extend(self, key: Tensor, value: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        """Put keys and values [B, heads, T, head_dim] of new tokens into places from `start` (i64) on. Returns all places."""
        self.key.value = apply("update_slice", self.key, key, start, axis=2)
        self.value.value = apply("update_slice", self.value, value, start, axis=2)
        return self.key.value, self.value.value


@dataclass(frozen=True)
class PastOfLayer:
    """The past as one attention sees it in one call: its cache, the place where the new tokens begin, their positions, and which
    keys are no padding."""

    cache: KeyValueCache
    start: Tensor
    positions: Tensor
    mask: Tensor | None

    def attend(self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None, **attributes: Any) -> Tensor:
        """Attention of new queries [B, H, T, D] to all keys up to their own place; `key` and `value` of the new tokens are kept.

        attributes: scale, softcap and window of the op `attention`.
        """
        keys, values = self.cache.extend(key, value, self.start)
        result: Tensor = apply("attention", query, keys, values, self.mask, bias, self.start, causal=True, **attributes)
        return result


@dataclass(frozen=True)
class Progress:
    """One call of a decoder: `positions` of the new tokens, i64 [T], or [B, T] with a mask; `start`: the place of the first."""

    past: Past
    start: Tensor
    positions: Tensor
    mask: Tensor | None

    def layer(self, number: int) -> PastOfLayer:
        """The past as the attention of a layer sees it."""
        return PastOfLayer(self.past.layers[number], self.start, self.positions, self.mask)


class Past(Module):
    """The past of a decoder with so many layers. `begin` opens a call; capacity C and batch B are sizes of the session.

    Rows of a batch are aligned at the end: shorter prompts have padding before them, which a mask tells. Padding is in the
    caches, and no token attends to it; positions count tokens only.
    """

    layers: list[KeyValueCache]
    length: State  # places taken in the caches
    mask: State  # which of them hold tokens
    count: State  # tokens so far

    def __init__(self, layers: int, heads: int, head_dim: int, dtype: DType = f32, batch: Dim | None = None,
                 capacity: Dim | None = None):
        batch, capacity = dim("B") if batch is None else batch, dim("C") if capacity is None else capacity
        self.layers = [KeyValueCache(heads, head_dim, dtype, batch, capacity) for _ in range(layers)]
        self.length = State(i64[()])
        self.mask = State(bool_[batch, capacity])
        self.count = State(i64[batch])

    def begin(self, tokens: Tensor, mask: Tensor | None = None) -> Progress:
        """A call with new tokens [B, T]; mask bool [B, T], False for padding. All calls of a program have a mask, or none."""
        start, length = self.length.value, tokens.shape[1]
        self.length.value = start + length
        if mask is None:
            return Progress(self, start, start + apply("range", stop=length), None)
        self.mask.value = apply("update_slice", self.mask, mask, start, axis=1)
        numbers = apply("cumsum", apply("cast", mask, dtype=i64), axis=1)
        positions = apply("maximum", self.count.value[:, None] + numbers - 1, 0)
        self.count.value = self.count + apply("reduce_sum", apply("cast", mask, dtype=i64), axes=(1,))
        return Progress(self, start, positions, self.mask.value)

    def reset(self) -> None:
        """Forget all tokens: the next call begins a new sequence. For calls without a mask."""
        self.length.value = apply("full", shape=(), value=0, dtype=i64)


@dataclass(frozen=True)
class MemoryOfLayer:
    """The encoder's output as one attention of the decoder sees it: keys and values [B, heads, S, head_dim], mask bool [B, S]."""

    key: Tensor
    value: Tensor
    mask: Tensor

    def attend(self, query: Tensor, **attributes: Any) -> Tensor:
        """Attention of queries [B, H, T, head_dim] to all that is no padding; attributes: scale and softcap of the op."""
        result: Tensor = apply("attention", query, self.key, self.value, self.mask, **attributes)
        return result


class Memory(Module):
    """What a decoder attends to of a source [B, S]: keys and values of each layer, computed once, and which tokens are padding.

    `fill` in the graph that reads the source, `layer` in the graph that writes the target.
    """

    key: list[State]
    value: list[State]
    mask: State

    def __init__(self, layers: int, heads: int, head_dim: int, dtype: DType = f32, batch: Dim | None = None,
                 length: Dim | None = None):
        batch, length = dim("B") if batch is None else batch, dim("S") if length is None else length
        type = dtype[batch, heads, length, head_dim]
        self.key, self.value = [State(type) for _ in range(layers)], [State(type) for _ in range(layers)]
        self.mask = State(bool_[batch, length])

    def fill(self, projected: Sequence[tuple[Tensor, Tensor]], mask: Tensor | None) -> None:
        """Keep keys and values [B, heads, S, head_dim] of each layer; mask bool [B, S], False for padding (default: none)."""
        for (key, value), own_key, own_value in zip(projected, self.key, self.value, strict=True):
            own_key.value, own_value.value = key, value
        shape = (projected[0][0].shape[0], projected[0][0].shape[2])
        self.mask.value = apply("full", shape=shape, value=True, dtype=bool_) if mask is None else mask

    def layer(self, number: int) -> MemoryOfLayer:
        """The memory as the attention of a layer sees it."""
        return MemoryOfLayer(self.key[number].value, self.value[number].value, self.mask.value)

"""Attention weights as they come, of one input, as layers of heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..ir.errors import InputError


def layers_of(weights: Any, row: int = 0) -> dict[str, np.ndarray]:
    """The weights [H, Sq, Sk] of each layer, by name, of one row of the batch.

    weights: a mapping as `tg.attention_weights` gives it, a list with an array a layer, or an array [L, B, H, Sq, Sk] (all
    layers), [B, H, Sq, Sk], [H, Sq, Sk] or [Sq, Sk] (one layer). Raises InputError for anything else.
    """
    if isinstance(weights, Mapping):
        named = [(str(name), np.asarray(array)) for name, array in weights.items()]
    elif isinstance(weights, (list, tuple)) and weights and np.ndim(weights[0]) >= 2:
        named = [(f"layer {i}", np.asarray(array)) for i, array in enumerate(weights)]
    else:
        whole = np.asarray(weights)
        named = [(f"layer {i}", part) for i, part in enumerate(whole)] if whole.ndim == 5 else [("layer 0", whole)]
    if not named:
        raise InputError("there are no weights to draw")
    return {name: _one(name, array, row) for name, array in named}


def _one(name: str, array: np.ndarray, row: int) -> np.ndarray:
    if array.ndim not in (2, 3, 4) or 0 in array.shape or array.dtype.kind not in "fV":
        raise InputError(f"attention weights are floats [B, H, Sq, Sk], [H, Sq, Sk] or [Sq, Sk]; {name} is {array.dtype}"
                         f"{list(array.shape)}")
    if array.ndim == 4:
        if not -len(array) <= row < len(array):
            raise InputError(f"{name} has {len(array)} rows, there is no row {row}")
        array = array[row]
    return (array if array.ndim == 3 else array[None]).astype(np.float32)


def tokens_of(array: np.ndarray, queries: Sequence[str] | None, keys: Sequence[str] | None) -> tuple[list[str], list[str]]:
    """The words for queries and keys of weights [H, Sq, Sk]: numbers if there are none; keys have the queries' by default.

    There may be fewer than places, and the places behind them are padding. Raises InputError if there are more.
    """
    if keys is None and queries is not None and len(queries) <= array.shape[2] and array.shape[1] == array.shape[2]:
        keys = queries
    found = []
    for what, words, size in (("queries", queries, array.shape[1]), ("keys", keys, array.shape[2])):
        shown = [str(i) for i in range(size)] if words is None else [str(w) for w in words]
        if len(shown) > size:
            raise InputError(f"{len(shown)} tokens are given for {size} {what}")
        found.append(shown)
    return found[0], found[1]

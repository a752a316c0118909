"""Checkpoints of published models: their names as a model has them, loaded strictly."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .. import nn
from ..ir.errors import WeightsError
from ..ir.weights import named_arrays

# What older checkpoints hold beside their weights: tables that models compute, and T5's second bias, which it does not read
_BUFFERS = re.compile(r"(^|\.)(position_ids|token_type_ids|rotary_emb\.inv_freq|h\.\d+\.attn\.bias|attn\.masked_bias"
                      r"|EncDecAttention\.relative_attention_bias\.weight)$")


def load_checkpoint(model: nn.Module, weights: Mapping[str, Any] | str | Path, *, cast: bool = False, prefix: str = "",
                    ignore: Iterable[str] = ()) -> None:
    """Load a public checkpoint, strictly, by its Hugging Face names; in place. cast: convert floats of another precision.

    TensorFlow's names for LayerNorm (`gamma`, `beta`) are taken too, and buffers that hold no weights are dropped.
    prefix: what a model with a head calls the model below it; names get it or lose it, as this model has them.
    ignore: beginnings of names that are left out. Raises WeightsError that lists all missing, unexpected and misshapen names.
    """
    given, source = named_arrays(weights)
    ours = {*model.parameters(), *model.aliases()}
    arrays = {_name(name, ours, prefix): given[name] for name in given if not _BUFFERS.search(name)}
    left_out = tuple(ignore)
    arrays = {name: array for name, array in arrays.items() if name in ours or not left_out or not name.startswith(left_out)}
    try:
        model.load_weights(arrays, cast=cast)
    except WeightsError as error:
        raise WeightsError(str(error).replace("weights do not fit", f"{source} do not fit", 1)) from None


def _name(name: str, ours: set[str], prefix: str) -> str:
    """The model's name for a checkpoint's."""
    name = re.sub(r"LayerNorm\.(gamma|beta)$", lambda m: "LayerNorm." + {"gamma": "weight", "beta": "bias"}[m[1]], name)
    if name in ours or not prefix:
        return name
    other = name[len(prefix) + 1:] if name.startswith(f"{prefix}.") else f"{prefix}.{name}"
    return other if other in ours else name

"""Frequencies of rotary positions, as config.json says them in the two ways that there are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import nn
from ..ir.errors import FormatError

_KNOWN: dict[str, tuple[str, ...]] = {  # each kind of scaling, and the numbers that belong to it
    "default": (), "linear": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
    "yarn": ("factor", "original_max_position_embeddings"),
}
_OPTIONAL = {"yarn": ("attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim")}


def rope_of(values: Mapping[str, Any], base: float) -> dict[str, Any]:
    """What config.json says of rotary positions: `rope_parameters`, or `rope_theta` and `rope_scaling` (before transformers 5).

    base: the default of rope_theta. Raises FormatError for a kind of scaling that is not known.
    """
    scaling = dict(values.get("rope_parameters") or values.get("rope_scaling") or {})
    kind = scaling.pop("type", None)
    return complete_rope({"rope_type": kind or "default", "rope_theta": values.get("rope_theta") or base, **scaling}, values)


def complete_rope(rope: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Rotary positions with what config.json says of them elsewhere: how many there were when the model was first trained.

    Raises FormatError for a kind of scaling that is not known, lacks a number, or turns a part of a head alone.
    """
    rope, kind = dict(rope), rope.get("rope_type", "default")
    if kind not in _KNOWN:
        raise FormatError(f"rope_type is {kind!r}; supported: {', '.join(map(repr, _KNOWN))}")
    longest = values.get("max_position_embeddings")
    if "original_max_position_embeddings" in _KNOWN[kind]:
        first = values.get("original_max_position_embeddings") or rope.get("original_max_position_embeddings") or longest
        rope["original_max_position_embeddings"] = first
        if kind == "yarn" and rope.get("factor") is None and first and longest:
            rope["factor"] = longest / first
    for name in ("rope_theta", *_KNOWN[kind]):
        if not isinstance(rope.get(name), (int, float)):
            raise FormatError(f"{name} of rotary positions is {rope.get(name)!r}; expected a number for rope_type {kind!r}")
    for name in _OPTIONAL.get(kind, ()):
        if not isinstance(rope.get(name, 0), (int, float, type(None))):
            raise FormatError(f"{name} of rotary positions is {rope[name]!r}; expected a number or null")
    if rope.get("partial_rotary_factor", 1.0) != 1.0:
        raise FormatError(f"partial_rotary_factor is {rope['partial_rotary_factor']!r}; supported: 1.0")
    return rope


def rotary_angles(head_dim: int, rope: Mapping[str, Any]) -> nn.RotaryAngles:
    """The layer that gives cos and sin of the angles of a model's rotary positions."""
    return nn.RotaryAngles(head_dim, frequencies=frequencies(head_dim, rope), scale=_scale(rope))


def frequencies(head_dim: int, rope: Mapping[str, Any]) -> np.ndarray:
    """The angles [head_dim / 2] by which a step of one position turns the pairs of a head.

    linear: all of them slower by `factor` (arXiv:2306.15595). llama3: only waves longer than the context that the model was first
    trained on; short ones as they are, and in between a mixture (arXiv:2407.21783). yarn: those that turn less than `beta_slow`
    times in that context are slower, those that turn more than `beta_fast` times as they are (arXiv:2309.00071, section 3.2).
    """
    base: np.ndarray = float(rope["rope_theta"]) ** (-np.arange(0, head_dim, 2) / head_dim)
    kind = rope.get("rope_type", "default")
    if kind == "linear":
        return base / rope["factor"]
    if kind == "llama3":
        waves = rope["original_max_position_embeddings"] * base / (2 * math.pi)  # that fit into the first context
        low, high = rope["low_freq_factor"], rope["high_freq_factor"]
        kept = np.clip((waves - low) / (high - low), 0.0, 1.0)
        return (1 - kept) * base / rope["factor"] + kept * base
    if kind == "yarn":
        low, high = _yarn_range(head_dim, rope)
        slower = np.clip((np.arange(head_dim // 2) - low) / (high - low if high > low else 0.001), 0.0, 1.0)
        return slower * base / rope["factor"] + (1 - slower) * base
    return base


def _yarn_range(head_dim: int, rope: Mapping[str, Any]) -> tuple[float, float]:
    """The pairs between which the mixture goes from their own frequencies to slower ones."""
    def pair(turns: float) -> float:
        """The pair, as a real number, that turns so many times in the first context."""
        first = rope["original_max_position_embeddings"] / (turns * 2 * math.pi)
        return head_dim * math.log(first) / (2 * math.log(rope["rope_theta"]))

    low, high = pair(rope.get("beta_fast") or 32), pair(rope.get("beta_slow") or 1)
    if rope.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    return max(low, 0), min(high, head_dim - 1)


def _scale(rope: Mapping[str, Any]) -> float:
    """What cos and sin are multiplied by: yarn's temperature of the softmax (arXiv:2309.00071, section 3.4), else 1."""
    if rope.get("rope_type") != "yarn":
        return 1.0
    if rope.get("attention_factor") is not None:
        return float(rope["attention_factor"])

    def magnitude(weight: float) -> float:
        return 0.1 * weight * math.log(rope["factor"]) + 1.0 if rope["factor"] > 1 else 1.0

    if rope.get("mscale") and rope.get("mscale_all_dim"):
        return magnitude(rope["mscale"]) / magnitude(rope["mscale_all_dim"])
    return magnitude(1.0)

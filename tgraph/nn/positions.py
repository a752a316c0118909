"""How a Transformer knows the order of its tokens."""

from __future__ import annotations

import numpy as np

from ..current_tracer import apply
from ..ir.dtypes import f32
from ..module import Module
from ..tensor import Parameter, Tensor, normal
from ..user_code import model_error


class LearnedPositions(Module):
    """A trained vector a position, added to x; `weight` [max_length, dim]. Longer inputs raise at run time."""

    weight: Parameter

    def __init__(self, max_length: int, dim: int):
        self.weight = Parameter(f32[max_length, dim], normal(0.02))

    def __call__(self, x: Tensor, positions: Tensor | None = None) -> Tensor:
        """x [B, S, dim] to x + weight[positions], integers [S] or [B, S], by default 0 .. S-1."""
        return x + apply("embedding", apply("range", stop=x.shape[1]) if positions is None else positions, self.weight)


class SinusoidalPositions(Module):
    """Fixed sines and cosines added to x (arXiv:1706.03762, section 3.5): even columns sin(p / 10000^(c / dim)), odd ones cos."""

    table: np.ndarray

    def __init__(self, max_length: int, dim: int):
        if dim % 2:
            raise model_error(f"sinusoidal positions need an even hidden size, got {dim}")
        angles = np.arange(max_length)[:, None] / 10000.0 ** (np.arange(0, dim, 2) / dim)
        self.table = np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(max_length, dim).astype(np.float32)

    def __call__(self, x: Tensor, positions: Tensor | None = None) -> Tensor:
        """x [B, S, dim] to x + table[positions], integers [S] or [B, S], by default 0 .. S-1."""
        return x + apply("embedding", apply("range", stop=x.shape[1]) if positions is None else positions, self.table)


class RotaryPositions(Module):
    """Rotation of query and key by their position (arXiv:2104.09864), the op `rotary`.

    Turns pairs of an element of the first half of head_dim and one of the second; interleaved: pairs of neighbours.
    """

    cos: np.ndarray
    sin: np.ndarray
    interleaved: bool

    def __init__(self, head_dim: int, max_length: int = 4096, base: float = 10000.0, interleaved: bool = False):
        if head_dim % 2:
            raise model_error(f"rotary positions need an even head_dim, got {head_dim}")
        angles = np.arange(max_length)[:, None] / base ** (np.arange(0, head_dim, 2) / head_dim)
        self.cos, self.sin = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
        self.interleaved = interleaved

    def __call__(self, x: Tensor, positions: Tensor | None = None) -> Tensor:
        """x [B, H, S, head_dim], rotated by positions, integers [S] or [B, S], by default 0 .. S-1."""
        positions = apply("range", stop=x.shape[2]) if positions is None else positions
        cos, sin = apply("embedding", positions, self.cos), apply("embedding", positions, self.sin)
        if positions.rank == 2:  # the same for all heads
            cos, sin = cos[:, None], sin[:, None]
        return apply("rotary", x, cos, sin, interleaved=self.interleaved)


class RotaryAngles(Module):
    """cos and sin of the angles by which rotary positions (arXiv:2104.09864) turn queries and keys, for any position.

    Pair c of head_dim / 2 turns by position * base^(-2c / head_dim), in f32; frequencies: others than these. scale: a number by
    which both are multiplied.
    """

    frequencies: np.ndarray
    scale: float

    def __init__(self, head_dim: int, base: float = 10000.0, frequencies: np.ndarray | None = None, scale: float = 1.0):
        if head_dim % 2:
            raise model_error(f"rotary positions need an even head_dim, got {head_dim}")
        standard = base ** (-np.arange(0, head_dim, 2) / head_dim)
        self.frequencies = np.asarray(standard if frequencies is None else frequencies, np.float32)
        self.scale = scale

    def __call__(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Integers [S] to cos and sin [S, head_dim / 2], or [B, S] to [B, 1, S, head_dim / 2], as the op `rotary` takes them."""
        places = positions.astype(f32)[..., None]
        angles = (places if positions.rank == 1 else places[:, None]) * self.frequencies
        cos, sin = apply("cos", angles), apply("sin", angles)
        return (cos, sin) if self.scale == 1.0 else (cos * self.scale, sin * self.scale)


class RelativePositionBias(Module):
    """A number a head for each distance between query and key, added to the scores (T5, arXiv:1910.10683, section 2.1).

    `weight` [buckets, heads]. Half of the buckets (all, if causal) are for keys before the query, the others for those after it.
    Half of these are distances of their own; the rest grow in size like logarithms up to `max_distance`, beyond which all are
    alike.
    """

    weight: Parameter
    max_distance: int
    buckets: np.ndarray

    def __init__(self, heads: int, buckets: int = 32, max_distance: int = 128, causal: bool = False):
        self.weight = Parameter(f32[buckets, heads], normal(0.02))
        self.max_distance = max_distance
        distances = np.arange(-max_distance, max_distance + 1)  # of the key from the query
        side = buckets if causal else buckets // 2
        before = _bucket(np.maximum(-distances, 0) if causal else np.abs(distances), side, max_distance)
        self.buckets = before if causal else before + np.where(distances > 0, side, 0)

    def __call__(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Positions of the queries [Sq] and of the keys [Sk], integers, to [1, heads, Sq, Sk]."""
        values = apply("embedding", self.buckets, self.weight)  # by distance: depends on parameters alone
        distance = keys[None, :] - queries[:, None]
        places = apply("clip", distance, min=-self.max_distance, max=self.max_distance) + self.max_distance
        return apply("embedding", places, values).transpose(2, 0, 1)[None]


def _bucket(distance: np.ndarray, buckets: int, max_distance: int) -> np.ndarray:
    """The bucket of each distance >= 0. Logarithms are f32, as they were when the published models were trained."""
    exact = buckets // 2
    scale = np.float32(np.log(max_distance / exact))
    far = np.log(np.maximum(distance, 1).astype(np.float32) / np.float32(exact)) / scale * np.float32(buckets - exact)
    return np.where(distance < exact, distance, np.minimum(exact + far.astype(np.int64), buckets - 1))

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

    def __init__(self, max_length: int, dim: int):
        self.weight = Parameter(f32[max_length, dim], normal(0.02))

    def __call__(self, x: Tensor) -> Tensor:
        """x [B, S, dim] to x + weight[0 .. S-1]."""
        return x + apply("embedding", apply("range", stop=x.shape[1]), self.weight)


class SinusoidalPositions(Module):
    """Fixed sines and cosines added to x (arXiv:1706.03762, section 3.5): even columns sin(p / 10000^(c / dim)), odd ones cos."""

    def __init__(self, max_length: int, dim: int):
        if dim % 2:
            raise model_error(f"sinusoidal positions need an even hidden size, got {dim}")
        angles = np.arange(max_length)[:, None] / 10000.0 ** (np.arange(0, dim, 2) / dim)
        self.table = np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(max_length, dim).astype(np.float32)

    def __call__(self, x: Tensor) -> Tensor:
        """x [B, S, dim] to x + table[0 .. S-1]."""
        return x + apply("embedding", apply("range", stop=x.shape[1]), self.table)


class RotaryPositions(Module):
    """Rotation of query and key by their position (arXiv:2104.09864), the op `rotary`.

    Turns pairs of an element of the first half of head_dim and one of the second; interleaved: pairs of neighbours.
    """

    def __init__(self, head_dim: int, max_length: int = 4096, base: float = 10000.0, interleaved: bool = False):
        if head_dim % 2:
            raise model_error(f"rotary positions need an even head_dim, got {head_dim}")
        angles = np.arange(max_length)[:, None] / base ** (np.arange(0, head_dim, 2) / head_dim)
        self.cos, self.sin = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
        self.interleaved = interleaved

    def __call__(self, x: Tensor) -> Tensor:
        """x [B, H, S, head_dim], rotated by the positions 0 .. S-1."""
        positions = apply("range", stop=x.shape[2])
        cos, sin = apply("embedding", positions, self.cos), apply("embedding", positions, self.sin)
        return apply("rotary", x, cos, sin, interleaved=self.interleaved)

"""The position-wise feed-forward networks of a Transformer layer."""

from __future__ import annotations

from collections.abc import Callable

from ..current_tracer import apply
from ..module import Module
from ..tensor import Tensor
from ..user_code import model_error
from .basic import Linear

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": lambda x: apply("gelu", x),
    "gelu_tanh": lambda x: apply("gelu", x, approximate="tanh"),
    "quick_gelu": lambda x: apply("quick_gelu", x),
    "relu": lambda x: apply("relu", x),
    "silu": lambda x: apply("silu", x),
    "tanh": lambda x: apply("tanh", x),
    "sigmoid": lambda x: apply("sigmoid", x),
}


def get_activation(name: str) -> Callable[[Tensor], Tensor]:
    """An activation function by name. Raises TraceError that lists the known ones."""
    if name not in ACTIVATIONS:
        raise model_error(f"unknown activation {name!r}; known: {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]


class FeedForward(Module):
    """down(activation(up(x))) (arXiv:1706.03762, section 3.3)."""

    up: Linear
    down: Linear
    activation: Callable[[Tensor], Tensor]

    def __init__(self, dim: int, hidden: int, activation: str = "gelu", bias: bool = True):
        self.up = Linear(dim, hidden, bias)
        self.down = Linear(hidden, dim, bias)
        self.activation = get_activation(activation)

    def __call__(self, x: Tensor) -> Tensor:
        return self.down(self.activation(self.up(x)))


class GatedFeedForward(Module):
    """down(activation(gate(x)) * up(x)): SwiGLU with the default activation (arXiv:2002.05202)."""

    gate: Linear
    up: Linear
    down: Linear
    activation: Callable[[Tensor], Tensor]

    def __init__(self, dim: int, hidden: int, activation: str = "silu", bias: bool = False):
        self.gate = Linear(dim, hidden, bias)
        self.up = Linear(dim, hidden, bias)
        self.down = Linear(hidden, dim, bias)
        self.activation = get_activation(activation)

    def __call__(self, x: Tensor) -> Tensor:
        return self.down(self.activation(self.gate(x)) * self.up(x))

"""What a checkpoint's config.json says: sizes, and choices that must be ones that tgraph knows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, TypeVar

from .. import nn
from ..ir.errors import FormatError
from ..nn.feed_forward import ACTIVATIONS
from ..tensor import Tensor
from ..user_code import model_error

# Hugging Face's names of activations that are others here; `gelu_new` and `gelu_fast` are one formula, written twice
_ACTIVATION_NAMES = {"gelu_new": "gelu_tanh", "gelu_fast": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu_python": "gelu",
                     "swish": "silu"}
# What changes the meaning of any model, and the values that change nothing
_ALWAYS: dict[str, tuple[Any, ...]] = {
    "is_decoder": (False,), "add_cross_attention": (False,), "pruned_heads": ({},), "quantization_config": (), "auto_map": (),
}

MOST_LAYERS, LARGEST = 4096, 2**24  # of a model; of any other number, which tables may be as long as

C = TypeVar("C", bound="ModelConfig")


@dataclass(frozen=True)
class ModelConfig:
    """Base of the configs: fields with defaults, read from config.json by their names.

    `renamed`: what config.json calls a field, where that is another name. `supported`: entries that are no fields, with the
    values that tgraph's model stands for; any other value means another model. `activations`: the fields that name one.
    """

    renamed: ClassVar[Mapping[str, str]] = {}
    supported: ClassVar[Mapping[str, tuple[Any, ...]]] = {}
    activations: ClassVar[tuple[str, ...]] = ("hidden_act",)

    num_labels: int = field(default=2, kw_only=True)

    @classmethod
    def from_dict(cls: type[C], values: Mapping[str, Any]) -> C:
        """From the entries of a config.json; those that make no difference to what a model computes are ignored.

        Raises FormatError that names an entry whose value is of the wrong type, or makes a model that tgraph does not have.
        """
        _refuse_unsupported(values, {**_ALWAYS, **cls.supported})
        for name, value in values.items():  # before anything is counted out
            if "layer" in name and isinstance(value, int) and value > MOST_LAYERS:
                raise FormatError(f"{name} is {_shown(value)}; tgraph makes models of up to {MOST_LAYERS} layers")
        given = {**values, **cls.translated(values)}
        found = {}
        for entry in fields(cls):
            name = cls.renamed.get(entry.name, entry.name)
            value = given.get(entry.name) if given.get(name) is None else given[name]
            if value is not None:
                found[entry.name] = _checked(name, value, entry.default)
        for chosen in cls.activations:
            name = cls.renamed.get(chosen, chosen)
            _refuse_unsupported({name: found.get(chosen)}, {name: (*ACTIVATIONS, *_ACTIVATION_NAMES)})
        return cls(**found)

    @classmethod
    def translated(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """Fields that config.json says in other ways."""
        labels = values.get("id2label")
        return {"num_labels": len(labels)} if isinstance(labels, Mapping) and "num_labels" not in values else {}

    @property
    def max_length(self) -> int | None:
        """The number of positions that the model has, or None for any number."""
        return None

    def fitted_to(self: C, weights: Mapping[str, Any]) -> C:
        """This config, or what a checkpoint's weights say about it that config.json does not."""
        return self

    def check_heads(self, hidden_size: int, heads: int) -> None:
        """Raises TraceError if the heads do not divide the hidden size."""
        if heads < 1 or hidden_size % heads:
            raise model_error(f"{type(self).__name__}: {heads} heads do not divide the hidden size {hidden_size}")


def activation(name: str) -> Callable[[Tensor], Tensor]:
    """An activation function by Hugging Face's name or ours. Raises TraceError that lists the known ones."""
    return nn.get_activation(_ACTIVATION_NAMES.get(name, name))


def _refuse_unsupported(values: Mapping[str, Any], supported: Mapping[str, tuple[Any, ...]]) -> None:
    """Raises FormatError for the first entry that is there, not null, and none of the supported values."""
    for name, known in supported.items():
        if values.get(name) is not None and values[name] not in known:
            instead = f"supported: {', '.join(map(repr, known))}" if known else "no model with such an entry is supported"
            raise FormatError(f"{name} is {_shown(values[name])}; {instead}")


def _checked(name: str, value: Any, default: Any) -> Any:
    """The value of an entry, of its default's type (a whole number will do for a float)."""
    wanted = type(default)
    if wanted is float and isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST:
        value = float(value)
    if wanted in (int, float, bool, str) and type(value) is not wanted:
        raise FormatError(f"{name} is {_shown(value)}; expected {wanted.__name__}")
    if isinstance(value, float) and not math.isfinite(value):
        raise FormatError(f"{name} is {value}; expected a finite number")
    if isinstance(value, int) and not isinstance(value, bool):
        least = min(default, 1) if wanted is int else -1
        most = MOST_LAYERS if "layer" in name or "group" in name else LARGEST
        if not least <= value <= most:
            raise FormatError(f"{name} is {_shown(value)}; tgraph takes {least} to {most}")
    return value


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:79]}\u2026"

"""The base class of layers and models."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .current_tracer import current_tracer
from .ir.types import TensorType
from .ir.weights import check_weights, named_arrays
from .state import State
from .tensor import Parameter


class Module:
    """A layer or model: its attributes are parameters, states and other modules, and `__call__` computes its outputs.

    The path of attributes (`encoder.layer.0.attention`) names parameters, and is the scope of the nodes that a call
    adds. Lists, tuples and dicts of modules count. No `super().__init__()` is needed.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__call__" in vars(cls):
            call = vars(cls)["__call__"]

            @functools.wraps(call)
            def scoped(self: Module, *operands: Any, **named: Any) -> Any:
                tracer = current_tracer.get()
                if tracer is None:
                    return call(self, *operands, **named)
                with tracer.scope(self):
                    return call(self, *operands, **named)

            cls.__call__ = scoped  # type: ignore[method-assign]

    def __call__(self, *operands: Any, **named: Any) -> Any:
        raise TypeError(f"{type(self).__name__} defines no __call__")

    def parameters(self) -> dict[str, Parameter]:
        """All parameters by path; a shared one once, by its first path."""
        found: dict[int, tuple[str, Parameter]] = {}
        for path, thing in walk(self):
            if isinstance(thing, Parameter):
                found.setdefault(id(thing), (path, thing))
        return dict(found.values())

    def aliases(self) -> dict[str, str]:
        """The further paths of shared parameters, each to the first."""
        first: dict[int, str] = {}
        return {path: first[id(p)] for path, p in walk(self)
                if isinstance(p, Parameter) and first.setdefault(id(p), path) != path}

    def load_weights(self, weights: Mapping[str, Any] | str | Path, *, cast: bool = False) -> None:
        """Take parameter data from a mapping or a `.safetensors` file, by path.

        cast: convert floats of another precision (a checkpoint in f16 or bf16 for a model in f32).
        Raises WeightsError that lists all missing, unexpected and misshapen names.
        """
        given, source = named_arrays(weights)
        parameters = self.parameters()
        wanted: dict[str, TensorType] = {path: p.type for path, p in parameters.items()}
        for path, array in check_weights(given, wanted, self.aliases(), source, cast).items():
            parameters[path].data = np.asarray(array)


def walk(thing: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """All modules, parameters and states under `thing` with their paths, containers first; a shared one at each of its paths."""
    yield from _walk(thing, path, ())


def _walk(thing: Any, path: str, above: tuple[int, ...]) -> Iterator[tuple[str, Any]]:
    if id(thing) in above:
        return
    if isinstance(thing, (Module, Parameter, State)):
        yield path, thing
    if isinstance(thing, Module):
        children: Any = vars(thing).items()
    elif isinstance(thing, dict):
        children = thing.items()
    elif isinstance(thing, (list, tuple)):
        children = enumerate(thing)
    else:
        return
    for name, child in children:
        yield from _walk(child, f"{path}.{name}" if path else str(name), (*above, id(thing)))

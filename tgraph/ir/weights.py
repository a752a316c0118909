"""Parameter data: a table of named arrays, lazily initialised, with aliases for shared parameters."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from .dtypes import DTYPES, bf16, require_held
from .errors import RuleError, WeightsError
from .file_formats import read_arrays
from .types import TensorType

Initializer = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


class Weights(Mapping[str, np.ndarray]):
    """Arrays by parameter name.

    An entry is an array or a recipe that makes one on first use. `aliases` maps the other paths of a shared
    parameter to its name.
    """

    def __init__(self) -> None:
        self._entries: dict[str, np.ndarray | Callable[[], np.ndarray]] = {}
        self.aliases: dict[str, str] = {}

    def set(self, name: str, array: np.ndarray | Callable[[], np.ndarray]) -> None:
        """Define or replace one entry."""
        self._entries[name] = array

    def initialize(self, name: str, type: TensorType, initializer: Initializer) -> None:
        """Define an entry whose values come from a generator seeded by its name, when first asked for."""

        def make() -> np.ndarray:
            seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
            shape = type.evaluate({})
            return np.asarray(initializer(np.random.default_rng(seed), shape)).astype(type.dtype.numpy)

        self._entries.setdefault(name, make)

    def load(self, weights: Any, wanted: Mapping[str, TensorType], cast: bool) -> None:
        """Load the data of these parameters from a mapping or a file of weights, by its path. Raises as `check_weights` does."""
        given, source = named_arrays(weights)
        self._entries.update(check_weights(given, wanted, self.aliases, source, cast))

    def __getitem__(self, name: str) -> np.ndarray:
        entry = self._entries[self.aliases.get(name, name)]
        if callable(entry):
            entry = self._entries[self.aliases.get(name, name)] = entry()
        return entry

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.aliases.get(name, name) in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def named_arrays(weights: Any) -> tuple[Mapping[str, Any], str]:
    """Arrays by name from a mapping, or from a file of weights by its path, and what errors call them."""
    return (weights, "weights") if isinstance(weights, Mapping) else (read_arrays(weights), str(weights))


def check_weights(given: Mapping[str, Any], wanted: Mapping[str, TensorType], aliases: Mapping[str, str],
                  source: str = "weights", cast: bool = False) -> dict[str, np.ndarray]:
    """Match arrays to parameters strictly, by name, dtype and shape; an alias may stand for its name.

    cast: floats of another precision are converted, to nearest even. Raises WeightsError that lists all missing, unexpected and
    misshapen names at once, and numbers that the conversion would make infinite.
    """
    found: dict[str, np.ndarray] = {}
    unexpected, misshapen = [], []
    for name in given:
        target = aliases.get(name, name)
        if target not in wanted:
            unexpected.append(name)
            continue
        array, problem = _fit(_numpy(given[name]), wanted[target], cast)
        if problem:
            misshapen.append(f"{name} {problem}")
        elif target in found and not np.array_equal(array, found[target]):
            misshapen.append(f"{name} is another name of {target}, but holds other values")
        elif name == target or target not in found:
            found[target] = array
    missing = [name for name in wanted if name not in found and not any(m.startswith(f"{name} ") for m in misshapen)]
    problems = [f"{title}: {', '.join(names)}" for title, names in
                (("missing", missing), ("unexpected", unexpected), ("misshapen", misshapen)) if names]
    if problems:
        raise WeightsError(f"{source} do not fit the graph\n  " + "\n  ".join(problems))
    return found


def _fit(array: np.ndarray, type: TensorType, cast: bool) -> tuple[np.ndarray, str]:
    """The array as data of that type, and what is wrong with it ("" if nothing is)."""
    differs = f"is {array.dtype}{list(array.shape)}, the graph has {type}"
    if array.shape != type.shape:
        return array, differs
    if array.dtype == type.dtype.numpy:
        return array, ""
    if not (type.dtype.is_float and array.dtype in [d.numpy for d in DTYPES.values() if d.is_float]):
        return array, differs
    if not cast:
        return array, f"{differs} (cast=True converts {array.dtype} to {type.dtype})"
    try:
        require_held(array, type.dtype)
    except RuleError as error:
        return array, f"{differs}: {error}"
    return array.astype(type.dtype.numpy), ""


def _numpy(value: Any) -> np.ndarray:
    """A value as a NumPy array; PyTorch's parameters and bf16 tensors too, for which NumPy needs ml_dtypes."""
    if hasattr(value, "detach"):
        value = value.detach()
        if str(value.dtype) == "torch.bfloat16":
            return np.asarray(value.float()).astype(bf16.numpy)
    return np.asarray(value)

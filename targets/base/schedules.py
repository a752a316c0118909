"""Kernel parameters that tuning found for a CPU, and the file that remembers them."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from tgraph.formats.disk import replacing
from tgraph.ir.errors import FormatError
from tgraph.ir.graph import Graph
from tgraph.ir.json_text import json_object
from tgraph.version import VERSION

Tile = TypeVar("Tile")
Schedule = Mapping[str, int]  # fields of a kernel's tile and their values

FOLDER = "TGRAPH_TUNING"  # environment variable: the folder of these files in place of the user's, or "off"


@dataclass(frozen=True)
class Schedules:
    """The tuned parameters of kernels, by `kernel_key`."""

    entries: Mapping[str, Schedule] = field(default_factory=dict)

    def tile(self, function: Graph, default: Tile) -> Tile:
        """`default` with what tuning found for this kernel, if these are values that it may find: a file may say anything."""
        found = self.entries.get(kernel_key(function)) if self.entries else None
        if not found:
            return default
        known: Mapping[str, Sequence[int]] = default.variants()  # type: ignore[attr-defined]
        sound = all(value in known.get(name, ()) or value == getattr(default, name, None) for name, value in found.items())
        return replace(default, **found) if sound else default  # type: ignore[type-var]


NONE = Schedules()


def kernel_key(function: Graph) -> str:
    """The fingerprint of what a kernel computes, whatever its name is."""
    anonymous = function.copy()
    anonymous.name = "kernel"
    return anonymous.fingerprint


def schedule_file(cpu: str) -> Path | None:
    """Where the schedules for a CPU (LLVM's name) are kept; None if that is switched off."""
    import platformdirs

    folder = os.environ.get(FOLDER, "")
    if folder == "off":
        return None
    return Path(folder or platformdirs.user_data_path("tgraph") / "tuning") / f"{cpu}.json"


def load_schedules(path: Path | None) -> Schedules:
    """The schedules in a file, of this version of tgraph; none if there is no file. A broken file warns, and is ignored."""
    if path is None or not path.is_file():
        return NONE
    try:
        kernels = _read(path)
        return Schedules({key: {str(name): int(value) for name, value in kernel["schedule"].items()}
                          for key, kernel in kernels.items() if kernel["tgraph"] == VERSION})
    except (OSError, FormatError, ArithmeticError, ValueError, KeyError, TypeError, AttributeError) as error:
        warnings.warn(f"{path} is no file of schedules ({error}); kernels keep their defaults", stacklevel=2)
        return NONE


def save_schedules(path: Path, kernels: Mapping[str, Mapping[str, Any]]) -> None:
    """Add kernels ({"kernel": name, "schedule": {...}, ...} by key) to a file. Those it holds already stay, or are replaced."""
    try:
        known = _read(path)
    except (OSError, FormatError):
        known = {}
    known.update({key: {**kernel, "tgraph": VERSION} for key, kernel in kernels.items()})
    with replacing(path) as file:
        file.write((json.dumps({"kernels": known}, indent=1, sort_keys=True) + "\n").encode())


def _read(path: Path) -> dict[str, dict[str, Any]]:
    """The rows of a file. Raises FormatError for another kind of file."""
    kernels = json_object(path).get("kernels")
    if not isinstance(kernels, dict) or not all(isinstance(row, dict) for row in kernels.values()):
        raise FormatError("it has no table of kernels")
    return kernels

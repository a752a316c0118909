"""Kernel parameters that tuning found for a CPU, and the file that remembers them."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from tgraph.ir.graph import Graph
from tgraph.version import VERSION

Tile = TypeVar("Tile")
Schedule = Mapping[str, int]  # fields of a kernel's tile and their values

FOLDER = "TGRAPH_TUNING"  # environment variable: the folder of these files in place of the user's, or "off"


@dataclass(frozen=True)
class Schedules:
    """The tuned parameters of kernels, by `kernel_key`."""

    entries: Mapping[str, Schedule] = field(default_factory=dict)

    def tile(self, function: Graph, default: Tile) -> Tile:
        """`default` with the fields that tuning found for this kernel, if they are fields of such a tile."""
        found = self.entries.get(kernel_key(function)) if self.entries else None
        known = {f.name for f in fields(default)}  # type: ignore[arg-type]
        return replace(default, **found) if found and found.keys() <= known else default  # type: ignore[type-var]


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
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        warnings.warn(f"{path} is no file of schedules ({error}); kernels keep their defaults", stacklevel=2)
        return NONE


def save_schedules(path: Path, kernels: Mapping[str, Mapping[str, Any]]) -> None:
    """Add kernels ({"kernel": name, "schedule": {...}, ...} by key) to a file. Those it holds already stay, or are replaced."""
    try:
        known = _read(path)
    except (OSError, ValueError):
        known = {}
    known.update({key: {**kernel, "tgraph": VERSION} for key, kernel in kernels.items()})
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps({"kernels": known}, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    partial.replace(path)


def _read(path: Path) -> dict[str, dict[str, Any]]:
    """The rows of a file. Raises ValueError for another kind of file."""
    content = json.loads(path.read_text(encoding="utf-8"))
    kernels = content.get("kernels") if isinstance(content, dict) else None
    if not isinstance(kernels, dict) or not all(isinstance(row, dict) for row in kernels.values()):
        raise ValueError("it has no table of kernels")
    return kernels

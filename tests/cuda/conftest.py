"""Tests on a CUDA device: this machine's GPU (then they are marked `gpu`), else the emulated one (tests/emulator/README.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from emulator.isolation import HERE, device_memory_intact, isolated, tight_arena

from targets.cuda.runtime import host_arch

__all__ = ["device_memory_intact", "tight_arena"]
ON_GPU = not HERE and bool(host_arch())


def pytest_pycollect_makemodule(module_path: Path, parent: Any) -> Any:
    return None if ON_GPU else isolated(module_path, parent)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if ON_GPU and item.path.parent == Path(__file__).parent:
            item.add_marker("gpu")

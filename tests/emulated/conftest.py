"""Tests of the emulated CUDA device: see tests/emulator/README.md."""

from __future__ import annotations

from emulator.isolation import device_memory_intact, isolated

__all__ = ["device_memory_intact"]
pytest_pycollect_makemodule = isolated

"""Tests on the emulated device: each file in a process of its own, where the device is made before TVM is imported.

A conftest that imports the names below has it so for its folder. Outside of the emulator a file is then one test: that it passes
inside. Where `here` is true, tests are collected and run as anywhere.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import emulator

SWITCH = "TGRAPH_EMULATE_CUDA"
HERE = os.environ.get(SWITCH) == "1" and emulator.missing() is None
if HERE:
    emulator.activate()


class Elsewhere(pytest.File):
    def collect(self) -> Iterator[pytest.Item]:
        yield InTheEmulator.from_parent(self, name="in the emulator")


class InTheEmulator(pytest.Item):
    """Runs the file's tests in a process that has the emulated device."""

    def runtest(self) -> None:
        if lacking := emulator.missing():
            pytest.skip(f"the emulated CUDA device needs {lacking}")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        result = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:xdist", "-p", "no:cacheprovider", "--tb=short", str(self.path)],
            cwd=self.config.rootpath, env={**environment, SWITCH: "1"}, capture_output=True, text=True)
        if result.returncode:
            pytest.fail(f"{SWITCH}=1 pytest {self.path}:\n{result.stdout[-20000:]}{result.stderr[-5000:]}", pytrace=False)


def isolated(module_path: Path, parent: Any) -> Any:
    """For `pytest_pycollect_makemodule`: the file as one test, or None where it runs as it is."""
    return None if HERE else Elsewhere.from_parent(parent, path=module_path)


@pytest.fixture(autouse=True)
def device_memory_intact() -> Iterator[None]:
    """No test may write beside an allocation."""
    yield
    if HERE:
        emulator.check()


@pytest.fixture
def tight_arena(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls whose memory ends with their own values, not with those of the largest call so far: a read behind it is an error."""
    from targets.cuda.device import CudaDevice

    grown = CudaDevice.arena

    def arena(self: CudaDevice, size: int) -> Any:
        if size != self._arena_bytes:
            self._arena, self._arena_bytes = None, 0
        return grown(self, size)

    monkeypatch.setattr(CudaDevice, "arena", arena)

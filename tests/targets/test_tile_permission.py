"""Tiles (AMX) that the system refuses to a process: its CPU counts as one without, and code that uses them is not run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tgraph as tg
from targets.base.tvm_api import host_features
from tests.targets.feature_sets import FEATURE_SETS, run_only_here

pytestmark = pytest.mark.skipif(len(FEATURE_SETS) == 1, reason="another architecture")

# Linux refuses tiles to a process in which a thread handles signals on a stack that could not hold them.
SMALL_STACK = """
import ctypes
import sys

class Stack(ctypes.Structure):
    _fields_ = [("sp", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]

memory = ctypes.create_string_buffer(8192)
assert ctypes.CDLL(None).sigaltstack(ctypes.byref(Stack(ctypes.addressof(memory), 0, len(memory))), None) == 0

import tgraph as tg
from targets.base.target import Target

print(sorted(f for f in Target.parse("cpu").features if f.startswith("amx")))
try:
    tg.load(sys.argv[1])
except tg.TargetError as error:
    print(error)
"""


def test_what_the_system_refuses_is_absent(tmp_path: Path) -> None:
    weight = np.random.default_rng(0).standard_normal((48, 64)).astype("f")
    graph = tg.trace(lambda x: tg.linear(x, weight), x=tg.f32[tg.dim("B"), 64], name="product")
    exe = tg.compile(graph, FEATURE_SETS["AMX"], precision="bf16")
    exe.save(tmp_path / "tiles.tgc")
    command = [sys.executable, "-c", SMALL_STACK, str(tmp_path / "tiles.tgc")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    features, _, error = done.stdout.partition("\n")
    assert features == "[]"
    assert "tiles.tgc was compiled for" in error and "lacks some of its instructions: amx-bf16, amx-int8, amx-tile" in error
    assert ("(a thread's alternate stack for signals is too small for them" in error) == host_features().get("amx-tile", False)
    run_only_here(exe.target)
    x = np.ones((3, 64), "f")
    assert np.allclose(exe(x), x @ weight.T, atol=0.2)
    assert np.allclose(tg.load(tmp_path / "tiles.tgc")(x), exe(x), atol=0)

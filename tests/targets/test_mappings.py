"""Executables that are dropped take their code with them: the system allows a process 65,530 mappings."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# In a process of its own: what other tests hold on to would come and go in between.
COUNT = """
import gc, sys, warnings
import numpy as np
import tgraph as tg
from tgraph import nn

warnings.simplefilter("error")
B, S = tg.dims("B S")
graph = tg.trace(nn.EncoderLayer(16, 2, 32), x=tg.f32[B, S, 16])
x = np.ones((2, 3, 16), "f")
path = sys.argv[1]
first = tg.compile(graph)
expected = first(x)
first.save(path)

def loaded(): return tg.load(path)
def hit():
    exe = tg.compile(graph)
    assert exe.cache.hit, exe.cache
    return exe
def compiled(): return tg.compile(graph, cache=False)

def mappings():
    with open("/proc/self/maps") as file:
        return len(file.readlines())

gc.disable()  # an executable is in no cycle of references
for make, rounds in ((loaded, 30), (hit, 30), (compiled, 5)):
    counts = []
    for _ in range(rounds):
        exe = make()
        assert np.array_equal(exe(x), expected)
        function, inputs = exe.run, {"x": x}
        del exe
        function(inputs)  # what is still held works
        del function
        counts.append(mappings())
    print(make.__name__, counts[2], counts[-1])

# One that is alive keeps its own code only.
kept = tg.load(path)
for _ in range(5):
    tg.load(path)(x)
assert np.array_equal(kept(x), expected) and np.array_equal(first(x), expected)
"""


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="counts mappings as Linux shows them")
def test_mappings_of_dropped_executables(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TGRAPH_CACHE": str(tmp_path / "cache")}
    result = subprocess.run([sys.executable, "-c", COUNT, str(tmp_path / "x.tgc")], capture_output=True, text=True,
                            env=environment, timeout=300)
    assert result.returncode == 0, result.stderr
    for line in result.stdout.splitlines():
        _, early, late = line.split()
        # fewer than the five of one library in as many rounds: the allocator's own pieces of memory come and go
        assert int(late) - int(early) < 20, line

"""Recurrent layers compiled for CPUs: the loop in one kernel, the same bits at any number of threads."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tgraph as tg
from targets.base.target import Target
from tgraph import nn

B, T = tg.dims("B T")
KINDS = {"RNN": nn.RNN, "GRU": nn.GRU, "LSTM": nn.LSTM}


def tagger(kind: str, hidden: int = 48, **options: Any) -> tg.Graph:
    """A layer in both directions over sequences of different lengths, and what goes around it."""
    class Tagger(nn.Module):
        def __init__(self) -> None:
            self.layer = KINDS[kind](24, hidden, bidirectional=True, **options)
            self.out = nn.Linear(2 * hidden, 10)

        def __call__(self, x: tg.Tensor, mask: tg.Tensor) -> Any:
            y, last = self.layer(tg.tanh(x), mask=mask)
            return self.out(y), last[0] if isinstance(last, tuple) else last

    return tg.trace(Tagger(), x=tg.f32[B, T, 24], mask=tg.bool_[B, T])


def feeds(batch: int, steps: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(batch)
    ends = rng.integers(0, steps + 1, batch)
    return {"x": rng.standard_normal((batch, steps, 24)).astype(np.float32), "mask": np.arange(steps) < ends[:, None]}


@pytest.mark.parametrize("kind", KINDS)
def test_one_product_and_one_kernel_of_the_loop(kind: str) -> None:
    graph = tagger(kind, num_layers=2)
    exe = tg.compile(graph, cache=False)
    calls = {e.kernel: e.calls for e in exe.explain()}
    assert sum(count for name, count in calls.items() if name.endswith("_scan")) == 2
    assert sum(count for name, count in calls.items() if "linear" in name) == 3
    assert not any("packed by each call" in e.chosen for e in exe.explain())
    for batch, steps in ((1, 1), (3, 9), (40, 4), (0, 3), (2, 0)):
        given = feeds(batch, steps)
        expected = tg.reference.run(graph, given)
        for name, y in exe.run(given).items():
            assert y.shape == expected[name].shape and np.abs(y - expected[name]).max(initial=0) < 2e-5


SCRIPT = """
import hashlib, sys
import numpy as np
import tgraph as tg
for path in sys.argv[1:]:
    exe, found = tg.load(path), hashlib.sha256()
    for batch, steps in ((1, 12), (2, 5), (7, 9), (16, 4), (30, 3), (64, 2)):
        rng = np.random.default_rng(batch)
        x = rng.standard_normal((batch, steps, 24)).astype(np.float32)
        mask = np.arange(steps) < rng.integers(0, steps + 1, batch)[:, None]
        for y in exe.run({"x": x, "mask": mask}).values():
            found.update(y.tobytes())
    print(found.hexdigest())
"""


def test_bits_do_not_depend_on_threads(tmp_path: Path) -> None:
    """Teams of one and of several workers, more of them than this machine has cores, from a bundle; nor on the size of caches."""
    target = Target.parse("cpu")
    bundles = {tmp_path / f"{size}.tgc": size for size in (target.l2_bytes, 2**15)}
    for path, size in bundles.items():
        tg.compile(tagger("LSTM", hidden=80), replace(target, l2_bytes=size), cache=False).save(path)
    found = set()
    for threads in (1, 2, 5):
        environment = {**os.environ, "TVM_NUM_THREADS": str(threads)}
        done = subprocess.run([sys.executable, "-c", SCRIPT, *map(str, bundles)], capture_output=True, text=True,
                              timeout=300, env=environment)
        assert done.returncode == 0, done.stderr
        found.update(done.stdout.split())
    assert len(found) == 1


def test_what_surrounds_a_layer_is_optimised() -> None:
    """Padding is removed up to the layer and after it, and not within."""
    class Model(nn.Module):
        def __init__(self) -> None:
            self.first, self.layer, self.last = nn.Linear(24, 16), nn.GRU(16, 12), nn.Linear(12, 8)

        def __call__(self, x: tg.Tensor, mask: tg.Tensor) -> Any:
            y, _ = self.layer(tg.gelu(self.first(x)), mask=mask)
            return tg.zero_padding(self.last(y), mask)

    graph = tg.trace(Model(), x=tg.f32[B, T, 24], mask=tg.bool_[B, T])
    exe = tg.compile(graph, passes="remove-padding,O3", cache=False)
    for batch, steps in ((3, 7), (1, 1)):
        given = feeds(batch, steps)
        assert np.abs(exe.run(given)["output"] - tg.reference.run(graph, given)["output"]).max() < 2e-5


@pytest.mark.parametrize("weights", ["bf16", "i8"])
@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_weights_of_the_inputs_are_stored_narrow(kind: str, weights: str) -> None:
    """The product of all inputs is an ordinary one; weights of the recurrence stay as they are."""
    layer = getattr(nn, kind)(24, 16, bidirectional=True)
    graph = tg.trace(lambda x: layer(x)[0], x=tg.f32[B, T, 24])
    exe = tg.compile(graph, weights=weights)
    stored = sum(int(np.prod(p.type.evaluate({}))) for p in exe.kernels.parameters.values() if p.dtype.name == weights)
    assert stored >= 2 * layer.gates * 16 * 24
    x = np.random.default_rng(0).standard_normal((2, 5, 24)).astype(np.float32)
    full = tg.compile(graph, "numpy")(x)
    assert 1e-7 < np.abs(exe(x) - full).max() < {"bf16": 5e-3, "i8": 2e-2}[weights]
    assert tg.check(exe)

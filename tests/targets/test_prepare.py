"""The prepare part runs in pieces: the same bits as all at once, in hardly more memory than what it makes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tgraph as tg
from targets.base.memory import give_back
from targets.runtime.prepare import _parts, evaluate_prepare
from tgraph import nn
from tgraph.formats import load_safetensors, save_safetensors
from tgraph.models.bert import Bert, BertConfig
from tgraph.reference.interpreter import Interpreter

ROOT = Path(__file__).resolve().parents[2]
B, S = tg.dims("B S")


def bert() -> tg.Graph:
    config = BertConfig(vocab_size=50, hidden_size=48, num_hidden_layers=2, num_attention_heads=2, intermediate_size=80,
                        max_position_embeddings=16)
    return tg.trace(Bert(config), input_ids=tg.i64[B, S].range(0, 50), mask=tg.bool_[B, S])


def lstm() -> tg.Graph:
    layer = nn.LSTM(8, 16)
    return tg.trace(lambda x: layer(x)[0], x=tg.f32[B, S, 8])


@pytest.mark.parametrize(("make", "options"), [
    (bert, {}), (bert, {"weights": "i8"}), (bert, {"weights": "i4"}), (bert, {"weights": "f16"}), (bert, {"precision": "bf16"}),
    (bert, {"level": "O0"}), (lstm, {}),
])
def test_it_makes_what_the_whole_graph_makes(make: Any, options: dict[str, Any]) -> None:
    exe = tg.compile(make(), **options)
    whole = Interpreter(exe.prepare, faithful=True, weights=exe.weights).run_bound([], {})
    made = evaluate_prepare(exe.prepare, exe.weights)
    assert list(made) == list(whole) and all(made[n].tobytes() == whole[n].tobytes() for n in whole)
    assert all(a.flags.c_contiguous and a.flags.writeable and a.ctypes.data % 64 == 0 for a in made.values())


def test_parts_share_nothing_but_parameters() -> None:
    prepare = tg.compile(bert(), weights="i8").prepare
    places = [np.empty(0) for _ in prepare.outputs]
    parts = _parts(prepare, places)
    assert [n for n in prepare.nodes if sum(n in part.nodes for part in parts) != 1] == []
    assert sorted(id(place) for part in parts for _, place in part.outputs) == sorted(map(id, places))
    assert len([part for part in parts if part.nodes]) >= 2 * 4  # the products of two layers at least
    for part in parts:
        assert all(getattr(v, "node", None) is None or v.node in part.nodes for node in part.nodes for v in node.inputs)


def test_a_file_is_read_again_after_its_memory_was_given_back(tmp_path: Path) -> None:
    arrays = {"a": np.arange(30_000, dtype="f4"), "b": np.ones(3, "i8")}
    save_safetensors(tmp_path / "x.safetensors", arrays)
    mapped = load_safetensors(tmp_path / "x.safetensors")
    for name, array in arrays.items():
        give_back(mapped[name])
        give_back(mapped[name][1:2])
        assert np.array_equal(mapped[name], array)


def test_what_was_changed_is_not_given_back(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(bytes(50_000))
    own = np.memmap(tmp_path / "x", np.uint8, "c")
    own[:] = 7
    read_only = own.view()
    read_only.flags.writeable = False
    for array in (own, read_only, np.full(50_000, 7), np.full((300, 300), 7)[:, :5]):
        give_back(array)
        assert (array == 7).all()


# In a process of its own, with weights of 128 MB: what compiling takes is there before the peak is forgotten.
PEAK = """
import os, re, sys
import numpy as np
import tgraph as tg
from targets.runtime.prepare import evaluate_prepare

def status(name):
    with open("/proc/self/status") as file:
        return 1024 * int(re.search(rf"{name}:\\s+(\\d+)", file.read())[1])

graph = tg.read(sys.argv[1])
exe = tg.compile(graph, cache=False)
prepare, weights = exe.prepare, graph.weights
del exe
evaluate_prepare(prepare, weights)  # what NumPy and threads keep for themselves
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")
before = status("VmRSS")
made = evaluate_prepare(prepare, weights)
size = sum(a.nbytes for a in made.values())
print(size, status("VmHWM") - before, status("VmRSS") - before)
"""


class Layers(nn.Module):
    """Products of 4 MB each."""

    def __init__(self) -> None:
        self.layers = [nn.Linear(1024, 1024) for _ in range(32)]

    def __call__(self, x: tg.Tensor) -> tg.Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="needs Linux's /proc")
def test_it_takes_little_more_than_it_makes(tmp_path: Path) -> None:
    graph = tg.trace(Layers(), x=tg.f32[B, 1024])
    rng = np.random.default_rng(0)
    graph.load_weights({name: rng.standard_normal(graph.weights[name].shape, np.float32) for name in graph.parameters})
    graph.save(tmp_path / "m.tg")
    done = subprocess.run([sys.executable, "-c", PEAK, str(tmp_path / "m.tg")], capture_output=True, text=True, timeout=300,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    size, peak, left = map(int, done.stdout.split())
    assert size > 128e6
    assert peak < 1.15 * size and left < 1.02 * size, (size, peak, left)

"""The compile cache: a hit runs the same code without compiling, anything that decides the code makes a miss that says so."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tgraph as tg
from passes.base import Pass
from targets.base.schedules import Schedules
from targets.base.target import Target
from targets.runtime import cache, foreign
from tgraph import nn

ROOT = Path(__file__).resolve().parents[2]
B = tg.dim("B")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("TGRAPH_CACHE", str(tmp_path / "cache"))
    cache._WARNED.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield tmp_path / "cache"


class Block(nn.Module):
    """Weights, an index to look up, and a constant above the size that the text shows."""

    def __init__(self, table: Any = None) -> None:
        self.embedding, self.linear = nn.Embedding(50, 24), nn.Linear(24, 40)
        self.table = np.linspace(0, 1, 40, dtype="f") if table is None else table

    def __call__(self, ids: tg.Tensor) -> dict[str, tg.Tensor]:
        return {"y": tg.gelu(self.linear(self.embedding(ids))) + self.table}


def traced(table: Any = None) -> tg.Graph:
    return tg.trace(Block(table), ids=tg.i64[B])


def only_hits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes every step of compiling an error."""
    def stop(*_: Any, **__: Any) -> None:
        raise AssertionError("compiled")
    import targets.compiler
    monkeypatch.setattr(targets.compiler, "_compile", stop)


def test_a_hit_runs_the_same_code_without_compiling(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = tg.compile(traced())
    assert first.cache is not None and str(first.cache) == "miss: this graph was not compiled before"
    sources = {what: first.source(what) for what in ("optimized", "kernels", "prepare", "tir")}
    only_hits(monkeypatch)
    steps: list[str] = []
    second = tg.compile(traced(), progress=steps.append)
    assert second.cache is not None and second.cache.hit, second.cache
    assert steps == ["compile cache", "prepare weights"]
    ids = np.arange(7)
    assert np.array_equal(first(ids), second(ids)) and tg.check(second)
    assert [r.name for r in second.records] == [r.name for r in first.records]
    assert {what: second.source(what) for what in sources} == sources
    assert '"kernel_embedding"' in second.source("relax") and "ret" in second.source("asm")
    with pytest.raises(tg.InputError, match="embedding"):
        second(np.array([50]))
    assert len(list(folder.iterdir())) == 1


def test_weights_are_not_in_the_cache(folder: Path) -> None:
    tg.compile(traced())
    graph = traced()
    graph.weights.set("linear.bias", np.full(40, 5, "f"))
    exe = tg.compile(graph)
    assert exe.cache is not None and exe.cache.hit and tg.check(exe)
    new = {name: np.asarray(graph.weights[name]) * 2 for name in graph.parameters}
    before = exe(np.arange(3))
    exe.load_weights(new)
    assert not np.allclose(exe(np.arange(3)), before) and tg.check(exe)


def test_a_cached_executable_can_be_saved(folder: Path, tmp_path: Path) -> None:
    first, second = tg.compile(traced()), tg.compile(traced())
    second.save(tmp_path / "a.tgc")
    loaded = tg.load(tmp_path / "a.tgc")
    loaded.save(tmp_path / "b.tgc")
    loaded = tg.load(tmp_path / "b.tgc")
    assert loaded.cache is None and np.array_equal(loaded(np.arange(5)), first(np.arange(5)))
    weights = {name: np.zeros(p.type.shape, "f") for name, p in loaded.graph.parameters.items()}
    loaded.load_weights(weights)
    assert np.allclose(loaded(np.arange(2)), np.linspace(0, 1, 40), atol=1e-6)


def why(graph: tg.Graph, **options: Any) -> str:
    return str(tg.compile(graph, **options).cache)


def test_what_decides_the_code_makes_a_miss_and_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = traced()
    why(graph)
    assert why(graph).startswith("hit: compiled on 20")
    assert why(traced(np.ones(40, "f"))) == "miss: this graph was not compiled before"  # another constant
    assert "nearest entry differs in passes (; there dce,fold-constants," in why(graph, level="O0")
    host = Target.parse("cpu")
    assert "differs in description of the target" in why(graph, target=dataclasses.replace(host, l2_bytes=host.l2_bytes * 2))
    assert "differs in target (cpu:x86-64; there cpu:" in why(graph, target="cpu:x86-64")
    tuned = dataclasses.replace(host, schedules=Schedules({"0": {"k_block": 256}}))
    assert why(graph, target=tuned) == "miss: the nearest entry differs in tuned kernels"
    elsewhere = graph.copy()
    for node in elsewhere.nodes:
        node.provenance = tg.parse(graph.text()).nodes[0].provenance
    assert elsewhere == graph and why(elsewhere) == "miss: the nearest entry differs in source lines"
    monkeypatch.setattr(cache, "source_digest", lambda: "another")
    assert why(graph) == "miss: the nearest entry differs in tgraph"


@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_a_damaged_entry_is_a_miss_with_a_warning(folder: Path, damage: str) -> None:
    first = tg.compile(traced())
    [path] = folder.iterdir()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes({"flip": data, "cut": data[:1000], "empty": b""}[damage])
    with pytest.warns(UserWarning, match="damaged entry, which is compiled again"):
        second = tg.compile(traced())
    assert str(second.cache) == "miss: the entry was damaged"
    assert np.array_equal(second(np.arange(4)), first(np.arange(4)))
    assert why(traced()).startswith("hit")


def test_off(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert why(traced(), cache=False) == "off: not wanted"
    monkeypatch.setenv("TGRAPH_CACHE", "off")
    assert why(traced()) == "off: TGRAPH_CACHE is off"
    assert tg.compile(traced(), target="numpy").cache is None
    assert not folder.exists()


def test_code_that_is_not_ours_is_not_cached(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclasses.dataclass(frozen=True)
    class Nothing(Pass):
        """x = x."""

        def apply(self, graph: tg.Graph) -> None:
            pass

    assert why(traced(), passes=[Nothing()]) == "off: pass nothing is not tgraph's own"
    from targets.codegen.scalar import SCALAR
    with monkeypatch.context() as patch:
        patch.setitem(SCALAR, "erf", lambda x: x)
        assert why(traced()) == "off: op erf has a part that is not tgraph's own"
    monkeypatch.setattr(foreign, "_IMPORTED", 0.0)
    assert why(traced()) == "off: tgraph's own code was changed after it was imported"


def test_without_a_compiler_nothing_is_kept_and_that_is_said_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.warns(UserWarning, match=r"not kept for the next time.*needs a C compiler"):
        exe = tg.compile(traced())
    assert "needs a C compiler" in str(exe.cache) and exe(np.arange(3)).shape == (3, 40)
    assert why(traced()).startswith("off")  # a second warning would be an error here


def test_a_folder_that_cannot_be_written(folder: Path) -> None:
    folder.write_text("a file")
    with pytest.warns(UserWarning, match="not kept for the next time"):
        exe = tg.compile(traced())
    assert str(exe.cache).startswith("off") and exe(np.arange(3)).shape == (3, 40)


def test_the_entries_used_longest_ago_go_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graphs = [traced(np.full(40, number, "f")) for number in range(3)]
    tg.compile(graphs[0])
    [first] = folder.iterdir()
    tg.compile(graphs[1])
    [second] = set(folder.iterdir()) - {first}
    os.utime(first, (1, 1))
    os.utime(second, (2, 2))
    assert why(graphs[0]).startswith("hit")  # which is use
    monkeypatch.setattr(cache, "LIMIT", int(2.5 * first.stat().st_size))
    tg.compile(graphs[2])
    assert first.exists() and not second.exists() and len(cache.entries(folder)) == 2


CONCURRENT = """
import sys, numpy as np, tgraph as tg, warnings
sys.path.insert(0, sys.argv[1])
warnings.simplefilter("error")
from tests.targets.test_cache import traced
for _ in range(2):
    exe = tg.compile(traced())
    print(exe.cache.outcome, exe(np.arange(9)).tobytes().hex())
"""


def test_processes_that_compile_the_same_at_once(folder: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    running = [subprocess.Popen([sys.executable, "-c", CONCURRENT, str(ROOT)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                text=True, env=environment) for _ in range(3)]
    lines = []
    for process in running:
        output, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        lines += output.splitlines()
    assert len(lines) == 6 and len({line.split()[1] for line in lines}) == 1
    assert [path.suffix for path in folder.iterdir()] == [".tgc"]


def test_kernels_and_library_do_not_grow_with_depth(folder: Path) -> None:
    """What takes time to build is the kernels; a layer more costs calls of them."""
    from tgraph.models.bert import Bert, BertConfig

    built, size = [], []
    for layers in (2, 12):
        config = BertConfig(vocab_size=100, hidden_size=64, num_hidden_layers=layers, num_attention_heads=4,
                            intermediate_size=128)
        steps: list[str] = []
        exe = tg.compile(tg.trace(Bert(config), input_ids=tg.i64[B, tg.dim("S")], mask=tg.bool_[B, tg.dim("S")]),
                         progress=steps.append)
        built.append([step for step in steps if step.startswith("kernel ")])
        size.append(sum(map(len, (exe.source("tir"), exe.source("llvm")))))
    assert built[0] == built[1] and len(built[0]) < 12
    assert size[1] < 1.01 * size[0]

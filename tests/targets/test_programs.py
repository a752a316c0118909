"""Programs compiled whole: all graphs over one set of weights and one library, looked into, saved and loaded together."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tgraph as tg
from tgraph import nn
from tgraph.ir.program import Program

B, S, T = tg.dims("B S T")
TARGETS = ["cpu", "numpy"]


class Translator(nn.Module):
    """An encoder, and a decoder over what it gives; both embed tokens by one table, which also scores them."""

    def __init__(self) -> None:
        self.embedding, self.encoder, self.decoder = nn.Embedding(50, 32), nn.Linear(32, 32), nn.Linear(32, 32)
        self.output = nn.Linear(32, 50)
        self.output.weight = self.embedding.weight

    def encode(self, source: tg.Tensor, mask: tg.Tensor) -> dict[str, tg.Tensor]:
        return {"memory": tg.gelu(self.encoder(self.embedding(source))) * tg.cast(mask, dtype=tg.f32)[..., None]}

    def score(self, target: tg.Tensor, memory: tg.Tensor, mask: tg.Tensor) -> dict[str, tg.Tensor]:
        query, keys = (x[:, None] for x in (self.decoder(self.embedding(target)), memory))
        return {"logits": self.output(tg.attention(query, keys, keys, mask[:, None, None, :])[:, 0])}


def translator() -> Program:
    return tg.trace_program(
        Translator(), encode={"source": tg.i64[B, S].range(0, 50), "mask": tg.bool_[B, S]},
        score={"target": tg.i64[B, T].range(0, 50), "memory": tg.f32[B, S, 32], "mask": tg.bool_[B, S]})


@pytest.fixture(scope="module")
def exe() -> tg.ProgramExecutable:
    return tg.compile(translator(), cache=False)


SOURCE = np.array([[1, 2, 3, 4, 5], [6, 7, 8, 0, 0]])
MASK = SOURCE > 0
TARGET = np.array([[9, 8, 7], [6, 5, 4]])


@pytest.mark.parametrize("target", TARGETS)
def test_every_graph_is_there_and_right(target: str) -> None:
    program = translator()
    exe = tg.compile(program, target, cache=False)
    assert isinstance(exe, tg.ProgramExecutable) and list(exe) == ["encode", "score"] and len(exe) == 2
    memory = exe.encode(SOURCE, MASK)
    logits = exe["score"].run({"target": TARGET, "memory": memory, "mask": MASK})["logits"]
    for name, found, feeds in (("encode", memory, (SOURCE, MASK)), ("score", logits, (TARGET, memory, MASK))):
        assert np.array_equal(found, tg.compile(program[name], target, cache=False)(*feeds))  # to the bit
    report = tg.check(exe, sizes=[{"B": 2, "S": 5, "T": 3}, {"B": 1, "S": 1, "T": 1}])
    assert report and list(report) == ["encode", "score"] and str(report).count(": ok against") == 2
    assert dict(report["encode"].outputs[0][0]) == {"B": 2, "S": 5}
    assert tg.check(exe, {"encode": {"source": SOURCE, "mask": MASK}}) and not tg.check(exe, tol=0.0, sizes=[{"B": 2, "S": 3}]).ok


def test_equal_kernels_and_weights_are_made_once(exe: tg.ProgramExecutable) -> None:
    called = [{n.attrs["function"].name: n.attrs["function"] for n in exe.kernels[name].nodes} for name in exe]
    assert exe.kernels.functions == called[0] | called[1]
    tg.verify(exe.kernels)
    twice = tg.trace_program(Translator(), encode={"source": tg.i64[B, S], "mask": tg.bool_[B, S]})
    twice.add("again", twice["encode"].copy("again"))
    both = tg.compile(twice, cache=False)
    assert len(both.kernels.functions) == len(both.encode.kernels.functions) == len(both.again.kernels.functions)
    assert both.encode.kernels.functions == both.again.kernels.functions
    assert both.prepare == tg.compile(twice["encode"], cache=False).prepare
    one, other = (e._engine.prepared for e in both.graphs.values())  # type: ignore[attr-defined]
    assert one and all(np.shares_memory(one[name], other[name]) for name in one)
    names = [n for n, _ in exe.prepare.outputs]
    assert names.count("embedding.weight") == 1 and len(set(names)) == len(names)


def test_functions_of_one_name_and_two_meanings() -> None:
    text = """
function $f(%x: f32[N]) -> (y: f32[N]) {{
  %0 = {0}(%x) : f32[N]
  return (y: %0)
}}

function $g(%x: f32[N]) -> (y: f32[N]) {{
  %0 = call $f(%x) : f32[N]
  return (y: %0)
}}

graph {1}(%x: f32[B]) -> (y: f32[B]) {{
  %0 = call $g(%x) : f32[B]
  return (y: %0)
}}
"""
    first, second = (tg.parse(text.format(*names)) for names in (("neg", "a"), ("exp", "b")))
    second.weights = first.weights
    apart = Program(first.weights, {"a": first, "b": second})
    with pytest.raises(tg.VerifyError, match="two different functions are named 'g'"):
        tg.compile(apart)
    one = tg.optimize(apart, "")
    tg.verify(one)
    assert list(one.functions) == ["f", "g", "f_2", "g_2"] and str(first) in str(apart)
    assert str(one["a"]) == str(first) and tg.parse_program(str(one)) == one
    exe = tg.compile(one, cache=False)
    x = np.linspace(-1, 1, 5, dtype="f")
    assert np.array_equal(exe.a(x), -x) and np.allclose(exe.b(x), np.exp(x))


@pytest.mark.parametrize("target", TARGETS)
def test_weights_are_loaded_for_all_graphs_or_none(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = translator()
    exe = tg.compile(program, target, cache=False)
    new = {name: program.weights[name] * 0.5 for name in program.parameters}
    memory = exe.encode(SOURCE, MASK)
    before = exe.score(TARGET, memory, MASK)
    with pytest.raises(tg.WeightsError, match="missing: decoder"):
        exe.load_weights({name: a for name, a in new.items() if not name.startswith("decoder.")})
    with pytest.raises(tg.WeightsError, match="unexpected: other"):
        exe.encode.load_weights({**new, "other": np.zeros(3, "f")})
    assert np.array_equal(exe.score(TARGET, memory, MASK), before)
    exe.load_weights(new)
    assert not np.array_equal(exe.encode(SOURCE, MASK), memory) and not np.array_equal(exe.score(TARGET, memory, MASK), before)
    assert exe.weights["output.bias"] is new["output.bias"] is exe.score.weights["output.bias"]
    assert tg.check(exe, sizes=[{"B": 2, "S": 3, "T": 2}])


def test_saved_whole_and_loaded(exe: tg.ProgramExecutable, tmp_path: Path) -> None:
    exe.save(tmp_path / "x.tgc", originals=True)
    loaded = tg.load(tmp_path / "x.tgc")
    assert isinstance(loaded, tg.ProgramExecutable) and loaded.program == exe.program and loaded.kernels == exe.kernels
    memory = exe.encode(SOURCE, MASK)
    assert np.array_equal(loaded.encode(SOURCE, MASK), memory)
    assert np.array_equal(loaded.score(TARGET, memory, MASK), exe.score(TARGET, memory, MASK))
    assert tg.check(loaded, sizes=[{"B": 1, "S": 2, "T": 3}]) and loaded.weights["output.weight"] is not None
    with pytest.raises(tg.CompileError, match=r"encode shares its library with the other graphs of the program"):
        exe.encode.save(tmp_path / "y.tgc")
    one = tg.compile(tg.trace_program(Translator(), encode=(tg.i64[B, S], tg.bool_[B, S])), cache=False)
    one.save(tmp_path / "one.tgc")
    again = tg.load(tmp_path / "one.tgc")
    assert isinstance(again, tg.ProgramExecutable) and np.array_equal(again(SOURCE, MASK), memory)


def test_the_cache_keeps_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TGRAPH_CACHE", str(tmp_path))
    first, second = tg.compile(translator()), tg.compile(translator())
    assert str(first.cache).startswith("miss") and str(second.cache).startswith("hit")
    assert np.array_equal(first.encode(SOURCE, MASK), second.encode(SOURCE, MASK))
    assert [r.name for r in second.score.records] == [r.name for r in first.score.records] != []
    assert second.source("tir") == first.source("tir")
    reordered = translator()
    assert str(tg.compile(Program(reordered.weights, dict(reversed(reordered.graphs.items())))).cache).startswith("miss")


def test_looked_into(exe: tg.ProgramExecutable) -> None:
    assert exe.source("traced") == exe.program.text(scopes=True) + "\n" != exe.encode.source("traced")
    for level in ("optimized", "kernels", "relax", "tir"):
        whole, parts = exe.source(level), [one.source(level) for one in exe.graphs.values()]
        assert all(len(part) < len(whole) for part in parts) and sum(map(len, parts)) >= len(whole) - 4
    assert "run_encode" in exe.source("relax") and "run_score" not in exe.encode.source("relax")
    assert exe.source("asm") == exe.encode.source("asm")
    kernels = [{e.kernel for e in each.explain()} for each in (exe, exe.encode, exe.score)]
    assert kernels[0] == kernels[1] | kernels[2] and "attention" in kernels[2]
    profile = exe.profile(repeats=2, encode={"source": SOURCE, "mask": MASK})
    assert list(profile) == ["encode", "score"] and dict(profile["encode"].sizes) == {"B": 2, "S": 5}
    assert "encode at B=2, S=5" in str(profile) and "score at" in str(profile)
    assert "encode (" in repr(exe) and {"encode", "score", "save"} <= set(dir(exe))
    with pytest.raises(tg.GraphError, match="no graph 'decode', but encode, score"):
        exe.profile(decode={})


def test_names(exe: tg.ProgramExecutable) -> None:
    with pytest.raises(AttributeError, match=r"'decode' is no graph of the program \(encode, score\)"):
        exe.decode
    with pytest.raises(tg.GraphError, match="no graph 'decode', but encode, score"):
        exe["decode"]
    with pytest.raises(tg.InputError, match=r"the program has the graphs encode, score; call one of them: exe\.encode"):
        exe(SOURCE, MASK)
    # names that Python, a library or another graph of the program could take for something else
    names = ["save", "a b", "run_a", "a", "a_1", "kernel_relu", "über", "main"]
    graph = tg.trace(lambda x: tg.relu(x) + 1.0, x=tg.f32[B])
    several = Program(graph.weights, dict.fromkeys(names, graph))
    odd = tg.compile(several, cache=False)
    x = np.linspace(-1, 1, 3, dtype="f")
    assert [float(odd[name](x)[2]) for name in names] == [2.0] * len(names)
    assert callable(odd.save) and odd["save"] is not odd.save


def test_graphs_whose_run_has_several_stages() -> None:
    def rows(x: Any, mask: Any) -> Any:
        indices, _ = tg.unpack(mask)
        return tg.gather(tg.reshape(x, shape=(B * S, 4)), indices) * 2.0

    graph = tg.trace(rows, x=tg.f32[B, S, 4], mask=tg.bool_[B, S])
    exe = tg.compile(Program(graph.weights, {"a": graph, "a_1": graph}), cache=False)
    x, mask = np.ones((2, 3, 4), "f"), np.array([[True, False, True], [False, True, False]])
    assert exe.a(x, mask).shape == exe.a_1(x, mask).shape == (3, 4)
    assert tg.check(exe)


def test_a_graph_that_cannot_be_compiled_is_named() -> None:
    program = tg.parse_program("graph a(%x: f32[2]) -> (y: f32[2]) {\n  return (y: %x)\n}\n"
                               "graph b(%x: f32[2]) -> (y: f32[2]) {\n  param @w: f32[2]\n  %0 = add(%x, @w) : f32[2]\n"
                               "  return (y: %0)\n}\n")
    with pytest.raises(tg.CompileError, match=r"graph a, b cannot be compiled: no data for parameter w"):
        tg.compile(program)


def test_long_chains_of_weights_are_prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    """The prepare part may be deep, and a value of it read twice at each step."""
    w = tg.Parameter(tg.f32[8])

    class Chain(nn.Module):
        def __init__(self) -> None:
            self.w = w

        def __call__(self, x: tg.Tensor) -> tg.Tensor:
            value: Any = self.w
            for _ in range(600):
                value = tg.tanh(value * value)
            return x + value

    exe = tg.compile(tg.trace(Chain(), x=tg.f32[B, 8]), passes="", cache=False)
    assert len(exe.prepare) == 1200 and np.isfinite(exe(np.zeros((2, 8), "f"))).all()


def test_what_was_compiled_goes_with_its_last_user() -> None:
    exe = tg.compile(translator(), cache=False)
    one, gone = exe.encode, weakref.ref(exe)
    gc.disable()  # no cycle keeps the weights of a program until the collector comes
    try:
        del exe
        assert gone() is None and one(SOURCE, MASK).shape == (2, 5, 32)
        compiled = weakref.ref(one._compiled)
        del one
        assert compiled() is None
    finally:
        gc.enable()

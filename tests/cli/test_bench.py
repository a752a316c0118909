"""The comparison with other runtimes: shapes, arithmetic, models for the peers, and a whole short run."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import tgraph as tg
from benchmarks.harness.busy import busy_share, cores
from benchmarks.harness.contender import Contender, ContenderError
from benchmarks.harness.job import Job
from benchmarks.harness.onnx_bert import HIDDEN, SENTENCE, bert_onnx
from benchmarks.harness.peers import peer_of
from benchmarks.harness.turns import Result, difference, quartiles, wait_until_quiet
from tgraph.cli.options import parse_shapes
from tgraph.cli.peers import PEERS
from tgraph.cli.progress import lines, prefixed
from tgraph.models.bert import Bert, BertConfig
from tgraph.models.sentence import SentenceEncoder

SMALL = BertConfig(vocab_size=50, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
                   max_position_embeddings=12)


def test_shapes(run) -> None:
    assert parse_shapes("1x16, 8x128") == [{"B": 1, "S": 16}, {"B": 8, "S": 128}]
    for text in ("1", "ax3", "1x0", ""):
        assert "expected BATCHxLENGTH" in run("bench", "m.py:two", "--shapes", text, fails=2).stderr
    assert "unknown peer 'tensorflow'" in run("bench", "m.py:two", "--against", "tensorflow", fails=2).stderr


def test_statistics() -> None:
    ours = Result("tgraph", [[1.0, 1.0, 4.0], [2.0, 2.0, 2.0]])
    peer = Result("peer", [[3.0, 3.0, 3.0], [6.0, 6.0, 9.0]])
    assert ours.median == 2.0 and peer.quartiles == (3.0, 6.0)
    assert peer.ratio_to(ours) == (3.0, 3.0, 3.0)  # though both slowed down from the first round to the second
    assert quartiles([5.0]) == (5.0, 5.0)


def test_difference() -> None:
    a = np.array([1.0, -4.0])
    assert difference([a], [a + 0.4]) == pytest.approx(0.1)
    assert difference([a / 10], [a / 10 + 0.4]) == pytest.approx(0.4)
    assert difference([a], [a, a]) == float("inf") == difference([a], [a[:1]])


class Clock:
    """Processor time of a contender that computes for a while, then rests."""

    def __init__(self, readings: int):
        self.left, self.used = readings, 0.0

    def cpu_seconds(self) -> float:
        if self.left:
            self.left, self.used = self.left - 1, self.used + 0.01
        return self.used


def test_turns_begin_when_the_others_are_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.harness.turns.PAUSE", 0.001)
    busy = Clock(7)
    assert wait_until_quiet([Clock(0), busy]) and busy.left == 0  # type: ignore[list-item]
    monkeypatch.setattr("benchmarks.harness.turns.PATIENCE", 0.01)
    assert not wait_until_quiet([Clock(10**9)])  # type: ignore[list-item]


def test_progress_in_lines(capsys: pytest.CaptureFixture[str]) -> None:
    say, often = lines(every=1e9), lines(every=0)
    for text in ("one", "two"):
        prefixed(say, "B=1")(text)
        often(text)
    assert [line.split(" s  ")[1] for line in capsys.readouterr().err.splitlines()] == ["B=1: one", "one", "two"]


def test_machine() -> None:
    assert cores() >= 1 and 0.0 <= busy_share(0.02) <= 1.0


@pytest.mark.parametrize("head", [HIDDEN, SENTENCE])
def test_onnx_model_agrees_with_the_reference(head: str) -> None:
    B, S = tg.dim("B"), tg.dim("S", max=12)
    bert = Bert(SMALL)
    if head == SENTENCE:
        bert.pooler = None
    model = bert if head == HIDDEN else SentenceEncoder(bert)
    graph = tg.trace(model, input_ids=tg.i64[B, S].range(0, 50), mask=tg.bool_[B, S])
    made = bert_onnx(dataclasses.asdict(SMALL), graph.weights, "" if head == HIDDEN else "bert.", head)
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    ids = np.random.default_rng(0).integers(0, 50, (3, 7))
    mask = np.arange(7) < np.array([[7], [4], [1]])
    expected = tg.reference.run(graph, {"input_ids": ids, "mask": mask})
    outputs = dict(zip([o.name for o in session.get_outputs()],
                       session.run(None, {"input_ids": ids, "attention_mask": mask.astype(np.int64)})))
    assert outputs.keys() == expected.keys()
    for name, array in expected.items():
        assert np.abs(outputs[name] - array).max() < 1e-5, name


def test_models_with_peers() -> None:
    tiny, minilm = peer_of("bert-tiny"), peer_of("minilm")
    assert tiny is not None and minilm is not None and peer_of("m.py:two") is None
    tiny, minilm = tiny["arguments"], minilm["arguments"]
    assert tiny["config"]["hidden_size"] == 128 and tiny["prefix"] == ""
    assert (minilm["config"]["num_hidden_layers"], minilm["prefix"]) == (6, "bert.")


def test_dead_and_failing_contenders(tmp_path: Path) -> None:
    dead = Contender("no_such_runtime", tmp_path, 1)
    with pytest.raises(ContenderError, match=r"no_such_runtime died: .*KeyError"):
        dead.ask(do="import")
    dead.close()
    failing = Contender("onnxruntime", tmp_path, 1)
    with pytest.raises(ContenderError, match=r"onnxruntime: FileNotFoundError: .*model\.safetensors"):
        failing.load(Job("bert-tiny", str(tmp_path), threads=1, peer=peer_of("bert-tiny")))
    assert failing.cpu_seconds() is None or failing.cpu_seconds() > 0  # it lives on
    failing.close()


def test_against_onnxruntime(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PEERS, "no_such_runtime", "no-such-runtime")
    result = run("bench", "bert-tiny", "--shapes", "2x8", "--rounds", "2", "--threads", "1", "--against",
                 "onnxruntime,no_such_runtime", "-o", "times.json")
    assert "no_such_runtime is not installed, and left out: pip install no-such-runtime" in result.stdout
    assert "fused 2 Attention, 2 BiasGelu" in result.stdout and "WRONG" not in result.stdout
    record, = json.loads(Path("times.json").read_text())
    assert record["sizes"] == {"B": 2, "S": 8} and record["threads"] == 1
    ours, peer = record["results"]
    assert (ours["name"], peer["name"]) == ("tgraph", "onnxruntime")
    assert len(ours["rounds"]) == len(peer["rounds"]) == 2 and all(s > 0 for calls in peer["rounds"] for s in calls)
    assert peer["error"] < 1e-5


def test_an_installed_package_asks_for_a_clone(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    for package in ("tgraph", "passes", "targets"):
        shutil.copytree(root / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "tgraph", "bench"]
    alone = subprocess.run([*command, "bert-tiny"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert alone.returncode == 2 and "needs the folder benchmarks, which only a clone of the project has: clone" in alone.stderr
    shown = subprocess.run([*command, "--help"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert "$ tgraph bench bert-tiny" in shown.stdout
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "__init__.py").touch()
    script = tmp_path / "script.py"  # its folder, not the working directory, is on sys.path
    script.write_text("from tgraph.cli import main\nmain()\n")
    command = [sys.executable, str(script), "bench", "bert-tiny"]
    shadowed = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert shadowed.returncode == 2 and f"but {tmp_path / 'benchmarks'} comes first on sys.path" in shadowed.stderr


def test_a_model_without_peers(run) -> None:
    result = run("bench", "m.py:pair", "--shapes", "2x8", "--rounds", "1", "--threads", "1")
    assert "no other runtime is known for m.py:pair; tgraph alone" in result.stdout
    assert "pair at B=2:" in result.stdout and "0 s  tgraph: loading" in result.stderr  # no terminal: progress is lines
    assert "absent.tg: No such file" in run("bench", "absent.tg", fails=2).stderr

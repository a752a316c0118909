"""Tuning: only a clear winner that is as right as the default is kept, and later compilations take it. Times are made up here."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tgraph as tg
from targets.base.schedules import kernel_key, load_schedules, save_schedules, schedule_file
from targets.base.target import Target
from targets.cpu import tuning
from targets.cpu.remote import TURNS, in_turns
from targets.cpu.trials import Machine, Problem, ThisMachine, Trial, build_library, find_problems
from targets.lowering.lower import emit_kernel
from targets.runtime.tensors import as_tensor
from tests.targets.feature_sets import foreign_cpu
from tgraph import nn
from tgraph.reference.inputs import generate_inputs

B, S = tg.dims("B S")
SIZES = [{"B": 1}, {"B": 9}]


def graph() -> tg.Graph:
    """A product whose sums are cut in any way of blocking k."""
    return tg.trace(nn.Linear(1600, 48), x=tg.f32[B, 1600])


class Kernel:
    """A kernel with a time of its own."""

    def __init__(self, run: Callable[..., None], seconds: float):
        self.run, self.seconds = run, seconds

    def __call__(self, *arguments: Any) -> None:
        self.run(*arguments)


class MadeUp(ThisMachine):
    """Runs kernels here, and says that the first one (the default) takes the first time, the first variant the second, ..."""

    def __init__(self, seconds: Iterable[float], change: Callable[[int, Any], Any] | None = None,
                 elsewhere: Callable[[Problem, Kernel], float] = lambda _, kernel: kernel.seconds):
        self.times, self.numbers, self.change, self.elsewhere = iter(seconds), itertools.count(), change, elsewhere

    def build(self, function: Any, target: Target, problem: Problem) -> Kernel:
        kernel = super().build(function, target, problem)
        return Kernel(self.change(next(self.numbers), kernel) if self.change else kernel, next(self.times))

    def bring(self, problem: Problem) -> Trial:
        trial = super().bring(problem)
        trial.seconds = lambda kernel, calls: self.elsewhere(problem, kernel)  # type: ignore[method-assign]
        return trial


def tuned(machine: Machine | None = None, what: tg.Graph | None = None, sizes: Any = SIZES, **options: Any) -> tuning.Tuned:
    found = tuning.tune(what or graph(), Target.parse("cpu"), sizes, machine=machine, **options)
    assert len(found) == 1
    return found[0]


def test_a_clear_winner_is_found() -> None:
    result = tuned(MadeUp(itertools.chain([1.0, 0.99, 0.9], itertools.repeat(0.95))))
    assert list(result.changes) == ["k_block"] == list(result.schedule) and not result.rejected
    assert (result.default, result.best) == (2.0, 1.8) and result.calls == 1  # two sizes, a second each
    assert result.changes["k_block"][1] == result.schedule["k_block"]


def test_no_clear_winner() -> None:
    result = tuned(MadeUp(itertools.chain([1.0], itertools.repeat(0.985))))
    assert not result.schedule and result.best == result.default and result.trials > 3


def test_faster_at_one_size_and_slower_at_another_is_no_winner() -> None:
    def elsewhere(problem: Problem, kernel: Kernel) -> float:
        return kernel.seconds if problem.arguments[0].shape[0] == 1 or kernel.seconds == 1 else 1.1

    assert not tuned(MadeUp(itertools.chain([1.0], itertools.repeat(0.5)), elsewhere=elsewhere)).schedule


def test_a_faster_variant_that_gives_other_results_loses() -> None:
    def spoil(number: int, kernel: Any) -> Any:
        def wrong(*arguments: Any) -> None:
            kernel(as_tensor(arguments[0].numpy() * np.float32(1.000001)), *arguments[1:])  # off by some last bits
        return wrong if number == 2 else kernel

    result = tuned(MadeUp(itertools.chain([1.0, 1.0, 0.5], itertools.repeat(1.0)), spoil))
    assert not result.schedule
    assert len(result.rejected) == 1 and result.rejected[0].startswith("k_block=") and "gives other results" in result.rejected[0]


def test_a_variant_that_fails_is_left_out() -> None:
    def fail(number: int, kernel: Any) -> Any:
        def failing(*_: Any) -> None:
            raise RuntimeError("no such instruction")
        if number == 2:
            raise RuntimeError("no such register")
        return failing if number == 1 else kernel

    result = tuned(MadeUp(itertools.chain([1.0, 0.5], itertools.repeat(0.8)), fail))
    assert len(result.rejected) == 2
    assert "fails: no such instruction" in result.rejected[1 if "register" in result.rejected[0] else 0]
    assert any("does not compile: no such register" in r for r in result.rejected)
    assert result.best == 1.6  # a later one


def test_limits() -> None:
    steps: list[tuple[str, int, int]] = []
    kept: list[tuning.Tuned] = []
    found = tuned(MadeUp(itertools.repeat(1.0)), trials=2, progress=lambda *step: steps.append(step), keep=kept.append)
    assert found.trials == 2 and kept == [found]
    assert steps[0] == ("linear: k_block", 0, steps[-1][1]) and steps[-1][1] == steps[-1][2] == len(steps) - 1
    assert tuned(MadeUp(itertools.repeat(1.0)), seconds=1e-9).trials == 0


def test_attention_may_round_in_another_way() -> None:
    q = tg.f32[B, 2, S, 8]
    what = tg.trace(lambda q, k, v: tg.attention(q, k, v), q, q, q)
    result = tuned(MadeUp(itertools.chain([1.0], itertools.repeat(0.5))), what, [{"B": 2, "S": 300}])
    assert "key_block" in result.schedule and not result.rejected


def test_real_times() -> None:
    result = tuned(trials=1)
    assert 0 < result.best <= result.default and result.trials >= 1


def tir_and_result(x: np.ndarray) -> tuple[str, np.ndarray]:
    exe = tg.compile(graph())
    return exe.source("tir"), exe(x)


def test_compilations_take_what_was_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TGRAPH_TUNING", str(tmp_path))
    x = np.random.default_rng(0).standard_normal((7, 1600)).astype("f")
    before = tir_and_result(x)
    found = tuned(MadeUp(itertools.chain([1.0, 0.5], itertools.repeat(1.0))))
    file = schedule_file(Target.parse("cpu").name)
    assert file is not None and file.parent == tmp_path
    save_schedules(file, tuning.database_rows([found]))
    assert Target.parse("cpu").schedules.entries == {found.key: found.schedule}
    after = tir_and_result(x)
    assert after[0] != before[0] and np.array_equal(after[1], before[1])
    monkeypatch.setenv("TGRAPH_CACHE", str(tmp_path / "cache"))
    tg.compile(graph())
    save_schedules(file, tuning.database_rows([tuned(MadeUp(itertools.repeat(1.0)))]))  # now the default is best
    assert str(tg.compile(graph()).cache) == "miss: the nearest entry differs in tuned kernels"
    assert tir_and_result(x)[0] == before[0]


@pytest.mark.parametrize("content", ["", "{}", '{"kernels": {"a": 1}}', '{"kernels": {"a": {"tgraph": "x"}}}', "[]"])
def test_a_file_of_another_kind(tmp_path: Path, content: str) -> None:
    path = tmp_path / "cpu.json"
    path.write_text(content)
    if '"tgraph"' in content:  # of another version
        assert not load_schedules(path).entries
    else:
        with pytest.warns(UserWarning, match="is no file of schedules"):
            assert not load_schedules(path).entries
    save_schedules(path, {"k": {"kernel": "linear", "schedule": {"k_block": 64}}})
    assert load_schedules(path).entries == {"k": {"k_block": 64}}


def test_fields_that_a_kernel_does_not_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TGRAPH_TUNING", str(tmp_path))
    exe = tg.compile(graph())
    [function] = exe.kernels.functions.values()
    file = schedule_file(exe.target.name)
    assert file is not None
    save_schedules(file, {kernel_key(function): {"kernel": "linear", "schedule": {"depth_of_the_sea": 3}}})
    assert tg.compile(graph()).source("tir") == exe.source("tir")


def test_another_machine() -> None:
    with pytest.raises(tg.TargetError, match="does not run on this machine"):
        tuning.tune(graph(), Target.parse(foreign_cpu()), SIZES)


def test_the_file_names_kernels(tmp_path: Path) -> None:
    found = tuned(MadeUp(itertools.chain([1.0, 0.5], itertools.repeat(1.0))))
    save_schedules(tmp_path / "c.json", tuning.database_rows([found]))
    [row] = json.loads((tmp_path / "c.json").read_text())["kernels"].values()
    assert row["kernel"] == "linear" and row["microseconds"] == [2e6, 1e6] and list(row["schedule"]) == ["k_block"]


@pytest.mark.parametrize("cpu", ["cpu", foreign_cpu()])
def test_problems_of_any_cpu(cpu: str) -> None:
    """All kernels have one, in the CPU's layout of weights, with the weights of every call."""
    what = tg.trace(nn.Encoder(3, 32, heads=2, hidden=64), x=tg.f32[B, S, 32], mask=tg.bool_[B, S])
    exe = tg.compile(what, cpu)
    found = find_problems(what, exe._engine, generate_inputs(what, {"B": 2, "S": 7}))  # type: ignore[arg-type]
    calls = [n.attrs["function"].name for n in exe._engine.graph.nodes]  # type: ignore[attr-defined]
    assert {name: len(problem.weights) for name, problem in found.items()} == {name: calls.count(name) for name in calls}
    assert max(len(problem.weights) for problem in found.values()) >= 3


def test_problems_are_what_kernels_get_in_the_model() -> None:
    what = tg.trace(lambda x: tg.softmax(nn.Linear(64, 48)(tg.gelu(nn.Linear(32, 64)(x)))), x=tg.f32[B, 32])
    exe = tg.compile(what)
    feeds = generate_inputs(what, {"B": 7})
    last = list(find_problems(what, exe._engine, feeds).values())[-1]  # type: ignore[arg-type]
    kernel = ThisMachine().build(emit_kernel(exe.kernels.functions[last.name], exe.target), exe.target, last)
    [result] = ThisMachine().bring(last).outputs(kernel)
    np.testing.assert_allclose(result, exe(**feeds), rtol=1e-5)


def test_weights_take_turns() -> None:
    """The function that another machine times: each call of it is the kernel's, with the weights of the model's next call."""
    first, second, third = (nn.Linear(48, 48) for _ in range(3))
    what = tg.trace(lambda x: third(second(first(x))), x=tg.f32[B, 48])
    exe = tg.compile(what)
    [problem] = find_problems(what, exe._engine, {"x": np.ones((5, 48), "f")}).values()  # type: ignore[arg-type]
    assert len(problem.weights) == 3
    tir = emit_kernel(exe.kernels.functions[problem.name], exe.target)
    library = build_library(tir, exe.target, in_turns(problem))
    varying = problem.weights[0]
    fixed = [a if isinstance(a, int) else as_tensor(a) for i, a in enumerate(problem.arguments) if i not in varying]
    result = problem.arguments[next(iter(problem.unwritten))]
    each = [as_tensor(chosen[i]) for chosen in problem.weights for i in sorted(chosen)]
    turn = as_tensor(np.zeros(1, np.int64))
    given = []
    for _ in range(4):
        result[...] = 0
        library[TURNS](turn, *fixed, *each)
        given.append(result.copy())
    wanted = []
    for number in range(3):
        alone = Problem(problem.node, problem.arguments, [problem.weights[number]])
        wanted += ThisMachine().bring(alone).outputs(ThisMachine().build(tir, exe.target, alone))
    assert [g.tobytes() for g in given] == [wanted[i].tobytes() for i in (1, 2, 0, 1)]
    assert len({w.tobytes() for w in wanted}) == 3

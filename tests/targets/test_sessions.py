"""Sessions: states from call to call, in place and without copies; what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tgraph as tg
from tests.stateful import DIM, HEAD_DIM, HEADS, B, C, Counter, T, numbers, program
from tgraph import nn

SOURCE, X = numbers(2, 3, DIM), numbers(2, 9, DIM, seed=1)


@pytest.fixture(scope="module", params=["cpu", "numpy"])
def exe(request: pytest.FixtureRequest) -> tg.ProgramExecutable:
    return tg.compile(program(), request.param)


def opened(exe: tg.ProgramExecutable, capacity: int = 16) -> tg.Session:
    session = exe.session(B=2, C=capacity)
    session.encode(SOURCE)
    return session


def test_pieces_give_what_the_whole_gives(exe: tg.ProgramExecutable) -> None:
    whole = opened(exe).step(X)
    session = opened(exe)
    pieces = [session.step(X[:, a:b]).y for a, b in ((0, 4), (4, 5), (5, 5), (5, 6), (6, 9))]
    np.testing.assert_allclose(np.concatenate(pieces, axis=1), whole.y, atol=1e-6)
    np.testing.assert_allclose(session["sum"], X.sum(1), atol=1e-5)
    assert session["position"] == 9 and list(session) == ["memory", "k", "position", "v", "sum"]
    assert not session["k"][:, :, 9:].any() and session["k"][:, :, :9].all()


def test_a_call_without_a_session_changes_nothing_of_the_callers(exe: tg.ProgramExecutable) -> None:
    states = {"k": numbers(2, HEADS, 16, HEAD_DIM), "v": numbers(2, HEADS, 16, HEAD_DIM, seed=2), "position": np.array(3),
              "memory": SOURCE, "sum": np.zeros((2, DIM), "f")}
    before = {name: array.copy() for name, array in states.items()}
    first, again = exe.step(X, **states), exe.step(X, **states)
    assert all(np.array_equal(states[name], before[name]) for name in states)
    assert np.array_equal(first.y, again.y) and first.position == 12
    same = first.k == states["k"]
    assert same[:, :, :3].all() and same[:, :, 12:].all() and not same[:, :, 3:12].any()
    assert tg.check(exe)


@pytest.mark.usefixtures("compiled_once")
def test_a_cache_is_updated_in_place_and_nothing_is_copied() -> None:
    exe = tg.compile(program(), "cpu")
    text = str(exe.kernels["step"])
    assert text.count("update_in_place") == 2 * 3 and "concat" not in text
    session = opened(exe)
    places = {name: session._arrays[name].ctypes.data for name in ("k", "v")}
    nbytes = session.nbytes
    for i in range(5):
        session.step(X[:, i:i + 1])
    assert {name: session._arrays[name].ctypes.data for name in places} == places
    assert session.nbytes == nbytes + 8 + 4 * 2 * DIM  # position and sum take turns between two arrays
    assert session.nbytes == 2 * 4 * 2 * HEADS * 16 * HEAD_DIM + SOURCE.nbytes + 2 * (8 + 4 * 2 * DIM)


class Twice(nn.Module):
    def __init__(self) -> None:
        self.k = nn.State(tg.f32[B, C])
        self.ring = nn.State(tg.f32[B, C])

    def read_before(self, x: tg.Tensor, at: tg.Tensor) -> tg.Tensor:
        before = self.k.value
        self.k.value = tg.update_slice(before, x, at, axis=1)
        return before + self.k

    def in_a_chain(self, x: tg.Tensor, at: tg.Tensor) -> tg.Tensor:
        self.k.value = tg.update_slice(self.k, x, at, axis=1)
        self.k.value = tg.update_slice(self.k, -x, at + 1, axis=1)
        return self.k.value.sum(1)

    def exchanged(self, x: tg.Tensor, at: tg.Tensor) -> None:
        self.k.value, self.ring.value = tg.update_slice(self.ring, x, at, axis=1), tg.update_slice(self.k, x, at, axis=1)

    def thrown_away(self, x: tg.Tensor, at: tg.Tensor) -> tg.Tensor:
        return tg.update_slice(self.k, x, at, axis=1)

    def shown(self, x: tg.Tensor, at: tg.Tensor) -> tg.Tensor:
        self.k.value = tg.update_slice(self.k, x, at, axis=1)
        return self.k.value


@pytest.mark.parametrize(("method", "in_place"), [
    ("read_before", 0), ("in_a_chain", 2), ("exchanged", 0), ("thrown_away", 0), ("shown", 0)])
def test_what_is_read_elsewhere_is_copied(method: str, in_place: int) -> None:
    """By the number of updates in place; the reference, which knows none, says what is right."""
    traced = tg.trace_program(Twice(), **{method: {"x": tg.f32[B, T], "at": tg.i64[()]}})
    cpu, reference = tg.compile(traced, "cpu"), tg.compile(traced, "numpy")
    assert sum(n.op.name == "update_in_place" for f in cpu.kernels.functions.values() for n in f.nodes) == in_place
    sessions = [exe.session(B=2, C=6) for exe in (cpu, reference)]
    for at, width in ((0, 3), (2, 2), (4, 1), (1, 3)):
        results = [s.call(method, numbers(2, width, seed=at), np.array(at)) for s in sessions]
        assert (results[0] is None) == (method == "exchanged")
        if results[0] is not None:
            np.testing.assert_allclose(*results, atol=1e-6)
        for name in sessions[0]:
            np.testing.assert_allclose(*(s[name] for s in sessions), atol=1e-6)


def test_forks_and_beams_go_on_from_the_same_point(exe: tg.ProgramExecutable) -> None:
    session = opened(exe)
    session.step(X[:, :3])
    fork = session.fork()
    a, b = session.step(X[:, 3:5]).y, fork.step(X[:, 3:5]).y
    assert np.array_equal(a, b)
    fork.step(X[:, 5:6])
    assert session["position"] == 5 and fork["position"] == 6
    session.reorder([1, 1, 0])
    assert session.step(np.stack([X[1, 5:6], X[0, 5:6], X[0, 5:6]])).y.shape == (3, 1, DIM)
    assert np.array_equal(session["k"][0][:, :5], session["k"][1][:, :5])
    assert not np.array_equal(session["k"][0][:, 5], session["k"][1][:, 5])
    with pytest.raises(tg.InputError, match=r"rows to reorder are 0 \.\. 2, got \[3\]"):
        session.reorder([3])
    session.reset()
    assert session["position"] == 0 and not session["k"].any() and session["k"].shape[0] == 2


def test_states_can_be_looked_at_and_set(exe: tg.ProgramExecutable) -> None:
    session = opened(exe)
    session.step(X[:, :3])
    kept = {name: session[name] for name in session}
    kept["k"][...] = 7  # a copy
    assert not (session["k"] == 7).any()
    other = exe.session(B=2, C=16)
    for name in session:
        other[name] = session[name]
    assert np.array_equal(other.step(X[:, 3:4]).y, session.step(X[:, 3:4]).y)
    with pytest.raises(tg.InputError, match=r"state k is f32\[B, 2, C, 4\], got float32\[2, 2, 3, 4\]"):
        session["k"] = np.zeros((2, 2, 3, 4), "f")
    with pytest.raises(tg.InputError, match="there is no state 'keys'; the states: memory, k"):
        session["keys"]


def test_wrong_uses_are_explained(exe: tg.ProgramExecutable) -> None:
    for sizes, message in (
        ({"B": 2}, r"needs sizes for C \(state \w+ is .*\): exe.session\(C=...\)"),
        ({"B": 2, "Q": 3}, "no state has a dim Q; the dims of the states: B, S, C"),
        ({"B": -1, "C": 3}, "B is at least 0, got -1"),
        ({"B": 2.0, "C": 3}, "B is at least 0, got 2.0"),
    ):
        with pytest.raises(tg.InputError, match=message):
            exe.session(**sizes)
    session = exe.session(B=2, C=8)
    for call, message in (
        (lambda: session.step(X[:, :1]), r"state memory \(f32\[B, S, 8\]\) holds nothing yet: call encode first, or give"),
        (lambda: session.step(X[:, :1], k=X), r"k is a state, which the session keeps; set it with session\['k'\]"),
        (lambda: session.step(), r"step\(x: f32\[B, T, 8\]\) misses input x$"),
        (lambda: exe.step(X), r"misses input k, position, v, sum, memory; exe.session\(...\) keeps k, position, v, ..."),
    ):
        with pytest.raises(tg.InputError, match=message):
            call()
    session.encode(SOURCE)
    with pytest.raises(tg.InputError, match="dim B of x is 3, B of k is 2"):
        session.step(np.concatenate([X, X[:1]]))
    with pytest.raises(tg.InputError, match=r"C of k is 8.*T of x is 9.*needs C >= T"):
        session.step(X)
    session.step(X[:, :7])  # nothing had begun, so all is as it was
    with pytest.raises(AttributeError, match="'walk' is no graph of the session"):
        session.walk()
    stateless = tg.compile(tg.trace(lambda x: x + 1, x=tg.f32[B]), exe.target)
    with pytest.raises(tg.InputError, match="has no states"):
        stateless.session()


def test_a_full_cache_is_an_error_and_damages_no_other_memory(exe: tg.ProgramExecutable) -> None:
    session = opened(exe, capacity=8)
    session.step(X[:, :7])
    with pytest.raises(tg.InputError, match=r"index 7 .* outside of 0 \.\. 6, where 2 elements fit into(.|\n)*with B = 2, C = 8"):
        session.step(X[:, :2])
    with pytest.raises(tg.InputError, match=r"incomplete, because a call failed \(step: .*call reset\(\) first"):
        session.step(X[:, :1])
    session.reset()
    session.encode(SOURCE)
    assert np.array_equal(session.step(X[:, :2]).y, opened(exe).step(X[:, :2]).y)


@pytest.mark.usefixtures("compiled_once")
def test_a_bundle_keeps_states(tmp_path: Path) -> None:
    exe = tg.compile(program(), "cpu")
    exe.save(tmp_path / "m.tgc")
    loaded = tg.load(tmp_path / "m.tgc")
    sessions = [opened(exe), opened(loaded)]
    for i in range(3):
        first, second = (s.step(X[:, i:i + 1]).y for s in sessions)
        assert np.array_equal(first, second)
    assert loaded["step"].graph == exe["step"].graph and loaded["step"].graph.states


def test_a_session_of_one_graph() -> None:
    session = tg.compile(tg.trace(Counter(), name="tick")).session()
    assert [int(session.tick()) for _ in range(3)] == [10, 20, 30]

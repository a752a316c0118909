"""Sessions whose states stay in the GPU's memory."""

from __future__ import annotations

import numpy as np
import pytest

import tgraph as tg
from targets.cuda.array import DeviceArray
from tests.stateful import DIM, numbers, program

SOURCE, X = numbers(2, 3, DIM), numbers(2, 9, DIM, seed=1)


@pytest.fixture(scope="module")
def exe() -> tg.ProgramExecutable:
    return tg.compile(program(), "cuda")


def test_steps_give_what_the_reference_gives(exe: tg.ProgramExecutable) -> None:
    """The same width three times and more, so that CUDA graphs take part."""
    sessions = [e.session(B=2, C=16) for e in (exe, tg.compile(program(), "numpy"))]
    for session in sessions:
        session.encode(SOURCE)
    places = {name: sessions[0]._arrays[name].address for name in ("k", "v")}
    for a, b in ((0, 3), (3, 4), (4, 5), (5, 6), (6, 7), (7, 9)):
        results = [s.step(X[:, a:b]) for s in sessions]
        assert isinstance(results[0].y, np.ndarray)
        np.testing.assert_allclose(results[0].y, results[1].y, atol=1e-5)
        np.testing.assert_allclose(results[0].total, results[1].total, atol=1e-5)
    assert all(isinstance(a, DeviceArray) for a in sessions[0]._arrays.values())
    assert {name: sessions[0]._arrays[name].address for name in places} == places
    for name in sessions[0]:
        np.testing.assert_allclose(*(s[name] for s in sessions), atol=1e-5)


def test_two_sessions_take_turns(exe: tg.ProgramExecutable) -> None:
    """A CUDA graph that was captured for the one must not write into the other's cache."""
    first, second = exe.session(B=1, C=8), exe.session(B=1, C=8)
    for session, source in ((first, SOURCE[:1]), (second, SOURCE[1:])):
        session.encode(source)
    got = [(first.step(X[:1, i:i + 1]).y, second.step(X[1:, i:i + 1]).y) for i in range(6)]
    alone = exe.session(B=2, C=8)
    alone.encode(SOURCE)
    for i, pair in enumerate(got):
        np.testing.assert_allclose(np.concatenate(pair), alone.step(X[:, i:i + 1]).y, atol=1e-6)


def test_forks_beams_and_values(exe: tg.ProgramExecutable) -> None:
    session = exe.session(B=2, C=16)
    session.encode(SOURCE)
    session.step(X[:, :3])
    fork = session.fork()
    assert np.array_equal(session.step(X[:, 3:4]).y, fork.step(X[:, 3:4]).y)
    before = session["k"]
    session.reorder([1, 1, 0])
    assert np.array_equal(session["k"], before[[1, 1, 0]])
    session.reset()
    assert session["position"] == 0 and not session["k"].any()


def test_a_call_without_a_session_gives_arrays_of_the_host(exe: tg.ProgramExecutable) -> None:
    states = {"k": numbers(2, 2, 16, 4), "v": numbers(2, 2, 16, 4), "position": np.array(3), "memory": SOURCE,
              "sum": np.zeros((2, DIM), "f")}
    result = exe.step(X[:, :2], **states)
    assert all(isinstance(array, np.ndarray) for array in result)
    assert tg.check(exe["step"])


def test_a_full_cache_is_an_error(exe: tg.ProgramExecutable) -> None:
    session = exe.session(B=2, C=8)
    session.encode(SOURCE)
    session.step(X[:, :7])
    with pytest.raises(tg.InputError, match="index 7"):
        session.step(X[:, :2])

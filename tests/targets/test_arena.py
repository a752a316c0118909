"""Memory between kernels: tensors over it are made once for each choice of sizes, are bounded in number, and never outlive it."""

from __future__ import annotations

import weakref
from collections.abc import Iterator

import numpy as np
import pytest

import tgraph as tg
from targets.runtime import arena as module
from targets.runtime.arena import Arena
from targets.runtime.engine import StageLayout
from targets.runtime.runner import runner
from tgraph import nn

B, S = tg.dims("B S")


def layout(*offsets: int, comes_again: bool = True) -> StageLayout:
    return StageLayout([((4,), "float32", offset) for offset in offsets], [], [], comes_again)


def test_tensors_are_made_once_and_lie_where_they_should() -> None:
    arena, own = Arena(), layout(0, 64)
    memory = arena.memory(1000)
    first, second = arena.tensors(own)
    assert arena.tensors(own)[0] is first and arena.memory(1) is memory
    assert second.data_ptr() - first.data_ptr() == 64 and first.data_ptr() == memory.data_ptr() and first.shape == (4,)


def test_nothing_holds_the_memory_that_was_outgrown(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[weakref.ref[np.ndarray]] = []
    real = module.aligned_empty

    def remembered(*arguments: object) -> np.ndarray:
        array = real(*arguments)  # type: ignore[arg-type]
        made.append(weakref.ref(array.base))
        return array

    monkeypatch.setattr(module, "aligned_empty", remembered)
    arena, own = Arena(), layout(0)
    arena.memory(module.SMALLEST)
    arena.tensors(own)
    arena.memory(2 * module.SMALLEST)
    assert [one() is None for one in made] == [True, False]
    assert arena.tensors(own)[0].data_ptr() == arena.memory(1).data_ptr()


def test_those_used_last_are_kept() -> None:
    arena = Arena()
    arena.memory(1)
    often, passing = layout(0), layout(0, comes_again=False)
    kept = arena.tensors(often)
    assert arena.tensors(passing) is not arena.tensors(passing)
    for _ in range(3):
        for _ in range(module.KEPT - 1):
            arena.tensors(layout(0))
        assert arena.tensors(often) is kept and len(arena._kept) == module.KEPT
    for _ in range(module.KEPT):
        arena.tensors(layout(0))
    assert arena.tensors(often) is not kept


@pytest.fixture
def fresh_arena(monkeypatch: pytest.MonkeyPatch) -> Iterator[Arena]:
    monkeypatch.setattr(runner(), "arena", Arena())
    yield runner().arena


def test_calls_of_many_sizes_while_it_grows(fresh_arena: Arena) -> None:
    """Two programs share it; sizes that come again after it has grown are computed in the new memory."""
    first = tg.compile(tg.trace(nn.EncoderLayer(16, 2, 32), x=tg.f32[B, S, 16]))
    second = tg.compile(tg.trace(nn.EncoderLayer(16, 4, 64), x=tg.f32[B, S, 16]))
    rng = np.random.default_rng(0)
    feeds = [rng.standard_normal((b, s, 16)).astype("f") for b, s in ((1, 3), (2, 40), (1, 3), (5, 90), (2, 40), (1, 3), (0, 4))]
    for exe in (first, second):
        expected = [tg.reference.run(exe.graph, {"x": x})["output"] for x in feeds]
        for x, y in zip(feeds, expected):
            assert np.abs(exe(x) - y).max(initial=0.0) < 1e-4
    assert 0 < len(fresh_arena._kept) <= module.KEPT


def test_the_arena_is_as_large_as_the_largest_call(fresh_arena: Arena) -> None:
    exe = tg.compile(tg.trace(nn.EncoderLayer(16, 2, 32), x=tg.f32[B, S, 16]))
    for size in (30, 300, 30):
        exe(np.zeros((2, size, 16), "f"))
        kept = len(fresh_arena._kept)
    assert fresh_arena.bytes == exe.memory(B=2, S=300).arena_bytes and kept == 2

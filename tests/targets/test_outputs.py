"""Outputs in the caller's arrays: written in place where that can be, right everywhere, and refused with a reason."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tgraph as tg
from targets.runtime.outputs import Outputs
from targets.runtime.tensors import shareable
from tgraph import nn

B = tg.dim("B")


class Model(nn.Module):
    def __init__(self) -> None:
        self.first, self.second = nn.Linear(8, 16), nn.Linear(16, 8)

    def __call__(self, x: tg.Tensor) -> dict[str, tg.Tensor]:
        hidden = tg.relu(self.first(x))
        return {"hidden": hidden, "y": x + self.second(hidden)}


@pytest.fixture(scope="module", params=["cpu", "numpy"])
def exe(request: pytest.FixtureRequest) -> tg.Executable:
    return tg.compile(tg.trace(Model(), x=tg.f32[B, 8]), target=request.param)


@pytest.fixture(scope="module")
def one() -> tg.Executable:
    return tg.compile(tg.trace(nn.Linear(8, 8), x=tg.f32[B, 8]))


def data(rows: int) -> np.ndarray:
    return np.random.default_rng(rows).standard_normal((rows, 8)).astype("f")


def empty(rows: int, columns: int) -> np.ndarray:
    return tg.targets.aligned_empty((rows, columns), np.dtype("f"))


def unaligned(rows: int, columns: int) -> np.ndarray:
    memory = tg.targets.aligned_empty((rows * columns + 1,), np.dtype("f"))
    return memory[1:].reshape(rows, columns)


def split(rows: int, columns: int) -> np.ndarray:
    """Elements at odd addresses."""
    return np.frombuffer(bytearray(4 * rows * columns + 1), np.uint8)[1:].view("f").reshape(rows, columns)


def strided(rows: int, columns: int) -> np.ndarray:
    return empty(rows, 2 * columns)[:, ::2]


@pytest.mark.parametrize("make", [empty, unaligned, split, strided])
def test_every_form_of_out(exe: tg.Executable, make: Any) -> None:
    x = data(5)
    expected = exe(x)
    hidden, y = make(5, 16), make(5, 8)
    result = exe(x, out=(hidden, y))
    assert result.hidden is hidden and result.y is y
    assert np.array_equal(hidden, expected.hidden) and np.array_equal(y, expected.y)
    y[:] = 7
    some = exe.run({"x": x}, out={"y": y})
    assert some["y"] is y and np.array_equal(y, expected.y) and np.array_equal(some["hidden"], expected.hidden)
    assert exe(x, out=exe(x)).y.tolist() == expected.y.tolist()  # what one call gave is room for the next
    empty_batch = exe(data(0), out=(make(0, 16), make(0, 8)))
    assert empty_batch.y.shape == (0, 8)


def test_a_single_output(one: tg.Executable) -> None:
    y = empty(3, 8)
    assert one(data(3), out=y) is y and np.array_equal(y, one(data(3)))
    assert one(data(3), out=[y]) is y and one(data(3), out={"output": y}) is y


def test_kernels_write_into_dense_memory(monkeypatch: pytest.MonkeyPatch, one: tg.Executable) -> None:
    seen = []
    allocate = Outputs.allocate

    def spy(self: Outputs, name: str, *rest: Any) -> None:
        allocate(self, name, *rest)
        seen.append(self[name])

    monkeypatch.setattr(Outputs, "allocate", spy)
    for y, direct in ((empty(3, 8), True), (unaligned(3, 8), True), (split(3, 8), False), (strided(3, 8), False)):
        one(data(3), out=y)
        assert (seen.pop() is y) == direct == shareable(y)


def test_an_output_over_an_input(exe: tg.Executable) -> None:
    """`x` is read again after `y` could have been written; in place it must not be."""
    x = empty(40, 8)
    x[:] = data(40)
    expected = exe(x.copy())
    y = exe(x, out={"y": x}).y
    assert y is x and np.array_equal(y, expected.y)
    both = empty(41, 8)
    both[:40] = data(40)
    assert np.array_equal(exe(both[:40], out={"y": both[1:]}).y, expected.y)


def test_outputs_that_no_kernel_writes_and_an_input_called_out() -> None:
    exe = tg.compile(tg.trace(lambda x, out: {"same": x, "sum": x + out}, x=tg.f32[B], out=tg.f32[B]))
    ones, buffer = np.ones(4, "f"), np.zeros(4, "f")
    assert exe(ones, out=ones).sum.tolist() == [2.0] * 4
    result = exe.run({"x": ones, "out": ones}, out={"same": buffer})
    assert result["same"] is buffer and buffer.tolist() == [1.0] * 4


def test_an_output_whose_size_only_the_run_decides() -> None:
    def model(x: tg.Tensor, mask: tg.Tensor) -> dict[str, tg.Tensor]:
        indices, _ = tg.unpack(mask)
        doubled = x * 2.0
        return {"doubled": doubled, "rows": tg.gather(doubled.reshape(x.shape[0] * x.shape[1], 4), indices)}

    exe = tg.compile(tg.trace(model, tg.f32[B, tg.dim("S"), 4], tg.bool_[B, tg.dim("S")]))
    x, mask = np.arange(24, dtype="f").reshape(2, 3, 4), np.array([[1, 1, 0], [1, 0, 0]], bool)
    expected = 2 * x[mask]
    assert np.array_equal(exe(x, mask).rows, expected)  # a second stage reads what the first gave out
    rows = empty(3, 4)
    assert exe(x, mask, out={"rows": rows}).rows is rows and np.array_equal(rows, expected)
    with pytest.raises(tg.InputError, match=r"output 'rows' .* is float32\[3, 4\] here, out for it is float32\[6, 4\]"):
        exe(x, mask, out={"rows": empty(6, 4)})


@pytest.mark.parametrize(("out", "message"), [
    (lambda: empty(5, 8), r"has 2 outputs \(hidden, y\), out has 1; a dict may name some"),
    (lambda: (empty(5, 16),), "has 2 outputs"),
    (lambda: {"z": empty(5, 8)}, "has no output 'z'; its outputs: hidden, y"),
    (lambda: {"y": [1.0]}, "out for output 'y' must be a NumPy array, got list"),
    (lambda: {"y": empty(4, 8)}, r"output 'y' \(f32\[B, 8\]\) is float32\[5, 8\] here, out for it is float32\[4, 8\]"),
    (lambda: {"y": empty(5, 8).astype("f8")}, r"out for it is float64\[5, 8\]"),
    (lambda: {"y": np.broadcast_to(np.zeros(8, "f"), (5, 8))}, "out for output 'y' is read-only"),
])
def test_what_does_not_fit(exe: tg.Executable, out: Any, message: str) -> None:
    with pytest.raises(tg.InputError, match=message):
        exe(data(5), out=out())


def test_outputs_in_the_same_memory(exe: tg.Executable) -> None:
    memory = empty(10, 16)
    with pytest.raises(tg.InputError, match="out for outputs 'hidden' and 'y' is the same memory"):
        exe(data(5), out=(memory[:5], memory[:5, :8]))
    side_by_side = empty(5, 24)
    result = exe(data(5), out=(side_by_side[:, :16], side_by_side[:, 16:]))
    assert np.array_equal(result.y, exe(data(5)).y) and np.array_equal(result.hidden, exe(data(5)).hidden)

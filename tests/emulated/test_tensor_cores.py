"""ldmatrix, mma and cp.async against NumPy, with every element distinct."""

from __future__ import annotations

from typing import Any

import emulator
import ml_dtypes
import numpy as np
import pytest
from emulator.launch import kernel

from targets.base.tvm_api import T, tirx
from targets.cuda.kernels import device

HALVES = {"float16": np.dtype(np.float16), "bfloat16": np.dtype(ml_dtypes.bfloat16)}
NOTHING = np.zeros(1, np.float32)


def numbers(shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    """No two alike, as far as 8 bits of significand go: 256 numbers, negative ones too."""
    count = int(np.prod(shape))
    values = np.arange(count) % 128 + 128
    x = (values * np.where(np.arange(count) < 128, 1.0, -0.5)).reshape(shape).astype(dtype)
    assert len(np.unique(x.astype(np.float64))) == count
    return x


@pytest.mark.parametrize("name", HALVES)
def test_mma(name: str) -> None:
    dtype = HALVES[name]

    def product(a: Any, b: Any, c: Any, d: Any, block: Any, lane: Any) -> None:
        fa, fb = device.registers("fa", (4,), "uint32"), device.registers("fb", (2,), "uint32")
        fd = device.registers("fd", (4,), "float32")
        group, pair = lane // 4, lane % 4 * 2
        for i in range(4):
            row, column = group + i % 2 * 8, pair + i // 2 * 8
            T.buffer_store(fa, a[row * 8 + column // 2], [i])  # two halves of a row in one uint32
        for i in range(2):
            T.buffer_store(fb, b[group * 8 + (pair + i * 8) // 2], [i])  # B is given by columns
        at = [(group + i // 2 * 8) * 8 + pair + i % 2 for i in range(4)]
        for i in range(4):
            T.buffer_store(fd, c[at[i]], [i])
        device.mma(*(device.address(f, 0) for f in (fd, fa, fb)), name)
        for i in range(4):
            T.buffer_store(d, fd[i], [at[i]])

    a, b = numbers((16, 16), dtype), numbers((16, 8), dtype)
    c = np.arange(128, dtype=np.float32).reshape(16, 8) * 1000
    packed_a, packed_b = a.view(np.uint32), np.ascontiguousarray(b.T).view(np.uint32)
    d = kernel(product, packed_a, packed_b, c, c)(packed_a, packed_b, c, np.zeros_like(c))[3]
    expected = a.astype(np.float64) @ b.astype(np.float64) + c
    assert np.array_equal(d, expected.astype(np.float32))


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("count", [2, 4])
def test_ldmatrix(count: int, transposed: bool) -> None:
    def load(x: Any, y: Any, block: Any, lane: Any) -> None:
        rows = device.shared("rows", (32, 8), "float16")
        registers = device.registers("r", (4,), "uint32")
        for i in range(8):
            T.buffer_store(rows, x[lane * 8 + i], [lane, i])
        device.barrier()
        device.load_matrices(device.address(registers, 0), device.address(rows, lane, 0), count, transposed)
        for i in range(count):
            T.buffer_store(y, registers[i], [i * 32 + lane])

    x = np.arange(256, dtype=np.float16).reshape(4, 8, 8)
    y = kernel(load, x, np.zeros(count * 32, np.uint32))(x, np.zeros(count * 32, np.uint32))[1]
    expected = x.transpose(0, 2, 1) if transposed else x
    assert np.array_equal(y.view(np.float16).reshape(count, 8, 8), expected[:count])


def copies(wait: int | None, groups: int = 2) -> Any:
    """Copies `groups` x 32 x 16 bytes, of the last of which 10 are read, and stores what is there after the wait."""
    def body(x: Any, y: Any, block: Any, lane: Any) -> None:
        stage = device.shared("stage", (groups, 32, 8), "float16")
        for g in range(groups):
            at = (g * 32 + lane) * 8
            count = tirx.Select(tirx.all(lane == 31, tirx.const(g, "int32") == groups - 1), 10, 16)
            device.copy_async(device.address(stage, g, lane, 0), device.address(x, at), count)
            device.commit_copies()
        if wait is not None:
            device.wait_copies(wait)
        device.barrier()
        for g in range(groups):
            for i in range(8):
                T.buffer_store(y, stage[g, 31 - lane, i], [(g * 32 + lane) * 8 + i])

    x = np.arange(groups * 256, dtype=np.float16)
    return x, kernel(body, x, x)


def test_asynchronous_copy() -> None:
    x, run = copies(wait=0)
    expected = x.reshape(2, 32, 8).copy()
    expected[1, 31, 5:] = 0
    for name in emulator.ORDERS:
        with emulator.order(name):
            assert np.array_equal(run(x, x)[1].reshape(2, 32, 8), expected[:, ::-1])
    emulator.racecheck(lambda: run(x, x))


@pytest.mark.parametrize("wait, arrived", [(None, 0), (1, 1)])
def test_a_missing_wait_shows(wait: int | None, arrived: int) -> None:
    x, run = copies(wait)
    y = run(x, x)[1].reshape(2, 256)
    assert not np.isnan(y[:arrived]).any()
    assert np.isnan(y[arrived:]).all()
    with pytest.raises(AssertionError, match="depends on the order of threads"):
        emulator.racecheck(lambda: run(x, x))

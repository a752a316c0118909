"""Grids, blocks, barriers and warps: kernels whose results are known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import emulator
import numpy as np
import pytest
from emulator.launch import kernel

from targets.base.tvm_api import T, tirx, tvm
from targets.cuda.kernels import device

RANDOM = np.random.default_rng(0)


def test_vector_add_of_any_length() -> None:
    def add(x: Any, y: Any, z: Any, block: Any, thread: Any, length: Any) -> None:
        i = block * 64 + thread
        with T.If(i < length), T.Then():
            T.buffer_store(z, x[i] + y[i], [i])

    like = np.zeros(1, np.float32)
    run = kernel(add, like, like, like, threads=64)
    for length in (1, 63, 64, 65, 1000):
        x, y = RANDOM.standard_normal((2, length)).astype(np.float32)
        assert np.array_equal(run(x, y, np.zeros_like(x))[2], x + y)


@pytest.mark.parametrize("dynamic", [False, True])
def test_block_reduction_in_shared_memory(dynamic: bool) -> None:
    def reduce(x: Any, y: Any, block: Any, thread: Any) -> None:
        sums = device.shared("sums", (128,), "float32", dynamic=dynamic)
        T.buffer_store(sums, x[block * 128 + thread], [thread])
        device.barrier()
        for half in (64, 32, 16, 8, 4, 2, 1):
            with T.If(thread < half), T.Then():
                T.buffer_store(sums, sums[thread] + sums[thread + half], [thread])
            device.barrier()
        with T.If(thread == 0), T.Then():
            T.buffer_store(y, sums[0], [block])

    x, y = RANDOM.integers(-100, 100, (5, 128)).astype(np.float32), np.zeros(5, np.float32)
    run = kernel(reduce, x, y, blocks=5, threads=128)
    assert np.array_equal(run(x, y)[1], x.sum(1))
    emulator.racecheck(lambda: run(x, y))


def test_large_dynamic_shared_memory() -> None:
    def reverse(x: Any, y: Any, block: Any, thread: Any) -> None:
        kept = device.shared("kept", (50000,), "float32", dynamic=True)  # 200,000 bytes
        with T.serial(0, 196) as i:
            at = i * 256 + thread
            with T.If(at < 50000), T.Then():
                T.buffer_store(kept, x[at], [at])
        device.barrier()
        with T.serial(0, 196) as i:
            at = i * 256 + thread
            with T.If(at < 50000), T.Then():
                T.buffer_store(y, kept[49999 - at], [at])

    x = RANDOM.standard_normal(50000).astype(np.float32)
    assert np.array_equal(kernel(reverse, x, x, threads=256)(x, np.zeros_like(x))[1], x[::-1])


def test_shuffle_reduction() -> None:
    def reduce(x: Any, y: Any, block: Any, thread: Any) -> None:
        value = x[thread]
        for distance in (16, 8, 4, 2, 1):
            value = T.bind(value + device.shuffle_xor(value, distance))
        T.buffer_store(y, value, [thread])

    x = RANDOM.integers(-1000, 1000, (3, 32)).astype(np.float32)
    y = kernel(reduce, x, x, threads=96)(x, np.zeros_like(x))[1]
    assert np.array_equal(y, np.broadcast_to(x.sum(1, keepdims=True), (3, 32)))


@pytest.mark.parametrize("width", [32, 8])
@pytest.mark.parametrize("operand", [5, 12])
@pytest.mark.parametrize("how, source", [
    ("__shfl_sync", lambda lane, n, width: lane // width * width + n % width),
    # beyond the end of its group a lane reads itself; a group before it may be read
    ("__shfl_xor_sync", lambda lane, n, width: lane ^ n if (lane ^ n) // width <= lane // width else lane),
    ("__shfl_up_sync", lambda lane, n, width: lane - n if lane % width >= n else lane),
    ("__shfl_down_sync", lambda lane, n, width: lane + n if lane % width + n < width else lane),
])
def test_shuffles(how: str, source: Callable[[int, int, int], int], operand: int, width: int) -> None:
    def shuffle(x: Any, y: Any, block: Any, thread: Any) -> None:
        text = f"__device__ __forceinline__ int f(int v) {{ return {how}(0xffffffffu, v, {operand}, {width}); }}\n"
        T.buffer_store(y, device.cuda_func_call("f", x[thread], source_code=text, return_type="int32"), [thread])

    x = np.arange(32, dtype=np.int32) + 100
    assert kernel(shuffle, x, x)(x, x)[1].tolist() == [100 + source(lane, operand, width) for lane in range(32)]


def test_votes_and_atomics() -> None:
    text = """__device__ __forceinline__ int f(int v, int* sum) {
      atomicAdd(sum, v);
      unsigned odd = __ballot_sync(0xffffffffu, v & 1);
      int low = v < 16 ? __any_sync(0x0000ffffu, v == 3) : __all_sync(0xffff0000u, v > 15) * 2;
      return __popc(odd) + 100 * low;
    }\n"""

    def vote(x: Any, sums: Any, y: Any, block: Any, thread: Any) -> None:
        value = device.cuda_func_call("f", x[thread], tirx.address_of(sums[0]), source_code=text, return_type="int32")
        T.buffer_store(y, value, [thread])

    x = np.arange(32, dtype=np.int32)
    _, sums, y = kernel(vote, x, x[:1], x)(x, np.zeros(1, np.int32), x)
    assert sums[0] == x.sum()
    assert y.tolist() == [116] * 16 + [216] * 16


def test_memory_that_nobody_wrote_is_nan() -> None:
    def read(x: Any, y: Any, block: Any, thread: Any) -> None:
        fresh, local = device.shared("fresh", (32,), "float32"), device.registers("local", (4,), "float32")
        T.buffer_store(y, fresh[thread], [thread])
        T.buffer_store(y, local[thread % 4], [thread + 32])

    y = kernel(read, np.zeros(1, np.float32), np.zeros(64, np.float32))(np.zeros(1, np.float32), np.zeros(64, np.float32))[1]
    assert np.isnan(y[:32]).all()
    assert (np.abs(y[32:]) > 1e38).all()
    assert np.isnan(tvm.runtime.empty((5,), "float16", tvm.cuda(0)).numpy()).all()

"""What a GPU would do wrong silently, or stop at without a reason, is an error here that says what happened."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from typing import Any

import emulator
import numpy as np
import pytest
from emulator.launch import kernel

from targets.base.tvm_api import T, tirx, tvm
from targets.cuda.kernels import device

X = np.arange(64, dtype=np.float32)


def fails(body: Callable[..., None], message: str, *, threads: int = 64, blocks: int = 1) -> None:
    run = kernel(body, X, X, threads=threads, blocks=blocks)
    with pytest.raises(Exception, match=message):
        run(X, X)
    # and the device is good for the next launch
    assert np.array_equal(kernel(lambda x, y, b, t: T.buffer_store(y, x[t] + 1, [t]), X, X, threads=64)(X, X)[1], X + 1)


def call(text: str, *arguments: Any) -> None:
    T.evaluate(device.cuda_func_call("f", *arguments, source_code=f"__device__ __forceinline__ void f{text}\n"))


def mirrored(*, barrier: bool) -> Callable[..., Any]:
    def body(x: Any, y: Any, block: Any, thread: Any) -> None:
        kept = device.shared("kept", (64,), "float32")
        T.buffer_store(kept, x[thread], [thread])
        if barrier:
            device.barrier()
        T.buffer_store(y, kept[63 - thread], [thread])

    return kernel(body, X, X, threads=64)


def test_a_missing_barrier_is_a_race() -> None:
    emulator.racecheck(lambda: mirrored(barrier=True)(X, X))
    run = mirrored(barrier=False)
    with pytest.raises(AssertionError, match=r"result 1 depends on the order of threads .* of 64 elements differ, first"):
        emulator.racecheck(lambda: run(X, X))


def test_blocks_that_write_one_place_are_a_race() -> None:
    run = kernel(lambda x, y, b, t: T.buffer_store(y, tirx.Cast("float32", b), [t]), X, X, threads=64, blocks=2)
    with pytest.raises(AssertionError, match="depends on the order"):
        emulator.racecheck(lambda: run(X, X))


def test_barrier_that_some_threads_pass_by() -> None:
    def body(x: Any, y: Any, block: Any, thread: Any) -> None:
        with T.If(thread < 32), T.Then():
            device.barrier()

    fails(body, r"kernel kernel_kernel, block \(0, 0, 0\): a barrier is not reached by all: 32 of 64 threads wait at line \d+")


def test_threads_at_different_barriers() -> None:
    def body(x: Any, y: Any, block: Any, thread: Any) -> None:
        with T.If(thread < 32):
            with T.Then():
                device.barrier()
            with T.Else():
                T.buffer_store(y, x[thread], [thread])
                device.barrier()

    fails(body, r"a barrier is not reached by all: thread \(0, 0, 0\) waits at line \d+, thread \(32, 0, 0\) at line")


def test_shuffle_that_some_lanes_pass_by() -> None:
    def body(x: Any, y: Any, block: Any, thread: Any) -> None:
        with T.If(thread % 2 == 0), T.Then():
            T.buffer_store(y, device.shuffle_xor(x[thread], 1), [thread])
        device.barrier()

    fails(body, r"a warp's threads part: thread \(0, 0, 0\) waits at line \d+ with mask ffffffff, .* a barrier of the block")


@pytest.mark.parametrize("offset, size", [(0, 63), (0, 1), (-1, 64)])
def test_write_beside_an_allocation(offset: int, size: int) -> None:
    y = np.zeros(size, np.float32)

    def body(x: Any, y: Any, block: Any, thread: Any) -> None:
        call("(float* p, int i) { p[i] = 0; }", tirx.address_of(y[0]), thread + offset)

    with pytest.raises(Exception, match=rf"kernel kernel_kernel: something wrote beside an allocation of {4 * size} bytes"):
        kernel(body, X, y, threads=64)(X, y)


def test_read_far_behind_an_allocation() -> None:
    def body(x: Any, y: Any, block: Any, thread: Any) -> None:
        call("(float* to, const float* from) { *to = from[100]; }", tirx.address_of(y[thread]), tirx.address_of(x[thread]))

    fails(body, r"thread \(0, 0, 0\): illegal address 0x\w+, 144 bytes behind the end of an allocation of 256 bytes")


def test_null_pointer() -> None:
    fails(lambda x, y, b, t: call("(float* p) { *(volatile float*)nullptr = *p; }", tirx.address_of(x[t])),
          "illegal address .*, in no allocation")


def test_endless_recursion() -> None:
    def body(x: Any, y: Any, block: Any, thread: Any) -> None:
        text = "__device__ __noinline__ int f(int n) { volatile int a[64]; a[n % 64] = n; return f(n + 1) + a[n % 63]; }\n"
        value = device.cuda_func_call("f", thread, source_code=text, return_type="int32")
        T.buffer_store(y, tirx.Cast("float32", value), [thread])

    fails(body, "illegal address")


def test_write_beside_shared_memory() -> None:
    def body(x: Any, y: Any, block: Any, thread: Any) -> None:
        kept = device.shared("kept", (32,), "float32")
        call("(float* p) { p[1] = 0; }", tirx.address_of(kept[thread]))

    fails(body, r"wrote beside the shared array of line \d+, behind its 128 bytes", threads=32)


def test_misaligned_vector() -> None:
    def body(x: Any, y: Any, block: Any, thread: Any) -> None:
        call("(float* p) { ((float4*)p)->x = 0; }", tirx.address_of(y[thread * 4 + 1]))

    fails(body, r"line \d+: misaligned address 0x\w+ of 'struct float4', byte 4 of an allocation of 256 bytes", threads=8)


def test_index_outside_of_registers() -> None:
    fails(lambda x, y, b, t: call("(int n, float* y) { float r[4] = {1, 2, 3, 4}; *y = r[n]; }", t, tirx.address_of(y[t])),
          r"thread \(4, 0, 0\): line \d+: index 4 is outside of a local array")


def test_integer_division_by_zero() -> None:
    fails(lambda x, y, b, t: T.buffer_store(y, tirx.Cast("float32", tirx.truncdiv(7, t)), [t]), "integer division by zero")


def test_ldmatrix_and_copies_check_addresses() -> None:
    def load(x: Any, y: Any, block: Any, thread: Any) -> None:
        registers = device.registers("r", (4,), "uint32")
        device.load_matrices(device.address(registers, 0), device.address(x, 0), 4)

    def copy(x: Any, y: Any, block: Any, thread: Any) -> None:
        stage = device.shared("stage", (64,), "float32")
        device.copy_async(device.address(stage, thread), device.address(x, 0), 16)

    fails(load, "ldmatrix: the address of lane 0, 0x.* is not in shared memory", threads=32)
    fails(copy, "cp.async needs addresses aligned to 16 bytes", threads=32)


def test_launches_that_a_device_refuses() -> None:
    large = np.zeros(2048, np.float32)
    with pytest.raises(Exception, match="launch of kernel_kernel: block too large"):
        kernel(lambda x, y, b, t: T.buffer_store(y, x[t], [t]), large, large, threads=2048)(large, large)

    def too_much(x: Any, y: Any, block: Any, thread: Any) -> None:
        kept = device.shared("kept", (60000,), "float32", dynamic=True)
        T.buffer_store(kept, x[thread], [thread])
        T.buffer_store(y, kept[thread], [thread])

    with pytest.raises(Exception, match="shared memory size"):
        kernel(too_much, X, X, threads=32)(X, X)


def test_out_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    gc.collect()
    monkeypatch.setenv("TGRAPH_EMULATOR_MEMORY", str(1 << 20))
    with pytest.raises(Exception, match="cudaErrorMemoryAllocation"):
        tvm.runtime.empty(((1 << 20) + 1,), "int8", tvm.cuda(0))
    assert tvm.cuda(0).total_global_memory == 1 << 20


def test_older_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TGRAPH_EMULATOR_ARCH", "80")
    assert tvm.cuda(0).compute_version == "8.0"
    with pytest.raises(Exception, match="needs a newer device"):
        mirrored(barrier=True)(X, X)


def test_what_the_host_overwrites_is_told_later() -> None:
    tensor = tvm.runtime.empty((10,), "float32", tvm.cuda(0))
    ctypes.memset(tensor.data_ptr() + 40, 0, 1)
    del tensor
    gc.collect()
    with pytest.raises(AssertionError, match="something wrote beside an allocation of 40 bytes, seen when that was freed"):
        emulator.check()
    emulator.check()

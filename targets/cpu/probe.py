"""What this machine can do at most, measured: `python -m targets.cpu.probe THREADS` measures once for each line that it reads,
and answers with one of JSON.

    {"peak": 4.8e11, "bandwidth": 3.2e10, "threads": 2, "narrow": {"bf16": 7.5e12, "i8": 1.5e13}}

peak: f32 operations a second of all threads, from fused multiply-adds of the CPU's widest vectors that do not wait for each other
nor for memory (one is two operations). bandwidth: bytes a second that all threads read of an array several times the size of the
last cache. narrow: the same as peak of the widest instructions for products of bf16 and of 8-bit integers, tiles (AMX) where
there are any; without what the CPU has no instruction for.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace

import numpy as np

from targets.base.memory import aligned_empty
from targets.base.target import Target
from targets.base.yardstick import Yardstick
from targets.runtime.runner import runner
from targets.runtime.tensors import share

CHAINS = 12  # independent sums: two units a core, each busy for four or five cycles with one; and AVX2 has 16 registers
STEPS = 250_000
STREAMS = 8
TRIES = 30
PARTS = 10  # of a try of arithmetic, of less than 1 ms: short enough that some of them find the cores free


def measure(target: Target, threads: int, tries: int = TRIES) -> Yardstick:
    """The best of several tries: anything else that runs only takes away. `threads`: those that the runner has."""
    lanes = target.vector_bits // 32
    _, read = _compile(target.mcpu, target.changes, threads, lanes)
    sums = _sums(threads, lanes)
    vectors = threads * STREAMS * lanes
    elements = _array_bytes(target) // 4 // vectors * vectors
    memory = aligned_empty((elements,), np.dtype(np.float32))
    memory[:] = 1.0
    reads = elements // vectors
    bandwidth = memory.nbytes / _best(tries, lambda: runner()(lambda: read(share(sums), share(memory), reads)))
    call, operations = _multiply_adds(target, threads)
    return Yardstick(operations / _best(tries * PARTS, call), bandwidth, threads)


def peaks(target: Target, threads: int, tries: int = TRIES) -> dict[str, float]:
    """Operations a second of products of f32, and of bf16 and 8-bit integers ("i8") where the CPU has instructions for them.

    They are measured in turns, the best of several tries: what else runs takes away from all of them.
    """
    from targets.cpu.probe_dots import calls

    known = {"f32": _multiply_adds(target, threads), **calls(target, threads)}
    seconds = dict.fromkeys(known, float("inf"))
    for _ in range(tries * PARTS):
        for kind, (call, _) in known.items():
            seconds[kind] = min(seconds[kind], _best(1, call))
    return {kind: operations / seconds[kind] for kind, (_, operations) in known.items()}


def _multiply_adds(target: Target, threads: int) -> tuple[Callable[[], None], float]:
    """A call that does nothing but multiply-adds of f32, and its operations."""
    lanes = target.vector_bits // 32
    chains, _ = _compile(target.mcpu, target.changes, threads, lanes)
    sums = _sums(threads, lanes)
    return lambda: runner()(lambda: chains(share(sums), STEPS)), 2.0 * threads * CHAINS * lanes * STEPS


def _sums(threads: int, lanes: int) -> np.ndarray:
    sums = aligned_empty((threads * max(CHAINS, STREAMS) * lanes,), np.dtype(np.float32))
    sums[:] = np.linspace(0.5, 1.5, sums.size)
    return sums


def _array_bytes(target: Target) -> int:
    """Several times the last cache, but no more than a quarter of the memory that is free."""
    wanted = max(4 * target.l3_bytes, 256 << 20)
    try:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # a system that does not say
        return wanted
    return min(wanted, max(free // 4, 64 << 20))


@functools.cache
def _compile(mcpu: str, changes: tuple[str, ...], threads: int, lanes: int) -> tuple[Callable[..., None], Callable[..., None]]:
    """`chains(sums, steps)` and `read(sums, memory, steps)`."""
    from targets.base.tvm_api import Buffer, IRBuilder, IRModule, PrimFunc, T, int64, llvm_target, tirx, tvm

    def kernel(name: str, count: int, arguments: tuple[Buffer, ...], step: Callable[..., None]) -> PrimFunc:
        """In each thread: `count` vectors of sums are loaded, `step(sums, i, lane, at)` is done again and again, stored."""
        steps = tirx.Var("steps", "int64")
        for buffer in arguments:
            T.arg(buffer.name, buffer)
        T.arg("steps", steps)
        T.func_name(name)
        T.func_attr({"tirx.noalias": True, "tirx.is_scheduled": True, "global_symbol": name})
        outside = arguments[0]
        with T.parallel(int64(threads)) as thread:
            sums = T.alloc_buffer((count, lanes), "float32")

            def each(emit: Callable[..., None]) -> None:
                with T.unroll(count) as i, T.vectorized(lanes) as lane:
                    emit(i, lane)

            def place(i: object, lane: object) -> object:
                return (thread * count + i) * lanes + tirx.Cast("int64", lane)

            each(lambda i, lane: T.buffer_store(sums, outside[place(i, lane)], [i, lane]))
            with T.serial(steps) as at:
                each(lambda i, lane: step(sums, i, lane, ((thread * steps + at) * count + i) * lanes + tirx.Cast("int64", lane)))
            each(lambda i, lane: T.buffer_store(outside, sums[i, lane], [place(i, lane)]))

    made = {}
    with IRBuilder() as builder, T.prim_func():
        outside = T.buffer((threads * max(CHAINS, STREAMS) * lanes,), "float32", buffer_name="outside")
        factor, addend = tirx.const(0.5, "float32"), tirx.const(0.25, "float32")
        kernel("chains", CHAINS, (outside,),
               lambda sums, i, lane, at: T.buffer_store(sums, sums[i, lane] * factor + addend, [i, lane]))
    made["chains"] = builder.get()
    with IRBuilder() as builder, T.prim_func():
        outside = T.buffer((threads * max(CHAINS, STREAMS) * lanes,), "float32", buffer_name="outside")
        memory = T.buffer((tirx.Var("elements", "int64"),), "float32", buffer_name="memory")
        kernel("read", STREAMS, (outside, memory),
               lambda sums, i, lane, at: T.buffer_store(sums, sums[i, lane] + memory[at], [i, lane]))
    made["read"] = builder.get()
    module = tvm.compile(IRModule(made), target=llvm_target(mcpu, changes))
    return module["chains"], module["read"]


def _best(tries: int, call: Callable[[], None]) -> float:
    times = []
    for _ in range(tries):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


if __name__ == "__main__":
    os.environ["TVM_NUM_THREADS"] = sys.argv[1]
    here, threads = Target.parse("cpu"), int(sys.argv[1])
    for _ in sys.stdin:
        measured, found = measure(here, threads), peaks(here, threads)
        measured = replace(measured, peak=max(measured.peak, found.pop("f32")), narrow=found)
        print(json.dumps(asdict(measured)), flush=True)

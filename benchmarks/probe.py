"""What this machine can do at most, measured: `python -m benchmarks.probe THREADS` prints JSON.

    {"peak": 1.9e11, "bandwidth": 2.6e10, "threads": 2}

peak: f32 operations a second of all threads, from fused multiply-adds that do not wait for each other nor for memory (one
is two operations). bandwidth: bytes a second that all threads read of an array several times the size of the last cache.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

CHAINS = 12  # independent sums: two units a core, each busy for four or five cycles with one; and AVX2 has 16 registers
STEPS = 20_000_000
STREAMS = 8
TRIES = 30  # of about 0.04 and 0.01 seconds


def measure(threads: int) -> dict[str, float]:
    """The best of several tries: anything else that runs only takes away."""
    os.environ["TVM_NUM_THREADS"] = str(threads)
    from targets.base.memory import aligned_empty
    from targets.base.target import Target
    from targets.runtime.runner import runner
    from targets.runtime.tensors import share

    target = Target.parse("cpu")
    lanes = target.vector_bits // 32
    chains, read = _compile(target, threads, lanes)
    sums = aligned_empty((threads * max(CHAINS, STREAMS) * lanes,), np.dtype(np.float32))
    sums[:] = np.linspace(0.5, 1.5, sums.size)
    elements = max(4 * target.l3_bytes, 256 << 20) // 4 // (threads * STREAMS * lanes) * (threads * STREAMS * lanes)
    memory = aligned_empty((elements,), np.dtype(np.float32))
    memory[:] = 1.0
    peak = threads * CHAINS * lanes * STEPS * 2 / _best(lambda: runner()(lambda: chains(share(sums), STEPS)))
    steps = elements // (threads * STREAMS * lanes)
    bandwidth = memory.nbytes / _best(lambda: runner()(lambda: read(share(sums), share(memory), steps)))
    return {"peak": peak, "bandwidth": bandwidth, "threads": threads}


def _compile(target: Any, threads: int, lanes: int) -> tuple[Callable[..., None], Callable[..., None]]:
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
    module = tvm.compile(IRModule(made), target=llvm_target(target.mcpu, target.changes))
    return module["chains"], module["read"]


def _best(call: Callable[[], None]) -> float:
    times = []
    for _ in range(TRIES):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]))))

"""The rates at which a CPU multiplies bf16 and 8-bit integers by its widest instructions, measured."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from targets.base.memory import aligned_empty
from targets.base.target import Target
from targets.base.tvm_api import IRBuilder, IRModule, T, int64, llvm_target, tvm
from targets.cpu.kernels.dot_choice import bf16_dot, integer_dot
from targets.cpu.kernels.dots import Dot, run, vector_at
from targets.cpu.kernels.tiles import TileDot
from targets.runtime.runner import runner
from targets.runtime.tensors import share

A_STEPS = 64  # that chains take in turn, two chains the same: of one for all, products would be computed once
STEPS = 200_000
TILE_STEPS = 50_000


def _chains(dot: Dot) -> int:
    """Vectors of sums that do not wait for each other; with those of weights, A and products they fit into 16 registers."""
    return 8 if dot.products_apart else 12


def dots_of(target: Target) -> dict[str, Dot]:
    """The instructions that products of bf16 and of 8-bit integers are made of, by type, where a CPU has one."""
    found = {"bf16": bf16_dot(target.has), "i8": integer_dot(target.has, target.vector_bits)}
    return {kind: dot for kind, dot in found.items() if dot is not None and dot.name != "plain"}


def calls(target: Target, threads: int) -> dict[str, tuple[Callable[[], None], float]]:
    """For each of `dots_of` a call on all threads that waits for nothing but arithmetic, and its operations."""
    return {kind: _call(target.mcpu, target.changes, dot, threads) for kind, dot in dots_of(target).items()}


@functools.cache
def _call(mcpu: str, changes: tuple[str, ...], dot: Dot, threads: int) -> tuple[Callable[[], None], float]:
    module = tvm.compile(IRModule({"dots": _tiles(dot, threads) if isinstance(dot, TileDot) else _vectors(dot, threads)}),
                         target=llvm_target(mcpu, changes))
    function = module["dots"]
    if isinstance(dot, TileDot):
        return lambda: runner()(function), 2.0 * threads * TILE_STEPS * 4 * 16 * 16 * 16 * dot.group
    arrays = [_ones(A_STEPS * dot.group * dot.deep, dot.packed), _ones(2 * dot.lanes * dot.group * dot.deep, _weights(dot)),
              _ones(threads * _chains(dot) * dot.lanes, dot.accumulate)]
    operations = 2.0 * threads * STEPS * _chains(dot) * dot.lanes * dot.group * dot.deep
    return lambda: runner()(lambda: function(*map(share, arrays))), operations


def _tiles(dot: TileDot, threads: int) -> Any:
    """Products of tiles that stay in their registers, each into one of four tiles of sums."""
    with IRBuilder() as builder, T.prim_func():
        _head()
        with T.parallel(int64(threads)), dot.worker(), T.serial(int64(TILE_STEPS)):
            dot.multiply(2)
    return builder.get()


def _vectors(dot: Dot, threads: int) -> Any:
    """Steps of a dot into vectors of sums in registers, as in a tile: two vectors of weights with half as many words of A."""
    word, vector = dot.group * dot.deep, dot.lanes * dot.group  # elements of A in a step; of weights for one group
    with IRBuilder() as builder, T.prim_func():
        shapes = {"a": (A_STEPS * word, dot.packed), "panels": (2 * vector * dot.deep, _weights(dot)),
                  "outside": (threads * _chains(dot) * dot.lanes, dot.accumulate)}
        a, panels, outside = (T.arg(name, T.buffer((size,), kind, buffer_name=name)) for name, (size, kind) in shapes.items())
        _head()
        with dot.imports(), T.parallel(int64(threads)) as thread:
            sums = T.alloc_buffer((_chains(dot) * dot.lanes,), dot.accumulate)

            def each(store: Callable[[int, Any], None]) -> None:
                for chain in range(_chains(dot)):
                    store(chain, vector_at(int64(chain * dot.lanes), dot.lanes))

            def place(chain: int) -> Any:
                return (thread * _chains(dot) + chain) * dot.lanes

            each(lambda chain, at: T.buffer_store(sums, run(outside, place(chain), dot.lanes), [at]))
            with T.serial(int64(STEPS)) as step:
                each(lambda chain, at: T.buffer_store(
                    sums, dot.step(run(sums, int64(chain * dot.lanes), dot.lanes), a, (step + chain // 2) % A_STEPS * word,
                                   panels, int64(chain % 2 * vector)), [at]))
            each(lambda chain, at: T.buffer_store(outside, run(sums, int64(chain * dot.lanes), dot.lanes),
                                                  [vector_at(place(chain), dot.lanes)]))
    return builder.get()


def _head() -> None:
    T.func_name("dots")
    T.func_attr({"tirx.noalias": True, "tirx.is_scheduled": True, "global_symbol": "dots"})


def _weights(dot: Dot) -> str:
    return "uint16" if dot.accumulate == "float32" else "int8"


def _ones(size: int, kind: str) -> np.ndarray:
    """Ones; of bf16, which comes as its bits, too."""
    array = aligned_empty((size,), np.dtype(kind))
    array[:] = 0x3F80 if kind == "uint16" else 1
    return array

"""Kernels for tests: built from the statements that a function emits, launched on NumPy arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from targets.base.tvm_api import Expr, IRBuilder, T, tirx, tvm
from targets.cuda.build import PIPELINE
from targets.cuda.kernels import device

ARCH = {"kind": "cuda", "arch": "sm_90", "max_shared_memory_per_block": 49152, "max_threads_per_block": 1024, "host": "llvm"}


def kernel(body: Callable[..., None], *like: np.ndarray, blocks: int | Expr = 1, threads: int = 32) -> Callable[..., Any]:
    """A kernel with one flat buffer for each array of `like`, whose statements `body(*buffers, block, thread)` emits.

    Called with such arrays, it runs on copies of them on device 0, and returns what they hold after it. The first array may
    have any length: `body` gets it as the last argument if it takes one more.
    """
    with IRBuilder() as builder, T.prim_func():
        T.func_name("kernel")
        length = tirx.Var("length", "int64")
        symbolic = body.__code__.co_argcount == len(like) + 3
        sizes = [length if symbolic else array.size for array in like]
        buffers = [T.arg(f"x{i}", T.buffer((size,), str(array.dtype))) for i, (size, array) in enumerate(zip(sizes, like))]
        T.func_attr({"tirx.noalias": True, "tirx.is_scheduled": True, "global_symbol": "kernel"})
        count = tirx.ceildiv(length, threads) if symbolic else tirx.const(blocks, "int64")
        with device.grid(threads, count) as (block, _, _, thread):
            body(*buffers, block, thread, *([length] if symbolic else []))
    target = tvm.target.Target(ARCH)
    with target:
        built = tvm.compile(tvm.IRModule({"kernel": builder.get()}), target=target, tir_pipeline=PIPELINE)

    def call(*arrays: np.ndarray) -> list[np.ndarray]:
        tensors = [tvm.runtime.tensor(np.ravel(array), tvm.cuda(0)) for array in arrays]
        built["kernel"](*tensors)
        return [tensor.numpy().reshape(array.shape) for tensor, array in zip(tensors, arrays)]

    return call

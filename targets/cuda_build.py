"""TVM's passes for our GPU kernels, and the machine code of a module for an NVIDIA GPU.

The kernels come with their own grid, memory and barriers, so this is TVM's pipeline for scheduled functions less all that would
move, shrink or add one of them. (Its elimination of common subexpressions is left to nvcc: it fails where a loop follows `let`s.)
"""

from __future__ import annotations

import re
from typing import Any

from tvm import s_tir
from tvm.tirx import compilation_pipeline

from targets.target import Target
from targets.tvm_api import IRModule, relax, relax_passes, tirx, tvm

PIPELINE = "tgraph_cuda"


def _pipeline() -> tuple[Any, Any, Any]:
    passes = tvm.ir.transform.Sequential([
        s_tir.transform.UnifyThreadBinding(),
        s_tir.transform.StmtSimplify(),
        s_tir.transform.LowerOpaqueBlock(),  # launches become regions of their own
        tirx.transform.FlattenBuffer(),
        tirx.transform.NarrowDataType(32),
        tirx.transform.VectorizeLoop(),
        tirx.transform.UnrollLoop(),
        tirx.transform.StmtSimplify(),
        tirx.transform.RemoveNoOp(),
        tirx.transform.AnnotateEntryFunc(),
        s_tir.transform.MergeSharedMemoryAllocations(),
        tirx.transform.SplitHostDevice(),
        tirx.transform.MakePackedAPI(),
        tirx.transform.BF16StorageLegalize(),
    ])
    return passes, compilation_pipeline.finalize_host_passes, compilation_pipeline.finalize_device_passes


compilation_pipeline.register_tir_pipeline(PIPELINE, _pipeline)


def build(module: IRModule, target: Target) -> relax.VMExecutable:
    """Machine code of a lowered module: its kernels for the GPU, what launches them for this CPU."""
    where = tvm.target.Target({"kind": "cuda", "arch": target.arch, "max_shared_memory_per_block": 48 * 1024,
                               "max_threads_per_block": 1024, "host": "llvm"})
    with where:
        return tvm.compile(module, target=where, relax_pipeline=tvm.transform.Sequential(relax_passes()), tir_pipeline=PIPELINE)


# TVM prints `reinterpret` as a read through the address of its operand, also where that is a literal, which has none.
_LITERAL = re.compile(r"\(\*\((\w+) \*\)\(&\(((?:\(\w+\))?-?[0-9][\w.+]*(?:/\*[^*]*\*/)?)\)\)\)")
_BITS = """\
template <class To, class From> __device__ __forceinline__ To tg_bits(From from) { return *(To*)&from; }
"""


def _amend(source: str, _: Any) -> str:
    """CUDA source on its way to the compiler: literals reinterpreted by a function."""
    amended, count = _LITERAL.subn(r"tg_bits<\1>(\2)", source)
    head = amended.rindex("#define ushort unsigned short")
    end = amended.index("#endif", head) + len("#endif\n")
    return amended[:end] + _BITS + amended[end:] if count else source


tvm.register_global_func("tvm_callback_cuda_postproc", _amend, override=True)

"""TVM's passes for our GPU kernels, and the machine code of a module for an NVIDIA GPU.

The kernels come with their own grid, memory and barriers, so this is TVM's pipeline for scheduled functions less all that would
move, shrink or add one of them.
"""

from __future__ import annotations

from typing import Any

from tvm import s_tir
from tvm.tirx import compilation_pipeline

from targets.tvm_api import IRModule, tirx, tvm

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
        tirx.transform.CommonSubexprElim(),
        tirx.transform.AnnotateEntryFunc(),
        s_tir.transform.MergeSharedMemoryAllocations(),
        tirx.transform.SplitHostDevice(),
        tirx.transform.MakePackedAPI(),
        tirx.transform.BF16StorageLegalize(),
    ])

    @tvm.transform.module_pass(opt_level=0)
    def run(module: IRModule, _: Any) -> IRModule:
        return passes(module)

    return run, compilation_pipeline.finalize_host_passes, compilation_pipeline.finalize_device_passes


compilation_pipeline.register_tir_pipeline(PIPELINE, _pipeline)

"""TVM's passes for our CPU kernels, and the machine code of a module.

The kernels have no blocks, and say themselves what is a vector and what is parallel, so this is TVM's pipeline for scheduled
functions less what would schedule them. (Its elimination of common subexpressions is left to LLVM: it fails where
a loop follows a bound name, or where an axis of 1 makes two definitions equal.)
"""

from __future__ import annotations

from typing import Any

from tvm import s_tir
from tvm.tirx import compilation_pipeline

from targets.base.forks import BuildLock
from targets.base.target import Target
from targets.base.tvm_api import IRModule, kernel_pass, llvm_target, relax, relax_passes, tirx, tvm
from targets.codegen.lanes import serial_where_needed
from targets.codegen.opaque import hide, in_memory, reveal
from tgraph.ir.errors import CompileError

PIPELINE = "tgraph_cpu"
_lock = BuildLock()  # LLVM's options are the process's: the first build that ends sets them back


def pipeline(form: str = "llvm") -> tuple[Any, Any, Any]:
    """TVM's passes over kernels, over what calls them, and over device code, for a generator of LLVM's IR or of "c++"."""
    passes = tvm.ir.transform.Sequential([
        kernel_pass(serial_where_needed, "tgraph.serial_where_needed"),
        kernel_pass(hide, "tgraph.hide"),
        s_tir.transform.StmtSimplify(),
        s_tir.transform.LowerOpaqueBlock(),  # loops of one round become their body
        tirx.transform.FlattenBuffer(),
        tirx.transform.NarrowDataType(32),
        tirx.transform.VectorizeLoop(),
        tirx.transform.StorageRewrite(),
        tirx.transform.UnrollLoop(),
        tirx.transform.StmtSimplify(),
        tirx.transform.RemoveNoOp(),
        tirx.transform.AnnotateEntryFunc(),
        tirx.transform.SplitHostDevice(),
        tirx.transform.MakePackedAPI(),
        tirx.transform.BF16StorageLegalize(),
    ])
    host = tvm.ir.transform.Sequential([
        tirx.transform.LowerTVMBuiltin(), tirx.transform.LowerIntrin(), kernel_pass(in_memory, "tgraph.in_memory"),
        kernel_pass(lambda f: reveal(f, form), "tgraph.reveal")])
    return passes, lambda: host, compilation_pipeline.finalize_device_passes


compilation_pipeline.register_tir_pipeline(PIPELINE, pipeline)


def build(module: IRModule, target: Target) -> relax.VMExecutable:
    """Machine code of a lowered module, in memory. Raises CompileError for a target that names no CPU."""
    if not target.mcpu:
        raise CompileError(f"target {target} names no CPU for LLVM; its backend's parse may return "
                           "replace(super().parse(detail), kind=self.kind)")
    where = llvm_target(target.mcpu, target.changes)
    with _lock:
        return tvm.compile(module, target=where, relax_pipeline=tvm.transform.Sequential(relax_passes()), tir_pipeline=PIPELINE)

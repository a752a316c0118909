"""TVM's passes for our GPU kernels, and the machine code of a module for an NVIDIA GPU.

The kernels come with their own grid, memory and barriers, so this is TVM's pipeline for scheduled functions less all that would
move, shrink or add one of them. (Its elimination of common subexpressions is left to nvcc: it fails where a loop follows `let`s.)
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from tvm import s_tir
from tvm.tirx import compilation_pipeline

import targets.cuda.source  # noqa: F401  (TVM calls it with every source)
from targets.base.forks import BuildLock
from targets.base.target import Target
from targets.base.tvm_api import IRModule, PrimFunc, kernel_pass, relax, relax_passes, tirx, tvm
from targets.codegen.kernel_builder import BINARIES
from targets.codegen.lanes import serial_where_needed
from targets.codegen.opaque import hide, reveal
from targets.cuda.compilers import compile_source
from targets.cuda.literals import exact_literals
from targets.cuda.runtime import load_runtime
from targets.cuda.triton.binary import modules
from targets.cuda.tvm_api import allocations, replaced
from tgraph.ir.errors import TGraphError

PIPELINE = "tgraph_cuda"
CALLBACK = "tvm_callback_cuda_compile"  # what TVM calls with CUDA source, and takes machine code from
_lock = BuildLock()


def _split() -> list[Any]:
    """TVM's passes up to the split into functions of the host and of the GPU."""
    return [
        kernel_pass(serial_where_needed, "tgraph.serial_where_needed"),
        kernel_pass(hide, "tgraph.hide"),
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
    ]


def _pipeline() -> tuple[Any, Any, Any]:
    last = [exact_literals, tirx.transform.MakePackedAPI(), tirx.transform.BF16StorageLegalize()]
    host = tvm.ir.transform.Sequential([compilation_pipeline.finalize_host_passes(), kernel_pass(reveal, "tgraph.reveal")])
    device = tvm.ir.transform.Sequential([
        compilation_pipeline.finalize_device_passes(), kernel_pass(lambda f: reveal(f, "c++"), "tgraph.reveal")])
    return tvm.ir.transform.Sequential([*_split(), *last]), lambda: host, lambda: device


compilation_pipeline.register_tir_pipeline(PIPELINE, _pipeline)


def dynamic_shared(kernels: Iterable[PrimFunc], target: Target) -> dict[str, int]:
    """The bytes of shared memory that launches ask for, by the names of the GPU's functions."""
    where = _tvm_target(target)
    functions = IRModule({str(f.attrs["global_symbol"]): f for f in kernels})
    with where:
        split = tvm.ir.transform.Sequential([tirx.transform.BindTarget(where), *_split()])(functions)
    found: dict[str, int] = {}
    for variable, function in split.functions.items():
        for buffer in (allocation.buffer for allocation in allocations(function)):
            if buffer.scope() == "shared.dyn":
                found[str(variable.name_hint)] = math.prod(map(int, buffer.shape)) * tvm.runtime.DataType(buffer.dtype).itemsize
    return found


def _tvm_target(target: Target) -> Any:
    return tvm.target.Target({"kind": "cuda", "arch": target.arch, "max_shared_memory_per_block": 48 * 1024,
                              "max_threads_per_block": 1024, "host": "llvm"})


def build(module: IRModule, target: Target) -> relax.VMExecutable:
    """Machine code of a lowered module: its kernels for the GPU, what launches them for this CPU.

    Raises CompileError: a kernel that does not compile, or what to install.
    """
    load_runtime()
    where = _tvm_target(target)
    binaries = [str(name) for _, f in module.functions.items() if isinstance(f, PrimFunc) for name in f.attrs.get(BINARIES, ())]
    if binaries:
        module = module.with_attr("external_mods", modules(binaries))
    failures: list[TGraphError] = []

    def machine_code(source: str) -> bytes:
        try:
            return compile_source(source, target.arch).cubin
        except TGraphError as error:  # TVM would make another error of it
            failures.append(error)
            raise

    with _lock, where, replaced(CALLBACK, machine_code):
        try:
            return tvm.compile(module, target=where, relax_pipeline=tvm.transform.Sequential(relax_passes()),
                               tir_pipeline=PIPELINE)
        except RuntimeError:
            if failures:
                raise failures[0] from None
            raise

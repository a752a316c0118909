"""Every name that depends on TVM's version, and how TVM is set up. The rest of `targets` imports TVM from here."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from targets.base.cores import default_threads

# TVM takes half the cores that it sees unless told otherwise, and reads this when a pool of workers starts.
os.environ.setdefault("TVM_NUM_THREADS", str(default_threads()))
# Workers stay unpinned: pinned ones and their unpinned caller were seen to share one core for seconds.
os.environ.setdefault("TVM_BIND_THREADS", "0")

import tvm
import tvm_ffi
from tvm import relax, tirx
from tvm.ir import Expr, IRModule, TensorLoad
from tvm.relax.expr import prim_value
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T
from tvm.tirx import Buffer, PrimFunc
from tvm_ffi import structural_equal, structural_walk
from tvm_ffi.error import register_error

__all__ = ["Buffer", "Expr", "IRBuilder", "IRModule", "PrimFunc", "T", "contiguous", "host_cpu", "host_features", "int64",
           "kernel_pass", "llvm_features", "llvm_target", "load_library", "machine_code_modules", "prim_value", "reads_memory",
           "relax", "relax_passes", "structural_equal", "tirx", "tvm", "tvm_ffi", "tvm_version", "valid_cpus"]

# An interrupt that comes in a function that TVM called passes through TVM as what it is.
register_error("KeyboardInterrupt", KeyboardInterrupt)


def tvm_version() -> str:
    return str(tvm.__version__)


def host_cpu() -> str:
    """LLVM's name of this machine's CPU, such as "znver3"."""
    return str(tvm.get_global_func("target.llvm_get_system_cpu")())


def host_features() -> dict[str, bool]:
    """What LLVM read from this machine's CPU: whether it has a feature, and the system lets programs use it."""
    found = tvm.get_global_func("tvm.codegen.llvm.GetHostCPUFeatures")()
    return {str(name): bool(present) for name, present in found.items()}


def valid_cpus(triple: str = "") -> list[str]:
    """The CPU names that LLVM knows for an architecture, by default the host's."""
    target = tvm.target.Target({"kind": "llvm", **({"mtriple": triple} if triple else {})})
    return sorted(str(name) for name in tvm.get_global_func("target.llvm_get_cpu_archlist")(target))


# LLVM 22 makes vectors of a loop with a branch by masked loads, and may leave their addresses undefined where the branch keeps an
# index in range (llvm-project pull request 193978). What is worth a vector our kernels say themselves.
LLVM_OPTIONS = ["-enable-if-conversion=false"]
# What is worth unrolling they say, too: kernels of level 3 were not faster, and took a quarter longer to compile.
LLVM_LEVEL = 2


def llvm_target(mcpu: str, changes: Sequence[str] = ()) -> tvm.target.Target:
    """TVM's target for a CPU: LLVM's name of its model, and what it has ("+avxvnni") or lacks ("-avx512f") against that."""
    changed = {"mattr": list(changes)} if changes else {}
    return tvm.target.Target({"kind": "llvm", "mcpu": mcpu, "cl-opt": LLVM_OPTIONS, "opt-level": LLVM_LEVEL, **changed})


def llvm_features(mcpu: str, changes: Sequence[str] = ()) -> list[str]:
    """LLVM's names of what a CPU has ("avx2", "fma", "neon"), with its advice on scheduling ("fast-gather")."""
    return [str(name) for name in tvm.get_global_func("target.llvm_get_cpu_features")(llvm_target(mcpu, changes))]


def relax_passes() -> list[tvm.transform.Pass]:
    """TVM's passes from Relax functions in the low form of `lower.py` to its virtual machine."""
    return [relax.transform.LowerRuntimeBuiltin(), relax.transform.VMShapeLower(), relax.transform.AttachGlobalSymbol()]


def kernel_pass(change: Callable[[PrimFunc], PrimFunc], name: str) -> tvm.transform.Pass:
    """A pass of TVM's over all kernels of a module."""
    return tirx.transform.prim_func_pass(lambda function, _module, _context: change(function), opt_level=0, name=name)


def load_library(path: str) -> tvm.runtime.Module:
    """The module of a shared library; the system unmaps the library when nobody holds the module or a function of it.

    (By default TVM holds every module that was ever loaded, for the sake of objects that a library's own code made and has to
    delete. Our kernels make none.)
    """
    return tvm_ffi.load_module(path, keep_module_alive=False)


def machine_code_modules(module: tvm.runtime.Module) -> list[tvm.runtime.Module]:
    """A module as modules that LLVM can write to object files: its machine code, and as data whatever else it imports."""
    from tvm.runtime import _ffi_api

    module = getattr(module, "mod", module)  # of an executable that was just built
    found = [part for part in module._collect_dso_modules() if part.kind == "llvm"]  # none of a graph without kernels
    if module.imports:
        target = found[0].get_function("_get_target_string")() if found else str(tvm.target.Target("llvm"))
        found.append(_ffi_api.ModulePackImportsToLLVM(module, False, target, ""))
    return found


def int64(value: int) -> Expr:
    """An int64 literal."""
    return tirx.const(value, "int64")


def contiguous(load: Callable[[Expr], Expr]) -> bool:
    """Whether `load(i)` is a plain read of memory, and `load(i + 1)` reads the next element."""
    i = tirx.Var("i", "int64")
    here, following = (_uncast(load(at)) for at in (i, i + int64(1)))
    if not isinstance(here, TensorLoad):
        return False
    step = tvm.sym.Analyzer().simplify(following.indices[0] - here.indices[0])
    return isinstance(step, tirx.IntImm) and int(step.value) == 1


def reads_memory(expression: Expr) -> bool:
    """Whether an expression depends on elements of tensors."""
    found: list[Expr] = []
    structural_walk(expression, [(TensorLoad, found.append)])
    return bool(found)


def _uncast(expression: Expr) -> Expr:
    while isinstance(expression, tirx.Cast):
        expression = expression.value
    return expression

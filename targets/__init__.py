"""Graph to machine: targets, kernels, lowering through TVM's Relax, and the executables that come out."""

from typing import TYPE_CHECKING, Any

from targets.attention_maps import attention_weights
from targets.base.memory import aligned_empty
from targets.base.registry import KINDS, register_backend
from targets.base.target import Target
from targets.compiler import compile
from targets.loading import load
from targets.runtime.executable import Executable
from targets.runtime.program_executable import ProgramExecutable
from targets.runtime.runner import set_num_threads
from targets.runtime.session import Session

if TYPE_CHECKING:
    from targets.base.backend import kernel as kernel
    from targets.codegen.scalar import scalar_kernel as scalar_kernel

__all__ = ["KINDS", "Executable", "ProgramExecutable", "Session", "Target", "aligned_empty", "attention_weights", "compile",
           "kernel", "load", "register_backend", "scalar_kernel", "set_num_threads"]


def __getattr__(name: str) -> Any:
    """The decorators of kernels, which need TVM, on first use."""
    if name == "kernel":
        from targets.base.backend import kernel

        return kernel
    if name == "scalar_kernel":
        from targets.codegen.scalar import scalar_kernel

        return scalar_kernel
    raise AttributeError(f"module 'targets' has no attribute {name!r}")

"""Graph to machine: targets, kernels, lowering through TVM's Relax, and the executables that come out."""

from typing import TYPE_CHECKING, Any

from .compiler import compile
from .executable import Executable
from .memory import aligned_empty
from .runner import set_num_threads
from .target import KINDS, Target

if TYPE_CHECKING:
    from .backend import kernel as kernel
    from .kernels.scalar import scalar_kernel as scalar_kernel

__all__ = ["KINDS", "Executable", "Target", "aligned_empty", "compile", "kernel", "load", "scalar_kernel", "set_num_threads"]


def load(path: object) -> Executable:
    """Read an executable that `save` wrote."""
    from .bundle import load as load_bundle

    return load_bundle(path)  # type: ignore[arg-type]


def __getattr__(name: str) -> Any:
    """The decorators of kernels, which need TVM, on first use."""
    if name == "kernel":
        from .backend import kernel

        return kernel
    if name == "scalar_kernel":
        from .kernels.scalar import scalar_kernel

        return scalar_kernel
    raise AttributeError(f"module 'targets' has no attribute {name!r}")

"""Graph to machine: targets, kernels, lowering through TVM's Relax, and the executables that come out."""

from .compile import compile
from .executable import Executable
from .runner import set_num_threads
from .target import KINDS, Target

__all__ = ["KINDS", "Executable", "Target", "compile", "load", "set_num_threads"]


def load(path: object) -> Executable:
    """Read an executable that `save` wrote."""
    from .bundle import load as load_bundle

    return load_bundle(path)  # type: ignore[arg-type]

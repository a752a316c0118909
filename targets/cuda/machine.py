"""GPUs as targets: by the name of an architecture, or this machine's."""

from __future__ import annotations

import re

from targets.cuda.runtime import require_arch
from tgraph.ir.errors import TargetError

OLDEST_GPU = 80  # compute capability 8.0: the first with bf16 products and asynchronous copies


def capability(arch: str) -> int:
    """The number in a GPU's architecture, 90 of "sm_90"; 0 for an empty name."""
    return int(arch[3:] or 0)


def gpu_arch(name: str) -> str:
    """A GPU's architecture by its name, or this machine's. Raises TargetError."""
    if not name:
        return require_arch()
    if not re.fullmatch(r"sm_\d{2,3}", name) or capability(name) < OLDEST_GPU:
        raise TargetError(f"target 'cuda:{name}': a GPU's architecture is \"sm_\" and its compute capability without the point, "
                          f"sm_{OLDEST_GPU} or later: sm_80 (A100), sm_86, sm_89, sm_90 (H100)")
    return name

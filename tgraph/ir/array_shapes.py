"""Which shapes arrays can have, for sizes that a file claims."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

MOST_AXES = 64 if int(np.__version__.partition(".")[0]) >= 2 else 32


def is_array_shape(shape: Sequence[int], itemsize: int) -> bool:
    """Whether NumPy has arrays of a shape: with as many axes, and bytes that 63 bits count, those of empty ones as if no axis
    were 0."""
    if len(shape) > MOST_AXES:
        return False
    total = itemsize
    for size in shape:
        total *= max(size, 1)
        if size < 0 or total >= 2**63:
            return False
    return True

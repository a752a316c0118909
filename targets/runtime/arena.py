"""The memory for what lies between kernels: one piece for all calls of a process, and tensors over its parts."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from targets.base.memory import aligned_empty

if TYPE_CHECKING:
    from targets.runtime.engine import StageLayout

KEPT = 64  # stages at certain sizes whose tensors are kept, those that ran last
SMALLEST = 4096


class Arena:
    """Grows to the largest call seen. Tensors that come again are kept, and go when it grows: they would hold the old memory."""

    def __init__(self) -> None:
        self.bytes = 0
        self._memory: Any = None
        self._kept: OrderedDict[StageLayout, list[Any]] = OrderedDict()

    def memory(self, size: int) -> Any:
        """A TVM tensor of at least so many bytes, the same one for all calls."""
        if self._memory is None or size > self.bytes:
            from targets.runtime.tensors import share

            self._kept.clear()  # let go of the old memory first
            self._memory = None
            self.bytes = max(size, SMALLEST)
            self._memory = share(aligned_empty((self.bytes,), np.dtype(np.uint8)))
        return self._memory

    def tensors(self, layout: StageLayout) -> Sequence[Any]:
        """The tensors over the places of a stage's values, in memory that is large enough already."""
        found = self._kept.get(layout)
        if found is None:
            view = self._memory._create_view
            found = [view(shape, dtype, offset) for shape, dtype, offset in layout.places]
            if layout.comes_again:
                self._kept[layout] = found
                if len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(layout)
        return found

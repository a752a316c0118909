"""Recurrences over time: the loop over steps is in the kernel, the product of the inputs is another one's."""

from __future__ import annotations

from targets.base.target import Target
from targets.codegen.kernel_builder import KernelBuilder
from targets.codegen.recurrence import Recurrence
from targets.cuda.kernels.recurrence import recurrence


def emit(builder: KernelBuilder, target: Target) -> None:
    """Emit `lstm_scan`, `gru_scan` or `rnn_scan`."""
    builder.notes.append(recurrence(Recurrence.of(builder)))

"""Recurrences over time: the loop over steps is in the kernel, the product of the inputs is another one's."""

from __future__ import annotations

from typing import Any

from targets.base.target import Target
from targets.base.tvm_api import Expr, T, int64, tirx
from targets.codegen.kernel_builder import KernelBuilder
from targets.codegen.recurrence import Recurrence
from targets.codegen.vector_math import constant
from targets.cpu.kernels.recurrence import RecurrenceTile, recurrence


def tile_for(target: Target, gates: int, dtype: str) -> RecurrenceTile:
    """The register tile for a target."""
    return RecurrenceTile.for_target(target.vector_bits, target.vector_registers, gates, dtype)


def emit(builder: KernelBuilder, target: Target) -> None:
    """Emit `lstm_scan`, `gru_scan` or `rnn_scan`."""
    cell = Recurrence.of(builder)
    tile = tile_for(target, cell.gates, cell.dtype)
    builder.notes.append(f"sums {tile.rows}x{tile.columns}, all gates of {tile.width} units")
    panels: Any = cell.panels
    if panels is None or cell.columns != tile.columns:
        builder.notes.append("recurrent weights that a call brings are packed by each call")
        panels = _packed(cell, tile)
    recurrence(cell, tile, panels, target.l2_bytes * 7 // 8)


def _packed(cell: Recurrence, tile: RecurrenceTile) -> Any:
    """Emit the packing of weights that are known only at the call."""
    count = -(-cell.hidden // tile.width)
    panels = T.alloc_buffer((cell.directions * count * cell.hidden * tile.columns,), cell.dtype)
    with T.parallel(int64(0), int64(cell.directions * count)) as run:
        direction, panel = tirx.truncdiv(run, int64(count)), tirx.truncmod(run, int64(count))

        def place(k: Expr, gate: int, unit: Expr) -> Expr:
            return (run * int64(cell.hidden) + k) * int64(tile.columns) + (int64(gate * tile.width) + unit)

        with T.serial(int64(0), int64(cell.hidden)) as k, T.serial(int64(0), int64(tile.width)) as unit:
            at = panel * int64(tile.width) + unit
            with T.If(at < int64(cell.hidden)):
                with T.Then():
                    for gate in range(cell.gates):
                        weight = cell.load_weight(direction, int64(gate * cell.hidden) + at, k)
                        T.buffer_store(panels, weight, [place(k, gate, unit)])
                with T.Else():
                    for gate in range(cell.gates):
                        T.buffer_store(panels, constant(0.0, cell.dtype), [place(k, gate, unit)])
    return panels

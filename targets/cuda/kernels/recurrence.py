"""Recurrences over time on a GPU: a block has a few rows of the batch, with their states in shared memory, for all steps.

A thread has some of the units. At each step it multiplies the states of all rows by the weights of its units, which lie beside
those of its neighbours ([D, H, gates H], a panel of all units), and makes their new states of the sums.
"""

from __future__ import annotations

from collections.abc import Callable

from targets.base.tvm_api import Buffer, Expr, T, int64, tirx
from targets.codegen.opaque import bind
from targets.codegen.recurrence import HIDDEN, Phase, Recurrence, Unit
from targets.codegen.scalar import cast
from targets.codegen.vector_math import constant
from targets.cuda.kernels.device import WARP, barrier, grid, registers, shared
from targets.cuda.kernels.launch import ceil_divide, unrolled
from tgraph.ir.errors import CompileError

STATIC, MOST = 48 * 1024, 96 * 1024  # bytes of shared memory: without asking for more, and on every GPU of capability 8.0
SUMS = 16  # bytes of registers for one gate's sums of all rows: doubles of four rows are too many


def recurrence(cell: Recurrence) -> str:
    """Emits the launch of a recurrence; a note of what was chosen. Raises CompileError for states beyond shared memory."""
    size = 8 if cell.dtype == "float64" else 4
    row = (2 + len(cell.memories)) * cell.hidden * size
    rows = next((n for n in (4, 2, 1) if n * size <= SUMS and n * row <= STATIC), 1)
    if row > MOST:
        raise CompileError(f"kernel {cell.builder.function.name}: the states of {cell.hidden} units take {row} bytes of a GPU's "
                           f"shared memory, which has {MOST}")
    _Block(cell, rows, rows * row > STATIC).emit()
    return f"a block for {rows} rows, states in shared memory"


class _Block:
    def __init__(self, cell: Recurrence, rows: int, dynamic: bool) -> None:
        self.cell, self.rows, self.dynamic = cell, rows, dynamic
        self.threads = min(1024, -(-cell.hidden // WARP) * WARP)
        self.slots = {HIDDEN: 0, **{name: n for n, name in enumerate(cell.memories, 2)}}

    def emit(self) -> None:
        cell = self.cell
        blocks = ceil_divide(cell.batch, self.rows)
        with grid(self.threads, blocks * int64(cell.directions)) as (block, _, _, thread), unrolled():
            self.thread = tirx.Cast("int64", thread)
            self.direction = bind(tirx.truncdiv(block, tirx.Max(blocks, int64(1))))
            self.row = bind((block - self.direction * blocks) * int64(self.rows))
            self.memory = shared("memory", ((1 + len(self.slots)) * self.rows * cell.hidden,), cell.dtype, dynamic=self.dynamic)
            self.totals = registers("totals", (self.rows * cell.gates,), cell.dtype)
            self.ends = registers("ends", (self.rows,), "int64")
            latest = self._begin()
            barrier()
            with T.serial(int64(0), latest) as step:
                for number in range(len(cell.phases)):
                    self._phase(step, number)
                    barrier()
            for state, (_, name) in cell.states.items():
                if name is not None:
                    self._last(state, latest)

    def _begin(self) -> Expr:
        """Emits the states before the first step, and zeros behind the last one of each row; the number of steps to make."""
        cell, latest = self.cell, registers("latest", (1,), "int64")
        T.buffer_store(latest, int64(0), [0])
        for r in range(self.rows):
            T.buffer_store(self.ends, int64(0), [r])
            with T.If(self.row + int64(r) < cell.batch), T.Then():
                T.buffer_store(self.ends, cell.end(self.row + int64(r)), [r])
            T.buffer_store(latest, tirx.Max(latest[0], self.ends[r]), [0])

        def start(unit: Expr) -> None:
            for r in range(self.rows):
                for parity in (0, 1):
                    self._store(HIDDEN, int64(parity), r, unit, constant(0.0, cell.dtype))
                for name in cell.memories:
                    self._store(name, int64(0), r, unit, constant(0.0, cell.dtype))

            def given(r: int) -> None:
                row = self.row + int64(r)
                for state in cell.states:
                    self._store(state, int64(0), r, unit, cell.load_first(state, self.direction, row, unit))
                if cell.has_lengths:
                    with T.serial(int64(0), cell.length - self.ends[r]) as t:
                        cell.store_output(self.direction, row, self.ends[r] + t, unit, constant(0.0, cell.dtype))

            self._each_row(given)

        self._each_unit(start)
        return bind(latest[0])

    def _last(self, state: str, latest: Expr) -> None:
        """Emits a state after the last step."""
        self._each_unit(lambda unit: self._each_row(lambda r: self.cell.store_last(
            state, self.direction, self.row + int64(r), unit, self.memory[self._at(state, latest, r, unit)])))

    # Units, rows, memory

    def _each_unit(self, emit: Callable[[Expr], None]) -> None:
        """Emits `emit(unit)` for all of this thread's units."""
        hidden, turns = self.cell.hidden, -(-self.cell.hidden // self.threads)

        def one(unit: Expr) -> None:
            if hidden == turns * self.threads:
                emit(unit)
            else:
                with T.If(unit < int64(hidden)), T.Then():
                    emit(unit)

        if turns == 1:
            one(self.thread)
            return
        with T.serial(int64(0), int64(turns)) as turn:
            one(bind(turn * int64(self.threads) + self.thread))

    def _each_row(self, emit: Callable[[int], None]) -> None:
        """Emits `emit(r)` for the rows that are in the batch."""
        for r in range(self.rows):
            with T.If(self.row + int64(r) < self.cell.batch), T.Then():
                emit(r)

    def _at(self, name: str, step: Expr, row: int, unit: Expr) -> Expr:
        """The place of a unit in a memory, before a step."""
        slot: Expr = tirx.truncmod(step, int64(2)) if name == HIDDEN else int64(self.slots[name])
        return (slot * int64(self.rows) + int64(row)) * int64(self.cell.hidden) + unit

    def _store(self, name: str, step: Expr, row: int, unit: Expr, value: Expr) -> None:
        T.buffer_store(self.memory, value, [self._at(name, step, row, unit)])

    # A step

    def _weight(self, panels: Buffer | None, gate: int, unit: Expr, k: Expr) -> Expr:
        cell = self.cell
        column = int64(gate * cell.hidden) + unit
        if panels is None or cell.columns != cell.gates * cell.hidden:
            return cell.load_weight(self.direction, column, k)
        return cast(panels[(self.direction * int64(cell.hidden) + k) * int64(cell.columns) + column], cell.dtype)

    def _phase(self, step: Expr, number: int) -> None:
        self._each_unit(lambda unit: self._step(step, number, self.cell.phases[number], unit))

    def _step(self, step: Expr, number: int, phase: Phase, unit: Expr) -> None:
        """Emits a phase of a step for one unit of all rows."""
        cell, panels = self.cell, self.cell.panels
        places = [(r, g) for r in range(self.rows) for g in phase.gates]
        for r, g in places:
            T.buffer_store(self.totals, constant(0.0, cell.dtype), [r * cell.gates + g])
        with T.serial(int64(0), int64(cell.hidden)) as k:
            weights = {g: bind(self._weight(panels, g, unit, k)) for g in phase.gates}
            for r, g in places:
                state = self.memory[self._at(phase.source, step, r, k)]
                T.buffer_store(self.totals, self.totals[r * cell.gates + g] + state * weights[g], [r * cell.gates + g])
        for r in range(self.rows):
            with T.If(step < self.ends[r]):
                with T.Then():
                    self._finish(step, number, r, unit)
                with T.Else():
                    if number == len(cell.phases) - 1:
                        self._store(HIDDEN, step + int64(1), r, unit, self.memory[self._at(HIDDEN, step, r, unit)])

    def _finish(self, step: Expr, number: int, r: int, unit: Expr) -> None:
        cell, row = self.cell, self.row + int64(r)
        place = bind(tirx.Select(cell.backwards(self.direction), self.ends[r] - int64(1) - step, step))

        def write(name: str, value: Expr) -> None:
            value = bind(value)
            self._store(name, step + int64(1), r, unit, value)
            if name == HIDDEN:
                cell.store_output(self.direction, row, place, unit, value)

        cell.finish(number, Unit(
            total=lambda gate: self.totals[r * cell.gates + gate],
            x=lambda gate: cell.load_x(self.direction, row, place, gate, unit),
            added=lambda name, position: cell.load_added(self.direction, name, position, unit),
            read=lambda name: bind(self.memory[self._at(name, step, r, unit)]), write=write))

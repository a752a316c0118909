"""Recurrences over time: the whole loop in one kernel, with the recurrent weights in panels that stay in the caches.

A panel has all gates of a run of units, so a tile of sums, some rows by one panel, has all that makes new states of them.
Workers share directions and rows, which never wait for each other; where there are fewer of these than workers, a team of
workers shares the units of some rows, and goes from step to step together (`team.py`). Either way a sum runs over k in one
order: results have the same bits at any number of workers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T

from targets.codegen.opaque import bind
from targets.codegen.recurrence import GATED, HIDDEN, Phase, Recurrence, Unit
from targets.codegen.scalar import cast
from targets.codegen.vector_math import constant
from targets.cpu.kernels.gemm_tile import CACHE_LINE, SIZE
from targets.cpu.kernels.prefetch import SECOND_CACHE, prefetch
from targets.cpu.kernels.recurrence_division import READ, Problem
from targets.cpu.kernels.register_tile import RegisterTile, by_height, each_column_of_panel, heights, rounded
from targets.cpu.kernels.team import CHUNKS, Member, Team
from targets.cpu.kernels.workers import ceil_divide, divide, i64, remainder, share, worker_count

STEPS = 8  # of k that follow each other without a test
AHEAD = 32  # lines of weights that a higher tile asks for before it needs them


@dataclass(frozen=True)
class RecurrenceTile:
    """Blocking of a recurrence: tiles of `rows` x (`gates` x `units`) vectors of sums, and rows that a task has at once.

    registers: vectors of sums that are in registers at a time; a higher tile takes its vectors in several goes.
    """

    rows: int
    gates: int
    units: int  # vectors of units
    lanes: int
    block: int
    registers: int

    @property
    def width(self) -> int:
        """The units of a panel."""
        return self.units * self.lanes

    @property
    def columns(self) -> int:
        """The columns of a panel."""
        return self.gates * self.width

    @property
    def heights(self) -> list[int]:
        """The heights of tiles for which there is a loop."""
        return heights(self.rows)

    @classmethod
    def for_target(cls, vector_bits: int, vector_registers: int, gates: int, dtype: str) -> RecurrenceTile:
        """The tile for a CPU, with sums of `dtype`."""
        units = 1 if gates > 1 else 4
        vectors = gates * units
        registers = vector_registers - 4  # a vector of weights and the broadcast elements of the state stay outside of the tile
        # With fewer than four rows each weight is read too often: then half of the vectors, for more rows.
        beside = vectors if registers // vectors >= 4 else -(-vectors // 2)
        rows = max(2, min(8, registers // beside // 2 * 2))
        return cls(rows, gates, units, vector_bits // (8 * SIZE[dtype]), 4 * rows, registers)

    def goes(self, rows: int, vectors: int) -> list[range]:
        """The vectors of a tile of so many rows that are summed at a time."""
        count = -(-rows * vectors // self.registers)
        return [range(vectors * go // count, vectors * (go + 1) // count) for go in range(count)]


def recurrence(cell: Recurrence, tile: RecurrenceTile, panels: Any, cache: int) -> None:
    """Emits a recurrence whose weights are in `panels`, a flat buffer of [D, ceil(H / width), H, columns].

    cache: bytes of weights that a worker's own cache keeps from step to step.
    """
    _Loop(cell, tile, panels, cache).emit()


class _Loop:
    def __init__(self, cell: Recurrence, tile: RecurrenceTile, panels: Any, cache: int) -> None:
        self.cell, self.tile, self.panels = cell, tile, panels
        self.count = -(-cell.hidden // tile.width)  # of panels
        panel_bytes = cell.hidden * tile.columns * SIZE[str(panels.dtype)]
        self.problem = Problem(cell.directions, tile.rows, tile.block, self.count, panel_bytes, cache)
        self.padded = self.count * tile.width
        self.rows = tile.block + tile.rows  # in memory: a last tile may be higher than its rows
        self.slots = {HIDDEN: 0, **{name: n for n, name in enumerate(cell.memories, 2)}}

    def emit(self) -> None:
        self.work = self.problem.divide(self.cell.batch, worker_count())
        with Team.imported():
            self._share()

    def _share(self) -> None:
        """Emits the parallel loop: groups of workers, each of which takes every so many of the tasks."""
        cell, tile, work = self.cell, self.tile, self.work
        size = (1 + len(self.slots)) * self.rows * self.padded
        # TVM makes memory where a kernel begins, so of sizes that are known there; what no group uses is never touched
        self.memory = T.alloc_buffer((work.most * size,), cell.dtype)
        chunks = bind(tirx.Select(work.members > i64(1), tirx.min(work.members * CHUNKS, i64(self.count)), i64(1)))
        team = Team(work.members, chunks, work.groups, work.most * self.count)
        tasks = bind(work.blocks * cell.directions)
        with T.parallel(work.groups * work.members) as worker:
            group, member = bind(divide(worker, work.members)), bind(remainder(worker, work.members))
            self.base, self.team, self.member = bind(group * size), team, Member(team, group, member)
            self.sums = T.alloc_buffer((tile.rows * tile.columns,), cell.dtype)
            self.ends = T.alloc_buffer((tile.block,), "int64")
            with T.serial(ceil_divide(tasks - group, work.groups)) as turn:
                task = bind(group + turn * work.groups)
                row, rows = share(cell.batch, work.blocks, remainder(task, work.blocks))
                self._task(_Task(bind(divide(task, work.blocks)), row, rows))

    def _task(self, task: _Task) -> None:
        latest = self._latest(task)
        self._round(lambda: self._begin(task))
        with T.serial(latest) as step:
            for number in range(len(self.cell.phases)):
                self._phase(task, step, number)
        self._round(lambda: self._end(task, latest))

    def _phase(self, task: _Task, step: Expr, number: int) -> None:
        self._round(lambda: self._each_panel(lambda panel: self._panel(task, step, number, self.cell.phases[number], panel)))

    def _round(self, emit: Callable[[], None]) -> None:
        """Emits what is done for all panels before anything that comes after it; `emit` does so for those of a chunk."""
        def chunk(number: Expr) -> None:
            self.first, self.own = share(i64(self.count), self.team.chunks, number)
            emit()

        self.member.round(chunk)

    def _latest(self, task: _Task) -> Expr:
        """Emits where the rows of a task end; the number of steps that the longest has."""
        latest = T.alloc_buffer((1,), "int64")
        T.buffer_store(latest, i64(0), [0])
        with T.serial(task.rows) as r:
            end = bind(self.cell.end(task.row + r))
            T.buffer_store(self.ends, end, [r])
            T.buffer_store(latest, tirx.max(latest[0], end), [0])
        return bind(latest[0])

    def _begin(self, task: _Task) -> None:
        """Emits the states before the first step, and zeros behind the last one of each row."""
        cell = self.cell
        with T.serial(task.rows) as r:
            for state in cell.states:
                self._first(state, task, r)
            if cell.has_lengths and cell.output is not None:
                end = bind(self.ends[r])
                with T.serial(cell.length - end) as t:
                    self._each_unit(lambda panel, column: cell.store_output(
                        task.direction, task.row + r, end + t, panel * self.tile.width + column, constant(0.0, cell.dtype)))
        with T.serial(i64(self.tile.rows)) as r:  # what tiles read beyond the last row must be numbers, and no slow ones
            for name, parity in ((HIDDEN, 0), (HIDDEN, 1), *([(GATED, 0)] if GATED in self.slots else [])):
                self._clear(name, i64(parity), task.rows + r)

    def _first(self, state: str, task: _Task, row: Expr) -> None:
        """Emits a state of a row before the first step."""
        self._each_unit(lambda panel, column: self._store(state, i64(0), row, panel, column, self.cell.load_first(
            state, task.direction, task.row + row, panel * self.tile.width + column)))

    def _clear(self, name: str, step: Expr, row: Expr) -> None:
        self._each_unit(lambda panel, column: self._store(name, step, row, panel, column, constant(0.0, self.cell.dtype)))

    def _end(self, task: _Task, latest: Expr) -> None:
        """Emits the states after the last step."""
        for state, (_, name) in self.cell.states.items():
            if name is not None:
                with T.serial(task.rows) as r:
                    self._last(state, task, latest, r)

    def _last(self, state: str, task: _Task, latest: Expr, row: Expr) -> None:
        """Emits a state of a row after the last step."""
        self._each_unit(lambda panel, column: self.cell.store_last(
            state, task.direction, task.row + row, panel * self.tile.width + column,
            self.memory[self._at(state, latest, row, panel, column)]))

    # Memory

    def _at(self, name: str, step: Expr, row: Expr, panel: Expr, unit: Expr) -> Expr:
        """The place of a unit of the block in a memory, before a step."""
        slot: Expr = i64(self.slots[name])
        if name == HIDDEN:
            slot = remainder(step, 2)
        return self.base + (slot * self.rows + row) * self.padded + (panel * self.tile.width + unit)

    def _store(self, name: str, step: Expr, row: Expr, panel: Expr, unit: Expr, value: Expr) -> None:
        T.buffer_store(self.memory, value, [self._at(name, step, row, panel, unit)])

    def _each_unit(self, emit: Callable[[Expr, Expr], None]) -> None:
        """Emits `emit(panel, column)` for all units of a chunk, by vectors."""
        self._each_panel(lambda panel: self._units(panel, lambda column: emit(panel, column)))

    def _each_panel(self, emit: Callable[[Expr], None]) -> None:
        """Emits `emit(panel)` for all panels of a chunk.

        In alternating order if a worker's cache does not hold its panels: it would drop each just before that is needed again.
        """
        with T.serial(self.own) as p:
            turned = tirx.Select(self.work.members < self.problem.caches, self.member.turned(p, self.own), p)
            emit(bind(self.first + (turned if self.problem.caches > 1 else p)))

    def _units(self, panel: Expr, emit: Callable[[Expr], None]) -> None:
        """Emits `emit(column)` for the units of a panel, by vectors."""
        each_column_of_panel(panel == self.count - 1, self.cell.hidden, self.tile.width, self.tile.lanes,
                             lambda first, lane: emit(first + lane))

    # A step

    def _panel(self, task: _Task, step: Expr, number: int, phase: Phase, panel: Expr) -> None:
        """Emits a phase of one panel for all rows of a task."""
        tile = self.tile
        tiles = bind(ceil_divide(task.rows, tile.rows))
        height = bind(rounded(ceil_divide(task.rows, tirx.max(tiles, i64(1))), tile.heights))
        weights = bind((task.direction * self.count + panel) * (self.cell.hidden * tile.columns))
        with T.serial(bind(divide(task.rows + height - 1, tirx.max(height, i64(1))))) as t:
            row = bind(t * height)
            here = bind(tirx.min(task.rows - row, height))
            source = bind(self._at(phase.source, step, row, i64(0), i64(0)))
            self._prefetch(task, step, phase, panel, row, here)
            by_height(here, tile.heights, lambda h: self._products(h, phase, source, weights))
            with T.serial(here) as i:
                self._finish(task, step, number, panel, row + i, i)

    def _prefetch(self, task: _Task, step: Expr, phase: Phase, panel: Expr, row: Expr, rows: Expr) -> None:
        """Emits requests for the projected inputs of a tile, which the weights have pushed out, into the cache behind L1."""
        cell, tile = self.cell, self.tile
        with T.serial(rows) as i:
            place = self._place(task, step, self.ends[row + i])
            for gate in phase.gates:
                for vector in range(tile.units):
                    unit = panel * tile.width + vector * tile.lanes
                    prefetch(cell.load_x(task.direction, task.row + row + i, place, gate, unit), SECOND_CACHE)

    def _place(self, task: _Task, step: Expr, end: Expr) -> Expr:
        """Which element of its sequence a row is at."""
        return bind(tirx.Select(self.cell.backwards(task.direction), end - 1 - step, step))

    def _products(self, rows: int, phase: Phase, source: Expr, weights: Expr) -> None:
        """Emits the sums of a tile: states from `source` on, weights from `weights` on."""
        for go in self.tile.goes(rows, len(phase.gates) * self.tile.units):
            self._vectors(rows, phase, source, weights, go)

    def _vectors(self, rows: int, phase: Phase, source: Expr, weights: Expr, chosen: range) -> None:
        """Emits some of the vectors of the sums of a tile."""
        tile, units = self.tile, self.tile.units
        sums = RegisterTile(rows, tile.lanes, self.cell.dtype, len(chosen))
        sums.clear()

        def column(v: int) -> int:
            gate, unit = divmod(chosen[v], units)
            return (phase.gates[gate] * units + unit) * tile.lanes

        def step(k: Expr) -> None:
            if rows > READ and chosen.start == 0:
                elements = CACHE_LINE // SIZE[str(self.panels.dtype)]
                for line in range(0, tile.columns, elements):
                    prefetch(self.panels[weights + k * tile.columns + line + AHEAD * elements])

            def product(i: Any, v: int, lane: Any) -> Expr:
                weight = cast(self.panels[weights + k * tile.columns + column(v) + lane], self.cell.dtype)
                return self.memory[source + i * self.padded + k] * weight

            sums.add(product)

        groups, rest = divmod(self.cell.hidden, STEPS)
        if groups:
            with T.serial(i64(groups)) as group, T.serial(i64(STEPS)) as k:
                step(group * STEPS + k)
        if rest:
            with T.serial(i64(rest)) as k:
                step(groups * STEPS + k)
        sums.each(lambda i, v, lane: T.buffer_store(self.sums, sums[i, v, lane], [i * tile.columns + column(v) + lane]))

    def _finish(self, task: _Task, step: Expr, number: int, panel: Expr, row: Expr, i: Expr) -> None:
        """Emits what a phase makes of the sums in row i of a tile, which is `row` of the block."""
        cell = self.cell
        end = bind(self.ends[row])
        place = self._place(task, step, end)
        with T.If(step < end):
            with T.Then():
                self._units(panel, lambda column: self._unit(task, step, number, panel, row, i, place, column))
            with T.Else():
                if number == len(cell.phases) - 1:
                    self._units(panel, lambda column: self._store(
                        HIDDEN, step + 1, row, panel, column, self.memory[self._at(HIDDEN, step, row, panel, column)]))

    def _unit(self, task: _Task, step: Expr, number: int, panel: Expr, row: Expr, i: Expr, place: Expr, column: Expr) -> None:
        cell, tile = self.cell, self.tile
        unit = panel * tile.width + column

        def write(name: str, value: Expr) -> None:
            value = bind(value)
            self._store(name, step + 1, row, panel, column, value)
            if name == HIDDEN:
                cell.store_output(task.direction, task.row + row, place, unit, value)

        cell.finish(number, Unit(
            total=lambda gate: self.sums[i * tile.columns + gate * tile.width + column],
            x=lambda gate: cell.load_x(task.direction, task.row + row, place, gate, unit),
            added=lambda name, position: cell.load_added(task.direction, name, position, unit),
            read=lambda name: bind(self.memory[self._at(name, step, row, panel, column)]), write=write))


@dataclass(frozen=True)
class _Task:
    """A direction, and the rows of the batch that go through it together."""

    direction: Expr
    row: Expr
    rows: Expr

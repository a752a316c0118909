"""The memory of a call: which values lie where in the arena and when, who takes whose place, and what that costs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from targets.base.target import ALIGNMENT
from targets.runtime.engine import Engine, LibraryEngine
from tgraph.ir.binding import check_bounds
from tgraph.ir.dims import evaluate
from tgraph.ir.errors import InputError, TargetError
from tgraph.ir.graph import Graph
from tgraph.ir.printer import value_names
from tgraph.ir.tables import html_sections, html_table, text_table
from tgraph.reference.inputs import choose_sizes

if TYPE_CHECKING:
    from targets.runtime.executable import Executable

SHOWN = 40  # values that a report prints, the largest


@dataclass(frozen=True)
class PlacedValue:
    """A value between kernels: where it lies in the arena, and from which call (that writes it) to which it is needed.

    name: as in `exe.source("kernels")`. bytes: its own; room: those that it takes, a multiple of the alignment. reuses: the
    names of the values that had some of this place before, and that nothing needed any more.
    """

    name: str
    type: str
    kernel: str
    scope: str
    first: int
    last: int
    offset: int
    bytes: int
    room: int
    reuses: tuple[str, ...] = ()


@dataclass
class MemoryReport:
    """The memory of one call of a graph at some sizes.

    calls: kernels and nodes on the host, in order; a value's `first` and `last` are places in this list. arena_bytes: of the
    memory that all calls of a process share, as this call needs it; `slots_bytes` of it are for inputs and outputs, on a GPU.
    Weights are those that kernels read; inputs, outputs and states are bytes by name, outside of the arena.
    """

    name: str
    target: str
    sizes: dict[str, int]
    calls: list[str]
    values: list[PlacedValue]
    arena_bytes: int
    slots_bytes: int = 0
    weights_bytes: int = 0
    inputs: dict[str, int] = field(default_factory=dict)
    outputs: dict[str, int] = field(default_factory=dict)
    states: dict[str, int] = field(default_factory=dict)

    @property
    def planned_bytes(self) -> int:
        """The part of the arena for values between kernels: the end of the last place."""
        return self.arena_bytes - self.slots_bytes

    @property
    def live(self) -> list[int]:
        """The bytes of the values that are needed while each of `calls` runs."""
        return [sum(v.bytes for v in self.values if v.first <= i <= v.last) for i in range(len(self.calls))]

    @property
    def lower_bound(self) -> int:
        """The largest sum of values that are needed at one time: no plan for this order of calls is smaller."""
        return max(self.live, default=0)

    @property
    def alignment_bytes(self) -> int:
        """What rounding up each value to the alignment adds to the lower bound."""
        return max((sum(v.room for v in self.values if v.first <= i <= v.last) for i in range(len(self.calls))),
                   default=0) - self.lower_bound

    @property
    def fragmentation_bytes(self) -> int:
        """What lies unused between values at every time: the plan beyond the lower bound and alignment."""
        return self.planned_bytes - self.lower_bound - self.alignment_bytes

    @property
    def unshared_bytes(self) -> int:
        """What the values would take if each had a place of its own."""
        return sum(v.room for v in self.values)

    def picture(self, path: str | Path | None = None, color: Literal["scope", "op"] = "scope") -> str:
        """The plan as one SVG document: calls from left to right, addresses upwards, a rectangle for each value, with tooltips.

        color: values of one layer of the model, or of one kernel, have a colour. path: the file to write it to.
        """
        from targets.runtime.memory_picture import picture

        return picture(self, path, color)

    def to_json(self) -> dict[str, Any]:
        """All of it as dicts, lists, strings and numbers, for `json.dumps`."""
        sums = {name: getattr(self, name) for name in ("planned_bytes", "lower_bound", "alignment_bytes", "fragmentation_bytes",
                                                       "unshared_bytes", "live")}
        return {**asdict(self), **sums}

    def summary(self) -> list[tuple[str, int, str]]:
        """Name, bytes and meaning of each sum."""
        at = self.live.index(self.lower_bound) if self.calls else 0
        during = f", during call {at}, {self.calls[at]}" if self.calls and self.lower_bound else ""
        apart = f"{len(self.values)} values; a place for each would take {self.unshared_bytes} bytes"
        found = [("arena", self.arena_bytes, "allocated once, for all calls of a process; it grows to the largest"),
                 ("planned", self.planned_bytes, apart),
                 ("lower bound", self.lower_bound, f"needed at one time{during}"),
                 ("alignment", self.alignment_bytes, f"each value begins at a multiple of {ALIGNMENT} bytes"),
                 ("fragmentation", self.fragmentation_bytes, "planned beyond these")]
        if self.slots_bytes:
            found.append(("slots", self.slots_bytes, "for inputs and outputs, on the device"))
        found.append(("weights", self.weights_bytes, "as kernels read them"))
        for what, sizes in (("inputs", self.inputs), ("outputs", self.outputs), ("states", self.states)):
            if sizes or what != "states":
                found.append((what, sum(sizes.values()), ", ".join(sizes)))
        return found

    @property
    def title(self) -> str:
        sizes = ", ".join(f"{name}={size}" for name, size in self.sizes.items()) or "static sizes"
        return f"memory of {self.name} at {sizes}, {self.target}"

    def cells(self, shown: int | None = SHOWN) -> tuple[list[str], list[list[str]]]:
        """The columns and cells of a table of the largest values, in the order in which they are written."""
        largest = sorted(self.values, key=lambda v: -v.bytes)[:shown]
        rows = [[v.name, v.type, f"{v.first} .. {v.last}", str(v.offset), str(v.bytes), " ".join(v.reuses),
                 f"{v.kernel}  {v.scope}".rstrip()] for v in sorted(largest, key=lambda v: v.first)]
        return ["value", "type", "calls", ">offset", ">bytes", "in the place of", "made by"], rows

    def text(self, shown: int | None = SHOWN) -> str:
        """The sums, and a table of so many of the largest values (None: of all)."""
        lines = [self.title]
        lines += [f"  {name:<14} {count:>12} bytes  {meaning}".rstrip() for name, count, meaning in self.summary()]
        columns, rows = self.cells(shown)
        lines.append(text_table(columns, rows))
        if len(self.values) > len(rows):
            lines.append(f"and {len(self.values) - len(rows)} smaller ones")
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        sums = html_table(self.title, ("", ">bytes", "meaning"), self.summary())
        largest = html_table("the largest values", *self.cells())
        return html_sections([("sums", sums), ("values", largest), ("plan", self.picture())])


class ProgramMemory(dict[str, MemoryReport]):
    """The memory of a call of each graph of a program, by name. They share the arena, which is as large as the largest."""

    @property
    def arena_bytes(self) -> int:
        return max((report.arena_bytes for report in self.values()), default=0)

    def to_json(self) -> dict[str, Any]:
        """Each report by the graph's name, as `MemoryReport.to_json` gives it."""
        return {name: report.to_json() for name, report in self.items()}

    def __str__(self) -> str:
        return "\n\n".join(map(str, self.values()))

    def _repr_html_(self) -> str:
        return html_sections([(name, report._repr_html_()) for name, report in self.items()])


def memory_report(executable: Executable, engine: Engine, given: Mapping[str, int]) -> MemoryReport:
    """The report of one graph. Raises InputError for unknown sizes and such as are out of bounds, TargetError without a plan."""
    if not isinstance(engine, LibraryEngine):
        raise TargetError(f"target {executable.target} plans no memory: NumPy allocates every value as it comes")
    graph = executable.graph
    dims = {**graph.symbols, **engine.graph.symbols}
    for name, size in given.items():
        if name not in dims:
            raise InputError(f"{graph.name} has no dim {name}; its dims: {', '.join(dims) or 'none'}")
        if isinstance(size, bool) or not isinstance(size, (int, np.integer)):
            raise InputError(f"the size of {name} is an integer, got {size!r}")
    sizes = choose_sizes(graph, {n: int(size) for n, size in given.items()})
    check_bounds(graph, sizes)
    sizes = dict(engine.upper_bounds(sizes))
    plan, layout = engine.memory, engine.layout(sizes)
    names, nodes = value_names(engine.graph), engine.graph.nodes
    values = []
    for value, (first, last), offset, nbytes in zip(plan.values, plan.intervals, layout.offsets, plan.bytes):
        size = evaluate(nbytes, sizes)
        maker = nodes[first]
        room = -(-max(size, 1) // ALIGNMENT) * ALIGNMENT
        where = _call(maker), maker.provenance.scope
        values.append(PlacedValue(names[value], str(value.type), *where, first, last, offset, size, room))
    states = graph.states
    return MemoryReport(
        graph.name, str(executable.target), sizes, [_call(n) for n in nodes], _with_reuse(values), layout.arena_bytes,
        layout.arena_bytes - max((v.offset + v.room for v in values), default=0),
        sum(evaluate(p.type.nbytes, {}) for p in engine.graph.parameters.values()),
        {i.name: evaluate(i.type.nbytes, sizes) for i in graph.inputs if i.name not in states},
        {name: evaluate(v.type.nbytes, sizes) for name, v in engine.graph.outputs if name not in states},
        {name: evaluate(type.nbytes, sizes) for name, type in states.items()})


def _call(node: Any) -> str:
    function = node.attrs.get("function")
    return function.name if isinstance(function, Graph) else f"{node.op.name} (host)"


def _with_reuse(values: Iterable[PlacedValue]) -> list[PlacedValue]:
    """The values in the order in which they are written, each with those that had its place last."""
    ordered = sorted(values, key=lambda v: (v.first, v.offset))
    holders: list[tuple[int, int, str]] = []  # parts of the arena, and the last value in each
    found = []
    for value in ordered:
        low, high = value.offset, value.offset + value.room
        before = [name for start, end, name in sorted(holders) if start < high and end > low]
        rest = [(start, end, name) for start, end, name in holders if start >= high or end <= low]
        for start, end, name in holders:
            if start < high and end > low:
                rest += [(start, low, name)] * (start < low) + [(high, end, name)] * (end > high)
        holders = [*rest, (low, high, value.name)]
        found.append(PlacedValue(**{**vars(value), "reuses": tuple(dict.fromkeys(before))}))
    return found

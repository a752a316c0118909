"""Profiles: where the time of a call goes, by kernel, by node, by op and by scope, beside what the machine can do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from targets.base.yardstick import Yardstick
from targets.runtime.node_times import NodeTime
from targets.runtime.profile_rows import Group, Overhead, Position, ProfileRow, layer_of, quartiles, scope_path, total_narrow
from tgraph.ir.errors import InputError
from tgraph.ir.tables import html_sections

By = Literal["kernel", "call", "op", "node", "scope", "layer"]
TOLERATED = 0.05  # of a call's time, by which kernels under the instrument may exceed a call without it


@dataclass
class Profile:
    """The time of one call of a graph at some sizes: its kernel calls in order, and what is between them.

    wall_microseconds: the median of whole calls, without any instrument; `rows` and `overheads` add up to it. yardstick: what the
    machine can do, measured before and after; None if it was not.
    """

    name: str
    sizes: dict[str, int]
    rows: list[ProfileRow] = field(default_factory=list)
    overheads: list[Overhead] = field(default_factory=list)
    wall_microseconds: float = 0.0
    wall_samples: tuple[float, ...] = ()
    yardstick: Yardstick | None = None
    target: str = ""
    threads: int = 0

    @property
    def kernel_microseconds(self) -> float:
        """The sum over all kernel calls, and what the host computes between them."""
        return sum(r.microseconds for r in self.rows)

    @property
    def microseconds(self) -> float:
        """The sum of all lines: the time of the whole call."""
        return self.kernel_microseconds + sum(o.microseconds for o in self.overheads)

    @property
    def reconciled(self) -> bool:
        """Whether kernels alone, under the instrument, took no longer than the whole call without it."""
        return all(o.microseconds >= -TOLERATED * self.microseconds for o in self.overheads)

    # Sums

    def by(self, what: By = "kernel", overheads: bool = True) -> list[Group]:
        """Groups of rows, whose `own` times add up to `microseconds` if `overheads` are among them.

        "kernel", "op": the longest first. "call", "node", "layer" (encoder.layer.3): in the order of the call. "scope": each
        module of the model with all that is inside of it, outer ones first. Raises InputError for anything else.
        """
        if what not in get_args(By):
            raise InputError(f"a profile is summed by {', '.join(get_args(By))}, not {what!r}")
        groups = self._scopes() if what == "scope" else self._flat(what)
        if what in ("kernel", "op"):
            groups.sort(key=lambda g: -g.microseconds)
        if overheads:
            groups += [Group(o.name, 0, o.microseconds, o.microseconds, o.microseconds, own=o.microseconds, overhead=True)
                       for o in self.overheads]
        return groups

    def _flat(self, what: str) -> list[Group]:
        parts: dict[str, list[tuple[ProfileRow, NodeTime | None]]] = {}
        for number, row in enumerate(self.rows):
            if what in ("kernel", "call", "layer"):
                names = {"kernel": row.kernel, "call": f"{number} {row.kernel}  {row.scope}", "layer": layer_of(row.scope)}
                parts.setdefault(names[what].rstrip(), []).append((row, None))
                continue
            for position, node in enumerate(row.nodes):
                name_of = node.op if what == "op" else f"{number}.{position} {node.op}  {node.scope}".rstrip()
                parts.setdefault(name_of, []).append((row, node))
        return [_sum(name, members) for name, members in parts.items()]

    def _scopes(self) -> list[Group]:
        inside: dict[tuple[str, ...], list[tuple[ProfileRow, NodeTime | None]]] = {(): []}
        own: dict[tuple[str, ...], float] = {(): 0.0}
        for row, node in self.parts():
            path = scope_path(node.scope)
            for length in range(len(path) + 1):
                inside.setdefault(path[:length], []).append((row, node))
                own.setdefault(path[:length], 0.0)
            own[path] += row.microseconds * node.share
        first = {path: i for i, path in enumerate(inside)}
        order = sorted(inside, key=lambda path: [first[path[:n]] for n in range(len(path) + 1)])
        return [_sum("".join(path) or "(all kernels)", inside[path], own[path], len(path)) for path in order]

    def parts(self) -> Iterator[tuple[ProfileRow, NodeTime]]:
        """Each row with each of its nodes."""
        for row in self.rows:
            for node in row.nodes or (NodeTime(row.kernel, row.scope, "", 1.0, row.flops, row.bytes),):
                yield row, node

    def position(self, group: Group | ProfileRow) -> Position | None:
        """Where a group or row is on the roofline; None for what takes no time or does nothing."""
        seconds = group.microseconds * 1e-6
        if seconds <= 0 or not (group.flops or group.bytes):
            return None
        rates = group.flops / seconds, group.bytes / seconds
        intensity = group.flops / group.bytes if group.bytes else None
        best = self.yardstick
        if best is None:
            return Position(*rates, intensity)
        arithmetic, memory = best.arithmetic_seconds(group.flops, group.narrow), group.bytes / best.bandwidth
        bound = "compute" if arithmetic > memory else "memory"
        return Position(*rates, intensity, arithmetic / seconds, memory / seconds, max(arithmetic, memory) / seconds, bound)

    # Exports

    def to_json(self) -> dict[str, Any]:
        """All of it as dicts, lists, strings and numbers, for `json.dumps`; times are microseconds."""
        rows = []
        for row in self.rows:
            low, high = quartiles(row.samples or (row.microseconds,))
            several = len(row.nodes) > 1
            nodes = [{**asdict(n), "microseconds": n.share * row.microseconds, "estimated": several} for n in row.nodes]
            rows.append({**asdict(row), "low": low, "high": high, "samples": list(row.samples), "nodes": nodes})
        return {"graph": self.name, "target": self.target, "sizes": self.sizes, "threads": self.threads,
                "microseconds": self.microseconds, "wall_microseconds": self.wall_microseconds,
                "wall_samples": list(self.wall_samples), "reconciled": self.reconciled,
                "yardstick": asdict(self.yardstick) if self.yardstick else None, "rows": rows,
                "overheads": [asdict(o) for o in self.overheads]}

    def chrome_trace(self, path: str | Path) -> None:
        """Write a trace that Perfetto (ui.perfetto.dev) and chrome://tracing open: scopes, kernels and nodes nested."""
        from targets.runtime.chrome_trace import write_trace

        write_trace(self, Path(path))

    def flame_graph(self, path: str | Path | None = None) -> str:
        """Time by scope as one SVG document: the wider, the longer; details as tooltips. `path`: the file to write it to."""
        from targets.runtime.profile_pictures import flame_graph

        return flame_graph(self, path)

    def roofline(self, path: str | Path | None = None) -> Any:
        """A plot of all kernels under the machine's roofline, as matplotlib's Figure. `path`: a .png, .svg or .pdf to write.

        Raises InputError without a yardstick, and ModuleNotFoundError without matplotlib.
        """
        from targets.runtime.profile_pictures import roofline

        return roofline(self, path)

    def __str__(self) -> str:
        from targets.runtime.profile_table import as_text

        return as_text(self, "kernel")

    def _repr_html_(self) -> str:
        from targets.runtime.profile_table import as_html

        return as_html(self, "kernel")


class ProgramProfile(dict[str, Profile]):
    """The profile of each graph of a program, by name."""

    def to_json(self) -> dict[str, Any]:
        """Each profile by the graph's name, as `Profile.to_json` gives it."""
        return {name: profile.to_json() for name, profile in self.items()}

    def __str__(self) -> str:
        return "\n\n".join(map(str, self.values()))

    def _repr_html_(self) -> str:
        return html_sections([(name, profile._repr_html_()) for name, profile in self.items()])


def _sum(name: str, members: Sequence[tuple[ProfileRow, NodeTime | None]], own: float | None = None, depth: int = 0) -> Group:
    """A group of rows, or of nodes of rows."""
    shares = [1.0 if node is None else node.share for _, node in members]
    microseconds = sum(row.microseconds * share for (row, _), share in zip(members, shares))
    runs = zip(*([s * share for s in row.samples] for (row, _), share in zip(members, shares)))
    low, high = quartiles([sum(run) for run in runs] or [microseconds])
    estimated = any(node is not None and len(row.nodes) > 1 for row, node in members)
    return Group(name, len({id(row) for row, _ in members}), microseconds, low, high,
                 sum(row.flops if node is None else node.flops for row, node in members),
                 sum(row.bytes if node is None else node.bytes for row, node in members),
                 microseconds if own is None else own, estimated, depth,
                 narrow=total_narrow(row if node is None else node for row, node in members))

"""What was measured, as it is kept: a JSON file for each workload and kind of machine, a record for each of its points."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any

from benchmarks.harness.turns import Result, quartiles
from benchmarks.machine import Machine

RESULTS = Path(__file__).parent / "results"
OURS = "tgraph"


@dataclass
class Row:
    """One contender at one point; seconds and bytes. rounds: the median of each. note: version and options.

    choice: which of its ways to run the model it found to be the fastest here.
    """

    name: str
    median: float
    low: float
    high: float
    rounds: list[float]
    calls: int
    note: str = ""
    choice: str = ""
    error: float = 0.0
    first: float = 0.0
    peak: int | None = None
    added: int | None = None

    @classmethod
    def of(cls, result: Result, note: str) -> Row:
        """Of a measurement; `note` is what the contender said when it loaded."""
        median, low, high, first = (round(s, 9) for s in (result.median, *result.quartiles, result.first))
        rounds = [round(statistics.median(calls), 9) for calls in result.rounds]
        return cls(result.name, median, low, high, rounds, len(result.seconds), note, result.note, float(result.error), first,
                   result.peak, result.added)

    @property
    def reduced(self) -> bool:
        """Whether it computes with fewer bits, or from weights of fewer: "torch bf16"."""
        return " " in self.name

    @property
    def multiplies(self) -> str:
        """The type of the numbers that its products multiply: "i8" of "tgraph i8 weights"."""
        return {"bf16": "bf16", "i8": "i8", "i8 weights": "i8"}.get(self.name.partition(" ")[2], "f32")

    @property
    def spread(self) -> float:
        """From quartile to quartile, as a share of the median."""
        return (self.high - self.low) / self.median

    def ratio_to(self, other: Row) -> tuple[float, float, float]:
        """Lower quartile, median, upper quartile of this one's time to another's, round by round: drifts cancel."""
        ratios = [a / b for a, b in zip(self.rounds, other.rounds)]
        low, high = quartiles(ratios)
        return low, statistics.median(ratios), high


@dataclass
class Record:
    """One point of a workload. flops: operations of its products; bytes: read and written at least; 0 where neither counts.

    left_out: contenders that could not take part, and what they said. beside: whether the machine was measured beside this point,
    and not at another time. disturbed: what makes its times doubtful.
    """

    workload: str
    point: str
    machine: Machine
    rows: list[Row]
    flops: float = 0.0
    bytes: float = 0.0
    left_out: dict[str, str] = field(default_factory=dict)
    date: str = ""
    beside: bool = False
    disturbed: list[str] = field(default_factory=list)

    @property
    def ours(self) -> Row:
        """tgraph's, with which the others are compared: the first."""
        return self.rows[0]

    @property
    def best_peer(self) -> Row | None:
        """The fastest that is not tgraph, round by round."""
        peers = (row for row in self.rows if not row.name.startswith(OURS))
        return min(peers, key=lambda row: row.ratio_to(self.ours)[1], default=None)

    def of_peak(self, row: Row) -> float:
        """Its share of the measured peak of products: of those that it multiplies in, where that is known, else of f32's."""
        return self.flops / row.median / self.machine.dot_peaks.get(row.multiplies, self.machine.peak)

    def of_roofline(self, row: Row) -> float:
        """The shortest time that arithmetic and memory allow, as a share of its time."""
        return self.machine.least_seconds(self.flops, self.bytes) / row.median

    @property
    def invalid(self) -> dict[str, float]:
        """The shares above 1, by contender: no program does more than the machine can, so there the yardstick is wrong.

        What multiplies in a type whose peak is not known has no share; what reads narrow weights has none of the roofline.
        """
        shares = {row.name: max([self.of_peak(row), *([] if row.reduced else [self.of_roofline(row)])]) for row in self.rows
                  if row.multiplies in ("f32", *self.machine.dot_peaks)}
        return {name: share for name, share in shares.items() if share > 1}

    def to_json(self) -> dict[str, Any]:
        values = asdict(self)
        values["machine"] = self.machine.to_json()
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Record:
        rows = [Row(**row) for row in values["rows"]]
        return cls(**{**values, "machine": Machine.from_json(values["machine"]), "rows": rows})


def save(record: Record, folder: Path) -> Path:
    """Put a record in the place of the one that was there for its point."""
    path = folder / record.machine.name / f"{record.workload}.json"
    known = {r.point: r for r in _read(path)} if path.exists() else {}
    known[record.point] = record
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([r.to_json() for r in known.values()], indent=1) + "\n", encoding="utf-8")
    return path


def load(folder: Path) -> dict[str, list[Record]]:
    """All records of one kind of machine, by workload.

    Where the machine was not measured beside a point, it is the highest that any run found: whatever else ran only took away.
    """
    found = {path.stem: _read(path) for path in sorted(folder.glob("*.json"))}
    known = [record.machine for records in found.values() for record in records]
    for records in found.values():
        for record in records:
            if not record.beside:
                record.machine = reduce(Machine.best, known, record.machine)
    return found


def machines(folder: Path) -> Sequence[Path]:
    """A folder for each kind of machine."""
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def _read(path: Path) -> list[Record]:
    return [Record.from_json(values) for values in json.loads(path.read_text(encoding="utf-8"))]

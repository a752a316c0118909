"""What a run over files has done: how many rows, and which of them were bad."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

LISTED = 1000  # bad rows that a report lists


@dataclass(frozen=True)
class BadRow:
    """A row without a result. row: its place in the output, from 0; where: its file and line or row; reason: why."""

    row: int
    where: str
    reason: str

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}"


@dataclass
class Report:
    """A finished run. rows: of the output, good and bad; bad: how many are bad, of which `bad_rows` lists the first 1000.

    parts: pieces of work that the run had; kept: those of them that an earlier run had finished.
    """

    output: Path
    rows: int = 0
    bad: int = 0
    bad_rows: list[BadRow] = field(default_factory=list)
    parts: int = 0
    kept: int = 0

    def add(self, row: int, where: str, reason: str) -> None:
        """Count a bad row, and list it if there is room."""
        self.bad += 1
        if len(self.bad_rows) < LISTED:
            self.bad_rows.append(BadRow(row, where, reason))

    def __str__(self) -> str:
        bad = f", {self.bad} of them bad" if self.bad else ""
        return f"{self.rows} rows in {self.output}{bad}"

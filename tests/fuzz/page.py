"""The figures of docs/reliability.md: what runs of `tgraph fuzz --figures` have counted in tests/fuzz/figures.

    python -m tests.fuzz.page
"""

from __future__ import annotations

import re
from pathlib import Path

from tgraph.testing.figures import Figures
from tgraph.testing.report import Tally

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
FOLDER = Path(__file__).parent / "figures"
MARKED = re.compile(r"(<!-- figures: (?P<name>\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def totals() -> list[str]:
    """A row for each file."""
    rows = ["| file | programs | failed | sets of inputs | elements compared | ill-conditioned | seeds |",
            "|---|---:|---:|---:|---:|---:|---|"]
    for path in sorted(FOLDER.glob("*.json")):
        found = Figures.read(path)
        sums = found.before
        seeds = ", ".join(f"{first} to {end - 1}" for first, end in found.ranges())
        counts = (sums.programs, sums.failed, sums.trials, sums.elements, sums.excused)
        rows.append(f"| `{path.stem}` | {' | '.join(f'{count:,}' for count in counts)} | {seeds} |")
    return rows


def ways() -> list[str]:
    """How many programs went each way, by file, and how many could not."""
    tallies = {path.stem: Figures.read(path).before for path in sorted(FOLDER.glob("*.json"))}
    names = dict.fromkeys(name for tally in tallies.values() for name in tally.ways)
    rows = [[name, *(f"{tally.ways[name]:,}" for tally in tallies.values())] for name in names]
    return _table(["way", *(f">{name}" for name in tallies)], rows)


def nodes() -> list[str]:
    """Nodes by op and element type, of all files together."""
    together = Tally()
    for path in sorted(FOLDER.glob("*.json")):
        together.add_facts(Figures.read(path).before.facts())
    return _table(*together.counts())


def _table(columns: list[str], rows: list[list[str]]) -> list[str]:
    """A table in Markdown; a column whose title begins with > is aligned to the right."""
    marks = ["---:" if column.startswith(">") else "---" for column in columns]
    lines = [[column.lstrip(">") for column in columns], marks, *([*row] for row in rows)]
    return [f"| {' | '.join(line)} |" for line in lines]


def main() -> None:
    """Write the page."""
    made = {"totals": totals, "ways": ways, "nodes": nodes}
    text = PAGE.read_text(encoding="utf-8")
    filled = MARKED.sub(lambda m: m[1] + "\n".join(made[m["name"]]()) + f"\n{m[3]}", text)
    PAGE.write_text(filled, encoding="utf-8")


if __name__ == "__main__":
    main()

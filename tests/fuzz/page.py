"""The figures of docs/reliability.md: what runs of `tgraph fuzz --figures` have counted in tests/fuzz/figures.

    python -m tests.fuzz.page
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from tgraph.testing.figures import Figures
from tgraph.testing.report import Tally

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
FOLDER = Path(__file__).parent / "figures"
MARKED = re.compile(r"(<!-- figures: (?P<name>\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def totals(files: Mapping[str, Figures]) -> list[str]:
    """A row for each file."""
    rows = []
    for name, found in files.items():
        sums = found.before
        counts = (sums.programs, sums.failed, sums.trials, sums.elements, sums.excused)
        seeds = ", ".join(f"{first} to {end - 1}" for first, end in found.ranges())
        rows.append([f"`{name}`", *(f"{count:,}" for count in counts), seeds])
    return _table(["file", ">programs", ">failed", ">sets of inputs", ">elements compared", ">ill-conditioned", "seeds"], rows)


def ways(files: Mapping[str, Figures]) -> list[str]:
    """How many programs went each way, by file."""
    counts = [found.before.ways for found in files.values()]
    names = dict.fromkeys(name for count in counts for name in count)
    return _table(["way", *(f">{name}" for name in files)], [[name, *(f"{count[name]:,}" for count in counts)] for name in names])


def nodes(files: Mapping[str, Figures]) -> list[str]:
    """Nodes by op and element type, of all files together."""
    together = Tally()
    for found in files.values():
        together.add_facts(found.before.facts())
    return _table(*together.counts())


def _table(columns: list[str], rows: list[list[str]]) -> list[str]:
    """A table in Markdown; a column whose title begins with > is aligned to the right."""
    marks = ["---:" if column.startswith(">") else "---" for column in columns]
    lines = [[column.lstrip(">") for column in columns], marks, *([*row] for row in rows)]
    return [f"| {' | '.join(line)} |" for line in lines]


def main() -> None:
    """Write the page."""
    files = {path.stem: Figures.read(path) for path in sorted(FOLDER.glob("*.json"))}
    made = {"totals": totals, "ways": ways, "nodes": nodes}
    text = PAGE.read_text(encoding="utf-8")
    filled = MARKED.sub(lambda m: m[1] + "\n".join(made[m["name"]](files)) + f"\n{m[3]}", text)
    PAGE.write_text(filled, encoding="utf-8")


if __name__ == "__main__":
    main()

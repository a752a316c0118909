"""Golden tests of passes: files of one screen each, tests/golden/passes/<pass>/<case>.tg.

    # fuse-silu: the sigmoid is an output          (the pipeline, then what the case shows)
    graph ... { the input }
    # =>
    graph ... { the output, written by --update-golden and read by a person }

A case whose name starts with `not_` is a near miss: the pass must leave it as it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import targets.cpu.backend  # noqa: F401  (registers the passes of lowering)
import tgraph as tg
from passes import run_pipeline
from passes.base import Effect
from passes.debug.validation import Validator
from passes.pipelines import parse_pipeline

FOLDER = Path(__file__).resolve().parents[1] / "golden" / "passes"
_SPLIT = re.compile(r"^# =>\n?", re.MULTILINE)


@dataclass(frozen=True)
class Case:
    """One file."""

    path: Path
    pipeline: str
    reason: str
    before: str
    after: str

    @property
    def unchanged(self) -> bool:
        return self.path.stem.startswith("not_")

    def write(self, after: str) -> None:
        text = f"# {self.pipeline}: {self.reason}\n{self.before.strip()}\n# =>\n{after.strip()}\n"
        self.path.write_text(text, encoding="utf-8")


def cases() -> list[Case]:
    """All files, by name."""
    return [read(path) for path in sorted(FOLDER.rglob("*.tg"))]


def read(path: Path) -> Case:
    text = path.read_text(encoding="utf-8")
    first, _, rest = text.partition("\n")
    match = re.match(r"# (\S*?): (.*)", first)
    assert match, f"{path}: the first line is `# pipeline: what the case shows`"
    parts = _SPLIT.split(rest)
    return Case(path, match.group(1), match.group(2), parts[0], parts[1] if len(parts) > 1 else "")


def apply(case: Case) -> tuple[tg.Graph, tg.Graph]:
    """The graph before and after, each pass verified."""
    before = tg.parse(case.before, file=str(case.path))
    tg.verify(before)
    return before, run_pipeline(before, case.pipeline, verify_each=True)[0]


def check_meaning(case: Case, before: tg.Graph, after: tg.Graph) -> None:
    """The same results in the reference, for ordinary and special inputs, as near as the effects of the passes allow."""
    effects = {p.effect for p in parse_pipeline(case.pipeline)}
    if "changes-meaning" in effects:
        return
    effect: Effect = "exact" if effects == {"exact"} else "rounds"
    moves_excluded = any(p.moves_excluded for p in parse_pipeline(case.pipeline))
    difference = Validator(before).difference(before, after, effect, moves_excluded=moves_excluded)
    assert difference is None, str(difference)

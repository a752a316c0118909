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

import numpy as np

import tgraph as tg
from passes import run_pipeline
from passes.pipelines import parse_pipeline
from tgraph.reference import TOLERANCES, generate_inputs, run

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
    match = re.match(r"# (.*?): (.*)", first)
    assert match, f"{path}: the first line is `# pipeline: what the case shows`"
    parts = _SPLIT.split(rest)
    return Case(path, match.group(1), match.group(2), parts[0], parts[1] if len(parts) > 1 else "")


def apply(case: Case) -> tuple[tg.Graph, tg.Graph]:
    """The graph before and after, each pass verified."""
    before = tg.parse(case.before, file=str(case.path))
    tg.verify(before)
    return before, run_pipeline(before, case.pipeline, verify_each=True)[0]


def check_meaning(case: Case, before: tg.Graph, after: tg.Graph) -> None:
    """The same results in the reference, for two sets of inputs, as near as the effects of the passes allow."""
    effects = {p.effect for p in parse_pipeline(case.pipeline)}
    if "changes-meaning" in effects:
        return
    for graph in (before, after):
        for name, parameter in graph.parameters.items():
            if name not in graph.weights:
                graph.weights.initialize(name, parameter.type, lambda g, shape: g.standard_normal(shape))
    for seed in range(2):
        feeds = generate_inputs(before, seed=seed)
        expected, found = run(before, feeds), run(after, feeds)
        for name, value in before.outputs:
            r, y = expected[name], found[name]
            if not value.dtype.is_float or effects == {"exact"}:
                assert np.array_equal(y, r, equal_nan=value.dtype.is_float), name
            else:
                tolerance = min(TOLERANCES[value.dtype][0], 1e-6)
                assert np.abs(y - r).max(initial=0) <= tolerance * max(1.0, np.abs(r).max(initial=0)), name

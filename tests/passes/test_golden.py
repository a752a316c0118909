"""Every golden case: the text that comes out, that it comes out again, that it verifies, and that it means the same."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import tgraph as tg
from passes import PASSES, run_pipeline

sys.path.insert(0, str(Path(__file__).parent))

from golden import FOLDER, Case, apply, cases, check_meaning, read

CASES = cases()


@pytest.mark.parametrize("case", CASES, ids=lambda c: str(c.path.relative_to(FOLDER).with_suffix("")))
def test_golden(case: Case, request: pytest.FixtureRequest) -> None:
    before, after = apply(case)
    if request.config.getoption("--update-golden"):
        case.write(str(after))
        case = read(case.path)
    assert str(after) == str(tg.parse(case.after, file=str(case.path)))
    assert str(after) == case.after.strip()
    if case.unchanged:
        assert after == before, "a near miss must stay as it is"
    again = run_pipeline(after, case.pipeline, verify_each=True)[0]
    assert str(again) == str(after), "a second run changes it again"
    check_meaning(case, before, after)


@pytest.mark.parametrize("name", sorted(PASSES))
def test_every_pass_has_cases(name: str) -> None:
    own = [c for c in CASES if c.pipeline.split(",")[0].split("{")[0] == name]
    folder = f"tests/golden/passes/{name.replace('-', '_')}"
    assert any(not c.unchanged for c in own), f"no case shows what {name} does: write one in {folder} (tests/passes/golden.py)"
    assert any(c.unchanged for c in own), f"no near miss shows what {name} leaves alone: write {folder}/not_*.tg"


def test_every_case_is_under_a_screen() -> None:
    for case in CASES:
        assert len(case.path.read_text(encoding="utf-8").splitlines()) <= 60, case.path

"""Pages that a command writes are what it writes now."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from targets.base.registry import backend_of
from targets.base.target import Target

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(("page", "command"), [("docs/ops.md", "ops --markdown"), ("docs/pass-table.md", "passes --markdown")])
def test_a_page_is_current(page: str, command: str) -> None:
    """In a process of its own, which knows no ops or passes of other tests."""
    arguments = [sys.executable, "-m", "tgraph", *command.split()]
    made = subprocess.run(arguments, capture_output=True, text=True, cwd=ROOT, check=True)
    assert made.stdout == (ROOT / page).read_text(encoding="utf-8"), f"run: tgraph {command} > {page}   (or: make generated)"


def test_the_page_of_the_architecture_has_the_last_passes_of_cpus() -> None:
    pipeline = ",".join(p.pass_name() for p in backend_of("cpu").lowering(Target("cpu")))
    assert f"\n    {pipeline}\n" in (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")

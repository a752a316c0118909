"""The course runs, in English; the Chinese page has the same code, formulas and pictures."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pages import blocks_of, run_page

ROOT = Path(__file__).resolve().parents[1]
ENGLISH, CHINESE = ((ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("course.md", "course.zh.md"))


@pytest.mark.thorough
def test_the_blocks_print_what_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(ROOT / "examples")  # the page is read there
    assert run_page(ROOT / "docs" / "course.md") >= 10
    assert (tmp_path / "heads.html").exists()


def test_both_languages_have_the_same_content() -> None:
    assert [(b.kind, b.text) for b in blocks_of(CHINESE)] == [(b.kind, b.text) for b in blocks_of(ENGLISH)]
    for what in (r"arxiv\.org/abs/\S+?(?=\))", r"\]\(([^)]+\.(?:py|png))\)", r"(?m)^## (\d+)"):
        assert re.findall(what, CHINESE) == re.findall(what, ENGLISH) != []

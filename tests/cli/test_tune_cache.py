"""`tgraph tune` and `tgraph cache`: what they leave on disk, and what they say about it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.targets.feature_sets import foreign_cpu

from .conftest import Run


def test_tune(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ("tune", "m.py:two", "--shapes", "2x1,5x1", "--trials", "1")
    assert "not saved: TGRAPH_TUNING is off" in run(*arguments).output
    monkeypatch.setenv("TGRAPH_TUNING", str(tmp_path / "tuning"))
    assert "not saved (--dry-run)" in run(*arguments, "--dry-run").output
    shown = run(*arguments).output
    assert "on cpu:" in shown and "linear" in shown and "saved in" in shown
    assert len(list((tmp_path / "tuning").iterdir())) == 1
    assert "is compiled already" in run("tune", "x.tgc", fails=2).output
    assert "expected BATCHxLENGTH" in run("tune", "m.py:two", "--shapes", "2", fails=2).output
    assert "has no kernels that could be tuned" in run("tune", "m.py:two", "--target", "numpy", fails=2).output
    assert "does not run on this machine" in run("tune", "m.py:two", "--target", foreign_cpu(), fails=2).output


def test_cache(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "the compile cache is off" in run("cache").output
    monkeypatch.setenv("TGRAPH_CACHE", str(tmp_path / "cache"))
    assert "0 entries" in run("cache").output
    assert "compile cache: miss: this graph was not compiled before" in run("compile", "m.py:two", "-o", "a.tgc").output
    assert "compile cache: hit: compiled on" in run("compile", "m.py:two", "-o", "a.tgc").output
    assert "m.py:two" not in run("cache").output and "1 entries" in run("cache", "list").output
    (tmp_path / "cache" / "odd.tgc").write_text("")
    assert "damaged" in run("cache").output
    assert "removed 2 entries" in run("cache", "clear").output
    assert not list((tmp_path / "cache").iterdir())

"""The examples and the README's code do what they say; the other pages are those of tests/docs."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest
from pages import PAGES

from passes import PASSES
from targets.base import registry
from tgraph.ir.registry import OPS

ROOT = Path(__file__).resolve().parents[1]


# training needs PyTorch; tests/targets make a bundle to read, and run the one that starts processes
ELSEWHERE = ("bundle_alone.py", "tensor_parallel_disco.py", "train_dates.py")
EXAMPLES = [p for p in sorted((ROOT / "examples").glob("*.py")) if p.name not in ELSEWHERE]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.name)
def test_example(path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)  # where they leave their pictures
    monkeypatch.syspath_prepend(path.parent)  # where Python looks first if it runs the file
    monkeypatch.setattr(sys, "argv", [str(path)])
    monkeypatch.setattr(registry, "KINDS", dict(registry.KINDS))  # an example's own target is not that of other tests
    monkeypatch.setattr(registry, "_BACKENDS", dict(registry._BACKENDS))
    before = dict(PASSES), dict(OPS)  # nor are its passes and ops
    try:
        runpy.run_path(str(path), run_name="__main__")
    finally:
        for table, known in zip((PASSES, OPS), before):
            table.clear()
            table.update(known)
    assert capsys.readouterr().out


def test_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    code, = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "readme.py"
    file.write_text(code)
    runpy.run_path(str(file), run_name="__main__")
    assert "ok against the NumPy reference" in capsys.readouterr().out
    assert (tmp_path / "layer.svg").exists() and (tmp_path / "layer.tgc").exists()


def test_links_lead_to_files() -> None:
    for page in PAGES:
        text = re.sub(r"^( *)```.*?^\1```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
            assert (page.parent / target).exists(), f"{page.name}: {target}"

"""The examples and the README's code do what they say."""

from __future__ import annotations

import contextlib
import io
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from passes import PASSES
from targets.base import registry
from tgraph.ir.registry import OPS

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.py")), ids=lambda p: p.name)
def test_example(path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_the_page_of_the_interface(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```(python|text)\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "api"}
    printed = ""
    for position, (kind, text) in enumerate(blocks):
        if kind == "text":
            assert printed == text, blocks[position - 1][1]
            continue
        with contextlib.redirect_stdout(io.StringIO()) as out:
            exec(compile(text, f"docs/api.md, block {position}", "exec"), names)
        printed = out.getvalue()
        assert not printed or blocks[position + 1][0] == "text", text
    assert len(blocks) > 20


def test_the_page_of_extensions(tmp_path: Path) -> None:
    """In a process of its own: what it registers would stay."""
    page = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```(python|text)\n(.*?)```", page, re.DOTALL)
    end = "-- end of block --\n"
    (tmp_path / "page.py").write_text("".join(f"{text}\nprint({end!r}, end='')\n" for kind, text in blocks if kind == "python"))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run([sys.executable, "page.py"], capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=300)
    assert ran.returncode == 0, ran.stderr
    printed = iter(ran.stdout.split(end))
    last = ""
    for kind, text in [*blocks, ("python", "")]:
        if kind == "python":
            assert not last, f"printed, and not on the page: {last}"
            last = next(printed)
        else:
            assert last == text
            last = ""


def test_readme_links() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"

"""The changes that CONTRIBUTING walks through: its diffs apply, and the commands below them succeed, in a copy of the project."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pages import ROOT, Block, blocks_of

COPIED = ("tgraph", "passes", "targets", "tests", "docs", "benchmarks", "examples", "Makefile", "pyproject.toml", "mkdocs.yml",
          "README.md", "CONTRIBUTING.md", "CHANGELOG.md")
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def steps() -> Iterator[Block]:
    """The diffs, and the commands that follow them."""
    seen = False
    for block in blocks_of(PAGE):
        seen = seen or block.kind == "diff"
        if seen:
            yield block


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The project, without what git ignores in it."""
    ignored = shutil.ignore_patterns("__pycache__", "results", "*.png", ".*")
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def apply(diff: Block, folder: Path) -> None:
    """As `git apply` does, exactly: no line of context may differ."""
    command = ["git", "apply", "-"]
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(folder.parent)}  # the folder itself is no repository
    ran = subprocess.run(command, input=diff.text, capture_output=True, text=True, cwd=folder, env=environment)
    assert ran.returncode == 0, f"CONTRIBUTING.md, line {diff.line}: {ran.stderr}"


def run(line: str, folder: Path) -> None:
    python = Path(sys.executable)
    command, *words = shlex.split(line, comments=True)
    environment = {**os.environ, "PYTHONPATH": str(folder), "TGRAPH_CACHE": "off"}
    arguments = {
        "make": ["make", *words, f"BIN={python.parent}", "-o", ".venv/.test"],
        "pytest": [str(python), "-m", "pytest", "-n", "0", *words],
        "tgraph": [str(python), "-m", "tgraph", *words],
    }[command]
    ran = subprocess.run(arguments, capture_output=True, text=True, cwd=folder, env=environment, timeout=900)
    assert ran.returncode == 0, f"{line}\n{ran.stdout}\n{ran.stderr}"


@pytest.mark.skipif(shutil.which("git") is None, reason="git applies the diffs")
def test_the_diffs_apply(copy: Path) -> None:
    diffs = [block for block in steps() if block.kind == "diff"]
    assert len(diffs) >= 8
    for diff in diffs:
        apply(diff, copy)
        for line in diff.text.splitlines():
            if line.startswith("+++ b/"):
                assert (copy / line.removeprefix("+++ b/")).exists()


@pytest.mark.thorough
@pytest.mark.skipif(shutil.which("git") is None or shutil.which("make") is None, reason="git applies the diffs")
def test_the_commands_below_them_succeed(copy: Path) -> None:
    for block in steps():
        if block.kind == "diff":
            apply(block, copy)
        else:
            for line in block.text.splitlines():
                run(line, copy)

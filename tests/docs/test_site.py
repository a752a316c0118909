"""The documentation builds as a site in which every link, anchor and name of the reference resolves."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_the_site_builds_and_every_link_resolves(tmp_path: Path) -> None:
    for package in ("mkdocs", "material", "mkdocstrings"):
        pytest.importorskip(package, reason="pip install tgraph-compiler[docs]")
    # without --quiet, which keeps --strict from seeing warnings
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    ran = subprocess.run(build, capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert ran.returncode == 0, ran.stderr
    start = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert 'href="api.html"' in start and 'href="docs/api.md"' not in start, "links of README lead to pages of the site"
    assert 'id="tgraph.Executable.profile"' in (tmp_path / "site" / "reference" / "tgraph.html").read_text(encoding="utf-8")


def test_every_page_is_in_the_navigation() -> None:
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    listed = set(re.findall(r"^ *- (?!#).*: (\S+\.md)$", nav, re.MULTILINE))
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert pages <= listed, f"add to the nav in mkdocs.yml: {', '.join(sorted(pages - listed))}"
    assert listed - pages == {"index.md", "changelog.md", "contributing.md", "benchmarks/index.md", "benchmarks/results.md"}

"""The wheel has the packages, their data, types and licence, and nothing else; the same sources make the same one."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.packaging.wheel import copy_sources, data_files, problems_of

pytest.importorskip("setuptools", minversion="77", reason="pyproject.toml asks for this version to build")
BUILD = "import setuptools.build_meta as backend, sys; print(backend.build_wheel(sys.argv[1]))"  # no network, nothing isolated


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    sources = copy_sources(folder)
    built = subprocess.run([sys.executable, "-c", BUILD, str(folder)], cwd=sources, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return folder / built.stdout.splitlines()[-1]


def test_what_is_in_the_wheel(wheel: Path) -> None:
    assert problems_of(wheel) == []
    assert {"tgraph/py.typed", "passes/py.typed", "targets/py.typed", "tgraph/typed_ops.pyi", "tgraph/formats/graph.schema.json",
            "tgraph/plot/heads.html", "tgraph/formats/html/assets/page.html"} <= data_files()


@pytest.mark.parametrize(("lost", "added", "problem"), [
    ("tgraph/typed_ops.pyi", None, "tgraph/typed_ops.pyi is missing"), ("targets/py.typed", None, "targets/py.typed is missing"),
    ("tgraph/formats/html/assets/app.js", None, "app.js is missing"), (None, "tests/test_layers.py", "has no place there"),
    ("LICENSE", None, "no licence"),
])
def test_what_is_wrong_is_found(wheel: Path, tmp_path: Path, lost: str | None, added: str | None, problem: str) -> None:
    with zipfile.ZipFile(wheel) as whole, zipfile.ZipFile(tmp_path / "x.whl", "w") as changed:
        for name in whole.namelist():
            if lost is None or not name.endswith(lost):
                changed.writestr(name, whole.read(name))
        if added is not None:
            changed.writestr(added, "")
    assert any(problem in found for found in problems_of(tmp_path / "x.whl"))

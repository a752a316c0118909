"""Types for users: what mypy --strict says of a file of theirs, the stub of the ops, and the marks that packages are typed."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tgraph
from tgraph.cli.stub import stub_of
from tgraph.ir.registry import OPS, get_op

ROOT = Path(__file__).resolve().parents[1]
USER = ROOT / "tests" / "typing" / "user_model.py"


def test_mypy_on_a_users_file() -> None:
    pytest.importorskip("mypy")
    # silent: of tgraph's own files, as of any installed package, mypy reports nothing here
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--config-file=", "--no-error-summary",
               f"--cache-dir={ROOT / '.mypy_cache' / 'user'}", str(USER)]
    run = subprocess.run(command, capture_output=True, text=True, cwd=USER.parent, env={**os.environ, "MYPYPATH": str(ROOT)})
    found = [line for line in run.stdout.splitlines() if ": error:" in line]
    assert not run.stderr, run.stderr
    expected = 0
    for number, line in enumerate(USER.read_text(encoding="utf-8").splitlines(), start=1):
        for text in line.split("# error: ")[1:] and line.split("# ")[-1].split(" / "):
            expected += 1
            wanted = text.removeprefix("error: ")
            assert any(f"{USER.name}:{number}: error:" in e and wanted in e for e in found), (number, wanted, run.stdout)
    assert len(found) == expected, run.stdout


def test_the_stub_of_the_ops_is_current() -> None:
    get_op("softmax")
    own = [op for op in OPS.values() if op.infer.__module__.startswith("tgraph.ops")]
    written = (ROOT / "tgraph" / "typed_ops.pyi").read_text(encoding="utf-8")
    assert written == stub_of(own), "run: tgraph ops --stub > tgraph/typed_ops.pyi"
    exported = ast.literal_eval(written.partition("__all__: list[str] = ")[2].partition("]")[0] + "]")
    assert exported == re.findall(r"^def (\w+)", written, re.MULTILINE)
    assert "__all__ += _typed_ops.__all__" in (ROOT / "tgraph" / "__init__.py").read_text(encoding="utf-8")
    assert all(f"def {op.name}(" in written for op in own) and "-> Any" not in written.replace("function: Graph) -> Any", "")


@pytest.mark.parametrize("package", ["tgraph", "passes", "targets"])
def test_the_packages_are_marked_as_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").exists()
    assert '"*" = ["py.typed", "*.pyi"]' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_the_licence_is_beside_the_packages() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text and "Version 2.0, January 2004" in text
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert 'license = "Apache-2.0"\nlicense-files = ["LICENSE"]' in project
    assert not hasattr(tgraph, "no_such_name")

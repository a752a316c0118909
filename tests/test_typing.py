"""Types for users: what mypy --strict says of a file of theirs, the stub of the ops, and the marks that packages are typed."""

from __future__ import annotations

import ast
import importlib
import json
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
# whose attributes have no types but those that a checker infers: layers named as checkpoints have them, and what no user calls
INFERRED = ("tgraph.models.", "tgraph.testing.", "tgraph.cli.", "tgraph.onnx_backend.")


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


def unknown_types(package: str, folder: Path) -> dict[str, bool]:
    """Each symbol that a package shows, by its full name, and whether its type is not written down, or in part unknown."""
    command = [sys.executable, "-m", "basedpyright", "--verifytypes", package, "--ignoreexternal", "--outputjson",
               "--pythonpath", sys.executable]
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    run = subprocess.run(command, capture_output=True, text=True, cwd=folder, env={**os.environ, "PYTHONPATH": path})
    shown = json.loads(run.stdout)["typeCompleteness"]["symbols"]
    return {s["name"]: s["isTypeAmbiguous"] or not s["isTypeKnown"] for s in shown if s["isExported"]}


@pytest.mark.thorough
@pytest.mark.parametrize("package", ["tgraph", "passes", "targets"])
def test_public_types_are_known(package: str, tmp_path: Path) -> None:
    """All of tgraph but what is INFERRED; of the other two what they show to users, with its members."""
    pytest.importorskip("basedpyright")
    module = importlib.import_module(package)
    shown = [getattr(module, name) for name in module.__all__]
    places = {f"{o.__module__}.{o.__qualname__}" for o in shown if hasattr(o, "__qualname__")}
    unknown = unknown_types(package, tmp_path)
    public = [name for name in unknown if (not name.startswith(INFERRED) if package == "tgraph"
                                           else name in places or name.rpartition(".")[0] in places)]
    assert len(public) > (2000 if package == "tgraph" else 50)
    assert [name for name in public if unknown[name]] == []


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

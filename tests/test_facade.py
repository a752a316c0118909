"""What `import tgraph` costs and gives, in a fresh interpreter each."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import tgraph as tg

ROOT = Path(__file__).resolve().parents[1]


def python(code: str, *, path: list[str] | None = None, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*(path or []), str(ROOT)])}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=cwd, timeout=120)


def test_import_is_light() -> None:
    code = "import sys, tgraph; print([m for m in ('tvm', 'onnx', 'networkx', 'rich', 'click') if m in sys.modules])"
    assert python(code).stdout.strip() == "[]"


@pytest.mark.parametrize("package", ["passes", "targets"])
def test_a_foreign_package_that_shadows_ours(package: str, tmp_path: Path) -> None:
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").write_text("")
    result = python("import tgraph; tgraph.targets", path=[str(tmp_path)], cwd=tmp_path)
    assert result.returncode != 0
    assert f"tgraph needs its own package '{package}'" in result.stderr
    assert str(tmp_path / package) in result.stderr


def test_every_op_is_a_function() -> None:
    import tgraph.ops  # noqa: F401
    from tgraph.ir.registry import OPS

    for name in OPS:
        assert callable(getattr(tg, name)), name
        assert name in dir(tg)


def test_unknown_names() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'sofmax'.*did you mean softmax"):
        tg.sofmax


def test_type_checkers_know_every_lazy_name() -> None:
    tree = ast.parse((ROOT / "tgraph" / "__init__.py").read_text(encoding="utf-8"))
    blocks = [node.body for node in tree.body if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"]
    imports = [node for block in blocks for node in block if isinstance(node, ast.Import | ast.ImportFrom)]
    known = {name.asname or name.name for node in imports for name in node.names}
    assert set(tg._LAZY) <= known, "import it under TYPE_CHECKING, too"
    assert set(tg._LAZY) <= set(tg.__all__)

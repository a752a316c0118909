"""Imports go down only: ir <- ops <- {trace, reference, formats} <- nn <- models <- passes <- targets <- cli, and in passes and
targets: base <- codegen <- lowering <- runtime <- a package each target <- compiling and loading. No module imports itself.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import networkx
import pytest

ROOT = Path(__file__).resolve().parents[1]
# (prefix of a module's name, its layer); the longest prefix counts
LAYERS = {
    "tgraph.version": 0, "tgraph.ir": 0, "tgraph.ops": 1,
    "tgraph.public": 2, "tgraph.user_code": 2, "tgraph.current_tracer": 2, "tgraph.hints": 2, "tgraph.conversions": 2,
    "tgraph.masks": 2, "tgraph.arithmetic": 2, "tgraph.indexing": 2, "tgraph.tensor": 2,
    "tgraph.functions": 2, "tgraph.module": 2, "tgraph.trace": 2, "tgraph.reference": 2, "tgraph.formats": 2,
    "tgraph.plot": 2,
    "tgraph.nn": 3, "tgraph.models": 4,
    "passes": 5, "passes.algebra": 6, "passes.attention": 7, "passes.padding": 7, "passes.transforms": 8, "passes.debug": 8,
    "passes.precision": 8,
    "targets.base": 9, "targets.codegen": 10, "targets.lowering": 11, "targets.runtime": 12,
    **{f"targets.{path.parent.name}": 13 for path in (ROOT / "targets").glob("*/backend.py") if path.parent.name != "base"},
    "targets": 14, "targets.cpu.tuning": 15, "tgraph.testing": 15, "tgraph.batch": 15, "tgraph.cli": 16,
    "tgraph.__main__": 16, "tgraph.onnx_backend": 16,
}
FACADES = {"tgraph", "passes", "targets"}  # what users import from: above everything


def layer(module: str) -> int | None:
    """The layer of one of our modules; None for facades, and for foreign modules."""
    parts = [] if module in FACADES else module.split(".")
    for length in range(len(parts), 0, -1):
        found = LAYERS.get(".".join(parts[:length]))
        if found is not None:
            return found
    return None


def modules() -> Iterator[tuple[str, Path]]:
    for package in ("tgraph", "passes", "targets"):
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imports(module: str, path: Path, source: str, whole: bool = False) -> Iterator[tuple[str, int]]:
    """All modules that a file imports, at any depth, but for type checking only; `whole`: with the names that it takes."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    tree = ast.parse(source)
    skipped: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            skipped.update(inner for part in node.body for inner in ast.walk(part))
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield (full if whole or (layer(full) is not None and layer(full) != layer(base)) else base), node.lineno


def upward(module: str, path: Path, source: str) -> list[str]:
    own = layer(module)
    found = []
    for target, line in imports(module, path, source):
        other = layer(target)
        if own is not None and other is not None and other > own:
            found.append(f"{path.name}:{line}: {module} (layer {own}) imports {target} (layer {other})")
    return found


@pytest.mark.parametrize(("module", "path"), [pytest.param(m, p, id=m) for m, p in modules()])
def test_imports_go_down(module: str, path: Path) -> None:
    assert upward(module, path, path.read_text(encoding="utf-8")) == []


def cycles(sources: Mapping[str, tuple[Path, str]]) -> list[list[str]]:
    """Modules that import each other, directly or not, wherever in a file the import stands."""
    graph = networkx.DiGraph()
    for module, (path, source) in sources.items():
        for found, _ in imports(module, path, source, whole=True):
            while found and found not in sources:
                found = found.rpartition(".")[0]
            if found and found != module and found not in FACADES:
                graph.add_edge(module, found)
    return [sorted(group) for group in networkx.strongly_connected_components(graph) if len(group) > 1]


def test_no_module_imports_itself() -> None:
    assert cycles({m: (p, p.read_text(encoding="utf-8")) for m, p in modules()}) == []


def test_the_language_does_not_import_the_package_that_shows_it() -> None:
    for module, path in modules():
        if module.startswith("tgraph.") and (layer(module) or 0) < LAYERS["passes"]:
            names = [name for name, _ in imports(module, path, path.read_text(encoding="utf-8"), whole=True)]
            assert "tgraph" not in names, module


def test_a_cycle_is_found() -> None:
    path = ROOT / "passes" / "a.py"
    sources = {"passes.a": (path, "from passes import b\n"), "passes.b": (path, "def f():\n    from passes.a import x\n")}
    assert cycles(sources) == [["passes.a", "passes.b"]]


def test_an_upward_import_is_found() -> None:
    path = ROOT / "tgraph" / "ir" / "graph.py"
    assert upward("tgraph.ir.graph", path, "def f():\n    from ..nn import Linear\n") != []
    assert upward("passes.transforms.dce", ROOT / "passes" / "dce.py", "import targets.compiler\n") != []
    assert upward("tgraph.ops.call", ROOT / "tgraph" / "ops" / "call.py", "from ..trace import trace\n") != []


def test_only_one_command_needs_what_is_not_installed() -> None:
    for module, path in modules():
        names = {name.partition(".")[0] for name, _ in imports(module, path, path.read_text(encoding="utf-8"))}
        assert not names & {"benchmarks", "tests", "examples"} or module == "tgraph.cli.bench", module


def test_the_language_needs_no_tvm() -> None:
    for module, path in modules():
        if module.startswith(("tgraph", "passes")) and not module.startswith("tgraph.cli"):
            names = [name for name, _ in imports(module, path, path.read_text(encoding="utf-8"))]
            assert not [n for n in names if n.split(".")[0] in ("tvm", "tvm_ffi")], module


def test_no_property_has_a_lock_of_its_class() -> None:
    """As functools.cached_property has one before Python 3.12; `tgraph.ir.cached` says what that does to a forked child."""
    found = [module for module, path in modules() if module != "tgraph.ir.cached"
             and any(target == "functools.cached_property" for target, _ in imports(module, path, path.read_text(), whole=True))]
    assert not found

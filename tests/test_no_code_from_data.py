"""No source of tgraph runs what it reads: no pickle, eval, exec, marshal, YAML's loader, shell; NumPy's files without objects."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(path for package in ("tgraph", "passes", "targets") for path in (ROOT / package).rglob("*.py"))

MODULES = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "yaml", "runpy", "code",
           "codeop", "imp", "jsonpickle", "pandas"}
BUILTINS = {"eval", "exec", "compile", "__import__"}
CALLS = {"os.system", "os.popen", "os.execv", "os.execvp", "os.spawnv", "torch.load", "pty.spawn", "types.CodeType",
         "types.FunctionType", "subprocess.getoutput", "subprocess.getstatusoutput"}
METHODS = {"exec_module", "load_module", "find_class"}  # on any object

# file and what it uses -> why it may. A reason that is no longer needed must go.
EXCEPTIONS = {
    ("tgraph/formats/torch_checkpoint.py", "pickle"):
        "checkpoints of PyTorch are pickles; of Python's reader what makes numbers, texts, lists, tuples and dicts remains",
    ("targets/base/tvm_api.py", "load_module"):
        "the library of a compilation, or of a bundle, which is a program (docs/untrusted.md), after every check",
    ("tgraph/cli/user_files.py", "exec_module"):
        "FILE.py and --plugin FILE are programs of the user's, and are given on the command line to be run (docs/untrusted.md)",
}


def found(source: str) -> Iterator[tuple[str, int]]:
    """What a source uses of all that, with its line."""
    tree = ast.parse(source)
    own = {a.asname or a.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module != "builtins"
           for a in node.names} | {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((a.name, node.lineno) for a in node.names if a.name.partition(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").partition(".")[0] in MODULES:
            yield str(node.module), node.lineno
        elif isinstance(node, ast.ImportFrom) and node.module == "builtins":
            yield from ((a.name, node.lineno) for a in node.names if a.name in BUILTINS)
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            keywords = {k.arg: k.value for k in node.keywords}
            if (name.removeprefix("builtins.") in BUILTINS and name not in own) or name in CALLS:
                yield name, node.lineno
            elif isinstance(node.func, ast.Attribute) and node.func.attr in METHODS:
                yield node.func.attr, node.lineno
            elif "shell" in keywords and not _is(keywords["shell"], False):
                yield "shell=", node.lineno
            elif name in ("np.load", "numpy.load") and not _is(keywords.get("allow_pickle"), False):
                yield "np.load without allow_pickle=False", node.lineno


def _is(node: ast.expr | None, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def test_nothing_that_is_read_is_run() -> None:
    uses = {(path.relative_to(ROOT).as_posix(), what): line for path in SOURCES for what, line in found(path.read_text())}
    assert len(SOURCES) > 300
    wrong = {f"{file}:{line}: {what}" for (file, what), line in uses.items() if (file, what) not in EXCEPTIONS}
    assert not wrong
    assert not EXCEPTIONS.keys() - uses.keys(), "exceptions that nothing needs any more"


@pytest.mark.parametrize("source", [
    "import pickle", "from pickle import loads", "import yaml", "eval('1')", "def f():\n  exec(text)", "compile(x, '', 'exec')",
    "__import__(name)", "import builtins\nbuiltins.eval(x)", "from builtins import exec", "subprocess.run(c, shell=True)",
    "subprocess.run(c, shell=maybe)", "os.system(x)", "np.load(x)", "np.load(x, allow_pickle=True)",
    "numpy.load(x, allow_pickle=a)",
    "spec.loader.exec_module(m)", "import marshal as m", "torch.load(x)",
])
def test_each_of_them_is_seen(source: str) -> None:
    assert list(found(source))


def test_what_only_looks_like_it() -> None:
    assert not list(found("from targets.compiler import compile\ncompile(g)"))
    assert not list(found("re.compile(x); module.eval(); tg.compile(g); subprocess.run(c, shell=False)"))
    assert not list(found("np.load(x, allow_pickle=False)"))

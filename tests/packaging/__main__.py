"""The distribution tried as users get it: built, checked, and installed into clean environments of several Pythons.

    python -m tests.packaging                                 with every Python from 3.10 on that is on PATH
    python -m tests.packaging --python python3.12             with that one
    python -m tests.packaging --dependencies lowest -- ...    tests with the lowest version of each dependency that is allowed
                                                              and has a wheel for this Python (uv finds them)

Takes minutes, and what pip downloads. A failure ends it with what the command said. Tests run against the installed wheel; what
stands behind -- is given to pytest, by default a slice through the house (`SLICE`).
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.packaging.wheel import ROOT, copy_sources, problems_of

PYTHONS = [f"python3.{minor}" for minor in range(10, 14)]
TOOLS = ["build", "twine", "uv"]
SLICE = ["tests/cli/test_console.py",  # other tests of commands want a later click than tgraph does
         *(f"tests/formats/test_{name}.py" for name in ("json", "safetensors", "tg", "svg")),
         *(f"tests/ir/test_{name}.py" for name in ("text", "dims", "graph", "binding")), "tests/reference/test_comparison.py",
         *(f"tests/targets/test_{name}.py" for name in ("archive", "variants", "outputs"))]
PYTEST = ["pytest>=8", "pytest-xdist>=3.5", "hypothesis>=6.100", "jsonschema>=4.20", "onnxruntime>=1.23", "safetensors>=0.4"]
USER = """
import numpy as np, tgraph as tg
from tgraph import nn

B, S = tg.dims("B S")
graph = tg.trace(nn.EncoderLayer(64, 4, 128), x=tg.f32[B, S, 64], mask=tg.bool_[B, S])
exe = tg.compile(graph)
feeds = np.ones((2, 5, 64), np.float32), np.ones((2, 5), bool)
y = exe(*feeds)
assert tg.check(exe)
exe.save("layer.tgc", originals=True)
loaded = tg.load("layer.tgc")
assert (loaded(*feeds) == y).all() and tg.check(loaded)
for suffix in (".tg", ".json", ".svg", ".html", ".onnx", ".dot"):
    graph.dump("layer" + suffix)
assert tg.read("layer.json") == graph == tg.read("layer.tg")
print(y.shape, exe)
"""


def run(*command: str | Path, cwd: Path, env: Mapping[str, str] | None = None) -> str:
    """What a command prints. Ends this program with all that it said if it fails."""
    done = subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True, check=False,
                          env={**os.environ, "TGRAPH_CACHE": "off", "PYTHONPATH": "", **(env or {})})
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\nended with {done.returncode}:\n{done.stdout[-6000:]}{done.stderr[-6000:]}")
    return done.stdout


def build(folder: Path) -> Path:
    """The wheel, after it and the sdist were built and checked."""
    sources, tools = copy_sources(folder), folder / "tools"
    run(sys.executable, "-m", "venv", tools, cwd=folder)
    run(tools / "bin/python", "-m", "pip", "install", "--quiet", *TOOLS, cwd=folder)
    run(tools / "bin/python", "-m", "build", "--outdir", folder / "dist", cwd=sources)  # the wheel is made of the sdist
    files = sorted((folder / "dist").iterdir())
    run(tools / "bin/python", "-m", "twine", "check", "--strict", *files, cwd=folder)
    wheel, = (folder / "dist").glob("*.whl")
    if problems := problems_of(wheel):
        sys.exit("\n".join([f"{wheel.name}:", *problems]))
    print("built:", *(f"{file.name} {file.stat().st_size / 2**20:.2f} MiB" for file in files), flush=True)
    return wheel


def environment(python: str, folder: Path, *requirements: str | Path) -> Path:
    """The Python of a new environment with these installed."""
    run(python, "-m", "venv", folder, cwd=folder.parent)
    run(folder / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements, cwd=folder.parent)
    return folder / "bin" / "python"


def seconds(python: Path, code: str, folder: Path) -> float:
    """The least time of a process that runs some code, of five."""
    times = []
    for _ in range(5):
        start = time.perf_counter()
        run(python, "-c", code, cwd=folder)
        times.append(time.perf_counter() - start)
    return min(times)


def try_user(python: Path, folder: Path) -> None:
    """What a user does first: the commands, and a small model from trace to bundle."""
    tgraph = python.parent / "tgraph"
    assert "Usage: tgraph" in run(tgraph, "--help", cwd=folder)
    run(python, "-c", USER, cwd=folder)
    run(tgraph, "compile", "bert-tiny", "-o", "tiny.tgc", "--originals", cwd=folder)
    run(tgraph, "check", "tiny.tgc", "--dim", "B=2,S=7", cwd=folder)
    where = run(python, "-c", "import tgraph; print(tgraph.__file__)", cwd=folder).strip()
    assert "site-packages" in where, where
    took = seconds(python, "import tgraph", folder) - seconds(python, "pass", folder)
    version = run(python, "-c", "import platform; print(platform.python_version())", cwd=folder).strip()
    print(f"Python {version}: installed, ran; import tgraph {1000 * took:.0f} ms", flush=True)


def pins(which: str, python: str, folder: Path) -> str:
    """Requirements that hold each dependency at the lowest version that it has for this Python; none for the newest."""
    return "" if which == "newest" else run(
        folder / "tools/bin/uv", "pip", "compile", "--quiet", ROOT / "pyproject.toml", "--python", python,
        "--resolution", "lowest-direct", "--only-binary", ":all:", "--no-header", "--no-annotate", cwd=folder)


def try_tests(python: str, wheel: Path, which: str, folder: Path, arguments: Sequence[str]) -> None:
    """Tests with the lowest or newest version of each dependency that is allowed."""
    constraints = folder / "constraints.txt"
    constraints.write_text(pins(which, python, folder), encoding="utf-8")
    own = environment(python, folder / which, wheel, *PYTEST, "-c", constraints)
    print(f"{which}: {' '.join(run(own, '-m', 'pip', 'freeze', cwd=folder).split())}", flush=True)
    (folder / "user").mkdir()
    try_user(own, folder / "user")
    shutil.copytree(folder / "sources" / "tests", folder / "tested" / "tests")
    for name in ("pyproject.toml", "benchmarks", "examples", "docs", "README.md", "Makefile"):
        source = folder / "sources" / name
        (shutil.copytree if source.is_dir() else shutil.copy2)(source, folder / "tested" / name)
    chosen = ["-p", "no:cacheprovider", "-m", "not thorough", *(arguments or SLICE)]
    print(run(own, "-m", "pytest", *chosen, cwd=folder / "tested")[-1500:])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.packaging", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", action="append", help="a Python to try (default: all from 3.10 on that are on PATH)")
    parser.add_argument("--dependencies", choices=("lowest", "newest"), help="run tests with these versions instead")
    parser.add_argument("arguments", nargs="*", help="for pytest")
    options = parser.parse_args()
    pythons = options.python or [name for name in PYTHONS if shutil.which(name)]
    with tempfile.TemporaryDirectory(prefix="tgraph-packaging-") as name:
        folder = Path(name)
        wheel = build(folder)
        for number, python in enumerate(pythons):
            if options.dependencies:
                try_tests(python, wheel, options.dependencies, folder, options.arguments)
                return
            place = folder / f"user{number}"
            place.mkdir()
            try_user(environment(python, place / "venv", wheel), place)


if __name__ == "__main__":
    main()

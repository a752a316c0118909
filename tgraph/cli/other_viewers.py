"""Opening a graph in Netron, as an ONNX file, or in Google's Model Explorer, as the JSON that it reads."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from tgraph.ir.errors import TGraphError
from tgraph.ir.graph import Graph
from tgraph.ir.program import Program, only_graph

SUFFIXES = {"netron": ".onnx", "model-explorer": ".model-explorer.json"}
PACKAGES = {"netron": ("netron", "netron"), "model-explorer": ("model_explorer", "ai-edge-model-explorer")}  # module, package


def open_in(viewer: str, model: Graph | Program, output: Path | None = None) -> None:
    """Write a graph in the form that a viewer reads, and run the viewer until it ends. Raises TGraphError if it is not installed.

    output: the file to write, by default a temporary one.
    """
    command = command_of(viewer)
    folder = Path(tempfile.mkdtemp(prefix="tgraph-"))
    graph = only_graph(model, TGraphError, "FILE:{name}", quoted=False)
    path = output or folder / f"{graph.name}{SUFFIXES[viewer]}"
    graph.dump(path)
    subprocess.run([*command, str(path)], check=False)


def command_of(viewer: str) -> Sequence[str]:
    """How to start a viewer. Raises TGraphError that says what to install."""
    module, package = PACKAGES[viewer]
    found = shutil.which(viewer)
    if found:
        return [found]
    if find_spec(module) is None:
        raise TGraphError(f"{viewer} is not installed: pip install {package}")
    return [sys.executable, "-c", f"from {module} import main; main()"]

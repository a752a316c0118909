"""ONNX: `tg.import_onnx`, and the suffix `.onnx`. The onnx package is imported when a model is read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...ir.dims import DimLike
from ...ir.errors import FormatError
from ...ir.file_formats import format
from ...ir.graph import Graph
from ...ir.program import Program

if TYPE_CHECKING:
    import torch
    from onnx import ModelProto


def import_onnx(source: str | os.PathLike[str] | bytes | ModelProto, dims: Mapping[str, DimLike] | None = None,
                inputs: Mapping[str, Any] | None = None) -> Graph:
    """The graph of an ONNX model: a path, its bytes, or the onnx package's message (docs/onnx.md).

    dims: a size for the model's own name of one: {"batch": tg.dim("B"), "sequence": 128}. Those that it leaves out keep their
    names; sizes that the model's ops require to be equal become one. inputs: a type for an input whose shape the model does not
    say, or an array for one that is to be a constant of the graph. Initialisers are parameters under their names; nodes have the
    model's names as scopes.

    Raises FormatError for a file that is none, or damaged, and for what cannot be imported: all of it, with node, op, opset and
    what to do.
    """
    from .importer import import_onnx as run

    return run(source, dims, inputs)


def import_torch(module: torch.nn.Module | torch.export.ExportedProgram, args: Any = (),
                 kwargs: Mapping[str, Any] | None = None, dynamic_shapes: Any = None,
                 dims: Mapping[str, DimLike] | None = None) -> Graph:
    """The graph of a PyTorch module at inference, by torch's own exporter (`torch.onnx.export`), in memory (docs/onnx.md).

    args, kwargs: what the module is called with once: tensors of the right types, at sizes of which those that vary are two or
    more. dynamic_shapes: which sizes vary, as torch.export takes it, by argument and axis; each is a dim of ours, a name, or a
    torch.export.Dim: {"input_ids": {0: B, 1: "S"}}. dims: a size, or a dim, for a name of one, as for `import_onnx`.

    Inputs and parameters have the module's names, and its memory, if they are on the CPU: what changes them before the graph is
    compiled changes the graph's too. Outputs have the names of what the module returns. Scopes are paths of modules, and lines
    those of the module's code.

    Raises ModuleNotFoundError without torch and onnxscript; TraceError, with module and line, for what torch cannot export;
    FormatError for what cannot be imported of that.
    """
    from .from_torch import import_torch as run

    return run(module, args, kwargs, dynamic_shapes, dims)


def export_onnx(graph: Graph | Program, path: str | os.PathLike[str], opset: int | None = None, *,
                external: bool | None = None) -> None:
    """Write a graph as an ONNX model; of a program, each graph as one, `model.encode.onnx`.

    opset: of the standard's ops, 13 (the default is 20) to what the installed onnx package knows. What it has (LayerNormalization
    from 17 on, Gelu from 20, Attention and RMSNormalization from 23) is used, all else decomposed. external: whether weights go
    into a file beside it, `model.onnx.data`; by default those that are too large for one message.

    Raises FormatError for what cannot be written, and OSError.
    """
    from .export import OPSET
    from .export import export_onnx as run

    run(graph, path, OPSET if opset is None else opset, external=external)


@format(".onnx")
class OnnxFormat:
    """Models of ONNX; several graphs of a program are several files."""

    @staticmethod
    def write(obj: Any, path: Path, *, opset: int | None = None, external: bool | None = None) -> None:
        """Write a graph or program, as `export_onnx` does."""
        if not isinstance(obj, (Graph, Program)):
            raise FormatError(f"{path}: expected a Graph or a Program, got {type(obj).__name__}")
        export_onnx(obj, path, opset, external=external)

    @staticmethod
    def read(path: Path, *, dims: Mapping[str, DimLike] | None = None, inputs: Mapping[str, Any] | None = None) -> Any:
        """Read a model, as `import_onnx` does."""
        return import_onnx(path, dims, inputs)

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
    from onnx import ModelProto



def import_onnx(source: str | os.PathLike[str] | bytes | ModelProto, dims: Mapping[str, DimLike] | None = None,
                inputs: Mapping[str, Any] | None = None) -> Graph:
    from .importer import import_onnx as run

    return run(source, dims, inputs)


@format(".onnx")
class OnnxFormat:
    """Models of ONNX; several graphs of a program are several files."""

    @staticmethod
    def write(obj: Any, path: Path, *, opset: int | None = None, external: bool | None = None) -> None:
        """Write a graph or program, as `export_onnx` does."""
        from .export import OPSET, export_onnx

        if not isinstance(obj, (Graph, Program)):
            raise FormatError(f"{path}: expected a Graph or a Program, got {type(obj).__name__}")
        export_onnx(obj, path, OPSET if opset is None else opset, external=external)

    @staticmethod
    def read(path: Path, *, dims: Mapping[str, DimLike] | None = None, inputs: Mapping[str, Any] | None = None) -> Any:
        """Read a model, as `import_onnx` does."""
        return import_onnx(path, dims, inputs)

"""ONNX: `tg.import_onnx`, and the suffix `.onnx`. The onnx package is imported when a model is read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...ir.dims import DimLike
from ...ir.file_formats import format

if TYPE_CHECKING:
    from onnx import ModelProto

    from ...ir.graph import Graph


def import_onnx(source: str | os.PathLike[str] | bytes | ModelProto, dims: Mapping[str, DimLike] | None = None,
                inputs: Mapping[str, Any] | None = None) -> Graph:
    from .importer import import_onnx as run

    return run(source, dims, inputs)


@format(".onnx")
class OnnxFormat:
    """Models of ONNX."""

    @staticmethod
    def read(path: Path, *, dims: Mapping[str, DimLike] | None = None, inputs: Mapping[str, Any] | None = None) -> Any:
        """Read a model, as `import_onnx` does."""
        return import_onnx(path, dims, inputs)

"""File formats by suffix: `write(graph, "layer.svg")`, `read("layer.tg")`. `@format` registers a further one."""

from ..ir.file_formats import FORMATS, Format, format, read, write
from . import (  # noqa: F401  (each registers its suffix)
    dot,
    html,
    json,
    mermaid,
    model_explorer,
    onnx,
    png,
    svg,
    tg,
    torch_checkpoint,
)
from .onnx import export_onnx, import_onnx, import_torch
from .safetensors import load_safetensors, save_safetensors
from .svg import to_svg

__all__ = [
    "FORMATS", "Format", "export_onnx", "format", "import_onnx", "import_torch", "load_safetensors", "read", "save_safetensors",
    "to_svg", "write",
]

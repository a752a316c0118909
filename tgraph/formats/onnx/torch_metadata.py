"""What torch's exporter notes at the nodes that it writes: the module, and the lines of Python, that each comes from."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import re
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from ...ir.location import Location
from ...user_code import is_user_code

if TYPE_CHECKING:
    from onnx import NodeProto

SCOPES, STACK = "pkg.torch.onnx.name_scopes", "pkg.torch.onnx.stack_trace"
_FRAME = re.compile(r'File "([^"]+)", line (\d+)')


def scope_of_node(node: NodeProto) -> str | None:
    """The path of the module that a node comes from, "" for the outermost; None if the exporter does not tell."""
    for entry in node.metadata_props:
        if entry.key == SCOPES:
            *modules, _ = re.findall(r"'([^']*)'", entry.value) or [""]  # the last is the name of the node itself
            return scope_of_stack(modules)
    return None


def scope_of_stack(modules: Sequence[str]) -> str:
    """The innermost of modules within each other. The second call of one is "path@1"; nodes of none have a name for that."""
    path = next((m for m in reversed(modules) if not m.startswith("_empty_nn_module_stack")), "")
    return re.sub(r"@\d+", "", path)


def line_of_node(node: NodeProto) -> Location | None:
    """The innermost line of Python outside of torch that a node comes from, if there is one."""
    found = next((lines_of(entry.value) for entry in node.metadata_props if entry.key == STACK), [])
    return found[-1] if found else None


def lines_of(stack: str) -> list[Location]:
    """The lines of a stack trace's text outside of torch, outermost first."""
    return [Location(file, int(line)) for file, line in _FRAME.findall(stack) if is_model_code(file)]


@cache
def is_model_code(file: str) -> bool:
    """Whether a source file is a model's: not torch's, its exporter's or ours."""
    relative = file.startswith(("<", "torch/", "torch\\"))  # as torch names its own files at some nodes
    return not relative and is_user_code(file) and not os.path.abspath(file).startswith(_machinery())


@cache
def _machinery() -> tuple[str, ...]:
    """The folders of torch and its exporter, and the files of Python's own that functions are called through."""
    found = [importlib.util.find_spec(name) for name in ("torch", "onnxscript", "onnx_ir")]
    folders = [place for spec in found if spec is not None for place in spec.submodule_search_locations or ()]
    standard = [contextlib.__file__, functools.__file__]
    return (*(os.path.join(folder, "") for folder in folders), *standard)

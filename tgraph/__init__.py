"""tgraph: a small language for attention and Transformer models that compiles through Apache TVM.

    B, S = tg.dims("B S")
    graph = tg.trace(model, x=tg.f32[B, S, 768])
    exe = tg.compile(graph, target="cpu")
    y = exe(x)

Every op of the table (`tgraph ops`) is a function here: `tg.softmax(x, axis=-1)`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import functions as functions  # makes the methods of tensors
from .ir.dims import Dim, dim, dims
from .ir.dtypes import DType, bf16, bool_, f16, f32, f64, i8, i32, i64, u8
from .ir.errors import (
    CompileError,
    DiskError,
    FormatError,
    GraphError,
    InputError,
    OpError,
    OutOfMemoryError,
    ParseError,
    PassError,
    RuleError,
    TargetError,
    TGraphError,
    TraceError,
    VerifyError,
    WeightsError,
)
from .ir.file_formats import on_first_use
from .ir.graph import Graph
from .ir.parser import parse, parse_program
from .ir.program import Program
from .ir.registry import OPS as _OPS
from .ir.registry import op
from .ir.types import TensorType
from .ir.verify import verify
from .ir.viewing import writes_pages
from .module import Module
from .public import NAMES, public_names
from .tensor import Parameter, Tensor
from .trace import trace
from .trace_program import trace_program
from .version import VERSION

if TYPE_CHECKING:
    import passes as passes
    import targets as targets
    from passes import optimize as optimize
    from targets import Executable as Executable
    from targets import ProgramExecutable as ProgramExecutable
    from targets import Session as Session
    from targets import attention_weights as attention_weights
    from targets import compile as compile
    from targets import load as load
    from targets import set_num_threads as set_num_threads

    from . import batch as batch
    from . import formats as formats
    from . import models as models
    from . import nn as nn
    from . import plot as plot
    from . import reference as reference
    from . import testing as testing
    from .formats import export_onnx as export_onnx
    from .formats import import_onnx as import_onnx
    from .formats import import_torch as import_torch
    from .formats import read as read
    from .generation import generate as generate
    from .reference import accuracy as accuracy
    from .reference import check as check
    from .reference import compare_graphs as compare
    from .reference import trace_nonfinite as trace_nonfinite
    from .reference import values as values
    from .typed_ops import *  # noqa: F403

__version__ = VERSION


def _register_formats() -> None:
    from . import formats  # noqa: F401


on_first_use(_register_formats)

_LAZY = {  # name -> (module, attribute or None for the module itself)
    "nn": ("tgraph.nn", None), "models": ("tgraph.models", None), "plot": ("tgraph.plot", None),
    "formats": ("tgraph.formats", None), "batch": ("tgraph.batch", None), "testing": ("tgraph.testing", None),
    "reference": ("tgraph.reference", None), "read": ("tgraph.formats", "read"), "check": ("tgraph.reference", "check"),
    "accuracy": ("tgraph.reference", "accuracy"), "compare": ("tgraph.reference", "compare_graphs"),
    "values": ("tgraph.reference", "values"), "trace_nonfinite": ("tgraph.reference", "trace_nonfinite"),
    "import_onnx": ("tgraph.formats", "import_onnx"),
    "import_torch": ("tgraph.formats", "import_torch"), "export_onnx": ("tgraph.formats", "export_onnx"),
    "passes": ("passes", None), "optimize": ("passes", "optimize"), "targets": ("targets", None),
    "attention_weights": ("targets", "attention_weights"), "compile": ("targets", "compile"),
    "load": ("targets", "load"), "Executable": ("targets", "Executable"),
    "ProgramExecutable": ("targets", "ProgramExecutable"), "Session": ("targets", "Session"),
    "set_num_threads": ("targets", "set_num_threads"), "generate": ("tgraph.generation", "generate"),
}

__all__: list[str] = [
    "CompileError", "DType", "Dim", "DiskError", "Executable", "FormatError", "Graph", "GraphError", "InputError",
    "Module", "OpError", "OutOfMemoryError", "Parameter", "ParseError", "PassError", "Program", "ProgramExecutable",
    "RuleError", "Session",
    "TGraphError", "TargetError", "Tensor", "TensorType", "TraceError", "VerifyError", "WeightsError", "accuracy",
    "attention_weights", "batch", "bf16",
    "bool_", "check", "compare", "compile", "dim", "dims", "export_onnx", "f16", "f32", "f64", "formats", "generate",
    "i8", "i32", "i64", "import_onnx", "import_torch", "load", "models", "nn", "op", "optimize", "parse", "parse_program",
    "passes", "plot", "read", "reference", "set_num_threads", "targets", "testing", "trace", "trace_nonfinite",
    "trace_program", "u8", "values", "verify",
]
NAMES.update(__all__)
if TYPE_CHECKING:
    from . import typed_ops as _typed_ops

    __all__ += _typed_ops.__all__  # what is not in __all__ is private to some type checkers


def _sibling(package: str) -> Any:
    """Our own `passes` or `targets`. Raises ImportError if another package of such a name comes first on sys.path."""
    import importlib.util
    import os

    home = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    for name in ("passes", "targets"):  # targets imports passes
        spec = importlib.util.find_spec(name)
        places = [] if spec is None else list(spec.submodule_search_locations or [spec.origin or "?"])
        if os.path.join(home, name) not in map(os.path.abspath, places[:1]):
            raise ImportError(f"tgraph needs its own package {name!r} ({os.path.join(home, name)}), but another of that "
                              f"name comes first on sys.path: {places[0] if places else 'none is found'}; rename it, or "
                              "start Python elsewhere")
    return importlib.import_module(package)


writes_pages(lambda: _sibling("passes.debug.explorer").write)  # type: ignore[no-any-return]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        import importlib

        package, attribute = _LAZY[name]
        module = _sibling(package) if package in ("passes", "targets") else importlib.import_module(package)
        value = module if attribute is None else getattr(module, attribute)
    elif name.startswith("_"):
        raise AttributeError(name)
    else:
        import difflib

        from .functions import function_of

        value = function_of(name)
        if value is None:
            near = difflib.get_close_matches(name, __dir__(), n=3)
            raise AttributeError(f"module 'tgraph' has no attribute {name!r}, and there is no op or function of that name"
                                 + (f"; did you mean {', '.join(near)}?" if near else ""))
        if name in _OPS and not _OPS[name].infer.__module__.startswith("tgraph."):
            return value  # a user's op may be defined again
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return public_names()

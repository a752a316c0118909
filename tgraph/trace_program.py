"""Tracing several methods of a model into one program over its parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .ir.dtypes import DType
from .ir.errors import TraceError
from .ir.graph import Graph
from .ir.program import Program
from .ir.types import TensorType
from .trace import trace_into


def trace_program(model: Any, /, **methods: Any) -> Program:
    """Trace methods of a model, each to a graph of its name; all share one table of parameters.

    Each argument is a method's name, with the specs of its arguments as `trace` takes them: a dict by name, a tuple by position,
    or the only one.

        tg.trace_program(model, encode=dict(source=tg.i64[B, S]), step=dict(token=tg.i64[B], memory=tg.f32[B, S, 512]))

    A parameter has one name in all graphs, whichever of them read it. Raises TraceError for a method that the model does not
    have, and what `trace` raises.
    """
    program = Program()
    if not methods:
        raise TraceError("a program needs a graph: name a method with the specs of its arguments, encode=dict(x=tg.f32[B, 768])")
    for name, specs in methods.items():
        method = getattr(model, name, None)
        if not callable(method):
            known = ", ".join(n for n in dir(type(model)) if not n.startswith("_") and callable(getattr(type(model), n)))
            raise TraceError(f"{type(model).__name__} has no method {name!r}; it has {known or 'none'}")
        graph = Graph(name, program.weights)
        if isinstance(specs, Mapping):
            program.add(name, trace_into(graph, method, (), specs))
        elif isinstance(specs, (list, tuple)):
            program.add(name, trace_into(graph, method, specs, {}))
        elif isinstance(specs, (TensorType, DType)):
            program.add(name, trace_into(graph, method, (specs,), {}))
        else:
            raise TraceError(f"the specs of {name} are {specs!r}; write a dict by name, {name}=dict(x=tg.f32[B, 768])")
    return program

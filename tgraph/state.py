"""Memory that outlives a call, such as a cache of keys and values, as the attribute of a module."""

from __future__ import annotations

from .current_tracer import current_tracer
from .ir.dtypes import as_type
from .ir.errors import TraceError
from .ir.types import TensorType
from .tensor import Operators, Tensor


class State(Operators):
    """Memory that outlives a call, known by the path of the attribute that holds it: `nn.State(tg.f32[B, heads, C, head_dim])`.

    In a function that is traced, a state is what it holds at that point, an operand like any tensor; assigning to `value` says
    what it holds from there on. In the graph nothing has side effects: what the call begins with is an input, what it ends with
    an output. Sessions (`exe.session(B=2, C=256)`) keep the memory between calls; it is zeros at first.
    """

    def __init__(self, type: TensorType):
        self.type: TensorType = as_type(type)

    @property
    def value(self) -> Tensor:
        """What the state holds at this point of the trace. It may be assigned a tensor of the state's type."""
        tracer = current_tracer.get()
        if tracer is None:
            raise TraceError("a state has a value only in a function that tg.trace is tracing; exe.session(...) holds its memory")
        found: Tensor = tracer.read_state(self)
        return found

    @value.setter
    def value(self, tensor: Tensor) -> None:
        tracer = current_tracer.get()
        if tracer is None:
            raise TraceError("a state is assigned to only in a function that tg.trace is tracing")
        tracer.write_state(self, tensor)

    def __repr__(self) -> str:
        return f"state {self.type}"

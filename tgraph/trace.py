"""Tracing: call a Python function or module on tensors without values, and record the ops that it applies as a graph."""

from __future__ import annotations

import inspect
import itertools
import re
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from .current_tracer import current_tracer
from .ir.attributes import DTYPE_KIND
from .ir.builder import Builder, scalar_dtype
from .ir.determined import undetermined
from .ir.dims import Dim, DimLike
from .ir.dtypes import DType, as_dtype, as_type
from .ir.errors import GraphError, OpError, RuleError, TraceError
from .ir.graph import Graph
from .ir.location import Provenance
from .ir.numbers import SizeNumber
from .ir.registry import Op, get_op
from .ir.types import TensorType
from .ir.values import Input, Value
from .module import walk
from .state import State
from .tensor import Parameter, Tensor
from .user_code import is_user_code, model_error, user_location

_WORD = re.compile(r"""
      [A-Z]+[a-z][A-Z](?=[A-Z][a-z]|[0-9_]|$)  # an acronym with a small letter in it: ViT, BEiT
    | [A-Z]{2,}[a-z](?![a-z])                  # or at its end: BERTa
    | (?!(?<=\d)D(?:[A-Z][a-z]|$))             # (Conv2D is one word)
      [A-Z]+(?![^\W\dA-Z_])                    # an acronym: BERT before Model
    | [A-Z][^\W\dA-Z_]+                         # a word
    """, re.VERBOSE)


class Tracer:
    """Adds the nodes of one trace to a graph, and knows the names of the model's modules and parameters."""

    def __init__(self, graph: Graph):
        self.graph = graph
        self.scopes: list[str] = []
        self._modules: dict[int, str] = {}
        self._parameters: dict[int, str] = {}
        self._states: dict[int, str] = {}
        self._held: dict[str, Tensor] = {}  # what states hold at this point of the trace, by name
        self._kept: list[Any] = []  # ids stay valid as long as their objects live

    # Names

    def name_tree(self, path: str, thing: Any) -> None:
        """Name every module and parameter under `thing` by its first path; the other paths of a parameter become aliases."""
        for name, found in walk(thing, path):
            table = {Parameter: self._parameters, State: self._states}.get(type(found), self._modules)
            first = table.setdefault(id(found), name)
            self._kept.append(found)
            if isinstance(found, Parameter) and first != name:
                self.graph.weights.aliases[name] = first

    @contextmanager
    def scope(self, module: Any) -> Iterator[None]:
        """Nodes added inside belong to `module`."""
        if id(module) not in self._modules:
            self.name_tree(self._fresh_name(module), module)
        self.scopes.append(self._modules[id(module)])
        try:
            yield
        finally:
            self.scopes.pop()

    def _fresh_name(self, module: Any) -> str:
        base, taken, number = snake_case(type(module).__name__), set(self._modules.values()), 0
        while (name := f"{base}_{number}" if number else base) in taken:
            number += 1
        return name

    # Dims

    def constrain(self, left: DimLike, right: DimLike) -> None:
        """Require left == right at run time. Raises RuleError if they always differ."""
        self.graph.constrain(left, right)

    def fresh_dim(self, name: str) -> str:
        """A name for a dim that the graph does not have yet: `name`, or with a number."""
        return next(n for n in itertools.chain([name], (f"{name}{i}" for i in itertools.count(1))) if n not in self.graph.symbols)

    # Ops

    def provenance(self) -> Provenance:
        location = user_location()
        return Provenance((self.scopes[-1],) if self.scopes else (), (location,) if location else ())

    def apply(self, op: Op, operands: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
        """Add one node; results come back as Tensors."""
        if op.elementwise:  # NumPy's numbers adapt to the tensors beside them, as Python's do
            operands = tuple(o.item() if isinstance(o, (np.generic, np.ndarray)) and not o.ndim else o for o in operands)
        return self._record(op.name, operands, named, lambda b, values, attrs: b.apply(op, values, {
            k: v if isinstance(v, Value) else _attribute(op, k, v) for k, v in attrs.items()}))

    def build(self, name: str, function: Callable[..., Any], operands: tuple[Any, ...], attributes: Mapping[str, Any]) -> Any:
        """Add what a function builds; results come back as Tensors."""
        return self._record(name, operands, attributes, lambda b, values, attrs: function(b, *values, **attrs))

    def _record(self, name: str, operands: tuple[Any, ...], named: Mapping[str, Any], build: Callable[..., Any]) -> Any:
        """What a function of a builder, values and the rest adds. Raises OpError."""
        provenance = self.provenance()
        try:
            types = [o.dtype for o in (*operands, *named.values()) if isinstance(o, _TYPED)]
            values = [self._value(o, types) for o in operands]
            rest = {k: self._value(v, types) if isinstance(v, _TYPED) else v for k, v in named.items()}
            results = build(Builder(self.graph, provenance), values, rest)
        except (RuleError, GraphError, OverflowError) as error:  # overflow: a Python number that its type cannot hold
            shown = [o.type if isinstance(o, _TYPED) else o for o in operands]
            raise OpError(name, shown, str(error), provenance) from None
        return tuple(Tensor(v, self) for v in results) if isinstance(results, tuple) else Tensor(results, self)

    def apply_once(self, op: Op, operand: Any, **attrs: Any) -> Any:
        """The first result of an op of one operand; that of a node that is there already, whatever it calls a dim of its own."""
        if isinstance(operand, Tensor) and operand.tracer is self:
            for node, _ in operand.value.uses:
                if node.op is op and all(name == "name" or node.attrs[name] == value for name, value in attrs.items()):
                    return Tensor(node.results[0], self)
        made = self.apply(op, (operand,), attrs)
        return made[0] if isinstance(made, tuple) else made

    def _value(self, operand: Any, types: list[DType]) -> Any:
        if isinstance(operand, Tensor):
            if operand.tracer is not self:
                raise RuleError(f"{operand!r} belongs to another trace")
            return operand.value
        if isinstance(operand, Parameter):
            return self.parameter(operand)
        if isinstance(operand, State):
            return self.read_state(operand).value
        if isinstance(operand, Dim):  # a size used as a number
            dtype = scalar_dtype(0, types)
            return Builder(self.graph, self.provenance()).dim_size(size=operand, dtype=dtype)
        if isinstance(operand, SizeNumber):
            return self._number(operand, scalar_dtype(0.0, types))
        return _constant(operand) if hasattr(operand, "__dlpack__") and not isinstance(operand, np.ndarray) else operand

    def _number(self, number: Any, dtype: DType | None) -> Value:
        """A number with sizes in it as a scalar."""
        b = Builder(self.graph, self.provenance())
        if isinstance(number, Dim):
            return b.dim_size(size=number, dtype=dtype)
        if not isinstance(number, SizeNumber):
            return b.constant(number, dtype)
        return b.apply(get_op(number.op), [self._number(side, dtype) for side in (number.left, number.right)], {})

    def parameter(self, parameter: Parameter) -> Value:
        """The graph's parameter for a layer's."""
        name = self._parameters.get(id(parameter))
        if name is None:
            raise RuleError(f"{parameter!r} is not an attribute of a traced module, so it has no name")
        if parameter.data is not None:
            self.graph.weights.set(name, parameter.data)
        else:
            self.graph.weights.initialize(name, parameter.type, parameter.initializer)
        return self.graph.parameter(name, parameter.type)

    # States

    def read_state(self, state: State) -> Tensor:
        """What a state holds at this point: at first an input of its name."""
        name = self._state_name(state)
        if name not in self._held:
            self.graph.state(name, state.type)
            self._held[name] = Tensor(self.graph.input(name, state.type), self)
        return self._held[name]

    def write_state(self, state: State, tensor: Any) -> None:
        """Make a state hold a tensor from here on, which must be of its type."""
        name, value = self._state_name(state), self._value(tensor, [state.dtype])
        try:
            if not isinstance(value, Value):
                value = self.graph.constant(value, state.dtype)
            if value.dtype != state.dtype or value.type.rank != state.rank:
                raise RuleError("the types differ")
            for declared, size in zip(state.shape, value.shape):
                self.graph.constrain(declared, size)
            self.graph.state(name, state.type)
        except (RuleError, GraphError, TypeError, ValueError):
            given = value.type if isinstance(value, Value) else repr(tensor)
            raise model_error(f"state {name} is {state.type}, and cannot hold {given}") from None
        self._held[name] = Tensor(value, self)

    def _state_name(self, state: State) -> str:
        name = self._states.get(id(state))
        if name is None:
            raise RuleError(f"{state!r} is not an attribute of a traced module, so it has no name")
        return name

    def written_states(self) -> Iterator[tuple[str, Value]]:
        """The states that hold something else at the end of the trace than at its beginning, and what."""
        for name, held in self._held.items():
            if not (isinstance(held.value, Input) and held.value.name == name):
                yield name, held.value


def trace(function: Callable[..., Any], /, *specs: Any, **named_specs: Any) -> Graph:
    """Trace a function or `nn.Module` into a typed dataflow graph.

    A spec that is a type (`tg.f32[B, S, 768]`) makes an input; anything else is passed on as it is. Positional
    specs take the names of the signature; inputs keep the order of this call; an argument left at its default is no
    input. The result of `function` (a tensor, tuple, named tuple or dict) gives the outputs and their names.

    name=: of the graph, by default that of the function or class. (If it is a type, it is the spec of an argument of that name.)
    Raises TraceError, or OpError with the user's file and line where an op does not fit its operands.
    """
    named = isinstance(named_specs.get("name"), (TensorType, DType))
    name: str | None = None if named else named_specs.pop("name", None)
    return trace_into(Graph(name or _name_of(function)), function, specs, named_specs)


def trace_into(graph: Graph, function: Callable[..., Any], specs: Sequence[Any], named_specs: Mapping[str, Any]) -> Graph:
    """`trace` into an empty graph that exists already, with its name and with weights that it may share with others."""
    signature = inspect.signature(function)
    try:
        signature.bind(*specs, **named_specs)
    except TypeError as error:
        raise TraceError(f"{_name_of(function)}{signature} cannot be called with these specs: {error}") from None
    tracer = Tracer(graph)
    for path, thing in _roots(function):
        tracer.name_tree(path, thing)

    def feed(path: str, spec: Any) -> Any:
        if isinstance(spec, (TensorType, DType)):
            return Tensor(graph.input(path, as_type(spec)), tracer)
        if isinstance(spec, (list, tuple)) and any(isinstance(s, (TensorType, DType)) for s in spec):
            return tuple(feed(f"{path}.{i}", s) for i, s in enumerate(spec))
        if isinstance(spec, dict):
            return {k: feed(f"{path}.{k}", s) for k, s in spec.items()}
        return spec

    token = current_tracer.set(tracer)
    try:
        positional = [feed(path, spec) for path, spec in zip(_positional_names(signature), specs)]
        keywords = {path: feed(path, spec) for path, spec in named_specs.items()}
        outputs = _outputs(function(*positional, **keywords), tracer)
        graph.set_outputs([*outputs, *tracer.written_states()])
    except RuleError as error:  # of a size or a type, which do not know where they are used
        raise RuleError(f"{error}\n  at {_line_of(error)}") from error
    finally:
        current_tracer.reset(token)
    if not graph.outputs:
        raise TraceError(f"{_name_of(function)} returned no tensor, and changed no state, so the graph has no output")
    _check_sizes(graph)
    return graph


def _constant(array: Any) -> Any:
    """An array of another library as a NumPy array, such as a PyTorch tensor that a model closes over."""
    try:
        return np.from_dlpack(array)
    except (TypeError, ValueError, BufferError, RuntimeError) as error:
        raise RuleError(f"a {type(array).__name__} that becomes a constant must be readable by NumPy: {error}") from None


def _attribute(op: Op, name: str, value: Any) -> Any:
    """An attribute; an element type may go by NumPy's or PyTorch's name."""
    if op.kinds.get(name) is not DTYPE_KIND:
        return value
    if value is float:
        raise RuleError("float is f64 to NumPy and f32 to PyTorch; write tg.f64 or tg.f32")
    try:
        return as_dtype(value)
    except TypeError:
        return value  # the op says what it must be


def _line_of(error: BaseException) -> str:
    """The innermost line of the user's code in the traceback of an error."""
    places = [(f.f_code.co_filename, line) for f, line in traceback.walk_tb(error.__traceback__)]
    return "{}:{}".format(*next(place for place in reversed(places) if is_user_code(place[0])))


def _check_sizes(graph: Graph) -> None:
    """Check that a call can know all sizes. Raises TraceError with the user's line."""
    found = undetermined(graph)
    if found is None:
        return
    raise TraceError(str(found)) if found.provenance.locations else model_error(found.message)


def snake_case(name: str) -> str:
    """The name of a class in snake case: `BertLayer` -> `bert_layer`, `GPT2Model` -> `gpt2_model`, `ViT` -> `vit`."""
    def apart(found: re.Match[str]) -> str:
        before = name[:found.start()]
        return found[0] if not before or before.endswith("_") else f"_{found[0]}"

    return _WORD.sub(apart, name).lower()


def _positional_names(signature: inspect.Signature) -> Iterator[str]:
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            yield from (f"{parameter.name}.{i}" for i in itertools.count())
        yield parameter.name


def _roots(function: Callable[..., Any]) -> list[tuple[str, Any]]:
    """The objects whose parameters get names, by path: the module itself, or the variables that a function closes over."""
    owner = getattr(function, "__self__", None)
    target = owner if owner is not None else function
    if not inspect.isfunction(target):
        return [("", target)]
    seen = inspect.getclosurevars(target)
    return [*seen.nonlocals.items(), *seen.globals.items()]


def _name_of(function: Callable[..., Any]) -> str:
    name = getattr(function, "__name__", None) or type(function).__name__
    return snake_case(name) if name.isidentifier() else "main"


_TYPED = (Tensor, Parameter, State)
_TENSORS = (*_TYPED, Dim, SizeNumber)  # sizes, and numbers made of them, become scalars


def _outputs(result: Any, tracer: Tracer) -> list[tuple[str, Value]]:
    if isinstance(result, _TENSORS):
        named = {"output": result}
    elif result is None:  # of a function that only changes states
        named = {}
    elif isinstance(result, dict):
        named = {str(k): v for k, v in result.items()}
    elif isinstance(result, tuple) and hasattr(result, "_fields"):
        named = dict(zip(result._fields, result))
    elif isinstance(result, (tuple, list)):
        named = {f"output{i}": v for i, v in enumerate(result)}
    else:
        raise TraceError(f"a traced function returns a tensor, or a tuple or dict of them, not {type(result).__name__}")
    outputs = []
    for name, tensor in named.items():
        if tensor is None:
            continue
        if not isinstance(tensor, _TENSORS):
            raise TraceError(f"output {name!r} is {type(tensor).__name__}, not a tensor")
        outputs.append((name, tracer._value(tensor, [])))
    return outputs

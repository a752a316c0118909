"""Ops: the decorator that defines one, and the table of all.

An op is defined by one function: its signature is the op's signature, its body the type rule, its docstring the
documentation. NumPy meaning, cost and decomposition are attached to it.

    @op
    def softmax(x: TensorType, *, axis: int = -1) -> TensorType:
        '''Softmax along one axis: exp(x - max(x)) / sum(exp(x - max(x))). ...'''
        return x

    @softmax.reference
    def _(x, *, axis): ...

    @softmax.decomposition
    def _(b, x, *, axis): ...

Positional parameters are operands (default None: optional; `*xs`: any number), keyword-only ones are attributes, whose
annotations say what they may be (`attributes.py`).

Passes and targets know of an op what its traits say (`traits.py`), which are given to the decorator, and how the axes of
operands and result correspond (`axis_maps.py`):

    @op(elementwise=True, work=20)
    @op(along="axis")
    @op(view="permute")       # with @my_op.axis_map
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

from .attributes import Kind, check_attribute, kinds_of, plain_attribute
from .dims import DimLike
from .errors import RuleError
from .traits import Traits, declared
from .types import TensorType

Attribute = Any  # bool | int | float | str | None | DType | Dim | tuple of those | Graph (the function of a call)
REQUIRED = inspect.Parameter.empty


@dataclass(frozen=True)
class Operand:
    """One operand of an op's signature."""

    name: str
    optional: bool = False
    variadic: bool = False


class Op:
    """One operation: signature, type rule, traits, axis map, NumPy meaning, cost, decomposition, documentation."""

    def __init__(self, infer: Callable[..., Any], name: str, **traits: Any):
        self.name: str = name
        self.infer: Callable[..., Any] = infer
        self.doc: str = inspect.getdoc(infer) or ""
        self.traits: Traits = declared(name, traits)
        self.numpy: Callable[..., Any] | None = None
        self.decompose: Callable[..., Any] | None = None
        self.lower: Callable[..., Any] | None = None
        self.axes: Callable[..., Sequence[Sequence[int | None] | None]] | None = None
        self.contract: Callable[..., tuple[Sequence[Sequence[Hashable]], Sequence[Hashable]]] | None = None
        self.canonical: Callable[..., dict[str, Attribute]] | None = None
        self._flops: Callable[..., DimLike] | None = None
        operands: list[Operand] = []
        attributes: dict[str, Attribute] = {}
        for parameter in inspect.signature(infer).parameters.values():
            if parameter.kind is parameter.KEYWORD_ONLY:
                attributes[parameter.name] = parameter.default
            else:
                variadic = parameter.kind is parameter.VAR_POSITIONAL
                operands.append(Operand(parameter.name, parameter.default is None, variadic))
        self.operands: tuple[Operand, ...] = tuple(operands)
        self.attributes: Mapping[str, Attribute] = attributes  # name -> default, or REQUIRED
        self.kinds: Mapping[str, Kind] = kinds_of(infer)  # what each may be, by its annotation

    @property
    def variadic(self) -> bool:
        return any(o.variadic for o in self.operands)

    @property
    def elementwise(self) -> bool:
        """Whether element i of the result depends on the elements i of the operands alone, after broadcasting."""
        return self.traits.elementwise

    @property
    def work(self) -> int:
        """Machine instructions for one element of the result, roughly."""
        return self.traits.work

    @property
    def created(self) -> bool:
        """Whether the result is made from attributes and sizes alone, without operands (`range`, `full`)."""
        return not self.operands

    @property
    def composite(self) -> bool:
        """Whether the op is defined in terms of others (and so needs no lowering of its own)."""
        return self.decompose is not None

    @property
    def summary(self) -> str:
        """The first line of the documentation."""
        return self.doc.split("\n", 1)[0]

    # The parts that a definition attaches, each as a decorator.

    def reference(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """NumPy meaning: arrays (None for an absent operand) and attributes, with dims as ints, to array(s).

        Floats come in as float64, or as float32 or wider in the dtype-faithful mode; the interpreter rounds results.
        """
        self.numpy = function
        return function

    def decomposition(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Meaning in simpler ops: `(b, *values, **attributes)` with a `Builder` b, to value(s)."""
        self.decompose = function
        return function

    def lowering(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The decomposition for targets without a kernel for the op, where the public form would not do (`decomposition`)."""
        self.lower = function
        return function

    def axis_map(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Declare which axis of each operand the axes of the result come from (`axis_maps.py`).

        `(operand types, result type, attributes)` to a list with, for each operand, an axis or None for each axis of the result.
        """
        self.axes = function
        return function

    def contraction(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A product as a sum over axes, as in an einsum.

        `(operand types, result type, attributes)` to the labels of the axes of each factor, and those of the result. A label that
        the result lacks is summed over; operands past the factors are added to the result.
        """
        self.contract = function
        return function

    def cost(self, function: Callable[..., DimLike]) -> Callable[..., DimLike]:
        """Floating-point operations: `(operand types, result types, attributes)` to a dim expression."""
        self._flops = function
        return function

    def canonicalize(self, function: Callable[..., dict[str, Attribute]]) -> Callable[..., dict[str, Attribute]]:
        """The canonical form of the attributes: `(operand types, attributes)` to attributes (axis 2 of rank 3 is -1)."""
        self.canonical = function
        return function

    # What the rest of the system asks.

    def flops(self, operands: Sequence[TensorType | None], results: Sequence[TensorType],
              attrs: Mapping[str, Attribute]) -> DimLike:
        """Floating-point operations of one application; an elementwise op has one for each element unless it says otherwise."""
        if self._flops is not None:
            return self._flops(operands, results, attrs)
        return results[0].size if self.elementwise else 0

    def bind_attributes(self, given: Mapping[str, Attribute]) -> dict[str, Attribute]:
        """Complete attributes, in the order of the signature, each in canonical form.

        Raises RuleError on unknown or missing ones, and on values that the signature's annotations do not allow.
        """
        return {name: check_attribute(name, value, self.kinds.get(name))
                for name, value in self.complete_attributes(given).items()}

    def complete_attributes(self, given: Mapping[str, Attribute]) -> dict[str, Attribute]:
        """All attributes in the order of the signature, whatever they are. Raises RuleError on unknown or missing ones."""
        for name in given:
            if name not in self.attributes:
                known = ", ".join(self.attributes) or "none"
                raise RuleError(f"unknown attribute {name!r} (attributes: {known})")
        attrs = {}
        for name, default in self.attributes.items():
            value = given.get(name, default)
            if value is REQUIRED:
                raise RuleError(f"attribute {name!r} is missing")
            attrs[name] = plain_attribute(value)
        return attrs

    def bind_operands(self, given: Sequence[Any], named: Mapping[str, Any]) -> list[Any]:
        """Operands in signature order, None where an optional one is absent."""
        if self.variadic:
            if named:
                raise RuleError(f"operands of {self.name} are positional")
            return list(given)
        if len(given) > len(self.operands):
            raise RuleError(f"takes {len(self.operands)} operands, got {len(given)}")
        bound: list[Any] = list(given) + [None] * (len(self.operands) - len(given))
        for position, operand in enumerate(self.operands):
            if operand.name in named:
                if position < len(given):
                    raise RuleError(f"operand {operand.name!r} is given twice")
                bound[position] = named[operand.name]
            if bound[position] is None and not operand.optional:
                raise RuleError(f"operand {operand.name!r} is missing")
        return bound

    def __repr__(self) -> str:
        return f"<op {self.name}>"


OPS: dict[str, Op] = {}


@overload
def op(infer: Callable[..., Any]) -> Op: ...


@overload
def op(*, name: str | None = None, **traits: Any) -> Callable[[Callable[..., Any]], Op]: ...


def op(infer: Callable[..., Any] | None = None, *, name: str | None = None, **traits: Any) -> Any:
    """Register an op from its type rule (see the module's docstring), with its traits. Usable from a user's own file.

    Raises RuleError for a trait that does not exist, and for traits that exclude each other.
    """

    def register(function: Callable[..., Any]) -> Op:
        new = Op(function, name or function.__name__.rstrip("_"), **traits)
        if new.name in OPS and OPS[new.name].infer.__module__ != function.__module__:
            raise RuleError(f"op {new.name!r} is already defined in {OPS[new.name].infer.__module__}")
        OPS[new.name] = new
        return new

    return register(infer) if infer is not None else register


def get_op(name: str) -> Op:
    """The op of that name. Raises RuleError with near names if there is none."""
    if name not in OPS:
        import difflib

        near = difflib.get_close_matches(name, OPS, n=3)
        hint = f"did you mean {', '.join(near)}?" if near else "one of your own? import its file first (tgraph --plugin FILE)"
        raise RuleError(f"unknown op {name!r}; {hint}")
    return OPS[name]

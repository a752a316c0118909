"""What an op is, and the table of all ops.

An op is one definition: a function whose signature is the op's signature, whose body is the type rule and whose
docstring is the documentation; NumPy meaning, cost and decomposition are attached to it.

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
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

from .attributes import check_attribute, kinds_of, plain_attribute
from .dims import DimLike
from .errors import RuleError
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
    """One operation: signature, type rule, NumPy meaning, cost, decomposition, documentation."""

    def __init__(self, infer: Callable[..., Any], name: str, elementwise: bool = False, work: int = 1):
        self.name = name
        self.infer = infer
        self.doc = inspect.getdoc(infer) or ""
        self.elementwise = elementwise  # result element i depends on operand elements i alone (after broadcasting)
        self.work = work  # of one element of the result, in about as many machine instructions
        self.numpy: Callable[..., Any] | None = None
        self.decompose: Callable[..., Any] | None = None
        self.canonical: Callable[..., dict[str, Attribute]] | None = None
        self._flops: Callable[..., DimLike] | None = None
        operands, attributes = [], {}
        for parameter in inspect.signature(infer).parameters.values():
            if parameter.kind is parameter.KEYWORD_ONLY:
                attributes[parameter.name] = parameter.default
            else:
                variadic = parameter.kind is parameter.VAR_POSITIONAL
                operands.append(Operand(parameter.name, parameter.default is None, variadic))
        self.operands: tuple[Operand, ...] = tuple(operands)
        self.attributes: Mapping[str, Attribute] = attributes  # name -> default, or REQUIRED
        self.kinds = kinds_of(infer)  # what each may be, by its annotation

    @property
    def variadic(self) -> bool:
        return any(o.variadic for o in self.operands)

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

    def cost(self, function: Callable[..., DimLike]) -> Callable[..., DimLike]:
        """Floating-point operations: `(operand types, result types, attributes)` to a dim expression."""
        self._flops = function
        return function

    def canonicalize(self, function: Callable[..., dict[str, Attribute]]) -> Callable[..., dict[str, Attribute]]:
        """One spelling of the attributes: `(operand types, attributes)` to attributes (axis 2 of rank 3 is -1)."""
        self.canonical = function
        return function

    # What the rest of the system asks.

    def flops(self, operands: Sequence[TensorType | None], results: Sequence[TensorType],
              attrs: Mapping[str, Attribute]) -> DimLike:
        """Floating-point operations of one application; an elementwise op counts one an element."""
        if self._flops is not None:
            return self._flops(operands, results, attrs)
        return results[0].size if self.elementwise else 0

    def bind_attributes(self, given: Mapping[str, Attribute]) -> dict[str, Attribute]:
        """Complete attributes, in the order of the signature, each in its one spelling.

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
def op(*, name: str | None = None, elementwise: bool = False, work: int = 1) -> Callable[[Callable[..., Any]], Op]: ...


def op(infer: Callable[..., Any] | None = None, *, name: str | None = None, elementwise: bool = False, work: int = 1) -> Any:
    """Register an op from its type rule (see the module's docstring). Usable from a user's own file."""

    def register(function: Callable[..., Any]) -> Op:
        new = Op(function, name or function.__name__.rstrip("_"), elementwise, work)
        if new.name in OPS and OPS[new.name].infer.__module__ != function.__module__:
            raise RuleError(f"op {new.name!r} is already defined in {OPS[new.name].infer.__module__}")
        OPS[new.name] = new
        return new

    return register(infer) if infer is not None else register


def get_op(name: str) -> Op:
    """The op of that name. Raises RuleError with near names if there is none."""
    import tgraph.ops  # noqa: F401  (defines the built-in ops)

    if name not in OPS:
        import difflib

        near = difflib.get_close_matches(name, OPS, n=3)
        raise RuleError(f"unknown op {name!r}" + (f"; did you mean {', '.join(near)}?" if near else ""))
    return OPS[name]

"""How functions on tensors are called: names of arguments by PyTorch and by NumPy, and errors with the user's line.

    @function(method=True)
    def flip(x, axis=None): ...        # tg.flip(x, axis=0), tg.flip(x, dim=0), x.flip(0)

A function of the language is plain Python that applies ops, so it traces into those; it is no node of the graph. Ops have
functions of their own names, made by `frontend`. Where a family defines a function of an op's name (`concat` takes a list), that
one accepts the op's own form too.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import ops as ops  # defines the built-in ops
from ..current_tracer import apply
from ..ir.dims import Dim
from ..ir.dtypes import DType
from ..ir.errors import GraphError, OpError, RuleError
from ..ir.location import Provenance
from ..ir.registry import OPS, Op
from ..public import FUNCTIONS
from ..tensor import Operators, Tensor
from ..user_code import model_error, user_location

# Names of one argument; a function has one of each row, and takes it by all of them.
SYNONYMS: tuple[tuple[str, ...], ...] = (
    ("axis", "axes", "dim", "dims"), ("keepdims", "keepdim"), ("correction", "ddof"), ("epsilon", "eps"),
    ("ord", "p"), ("k", "diagonal"), ("depth", "num_classes"), ("fill_value", "value"), ("min", "a_min"), ("max", "a_max"),
    ("shape", "size", "sizes", "newshape"), ("indices", "index"), ("updates", "src", "values"), ("perm", "axes", "dims"),
    ("shifts", "shift"), ("repeats", "reps"), ("start_axis", "start_dim"), ("end_axis", "end_dim"),
    ("axis1", "dim0"), ("axis2", "dim1"), ("chunks", "sections"), ("xs", "tensors", "arrays"),
)


@dataclass(frozen=True)
class Documented:
    """A function as documentation shows it; `doc` is what it says beyond the op of its name, if there is one."""

    name: str
    aliases: tuple[str, ...]
    method: bool
    signature: str
    doc: str
    module: str
    returns: str


DOCUMENTED: list[Documented] = []


def function(*, method: bool = False, aliases: tuple[str, ...] = ()) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function of the language, under its name without a closing underscore, and as a method of tensors."""

    def register(body: Callable[..., Any]) -> Callable[..., Any]:
        name = body.__name__.rstrip("_")
        signature = inspect.signature(body)

        @functools.wraps(body)
        def called(*operands: Any, **named: Any) -> Any:
            try:
                return body(*operands, **_renamed(named, signature.parameters))
            except TypeError as error:
                if error.__traceback__ is None or error.__traceback__.tb_next is not None:
                    raise  # from within the body
                raise model_error(f"{_said(error, body.__name__, name)}; it is called as {name}{plain(signature)}") from None
            except (RuleError, GraphError, OverflowError) as error:
                raise OpError(name, [_shown(o) for o in operands], str(error), _here()) from None

        called.__name__ = called.__qualname__ = name
        called.__doc__ = own = inspect.getdoc(body) or ""
        if name in OPS:
            called.__doc__ = f"{OPS[name].doc}\n\n{own}"
        DOCUMENTED.append(Documented(name, aliases, method, f"{name}{plain(signature)}", own, body.__module__,
                                     str(signature.return_annotation)))
        for each in (name, *aliases):
            FUNCTIONS[each] = called
            if method:
                setattr(Operators, each, called)
        return called

    return register


@functools.cache
def frontend(op: Op) -> Callable[..., Any]:
    """The function that applies `op` in traced code, with the op's signature and documentation.

    What is given by position after the operands are its attributes, in order: `softmax(x, -1)`.
    """
    attributes = list(op.attributes)

    def called(*operands: Any, **named: Any) -> Any:
        named = _renamed(named, (*(o.name for o in op.operands), *attributes))
        more = () if op.variadic else operands[len(op.operands):]
        if 0 < len(more) <= len(attributes):
            for name, value in zip(attributes, more):
                if name in named:
                    raise OpError(op.name, [_shown(o) for o in operands], f"{name!r} is given twice", _here())
                named[name] = value
            operands = operands[:len(op.operands)]
        return apply(op, *operands, **named)

    called.__name__ = called.__qualname__ = op.name
    called.__doc__ = op.doc
    called.__signature__ = inspect.signature(op.infer)  # type: ignore[attr-defined]
    return called


def function_of(name: str) -> Callable[..., Any] | None:
    """The function of that name, or `frontend` of the op; None if there is neither."""
    return FUNCTIONS[name] if name in FUNCTIONS else frontend(OPS[name]) if name in OPS else None


def plain(signature: inspect.Signature) -> str:
    """A signature without annotations."""
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    return str(inspect.Signature(bare))


def as_tensor(x: Any) -> Any:
    """A tensor or parameter as it is; an array or number as a constant."""
    if isinstance(x, Operators):
        return x
    if isinstance(x, (Dim, DType)) or not isinstance(x, (bool, int, float, np.ndarray, np.generic)):
        raise RuleError(f"expected a tensor, a NumPy array or a Python number, got {type(x).__name__} ({x!r})")
    return apply("reshape", x, shape=np.shape(x))


def is_traced(x: Any) -> bool:
    """Whether x has a type: what a pattern of a rewriting rule is made of has none."""
    return hasattr(x, "type")


def spread(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """`f(2, 3)` and `f((2, 3))` mean the same."""
    only = arguments[0] if len(arguments) == 1 else None
    return tuple(only) if isinstance(only, (tuple, list)) else arguments


def known_size(x: Tensor, axis: int, why: str) -> int:
    """The size of an axis as an int. Raises RuleError for a symbolic one."""
    size = x.shape[axis]
    if not isinstance(size, int):
        raise RuleError(f"axis {axis} of {x.type} must have a size that is known while tracing, {why}")
    return size


def _renamed(named: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """Keyword arguments by the names that the function has for them."""
    found: dict[str, Any] = {}
    for name, value in named.items():
        own = name if name in known else next((n for row in SYNONYMS if name in row for n in row if n in known), name)
        if own in found:
            others = [n for n in named if n != name and (n == own or any(n in row and own in row for row in SYNONYMS))]
            raise model_error(f"{others[0]!r} and {name!r} are two names of one argument")
        found[own] = value
    return found


def _said(error: TypeError, internal: str, name: str) -> str:
    return str(error).replace(f"{internal}()", f"{name}()", 1)


def _shown(operand: Any) -> object:
    return operand.type if isinstance(operand, Operators) and is_traced(operand) else operand


def _here() -> Provenance:
    location = user_location()
    return Provenance((), (location,) if location else ())

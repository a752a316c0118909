"""Rewrite rules, written in the language itself: one function is the pattern, another is its replacement.

    rule("x sigmoid(x) = silu(x)", lambda x: x * tg.sigmoid(x), lambda x: tg.silu(x))

Each parameter of the pattern is a wildcard, whose default says what it matches: no default, any value;
`tensor("bool", rank=2)`, a value of such a type; `weight()`, a parameter-only value; `scalar()`, a constant whose elements are
one number; `attribute()`, an attribute. The replacement takes those that it needs, by name. A number matches a constant of
that value. Commutative ops match in both orders. An attribute that the pattern leaves out must have its default.

`either(a, b)` matches one of several variants, `maybe(f, x)` matches f(x) or x, and `like(tg.reduce_sum(x), "reduces")` any op
with that trait. In the replacement, a wildcard that the variant found does not have is None. A replacement with a parameter
`match` gets the whole `Match`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tgraph.current_tracer import current_tracer
from tgraph.ir.errors import PassError
from tgraph.ir.graph import Graph
from tgraph.ir.registry import Op
from tgraph.ir.values import Node, Value
from tgraph.tensor import Operators


@dataclass(frozen=True)
class Wild:
    """A wildcard for a value, the same one wherever its name occurs. With `prepared`, a parameter-only value.

    `kinds` of elements and `rank` limit its type; () and None do not.
    """

    name: str
    prepared: bool = False
    kinds: tuple[str, ...] = ()
    rank: int | None = None


@dataclass(frozen=True)
class Scalar:
    """A wildcard for a constant whose elements are all one number, bound as a Python number."""

    name: str
    check: Callable[[float], bool] | None = None


@dataclass(frozen=True)
class Number:
    """A constant whose elements are all this number."""

    value: float | int | bool


@dataclass(frozen=True)
class Attribute:
    """A wildcard for the value of an attribute, the same one wherever its name occurs."""

    name: str
    check: Callable[[Any], bool] | None = None


@dataclass(frozen=True)
class Apply:
    """One result of an op applied to patterns; values in `attrs` may be `Attribute`s, also inside of tuples.

    With a `trait`, any other op that has the trait and takes the same attributes matches, too.
    """

    op: Op
    operands: tuple[Pattern | None, ...]
    attrs: tuple[tuple[str, Any], ...]
    result: int = 0
    trait: str | None = None

    def takes(self, op: Op) -> bool:
        """Whether a node with the given op may match."""
        return op is self.op or (self.trait is not None and bool(getattr(op.traits, self.trait))
                                 and op.attributes.keys() >= dict(self.attrs).keys())

    @property
    def wanted(self) -> str:
        """What would match, in words."""
        return self.op.name if self.trait is None else f"an op that {self.trait} as {self.op.name}"


@dataclass(frozen=True)
class Either:
    """One of several patterns, tried in order."""

    choices: tuple[Pattern, ...]


Pattern = Wild | Scalar | Number | Apply | Either


class PatternTensor(Operators):
    """A pattern with Python operators, which make larger patterns: what pattern functions take and return."""

    def __init__(self, pattern: Pattern):
        self.pattern = pattern

    def __getattr__(self, name: str) -> Any:
        if name in ("type", "dtype"):  # operators ask for it: at once, as looking for similar names takes long
            raise AttributeError("a pattern has no type")
        return super().__getattr__(name)

    def __repr__(self) -> str:
        return f"pattern {self.pattern}"


class _PatternTracer:
    """Makes a pattern of each op that a pattern function applies. No types are checked: wildcards have none."""

    def apply(self, op: Op, operands: tuple[Any, ...], named: dict[str, Any]) -> Any:
        names = {o.name for o in op.operands}
        given = {k: v for k, v in named.items() if k in names}
        attrs = {k: v for k, v in named.items() if k not in names}
        bound = op.bind_operands([as_pattern(o) for o in operands], {k: as_pattern(v) for k, v in given.items()})
        return PatternTensor(Apply(op, tuple(bound), tuple(op.complete_attributes(attrs).items())))

    def build(self, name: str, function: Callable[..., Any], operands: tuple[Any, ...], attributes: dict[str, Any]) -> Any:
        raise PassError(f"a pattern is made of ops, and {name} builds values of a graph")

    def scope(self, module: Any) -> Any:
        raise PassError("a pattern is made of ops, not of modules")

    def provenance(self) -> None:
        return None

    def apply_once(self, op: Op, operand: Any, **attrs: Any) -> Any:
        return self.apply(op, (operand,), attrs)

    def constrain(self, left: Any, right: Any) -> None:
        raise PassError("a pattern has no sizes yet")

    def fresh_dim(self, name: str) -> str:
        raise PassError("a pattern has no sizes yet")

    def read_state(self, state: Any) -> Any:
        raise PassError("a pattern has no states")

    def write_state(self, state: Any, tensor: Any) -> None:
        raise PassError("a pattern has no states")


def as_pattern(value: Any) -> Pattern | None:
    """The pattern for an operand in a pattern function. Raises PassError for what is none."""
    if value is None:
        return None
    if isinstance(value, PatternTensor):
        return value.pattern
    if isinstance(value, (bool, int, float)):
        return Number(value)
    if isinstance(value, (Wild, Scalar, Number, Apply, Either)):
        return value
    raise PassError(f"a pattern is made of its parameters, ops and numbers, not of {type(value).__name__} ({value!r})")


# Defaults of the parameters of pattern functions

@dataclass(frozen=True)
class weight:
    """A wildcard for a parameter-only value: one that depends on parameters and constants alone."""


@dataclass(frozen=True)
class tensor:
    """A wildcard for a value with elements of `kinds` ("float", "int", "uint", "bool", joined by +), of a rank."""

    kinds: str = ""
    rank: int | None = None


@dataclass(frozen=True)
class scalar:
    """A wildcard for a constant whose elements are one number, bound as that; `check` decides which numbers match."""

    check: Callable[[float], bool] | None = None


@dataclass(frozen=True)
class attribute:
    """A wildcard for an attribute; `check` decides which values match."""

    check: Callable[[Any], bool] | None = None


def either(*choices: Any) -> PatternTensor:
    """One of several variants, tried in order."""
    return PatternTensor(Either(tuple(p for c in choices if (p := as_pattern(c)) is not None)))


def maybe(function: Callable[[Any], Any], x: Any) -> PatternTensor:
    """`function(x)` or just `x`."""
    return either(function(x), x)


def result(of: Any, index: int) -> PatternTensor:
    """One of several results of an op: `result(tg.split(x, sizes=sizes), 1)`."""
    pattern = as_pattern(of)
    if not isinstance(pattern, Apply):
        raise PassError("result() takes an op's application")
    return PatternTensor(replace(pattern, result=index))


def like(of: Any, trait: str) -> PatternTensor:
    """An op's application or that of any other op with a trait: `like(tg.reduce_sum(x, axes=axes), "reduces")`."""
    pattern = as_pattern(of)
    if not isinstance(pattern, Apply):
        raise PassError("like() takes an op's application")
    return PatternTensor(replace(pattern, trait=trait))


@dataclass(frozen=True)
class Rule:
    """A pattern and its replacement; `name` is the equation that they state.

    `where(match)` is a further condition: it returns None, or as a text the reason why the match does not count. If something
    else reads a value inside of the match, or it is an output, the match fails, unless `shared` allows to compute it twice.
    """

    name: str
    pattern: Apply | Either
    replacement: Callable[..., Any]
    where: Callable[[Any], str | None] | None = None
    shared: bool = False
    parameters: tuple[str, ...] = field(default=())
    _ends_in: dict[Op, bool] = field(default_factory=dict, init=False, repr=False, compare=False)

    def ends_in(self, op: Op) -> bool:
        """Whether the last node of a match can have the given op."""
        found = self._ends_in.get(op)
        if found is None:
            found = self._ends_in[op] = any(root.takes(op) for root in _roots(self.pattern))
        return found

    def __str__(self) -> str:
        return self.name


NodeFunction = Callable[[Graph, Node], "Sequence[Value] | str"]  # new values for a node's results, or why there are none


@dataclass(frozen=True)
class NodeRule:
    """A rule in plain code, for what no pattern can express (any number of operands, sums of sizes).

    `function(graph, node)` is called for nodes of the ops `roots`, names or a condition. It returns the values that replace
    the node's results, or as a text the reason why it does not apply; only if it applies may it add nodes, by a `Builder`.
    """

    name: str
    roots: frozenset[str] | Callable[[Op], bool]
    function: NodeFunction

    def ends_in(self, op: Op) -> bool:
        """Whether the rule is for nodes with the given op."""
        return self.roots(op) if callable(self.roots) else op.name in self.roots

    def __str__(self) -> str:
        return self.name


def node_rule(name: str, *roots: str, where: Callable[[Op], bool] | None = None) -> Callable[[NodeFunction], NodeRule]:
    """A decorator that makes a function a `NodeRule` for the named ops, or for the ops for which `where` holds."""
    return lambda function: NodeRule(name, frozenset(roots) if where is None else where, function)


def rule(name: str, pattern: Callable[..., Any], replacement: Callable[..., Any], *,
         where: Callable[[Any], str | None] | None = None, shared: bool = False) -> Rule:
    """A rule from two functions in the language, as the docstring of this module says. Raises PassError for a bad one."""
    kinds: dict[str, Any] = {}
    for parameter in inspect.signature(pattern).parameters.values():
        kinds[parameter.name] = _wildcard(name, parameter)
    token = current_tracer.set(_PatternTracer())
    try:
        made = as_pattern(pattern(**kinds))
    finally:
        current_tracer.reset(token)
    if not isinstance(made, (Apply, Either)) or not _roots(made):
        raise PassError(f"rule {name!r}: the pattern must end in an op")
    wanted = tuple(inspect.signature(replacement).parameters)
    unknown = [p for p in wanted if p not in kinds and p != "match"]
    if unknown:
        raise PassError(f"rule {name!r}: the replacement wants {', '.join(unknown)}, which the pattern does not bind")
    return Rule(name, made, replacement, where, shared, wanted)


def _wildcard(name: str, parameter: inspect.Parameter) -> Any:
    kind = parameter.default
    if kind is parameter.empty:
        return PatternTensor(Wild(parameter.name))
    if isinstance(kind, tensor):
        return PatternTensor(Wild(parameter.name, kinds=tuple(kind.kinds.split("+")) if kind.kinds else (), rank=kind.rank))
    if isinstance(kind, weight):
        return PatternTensor(Wild(parameter.name, prepared=True))
    if isinstance(kind, scalar):
        return PatternTensor(Scalar(parameter.name, kind.check))
    if isinstance(kind, attribute):
        return Attribute(parameter.name, kind.check)
    raise PassError(f"rule {name!r}: parameter {parameter.name} defaults to {kind!r}; "
                    "it may have no default, or tensor(), weight(), scalar() or attribute()")


def _roots(pattern: Pattern) -> Sequence[Apply]:
    if isinstance(pattern, Apply):
        return [pattern]
    if isinstance(pattern, Either):
        return [r for c in pattern.choices for r in _roots(c)]
    return []

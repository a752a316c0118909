"""Matching the pattern of a rule at a node of a graph; where it does not match, saying how near it came."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from passes.patterns import Apply, Attribute, Either, Number, Pattern, Rule, Scalar, Wild
from tgraph.ir.analysis import is_prepared
from tgraph.ir.dtypes import DType, f32
from tgraph.ir.graph import Graph
from tgraph.ir.values import Constant, Node, Result, Value


@dataclass(frozen=True)
class Match:
    """A pattern found in a graph: what its wildcards stand for, and the nodes that it covers, the last one first."""

    graph: Graph
    names: Mapping[str, Any]
    nodes: tuple[Node, ...]

    @property
    def root(self) -> Node:
        """The last node: the one whose result is replaced."""
        return self.nodes[0]

    def __getitem__(self, name: str) -> Any:
        return self.names[name]


@dataclass(frozen=True)
class Miss:
    """Why a rule did not match at `root`: after `matched` nodes it failed at node `at`, for `reason`."""

    rule: str
    root: Node
    matched: int
    at: Node | None
    reason: str

    def __str__(self) -> str:
        where = f"{self.at.op.name} {self.at.provenance.describe()}".rstrip() if self.at is not None else "a leaf"
        return f"{self.rule}: {self.matched} nodes matched from {self.root.op.name}, then {self.reason} (at {where})"


def find_match(graph: Graph, parameter_only: Collection[Node], rule: Rule, root: Node) -> Match | Miss | None:
    """The first match of a rule that ends in `root`; else the miss that came furthest, if any.

    `parameter_only` are the nodes of the prepare part.
    """
    search = _Search(graph, parameter_only, rule, root)
    return next(search.matches(), None) or search.nearest


Names = dict[str, Any]  # what the wildcards of a pattern stand for


@dataclass(frozen=True)
class _Partial:
    """A match in the making: the names bound so far, and the nodes covered so far, the last one first."""

    names: Names
    nodes: tuple[Node, ...]


@dataclass
class _Search:
    """A search for one rule's pattern from one root node, by backtracking.

    `value`, `apply` and `operands` yield each extension of a partial match with which a pattern matches, lazily: where one
    turns out not to fit what follows, the caller asks for the next.
    """

    graph: Graph
    parameter_only: Collection[Node]
    rule: Rule
    root: Node
    nearest: Miss | None = None

    def matches(self) -> Iterator[Match]:
        """All matches, of all results of the root, that the rule accepts."""
        for result in self.root.results:
            for found in self.value(self.rule.pattern, result, _Partial({}, ())):
                match = Match(self.graph, found.names, found.nodes)
                failure = self.failure(match)
                if failure is None:
                    yield match
                else:
                    self.miss(found, *failure)

    def value(self, pattern: Pattern | None, value: Value | None, partial: _Partial) -> Iterator[_Partial]:
        """The extensions with which a pattern matches an operand; None stands for an optional operand that is absent."""
        if pattern is None or value is None:
            if pattern is None and value is None:
                yield partial
            else:
                self.miss(partial, None, f"an optional operand is {'missing' if value is None else 'present'}")
        elif isinstance(pattern, Either):
            for choice in pattern.choices:
                yield from self.value(choice, value, partial)
        elif isinstance(pattern, Apply):
            yield from self.apply(pattern, value, partial)
        else:
            names = self.bind(pattern, value, partial.names)
            if isinstance(names, str):
                self.miss(partial, _node(value), names)
            else:
                yield _Partial(names, partial.nodes)

    def apply(self, pattern: Apply, value: Value, partial: _Partial) -> Iterator[_Partial]:
        """The extensions with which an op's application matches a value; operands of commutative ops match in both orders."""
        node = _node(value)
        if node is None or not isinstance(value, Result) or not pattern.takes(node.op) or value.index != pattern.result:
            self.miss(partial, node, f"expected {pattern.wanted}, found {_what(value)}")
            return
        names = _bind_node(pattern, node, partial.names)
        if isinstance(names, str):
            self.miss(partial, node, names)
            return
        covered = partial.nodes if node in partial.nodes else (*partial.nodes, node)
        for operands in [node.operands, node.operands[::-1]] if node.op.traits.commutative else [node.operands]:
            yield from self.operands(pattern.operands, operands, _Partial(names, covered))

    def operands(self, patterns: Sequence[Pattern | None], values: Sequence[Value | None],
                 partial: _Partial) -> Iterator[_Partial]:
        """The extensions with which each pattern matches the operand at its place."""
        if not patterns:
            yield partial
            return
        for found in self.value(patterns[0], values[0], partial):
            yield from self.operands(patterns[1:], values[1:], found)

    def bind(self, pattern: Wild | Scalar | Number, value: Value, names: Names) -> Names | str:
        """Match a wildcard or a number with a value: the names bound then, or the reason why it does not match."""
        if isinstance(pattern, Number):
            number = splat(value)
            fits = number is not None and _close(number, pattern.value, value.dtype)
            return names if fits else f"expected the constant {pattern.value}, found {_what(value)}"
        if isinstance(pattern, Scalar):
            number = splat(value)
            if number is None:
                return f"expected a constant for {pattern.name}, found {_what(value)}"
            if pattern.check is not None and not pattern.check(number):
                return f"{pattern.name} = {number} is refused"
            if pattern.name in names and names[pattern.name] != number:
                return f"{pattern.name} is {names[pattern.name]} elsewhere, {number} here"
            return {**names, pattern.name: number}
        if pattern.prepared and not is_prepared(value, self.parameter_only):
            return f"{pattern.name} is not known before the inputs"
        if pattern.kinds and value.dtype.kind not in pattern.kinds:
            return f"{pattern.name} is {value.dtype}, not {' or '.join(pattern.kinds)}"
        if pattern.rank is not None and value.type.rank != pattern.rank:
            return f"{pattern.name} is {value.type}, not of rank {pattern.rank}"
        if names.get(pattern.name, value) is not value:
            return f"{pattern.name} is another value here ({_what(value)})"
        return {**names, pattern.name: value}

    def failure(self, match: Match) -> tuple[Node | None, str] | None:
        """Why a complete match cannot be replaced, and at which node: others need a value inside of it, or the rule says no."""
        if not self.rule.shared:
            inside = set(match.nodes)
            for node in match.nodes[1:]:
                for value in node.results:
                    other = next((u for u in value.users if u not in inside), None)
                    if other is not None:
                        return node, f"the result of {node.op.name} is also read by {other.op.name}"
                    if self.graph.is_output(value):
                        return node, f"the result of {node.op.name} is an output"
        reason = self.rule.where(match) if self.rule.where is not None else None
        return None if reason is None else (match.root, reason)

    def miss(self, partial: _Partial, at: Node | None, reason: str) -> None:
        """Keep a failure if it came further than those before it."""
        if self.nearest is None or len(partial.nodes) > self.nearest.matched:
            self.nearest = Miss(self.rule.name, self.root, len(partial.nodes), at, reason)


def _bind_node(pattern: Apply, node: Node, names: Names) -> Names | str:
    """Match attributes and operand count with those of a node of the right op: the names bound then, or why it fails."""
    for name, wanted in pattern.attrs:
        extended = _bind_attribute(wanted, node.attrs[name], names)
        if extended is None:
            return f"attribute {name} of {node.op.name} is {node.attrs[name]}, not {_shown(wanted)}"
        names = extended
    if len(pattern.operands) != len(node.operands):
        return f"{node.op.name} has {len(node.operands)} operands"
    if node.op.elementwise and (wide := _widening(node)) is not None:
        return f"the constant {wide} gives {node.op.name} its shape"
    return names


def _widening(node: Node) -> Constant | None:
    """An operand that alone gives the result its shape, and is a constant; a number in its place would lose that shape."""
    for value in node.inputs:
        if isinstance(value, Constant) and value.type.rank:
            others = [v for v in node.inputs if v is not value]
            if others and not any(v.shape == node.results[0].shape for v in others):
                return value
    return None


def splat(value: Value | None) -> Any:
    """The number that all elements of a constant, or of a `full`, equal, or None."""
    if isinstance(value, Result) and value.node.op.name == "full":
        return value.node.attrs["value"]
    if not isinstance(value, Constant) or value.data is None or not value.data.size:
        return None
    first = value.data.reshape(-1)[0]
    return first.item() if bool(np.all(value.data == first)) else None


def _close(found: Any, wanted: float | int | bool, dtype: DType) -> bool:
    """Whether a constant of a type is the number of a pattern, rounded to that type."""
    if isinstance(found, bool) or isinstance(wanted, bool):
        return found is wanted
    # 1 and 0.5 are exact; sqrt(2) is rounded to its type, and often to the digits that somebody typed
    single = f32 if dtype.bits == 64 else dtype
    if not dtype.is_float or float(np.asarray(wanted).astype(single.numpy)) == wanted:
        return bool(found == wanted)
    allowed = {"f16": 2**-10, "bf16": 2**-7}.get(dtype.name, 1e-6)
    return bool(abs(found - wanted) <= allowed * abs(wanted))


def _bind_attribute(wanted: Any, found: Any, names: Names) -> Names | None:
    """Match an attribute of a pattern, which may have wildcards in tuples, with a node's: the names bound then, or None."""
    if isinstance(wanted, Attribute):
        if wanted.check is not None and not wanted.check(found):
            return None
        if wanted.name in names:
            return names if names[wanted.name] == found else None
        return {**names, wanted.name: found}
    if isinstance(wanted, tuple) and isinstance(found, tuple):
        if len(wanted) != len(found):
            return None
        for w, f in zip(wanted, found):
            if (extended := _bind_attribute(w, f, names)) is None:
                return None
            names = extended
        return names
    return names if type(wanted) is type(found) and wanted == found else None


def _shown(wanted: Any) -> str:
    return f"acceptable for {wanted.name}" if isinstance(wanted, Attribute) else str(wanted)


def _node(value: Value) -> Node | None:
    return value.node if isinstance(value, Result) else None


def _what(value: Value) -> str:
    return value.node.op.name if isinstance(value, Result) else repr(value)

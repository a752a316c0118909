"""Finding a pattern in a graph, and saying how far the search got where it did not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from passes.patterns import Apply, Attribute, Either, Number, Pattern, Rule, Scalar, Wild
from tgraph.ir.analysis import is_prepared
from tgraph.ir.dtypes import DType, f32
from tgraph.ir.graph import Graph
from tgraph.ir.values import Constant, Node, Result, Value


@dataclass(frozen=True)
class Match:
    """What a pattern's names stand for, and the nodes that it covers, the last one first."""

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
    """The nearest that a rule came to matching at a node: `matched` nodes, then `reason` at `at`."""

    rule: str
    root: Node
    matched: int
    at: Node | None
    reason: str

    def __str__(self) -> str:
        where = f"{self.at.op.name} {self.at.provenance.describe()}".rstrip() if self.at is not None else "a leaf"
        return f"{self.rule}: {self.matched} nodes matched from {self.root.op.name}, then {self.reason} (at {where})"


@dataclass
class Matcher:
    """Matches rules in one graph; `parameter_only` are the nodes of its prepare part. Keeps the nearest miss of each attempt."""

    graph: Graph
    parameter_only: set[Node]
    nearest: Miss | None = field(default=None, init=False)

    def match(self, rule: Rule, root: Node) -> Match | None:
        """The first match of a rule that ends in `root`, or None; then `nearest` says why."""
        self.nearest = None
        for index in range(len(root.results)):
            for state in self._value(rule, root, rule.pattern, root.results[index], _State({}, ())):
                match = Match(self.graph, state.names, state.nodes)
                refusal = self._refusal(rule, match)
                if refusal is None:
                    return match
                self._miss(rule, root, len(state.nodes), refusal[0], refusal[1])
        return None

    def _refusal(self, rule: Rule, match: Match) -> tuple[Node | None, str] | None:
        if not rule.shared:
            inside = set(match.nodes)
            for node in match.nodes[1:]:
                for value in node.results:
                    other = next((u for u in value.users if u not in inside), None)
                    if other is not None:
                        return node, f"the result of {node.op.name} is also read by {other.op.name}"
                    if self.graph.is_output(value):
                        return node, f"the result of {node.op.name} is an output"
        reason = rule.where(match) if rule.where is not None else None
        return None if reason is None else (match.root, reason)

    def _value(self, rule: Rule, root: Node, pattern: Pattern | None, value: Value | None,
               state: _State) -> Iterator[_State]:
        """All ways in which `value` can be what `pattern` says."""
        if pattern is None or value is None:
            if pattern is None and value is None:
                yield state
            else:
                present = "missing" if value is None else "present"
                self._miss(rule, root, len(state.nodes), None, f"an optional operand is {present}")
        elif isinstance(pattern, Either):
            for choice in pattern.choices:
                yield from self._value(rule, root, choice, value, state)
        elif isinstance(pattern, Apply):
            yield from self._apply(rule, root, pattern, value, state)
        else:
            reason, names = self._leaf(pattern, value, state.names)
            if reason is None:
                yield _State(names, state.nodes)
            else:
                self._miss(rule, root, len(state.nodes), value.node if isinstance(value, Result) else None, reason)

    def _apply(self, rule: Rule, root: Node, pattern: Apply, value: Value, state: _State) -> Iterator[_State]:
        if not isinstance(value, Result) or not pattern.takes(value.node.op) or value.index != pattern.result:
            found = value.node.op.name if isinstance(value, Result) else repr(value)
            at = value.node if isinstance(value, Result) else None
            self._miss(rule, root, len(state.nodes), at, f"expected {pattern.wanted}, found {found}")
            return
        node = value.node
        names: dict[str, Any] | None = dict(state.names)
        for name, wanted in pattern.attrs:
            names = _attribute(wanted, node.attrs[name], names)
            if names is None:
                self._miss(rule, root, len(state.nodes), node,
                           f"attribute {name} of {node.op.name} is {node.attrs[name]}, not {_shown(wanted)}")
                return
        if len(pattern.operands) != len(node.operands):
            self._miss(rule, root, len(state.nodes), node, f"{node.op.name} has {len(node.operands)} operands")
            return
        if node.op.elementwise and (wide := _widening(node)) is not None:
            self._miss(rule, root, len(state.nodes), node, f"the constant {wide} gives {node.op.name} its shape")
            return
        covered = state.nodes if node in state.nodes else (*state.nodes, node)
        assert names is not None
        orders: list[Sequence[Value | None]] = [node.operands]
        if node.op.traits.commutative:
            orders.append(node.operands[::-1])
        for operands in orders:
            yield from self._operands(rule, root, pattern.operands, operands, _State(names, covered))

    def _operands(self, rule: Rule, root: Node, patterns: Sequence[Pattern | None], values: Sequence[Value | None],
                  state: _State) -> Iterator[_State]:
        if not patterns:
            yield state
            return
        for found in self._value(rule, root, patterns[0], values[0], state):
            yield from self._operands(rule, root, patterns[1:], values[1:], found)

    def _leaf(self, pattern: Wild | Scalar | Number, value: Value,
              names: dict[str, Any]) -> tuple[str | None, dict[str, Any]]:
        if isinstance(pattern, Number):
            number = splat(value)
            fits = number is not None and _close(number, pattern.value, value.dtype)
            return (None if fits else f"expected the constant {pattern.value}, found {_what(value)}"), names
        if isinstance(pattern, Scalar):
            number = splat(value)
            if number is None:
                return f"expected a constant for {pattern.name}, found {_what(value)}", names
            if pattern.check is not None and not pattern.check(number):
                return f"{pattern.name} = {number} is refused", names
            if pattern.name in names and names[pattern.name] != number:
                return f"{pattern.name} is {names[pattern.name]} elsewhere, {number} here", names
            return None, {**names, pattern.name: number}
        if pattern.prepared and not is_prepared(value, self.parameter_only):
            return f"{pattern.name} is not known before the inputs", names
        if pattern.kinds and value.dtype.kind not in pattern.kinds:
            return f"{pattern.name} is {value.dtype}, not {' or '.join(pattern.kinds)}", names
        if pattern.rank is not None and value.type.rank != pattern.rank:
            return f"{pattern.name} is {value.type}, not of rank {pattern.rank}", names
        known = names.get(pattern.name)
        if known is not None and known is not value:
            return f"{pattern.name} is another value here ({_what(value)})", names
        return None, {**names, pattern.name: value}

    def _miss(self, rule: Rule, root: Node, matched: int, at: Node | None, reason: str) -> None:
        if self.nearest is None or matched > self.nearest.matched:
            self.nearest = Miss(rule.name, root, matched, at, reason)


@dataclass(frozen=True)
class _State:
    names: dict[str, Any]
    nodes: tuple[Node, ...]


def _widening(node: Node) -> Constant | None:
    """A constant whose shape the result has and no other operand: a number in its place would lose that shape."""
    for value in node.inputs:
        if isinstance(value, Constant) and value.type.rank:
            others = [v for v in node.inputs if v is not value]
            if others and not any(v.shape == node.results[0].shape for v in others):
                return value
    return None


def splat(value: Value | None) -> Any:
    """The number that all elements of a constant are, or None."""
    if not isinstance(value, Constant) or value.data is None or not value.data.size:
        return None
    first = value.data.reshape(-1)[0]
    return first.item() if bool(np.all(value.data == first)) else None


def _close(found: Any, wanted: float | int | bool, dtype: DType) -> bool:
    if isinstance(found, bool) or isinstance(wanted, bool):
        return found is wanted
    # 1 and 0.5 mean themselves; sqrt(2) is rounded to its type, and often to the digits that somebody typed
    single = f32 if dtype.bits == 64 else dtype
    if not dtype.is_float or float(np.asarray(wanted).astype(single.numpy)) == wanted:
        return bool(found == wanted)
    allowed = {"f16": 2**-10, "bf16": 2**-7}.get(dtype.name, 1e-6)
    return bool(abs(found - wanted) <= allowed * abs(wanted))


def _attribute(wanted: Any, found: Any, names: dict[str, Any] | None) -> dict[str, Any] | None:
    if names is None:
        return None
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
            names = _attribute(w, f, names)
        return names
    return names if type(wanted) is type(found) and wanted == found else None


def _shown(wanted: Any) -> str:
    return f"acceptable for {wanted.name}" if isinstance(wanted, Attribute) else str(wanted)


def _what(value: Value) -> str:
    return value.node.op.name if isinstance(value, Result) else repr(value)

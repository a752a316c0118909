"""Applying rules until none applies: the driver, what it reports, and passes that are nothing but rules."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, ClassVar

from passes.base import Pass
from passes.matching import Match, Matcher, Miss
from passes.patterns import Rule
from tgraph.ir.analysis import prepared
from tgraph.ir.errors import PassError, TGraphError
from tgraph.ir.graph import Graph
from tgraph.ir.location import Provenance
from tgraph.ir.values import Node, Result, Value
from tgraph.tensor import Tensor, current_tracer
from tgraph.trace import Tracer

REWRITES_PER_NODE = 20  # more of them, and the rules undo each other


@dataclass
class Report:
    """What rules did in one graph: attempts to match, rewrites by rule, and the nearest miss of each rule."""

    attempts: int = 0
    rewrites: dict[str, int] = field(default_factory=dict)
    misses: dict[str, Miss] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return sum(self.rewrites.values())

    def rewrote(self, name: str) -> None:
        """Count one rewrite; plain-code passes call it too."""
        self.rewrites[name] = self.rewrites.get(name, 0) + 1

    def missed(self, miss: Miss | None) -> None:
        """Keep a miss if it came nearer than the one known of its rule."""
        if miss is not None and (miss.rule not in self.misses or miss.matched > self.misses[miss.rule].matched):
            self.misses[miss.rule] = miss


_report: ContextVar[Report | None] = ContextVar("tgraph_rewriting_report", default=None)


@contextmanager
def reporting(report: Report) -> Iterator[Report]:
    """Everything that is rewritten inside is counted in `report`."""
    token = _report.set(report)
    try:
        yield report
    finally:
        _report.reset(token)


def current_report() -> Report:
    """Where to count; a throw-away one if nobody asked."""
    return _report.get() or Report()


class RewritePass(Pass):
    """A pass that is a list of rules, each tried in order at every node until none applies."""

    rules: ClassVar[Sequence[Rule]] = ()

    def apply(self, graph: Graph) -> None:
        rewrite(graph, self.chosen_rules(), self.pass_name())

    def chosen_rules(self) -> Sequence[Rule]:
        """The rules that the options ask for; all by default."""
        return self.rules


def rewrite(graph: Graph, rules: Sequence[Rule], what: str = "rules") -> None:
    """Apply rules until none matches. Raises PassError if they do not come to an end."""
    report = current_report()
    by_root: dict[str, list[Rule]] = {}
    for rule in rules:
        for root in rule.roots:
            by_root.setdefault(root, []).append(rule)
    matcher = Matcher(graph, prepared(graph))
    pending = deque(n for n in graph.nodes if n.op.name in by_root)
    limit = REWRITES_PER_NODE * (len(graph) + 1)
    count = 0
    while pending:
        node = pending.popleft()
        if node not in graph:
            continue
        for rule in by_root[node.op.name]:
            report.attempts += 1
            match = matcher.match(rule, node)
            if match is None:
                report.missed(matcher.nearest)
                continue
            made = replace_match(graph, rule, match)
            report.rewrote(rule.name)
            count += 1
            if count > limit:
                raise PassError(f"{what} did not come to an end after {count} rewrites; the last was {rule.name!r}: "
                                "rules that undo each other?")
            if any(n in matcher.ready for n in match.nodes):
                matcher.ready = prepared(graph)
            pending.extend(n for n in _affected(made) if n.op.name in by_root)
            break


def _affected(values: Sequence[Value]) -> list[Node]:
    """The nodes that may match now: those that were made, and the readers of their results, three steps on."""
    found: dict[Node, None] = {}
    frontier = [v.node for v in values if isinstance(v, Result)]
    for _ in range(4):
        found.update(dict.fromkeys(frontier))
        frontier = [u for n in frontier for r in n.results for u in r.users if u not in found]
    return list(found)


def replace_match(graph: Graph, rule: Rule, match: Match) -> list[Value]:
    """Put a rule's replacement in the place of a match; the new nodes stand for all scopes and lines of the old ones.

    Nodes of the match that something else still reads stay.
    """
    provenance = Provenance.merge(n.provenance for n in reversed(match.nodes))
    tracer = _ReplacementTracer(graph, provenance)
    arguments = {name: match if name == "match" else tracer.argument(match.names[name]) for name in rule.parameters}
    token = current_tracer.set(tracer)
    try:
        made = rule.replacement(**arguments)
        new = [tracer.value_of(v) for v in (made if isinstance(made, tuple) else (made,))]
    except TGraphError as error:
        raise PassError(f"rule {rule.name!r} cannot be applied: {error}") from error
    finally:
        current_tracer.reset(token)
    old = match.root.results
    if len(new) != len(old):
        raise PassError(f"rule {rule.name!r} replaces {len(old)} results by {len(new)}")
    for before, after in zip(old, new):
        graph.replace(before, after, keep=_makers(after) if before is not after else ())
    erase_dead(graph, match.nodes)
    return new


def erase_dead(graph: Graph, nodes: Sequence[Node]) -> None:
    """Erase those of the nodes that nothing reads any more, in whatever order they come."""
    left = [n for n in nodes if n in graph]
    while dead := [n for n in left if not any(r.uses or graph.is_output(r) for r in n.results)]:
        for node in dead:
            graph.erase(node)
        left = [n for n in left if n in graph]


def _makers(value: Value) -> set[Node]:
    """The node of a replacement may read what it replaces (relu(x) = relu(abs(x)))."""
    return {value.node} if isinstance(value, Result) else set()


class _ReplacementTracer(Tracer):
    """Traces a replacement into the graph that is being rewritten."""

    def __init__(self, graph: Graph, provenance: Provenance):
        super().__init__(graph)
        self._provenance = provenance

    def provenance(self) -> Provenance:
        return self._provenance

    def argument(self, bound: Any) -> Any:
        """What a replacement gets for a name: a tensor, a number or an attribute."""
        return Tensor(bound, self) if isinstance(bound, Value) else bound

    def value_of(self, made: Any) -> Value:
        """The graph's value for what a replacement returns."""
        if isinstance(made, Tensor):
            return made.value
        raise PassError(f"a replacement returns tensors, not {type(made).__name__}")

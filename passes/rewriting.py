"""The rewriter: applies rules to a graph until none matches, and reports what was rewritten and what nearly was."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, ClassVar

from passes.base import Pass
from passes.matching import Match, Miss, find_match
from passes.patterns import NodeRule, Rule
from tgraph.current_tracer import current_tracer
from tgraph.ir.analysis import is_prepared, prepared
from tgraph.ir.errors import PassError, TGraphError
from tgraph.ir.graph import Graph
from tgraph.ir.location import Provenance
from tgraph.ir.registry import Op
from tgraph.ir.rules import Constraints
from tgraph.ir.values import Node, Result, Value
from tgraph.tensor import Tensor
from tgraph.trace import Tracer

REWRITES_PER_NODE = 20  # with more, rules are taken to undo each other
FEW_READERS = 4  # a value inside of a match has no more readers, all of which are inside as well


class LimitReached(Exception):
    """Stops a pass after the number of rewrites that its report is limited to."""


@dataclass(frozen=True)
class Rewrite:
    """One rewrite: the rule, the nodes that it matched (the last one first) and the values that replaced their results."""

    rule: str
    old: tuple[Node, ...] = ()
    new: tuple[Value, ...] = ()


@dataclass
class RewriteReport:
    """What a pass did: the number of attempts to match, of rewrites by rule, and the nearest miss of each rule.

    With a `limit`, LimitReached stops the pass right after that many rewrites; `last` is the latest of them. `observer` is called
    after each.
    """

    attempts: int = 0
    rewrites: dict[str, int] = field(default_factory=dict)
    misses: dict[str, Miss] = field(default_factory=dict)
    limit: int | None = None
    last: Rewrite | None = None
    observer: Callable[[Rewrite], None] | None = None

    @property
    def total(self) -> int:
        return sum(self.rewrites.values())

    def rewrote(self, rule: str, old: Sequence[Node] = (), new: Sequence[Value] = ()) -> None:
        """Count one rewrite, when it is complete: others may look at the graph now. Passes in plain code call it, too."""
        self.rewrites[rule] = self.rewrites.get(rule, 0) + 1
        self.last = Rewrite(rule, tuple(old), tuple(new))
        if self.observer is not None:
            self.observer(self.last)
        if self.limit is not None and self.total >= self.limit:
            raise LimitReached

    def missed(self, miss: Miss | None) -> None:
        """Keep a miss if it matched more nodes than the one kept for its rule."""
        if miss is not None and (miss.rule not in self.misses or miss.matched > self.misses[miss.rule].matched):
            self.misses[miss.rule] = miss


_report: ContextVar[RewriteReport | None] = ContextVar("tgraph_rewriting_report", default=None)


@contextmanager
def reporting(report: RewriteReport) -> Iterator[RewriteReport]:
    """Within this context, `report` is the current report."""
    token = _report.set(report)
    try:
        yield report
    finally:
        _report.reset(token)


def current_report() -> RewriteReport:
    """The report to count in; outside of `reporting`, one that nobody reads."""
    return _report.get() or RewriteReport()


class RewritePass(Pass):
    """A pass that is a list of rules, which are tried in order at every node until none matches."""

    enters_functions = True
    rules: ClassVar[Sequence[Rule | NodeRule]] = ()

    def apply(self, graph: Graph) -> None:
        rewrite(graph, self.chosen_rules(), self.pass_name())

    def chosen_rules(self) -> Sequence[Rule | NodeRule]:
        """The rules that the options of the pass select; all by default."""
        return self.rules


def rewrite(graph: Graph, rules: Sequence[Rule | NodeRule], what: str = "rules") -> None:
    """Apply rules until none matches; errors call them `what`. Raises PassError if they do not come to an end."""
    report = current_report()
    by_root: dict[Op, list[Rule | NodeRule]] = {}

    def rules_of(node: Node) -> list[Rule | NodeRule]:
        if node.op not in by_root:
            by_root[node.op] = [rule for rule in rules if rule.ends_in(node.op)]
        return by_root[node.op]

    pending = deque(n for n in graph.nodes if rules_of(n))
    parameter_only = prepared(graph) if pending else set()
    limit = REWRITES_PER_NODE * (len(graph) + 1)
    count = 0
    while pending:
        node = pending.popleft()
        if node not in graph:
            continue
        for rule in rules_of(node):
            report.attempts += 1
            done = _try(graph, parameter_only, rule, node)
            if not isinstance(done, Rewritten):
                report.missed(done)
                continue
            parameter_only.update(n for n in done.nodes if _is_parameter_only(n, parameter_only))
            report.rewrote(rule.name, done.covered, done.values)
            count += 1
            if count > limit:
                raise PassError(f"{what} did not come to an end after {count} rewrites; the last was {rule.name!r}: "
                                "rules that undo each other?")
            affected = (*done.nodes, *_affected([*done.values, *_freed(graph, done.covered)]))
            pending.extend(n for n in affected if rules_of(n))
            break


@dataclass(frozen=True)
class Rewritten:
    """A rule applied: the nodes matched (the last one first), the values that replace them, and the new nodes in order."""

    covered: Sequence[Node]
    values: Sequence[Value]
    nodes: Sequence[Node]


def _try(graph: Graph, parameter_only: set[Node], rule: Rule | NodeRule, node: Node) -> Rewritten | Miss | None:
    """Apply a rule that ends in `node` if it matches there."""
    if isinstance(rule, NodeRule):
        return _apply_node_rule(graph, rule, node)
    found = find_match(graph, parameter_only, rule, node)
    return replace_match(graph, rule, found) if isinstance(found, Match) else found


def _is_parameter_only(node: Node, parameter_only: set[Node]) -> bool:
    """Whether a new node belongs to the prepare part, as `prepared` decides it; operands first."""
    static = all(isinstance(d, int) for r in node.results for d in r.shape)
    return bool(node.inputs) and static and all(is_prepared(v, parameter_only) for v in node.inputs)


def _affected(values: Sequence[Value]) -> list[Node]:
    """The nodes at which a rule may match now: those that compute new values, and their readers up to three steps on."""
    found: dict[Node, None] = {}
    frontier = [v.node for v in values if isinstance(v, Result)]
    for _ in range(4):
        found.update(dict.fromkeys(frontier))
        frontier = [u for n in frontier for r in n.results for u in r.users if u not in found]
    return list(found)


def _freed(graph: Graph, covered: Sequence[Node]) -> list[Value]:
    """The operands of covered nodes that have few readers left: now a match may contain them."""
    found: dict[Value, None] = {}
    stack = list(covered)
    while stack:
        for value in stack.pop().inputs:
            if isinstance(value, Result) and value not in found:
                if value.node not in graph:  # erased with them
                    stack.append(value.node)
                elif len(value.uses) <= FEW_READERS:
                    found[value] = None
    return list(found)


def replace_match(graph: Graph, rule: Rule, match: Match) -> Rewritten | Miss:
    """Replace a match as its rule says; the new nodes have the scopes and source lines of all old ones.

    Nodes of the match that something else reads stay. A Miss if the replacement has another type.
    """
    last = next(reversed(graph._nodes), None)
    provenance = Provenance.merge(n.provenance for n in reversed(match.nodes))
    tracer = _ReplacementTracer(graph, provenance)
    arguments = {name: match if name == "match" else tracer.argument(match.names.get(name)) for name in rule.parameters}
    token = current_tracer.set(tracer)
    try:
        made = rule.replacement(**arguments)
        new = [tracer.value_of(v) for v in (made if isinstance(made, tuple) else (made,))]
    except TGraphError as error:
        raise PassError(f"rule {rule.name!r} cannot be applied: {error}") from error
    finally:
        current_tracer.reset(token)
    return _put(graph, rule.name, match.nodes, new, _since(graph, last))


def _apply_node_rule(graph: Graph, rule: NodeRule, node: Node) -> Rewritten | Miss:
    """Replace a node as a rule in plain code says."""
    last = next(reversed(graph._nodes), None)
    try:
        found = rule.function(graph, node)
    except TGraphError as error:  # a size that cannot be compared, say
        erase_dead(graph, _since(graph, last))
        found = str(error)
    if isinstance(found, str):
        return Miss(rule.name, node, 1, node, found)
    return _put(graph, rule.name, (node,), list(found), _since(graph, last))


def _put(graph: Graph, name: str, covered: Sequence[Node], new: list[Value], made: list[Node]) -> Rewritten | Miss:
    """Replace the results of the first covered node by new values, which nodes `made` compute, and erase dead nodes."""
    root = covered[0]
    if len(new) != len(root.results):
        raise PassError(f"rule {name!r} replaces {len(root.results)} results by {len(new)}")
    for before, after in zip(root.results, new):
        same = before.type == after.type if graph.is_output(before) else (
            Constraints(graph.constraints).agree(before.type, after.type))
        if not same:
            erase_dead(graph, made)
            return Miss(name, root, len(covered), root, f"the replacement is {after.type}, not {before.type}")
    for before, after in zip(root.results, new):
        graph.replace(before, after, keep=made)
    below = [v.node for n in covered for v in n.inputs if isinstance(v, Result)]
    erase_dead(graph, [*covered, *below] if len(covered) == 1 else covered)
    return Rewritten(covered, new, [n for n in made if n in graph])


def _since(graph: Graph, last: Node | None) -> list[Node]:
    """The nodes that were added after `last`, in that order."""
    return list(itertools.takewhile(lambda n: n is not last, reversed(graph._nodes)))[::-1]


def erase_dead(graph: Graph, nodes: Sequence[Node], above: bool = False) -> None:
    """Erase those of the nodes that nothing reads any more; with `above`, also other nodes that only they read."""
    pending, wanted = list(nodes), set(nodes)
    while pending:
        node = pending.pop()
        if (above or node in wanted) and node in graph and not graph.is_needed(node):
            graph.erase(node)
            pending += [v.node for v in node.inputs if isinstance(v, Result)]


class _ReplacementTracer(Tracer):
    """Traces a replacement function into the graph that is being rewritten."""

    def __init__(self, graph: Graph, provenance: Provenance):
        super().__init__(graph)
        self._provenance = provenance

    def provenance(self) -> Provenance:
        return self._provenance

    def argument(self, bound: Any) -> Any:
        """The argument for what a wildcard stands for: a tensor for a value, else the number or attribute itself."""
        return Tensor(bound, self) if isinstance(bound, Value) else bound

    def value_of(self, made: Any) -> Value:
        """The value of the graph for a tensor that a replacement returns."""
        if isinstance(made, Tensor):
            return made.value
        raise PassError(f"a replacement returns tensors, not {type(made).__name__}")

"""What was fused of what looks like it: attention, norms and GELUs, and for each that stayed apart the nearest miss."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from passes.algebra.norms import NUMBER
from passes.algebra.variants import mean, square
from passes.language import tg
from passes.matching import Match, Miss, find_match
from passes.patterns import Apply, Either, NodeRule, Pattern, Rule, either, maybe, rule
from passes.transforms import fuse_attention, fuse_gelu, fuse_layer_norm, fuse_rms_norm
from tgraph.ir.analysis import is_prepared, prepared
from tgraph.ir.graph import Graph
from tgraph.ir.program import Program
from tgraph.ir.values import Node

REACH = 12  # nodes after the first of a composite op, up to where its rules end


@dataclass(frozen=True)
class Fused:
    """How often a composite op is there, and what looks like one without being one: a node of it, and why it stayed apart."""

    kind: str
    count: int = 0
    apart: Sequence[tuple[Node, str]] = ()

    def __str__(self) -> str:
        return f"{self.kind} {self.count} of {self.count + len(self.apart)}"

    def misses(self) -> list[str]:
        """A line for each that stayed apart."""
        places = [(f"{node.op.name} {node.provenance.describe()}".rstrip(), why) for node, why in self.apart]
        return [f"{self.kind} apart: {place}: {why}" for place, why in places]


@dataclass(frozen=True)
class Kind:
    """A composite op: what is one, what is left of one that stayed apart, and the nearest miss of the rules that would make
    one of it; a Match if one would, None if none ends there."""

    name: str
    fused: Callable[[Node], bool]
    remains: Callable[[Graph, set[Node], Node], bool]
    nearest: Callable[[Graph, set[Node], Node], Miss | Match | None]


def fused(graph: Graph | Program) -> list[Fused]:
    """Of each kind that a graph has, or nearly has: how many there are, in functions as often as these are called."""
    graphs = [graph.copy()] if isinstance(graph, Graph) else [g.copy() for g in graph.graphs.values()]
    found = [_fused(kind, graphs) for kind in KINDS]
    return [f for f in found if f.count or f.apart]


def summary(found: Sequence[Fused]) -> str:
    """In one line: `attention 12 of 12, layer norm 25 of 25, GELU 12 of 12`."""
    return ", ".join(map(str, found)) or "nothing that looks like attention, a norm or a GELU"


def _fused(kind: Kind, graphs: Sequence[Graph]) -> Fused:
    count, apart = 0, []
    for graph in graphs:
        for owner in _with_functions(graph):
            parameter_only = prepared(owner)
            for node in owner.nodes:
                if kind.fused(node):
                    count += 1
                elif kind.remains(owner, parameter_only, node):
                    apart.append((node, _why(kind.nearest(owner, parameter_only, node))))
    return Fused(kind.name, count, apart)


def _why(found: Miss | Match | None) -> str:
    if isinstance(found, Match):
        return "its rule matches, but was not run here"
    return "no rule ends in it" if found is None else f"nearest miss: {found}"


def _with_functions(graph: Graph) -> Iterator[Graph]:
    """A graph, and the functions that it calls, as often as it does."""
    yield graph
    for node in graph.nodes:
        for value in node.attrs.values():
            if isinstance(value, Graph):
                yield from _with_functions(value)


# What is left of one

def _weighs(graph: Graph, parameter_only: set[Node], node: Node) -> bool:
    """Whether a node is a softmax whose results weigh values that depend on inputs."""
    if node.op.name != "softmax" or node in parameter_only:
        return False
    seen, left = {node}, [node]
    while left:
        for user in (u for r in left.pop().results for u in r.users):
            if user in seen:
                continue
            seen.add(user)
            if user.op.traits.precision == "product":
                return not any(is_prepared(v, parameter_only) for v in user.inputs)
            if user.op.traits.elementwise or user.op.traits.view is not None:
                left.append(user)
    return False


def _matches(*patterns: Rule) -> Callable[[Graph, set[Node], Node], bool]:
    """Whether one of the patterns ends in a node that depends on inputs."""

    def remains(graph: Graph, parameter_only: set[Node], node: Node) -> bool:
        return node not in parameter_only and any(
            p.ends_in(node.op) and isinstance(find_match(graph, parameter_only, p, node), Match) for p in patterns)

    return remains


def _root(v):  # type: ignore[no-untyped-def]
    return either(tg.sqrt(v), tg.rsqrt(v), v ** 0.5, v ** -0.5)


def _look(name: str, pattern: Callable[..., object]) -> Rule:
    """A rule that is only looked for."""
    return rule(name, pattern, lambda x: x, shared=True)


CENTRED = _look("sqrt(mean (x - m)^2)", lambda x, m, epsilon=NUMBER, count=NUMBER, inverse=NUMBER: _root(
    maybe(lambda v: v + epsilon, either(mean(square(x - m), count, inverse),
                                        mean(square(x), count, inverse) - square(mean(x, count, inverse))))))
SQUARES = _look("sqrt(mean x^2)", lambda x, epsilon=NUMBER, count=NUMBER, inverse=NUMBER: _root(
    maybe(lambda v: v + epsilon, mean(square(x), count, inverse))))
GELUS = (
    _look("erf(x)", lambda x: tg.erf(x)),
    _look("tanh(a (x + b x^3))", lambda x, a=NUMBER, b=NUMBER: tg.tanh(fuse_gelu.cubic(x, a, b))),
    _look("x sigmoid(a x)", lambda x, a=NUMBER: x * tg.sigmoid(x * a)),
)


# Why it stayed apart

def _nearest_attention(graph: Graph, parameter_only: set[Node], node: Node) -> Miss | Match:
    return fuse_attention.miss(graph, node, parameter_only) or Match(graph, {}, (node,))


def _nearest(name: str, rules: Sequence[Rule | NodeRule]) -> Callable[[Graph, set[Node], Node], Miss | Match | None]:
    """Of the rules for an op that end in a node or after it, the miss that had the fewest nodes left to match."""
    making = {r.name: r for r in rules if isinstance(r, Rule) and f"{name}(" in r.name.split(" = ")[-1]}
    sizes = {rule_name: _size(r.pattern) for rule_name, r in making.items()}

    def nearest(graph: Graph, parameter_only: set[Node], node: Node) -> Miss | Match | None:
        found = [find_match(graph, parameter_only, r, root) for root in _after(node) for r in making.values()
                 if r.ends_in(root.op)]
        match = next((f for f in found if isinstance(f, Match) and node in f.nodes), None)
        misses = [f for f in found if isinstance(f, Miss)]
        return match or max(misses, key=lambda miss: (miss.at is not node, miss.matched - sizes[miss.rule]), default=None)

    return nearest


def _size(pattern: Pattern | None) -> int:
    """The nodes of the smallest expression that a pattern matches."""
    if isinstance(pattern, Either):
        return min(map(_size, pattern.choices))
    return 1 + sum(map(_size, pattern.operands)) if isinstance(pattern, Apply) else 0


def _after(node: Node) -> list[Node]:
    """A node and those that it goes on to, the nearest first."""
    found, left = [node], [node]
    while left and len(found) < REACH:
        for user in (u for r in left.pop(0).results for u in r.users):
            if user.op.traits.elementwise and user not in found:
                found.append(user)
                left.append(user)
    return found


def _is(name: str) -> Callable[[Node], bool]:
    return lambda node: node.op.name == name


_CENTRED, _SQUARES = _matches(CENTRED), _matches(SQUARES)

KINDS = (
    Kind("attention", lambda node: node.op.traits.attention, _weighs, _nearest_attention),
    Kind("layer norm", _is("layer_norm"), _CENTRED, _nearest("layer_norm", fuse_layer_norm.FuseLayerNorm.rules)),
    Kind("RMS norm", _is("rms_norm"), lambda g, p, node: _SQUARES(g, p, node) and not _CENTRED(g, p, node),
         _nearest("rms_norm", fuse_rms_norm.FuseRMSNorm.rules)),
    Kind("GELU", lambda node: node.op.name.endswith("gelu"), _matches(*GELUS), _nearest("gelu", fuse_gelu.FuseGelu.rules)),
)

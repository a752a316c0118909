"""The way from nodes of a model to the kernels that stand for them, and back from a kernel to nodes and lines of the user's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from passes.debug.fusions import fused
from passes.debug.history import History
from targets.runtime.explain import Explanations
from targets.runtime.history import calls_in
from tgraph.ir.errors import GraphError
from tgraph.ir.graph import Graph
from tgraph.ir.printer import node_lines
from tgraph.ir.selection import select
from tgraph.ir.tables import html_sections
from tgraph.ir.values import Node

if TYPE_CHECKING:
    from targets.runtime.executable import Executable


@dataclass(frozen=True)
class Origin:
    """A node of the model: its line in the text form, its scope, and the user's lines of code, `model.py:31`."""

    text: str
    scope: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Rewriting:
    """What a rule of a pass made of nodes on the way: the ops before and after, and how often it did so."""

    passed: str
    rule: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    times: int


@dataclass(frozen=True)
class Call:
    """A call of a kernel, by its value in the graph of kernels; `chosen` says what was chosen for the kernel, and why."""

    value: str
    kernel: str
    chosen: str
    scopes: tuple[str, ...]
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Trail:
    """Nodes of a graph, the rewrites that they went through, and the calls of kernels that compute them now.

    `prepared` are nodes that run once, when weights are loaded; `apart` says what looks as if it should have been fused, and why
    it was not. Prints as a report.
    """

    graph: str
    subject: str
    origins: tuple[Origin, ...]
    rewritings: tuple[Rewriting, ...]
    calls: tuple[Call, ...]
    prepared: tuple[str, ...] = ()
    apart: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "\n".join(self._report())

    def _repr_html_(self) -> str:
        first, *rest = self._report()
        return html_sections([(first, f"<pre>{escape(chr(10).join(rest))}</pre>")])

    def _report(self) -> Iterator[str]:
        yield f"{self.subject} of {self.graph}: {_count(len(self.origins), 'node')}"
        for origin in self.origins:
            yield f"  {origin.text}" + "".join(f"  {word} {text}" for word, text in (
                ("in", origin.scope), ("at", ", ".join(origin.lines))) if text)
        yield "rewritten by" if self.rewritings else "no pass rewrote them"
        for step in self.rewritings:
            yield f"  {step.passed}: {step.rule}" + (f", {step.times} times" if step.times > 1 else "")
            yield f"    {_ops(step.before) or 'nothing'} -> {_ops(step.after) or 'nothing'}"
        yield f"computed by {_count(len(self.calls), 'call')} of kernels"
        for call in self.calls:
            yield f"  {call.value} = ${call.kernel}: {call.chosen}"
            if call.scopes:
                yield f"    in {', '.join(call.scopes)}"
            if call.lines:
                yield f"    at {', '.join(call.lines)}"
        if self.prepared:
            yield f"computed once, when weights are loaded: {_ops(self.prepared)}"
        yield from self.apart


def trail_of_nodes(exe: Executable, pattern: str, known: Explanations) -> Trail:
    """From the nodes that a pattern names (`tgraph.ir.selection`) to their kernels. Raises GraphError if it names none."""
    wanted = select(exe.graph, pattern)
    history = exe.history()
    first = dict(zip(exe.graph.nodes, history.first))
    return _trail(exe, history, pattern, [first[n] for n in wanted], None, known)


def trail_of_kernel(exe: Executable, kernel: str, known: Explanations) -> Trail:
    """From all calls of a kernel back to the nodes that they compute. Raises GraphError that lists the kernels."""
    history = exe.history()
    named = _named_calls(exe, history)
    calls = [node for node, (_, name) in named.items() if name == kernel.removeprefix("$")]
    if not calls:
        names = ", ".join(dict.fromkeys(name for _, name in named.values()))
        raise GraphError(f"graph {exe.graph.name} calls no kernel {kernel!r}; it calls {names}")
    return _trail(exe, history, f"kernel ${kernel.removeprefix('$')}", history.origins(calls), calls, known)


def _trail(exe: Executable, history: History, subject: str, nodes: Sequence[Node], calls: Sequence[Node] | None,
           known: Explanations) -> Trail:
    text = dict(zip(history.first, node_lines(exe.graph).values()))
    named = _named_calls(exe, history)
    last = history.descendants(nodes)
    chosen = {e.kernel: e.chosen for e in known}
    of_calls = [n for n in last if n in named] if calls is None else calls
    reached = [n for n in last if n not in named] if calls is None else []
    return Trail(
        exe.graph.name, subject,
        tuple(Origin(text[n], n.provenance.scope, _lines(n)) for n in nodes),
        tuple(_rewritings(history, nodes, calls)),
        tuple(Call(named[n][0], named[n][1], chosen.get(named[n][1], ""), n.provenance.scopes, _lines(n)) for n in of_calls),
        tuple(n.op.name for n in reached), tuple(_apart(exe.optimized, nodes)) if calls is None else ())


def _named_calls(exe: Executable, history: History) -> dict[Node, tuple[str, str]]:
    """The calls in the last graph of a history: the value and the kernel of each as the executable has them."""
    assert history.last is not None
    lines = node_lines(exe.kernels)
    there = [(lines[n].partition(" = ")[0], n.attrs["function"].name) for n in calls_in(exe.kernels)]
    return dict(zip(calls_in(history.last), there, strict=True))


def _rewritings(history: History, nodes: Iterable[Node], calls: Sequence[Node] | None) -> Iterator[Rewriting]:
    """The rewrites of nodes, or those that led to calls; equal ones of one pass once, with their number."""
    steps = history.became(nodes) if calls is None else history.led_to(calls)
    counted: dict[tuple[str, str, tuple[str, ...], tuple[str, ...]], int] = {}
    for stage, step in steps:
        before, after = (tuple(n.op.name for n in side) for side in step.became)
        key = stage.step.pass_name(), step.rule, before, after
        counted[key] = counted.get(key, 0) + 1
    for (passed, rule, before, after), times in counted.items():
        yield Rewriting(passed, rule, before, after, times)


def _apart(optimized: Graph, nodes: Iterable[Node]) -> Iterator[str]:
    """What of these nodes' scopes and lines looks like a composite op in the optimised graph, and is none."""
    places = {(s, at) for n in nodes for s in n.provenance.scopes or ("",) for at in n.provenance.locations or ("",)}
    for kind in fused(optimized):
        for (node, _), line in zip(kind.apart, kind.misses()):
            if any((s, at) in places for s in node.provenance.scopes or ("",) for at in node.provenance.locations or ("",)):
                yield line


def _lines(node: Node) -> tuple[str, ...]:
    return tuple(dict.fromkeys(map(str, node.provenance.locations)))


def _ops(names: Sequence[str]) -> str:
    """Ops in order, runs of one counted: `linear x 3, add`."""
    counted: dict[str, int] = {}
    for name in names:
        counted[name] = counted.get(name, 0) + 1
    return ", ".join(f"{name} x {n}" if n > 1 else name for name, n in counted.items())


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"

"""The text of a folded view: scopes as indented blocks, repeats once. It is for people, and does not parse."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from .folding import Fold, Folded, fold, is_single
from .names import path, word
from .printer import Options, Printer
from .scopes import Item, Repeat, Scope, nodes_of
from .values import Node, Parameter, Result, Value

if TYPE_CHECKING:
    from .graph import Graph

LONGEST = 180  # characters of a node's line, of which the middle is left out
FEW = 4  # ops, or values in turn, that a line lists


def folded_text(graphs: Mapping[str, Graph], how: Fold, *, locations: bool = False) -> str:
    """The folded view of one or more graphs as text; the first line says that it is one."""
    blocks = [_Text(name, fold(graph, how), locations) for name, graph in graphs.items()]
    functions = list(dict.fromkeys(name for graph in graphs.values() for name in graph.functions))
    shown = f"; of {len(functions)} functions, only the calls" if functions else ""
    head = (f"# folded view, not to be parsed: {sum(map(len, graphs.values()))} nodes; \"x N\" stands for N that are alike, and "
            f"shows the first{shown}")
    return "\n\n".join(["\n".join([head, *blocks[0].lines()]), *("\n".join(block.lines()) for block in blocks[1:])])


class _Text:
    def __init__(self, name: str, view: Folded, locations: bool):
        self.name, self.view = name, view
        self.printer = _Relative(view.graph, Options(locations=locations))

    def lines(self) -> Iterator[str]:
        yield self.printer.head("graph ", word(self.name))
        yield from self.items(self.view.root.items, "  ", self.view.root)
        yield f"  return {self.printer.returned()}"
        yield "}"

    def items(self, items: Sequence[Item], indent: str, around: Scope) -> Iterator[str]:
        for item in items:
            if isinstance(item, Node):
                yield indent + self.node(item, around)
            elif isinstance(item, Scope):
                yield from self.scope(item, indent, around, item.title, "")
            elif len(item.first) == 1 and isinstance(only := item.first[0], Scope):
                yield from self.scope(only, indent, around, f"{item.title}  x {item.count}", self.flow(item))
            else:
                yield f"{indent}{item.title}  x {item.count}{self.flow(item)}:"
                yield from self.items(item.first, indent + "  ", around)

    def scope(self, scope: Scope, indent: str, around: Scope, title: str, flow: str) -> Iterator[str]:
        if is_single(scope):
            assert isinstance(scope.items[0], Node)
            yield f"{indent}{self.node(scope.items[0], around)}  in {title}{flow}"
        elif scope in self.view.closed:
            yield f"{indent}{title}{flow}: {self.summary(scope)}"
        else:
            yield f"{indent}{title}{flow}:"
            yield from self.items(scope.items, indent + "  ", scope)

    def node(self, node: Node, around: Scope) -> str:
        self.printer.within = "".join(f"{name}." for name in around.names)
        line = self.printer.node(node)
        return line if len(line) <= LONGEST else f"{line[:LONGEST * 2 // 3]} ... {line[-LONGEST // 3:]}"

    def summary(self, scope: Scope) -> str:
        """What a closed scope does, in one line: `18 nodes, 4 linear, 3 reshape, ... (%7, %mask) -> %26: f32[B, S, 768]`."""
        ops = Counter(n.op.name for n in scope.nodes).most_common()
        listed = ", ".join(f"{count} {name}" for name, count in ops[:FEW]) + (", ..." if len(ops) > FEW else "")
        inside = set(scope.nodes)
        reads = [self.printer.value(v) for v in _outside(scope.nodes) if not isinstance(v, Parameter) and v.type.rank]
        gives = [f"{self.printer.value(r)}: {self.printer.type(r.type)}" for r in _leaving(self.view.graph, scope.nodes, inside)]
        return f"{len(scope.nodes)} nodes, {listed}  ({', '.join(reads)}) -> {', '.join(gives)}"

    def flow(self, repeat: Repeat) -> str:
        """How the copies are connected: ` (%26 to the next as %7; %26 of the last is %205)`."""
        copies = [[n for item in copy for n in nodes_of(item)] for copy in repeat.copies]
        value = self.printer.value
        said = []
        places = [{n: i for i, n in enumerate(copy)} for copy in copies]
        for values in zip(*map(_outside, copies)):
            if isinstance(values[0], Parameter) or len(set(values)) == 1:
                continue
            sources = {(before.get(v.node), v.index) if isinstance(v, Result) else None for v, before in zip(values[1:], places)}
            source = sources.pop() if len(sources) == 1 else None
            if source is not None and source[0] is not None:
                said.append(f"{value(copies[0][source[0]].results[source[1]])} to the next as {value(values[0])}")
            else:
                said.append(f"{_some([value(v) for v in values])} in turn")
        inside = set(repeat.nodes)
        left: dict[tuple[int, int], list[Result]] = {}
        for copy, place in zip(copies, places):
            for result in _leaving(self.view.graph, copy, inside):
                left.setdefault((place[result.node], result.index), []).append(result)
        for (place_, index), results in left.items():
            first = value(copies[0][place_].results[index])
            if results[0].node in places[-1]:
                said.append(f"{first} of the last is {value(results[0])}")
            else:
                said.append(f"{_some([value(r) for r in results])} are read below")
        return f" ({'; '.join(said)})" if said else ""


class _Relative(Printer):
    """Prints parameters' names without the path of the scope that they are printed in."""

    within = ""

    def value(self, value: Value) -> str:
        if isinstance(value, Parameter) and self.within and value.name.startswith(self.within):
            return f"@.{path(value.name[len(self.within):])}"
        return super().value(value)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= FEW else f"{names[0]}, {names[1]}, .. {names[-1]}"


def _outside(nodes: Sequence[Node]) -> list[Value]:
    """The values from outside that nodes read, in the order of first use."""
    inside = set(nodes)
    return list(dict.fromkeys(v for n in nodes for v in n.inputs if not (isinstance(v, Result) and v.node in inside)))


def _leaving(graph: Graph, nodes: Sequence[Node], inside: set[Node]) -> list[Result]:
    """The results of nodes that are read outside of a set, or are outputs."""
    outputs = {v for _, v in graph.outputs}
    return [r for n in nodes for r in n.results if r in outputs or any(u not in inside for u, _ in r.uses)]

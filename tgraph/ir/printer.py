"""Printing graphs as text: one line a node, types on the right, equal text for equal graphs (docs/text-format.md)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from .dims import Dim, Symbol, symbols
from .names import attribute, elements, number, path, word
from .registry import REQUIRED
from .types import TensorType
from .values import Callee, Constant, Input, Node, Parameter, Result, Value

if TYPE_CHECKING:
    from .graph import Graph

SHOWN_ELEMENTS = 16  # a constant of more shows its SHA-256, and its data lies beside the text


@dataclass(frozen=True)
class Options:
    """Optional parts of the text. The canonical text, which `==` compares, has none of them."""

    scopes: bool = False
    locations: bool = False
    ranges: bool = True


def print_graphs(graphs: Mapping[str, Graph], *, scopes: bool = False, locations: bool = False, ranges: bool = True) -> str:
    """The text of one or more graphs: all functions, then the graphs in order, by the given names. Ends without a newline."""
    options = Options(scopes, locations, ranges)
    blocks = list(_functions(graphs.values(), options))
    for name, graph in graphs.items():
        blocks.append("\n".join(Printer(graph, options).lines("graph ", word(name))))
    return "\n\n".join(blocks)


def _functions(graphs: Iterable[Graph], options: Options) -> Iterator[str]:
    found: dict[str, Graph] = {}
    for graph in graphs:
        for name, function in graph.functions.items():
            found.setdefault(name, function)
    for name, function in found.items():
        yield "\n".join(Printer(function, options).lines("function $", word(name)))


class Printer:
    """Prints one block. Values are numbered in canonical order, leaves listed in the order of their first use."""

    def __init__(self, graph: Graph, options: Options):
        self.graph: Graph = graph
        self.options: Options = options
        self.nodes: list[Node] = graph.nodes
        self.numbers: dict[Value, int] = {value: number for value, number in numbers_of(graph).items()}  # noqa: C416
        self.parameters: list[Parameter]
        self.parameters, constants = canonical_leaves(graph)
        self.constants: dict[Value, int] = {}
        for constant in constants:
            if not _inline(constant):
                self.constants[constant] = len(self.constants)

    def lines(self, keyword: str, name: str) -> Iterator[str]:
        yield self.head(keyword, name)
        aliases: dict[str, list[str]] = {}
        if keyword == "graph ":
            for alias, target in sorted(self.graph.weights.aliases.items()):
                aliases.setdefault(target, []).append(f"@{path(alias)}")
        for parameter in self.parameters:
            others = aliases.get(parameter.name)
            yield (f"  param @{path(parameter.name)}: {self.type(parameter.type)}"
                   + (f" aliases [{', '.join(others)}]" if others else ""))
        for constant in self.constants:
            assert isinstance(constant, Constant)
            yield f"  const {self.value(constant)}: {self.type(constant.type)} = {_content(constant)}"
        for node in self.nodes:
            yield "  " + self.node(node)
        yield f"  return {self.returned()}"
        yield "}"

    def head(self, keyword: str, name: str) -> str:
        """The line of inputs, outputs and constraints."""
        ranges = self.options.ranges
        inputs = ", ".join(f"{self.state(i.name)}%{word(i.name)}: {self.type(i.type, ranges)}" for i in self.graph.inputs)
        outputs = ", ".join(f"{self.state(n)}{word(n)}: {self.type(v.type)}" for n, v in self.graph.outputs)
        return f"{keyword}{name}({inputs}) -> ({outputs}){self.where()} {{"

    def returned(self) -> str:
        """The outputs by name, in parentheses."""
        return f"({', '.join(f'{self.state(n)}{word(n)}: {self.value(v)}' for n, v in self.graph.outputs)})"

    def where(self) -> str:
        items = [bound for _, s in sorted(_used_symbols(self.graph, self.nodes).items()) if (bound := _bound(s))]
        items += sorted(f"{left} == {right}" for left, right in self.graph.constraints)
        items += sorted(f"{left} >= {right}" for left, right in self.graph.inequalities)
        return f" where {', '.join(dict.fromkeys(items))}" if items else ""

    def state(self, name: str) -> str:
        return "state " if name in self.graph.states else ""

    def type(self, type: TensorType, ranges: bool = False) -> str:
        return str(type if ranges else replace(type, value_range=None))

    def value(self, value: Value) -> str:
        if isinstance(value, Input):
            return f"%{word(value.name)}"
        if isinstance(value, Parameter):
            return f"@{path(value.name)}"
        if isinstance(value, Constant) and _inline(value):
            assert value.data is not None
            return f"{value.dtype}({number(value.data[()], value.dtype)})"
        return f"#{self.constants[value]}" if isinstance(value, Constant) else f"%{self.numbers[value]}"

    def node(self, node: Node) -> str:
        results = ", ".join(self.value(r) for r in node.results)
        types = ", ".join(self.type(r.type) for r in node.results)
        types = types if len(node.results) == 1 else f"({types})"
        return f"{results} = {self.application(node)} : {types}{self.provenance(node)}"

    def application(self, node: Node) -> str:
        arguments = []
        absent = False
        for position, operand in enumerate(node.operands):
            if operand is None:
                absent = True
                continue
            name = f"{node.op.operands[position].name}=" if absent else ""
            arguments.append(name + self.value(operand))
        function = node.attrs.get("function")
        called = f" ${word(function.name)}" if isinstance(function, Callee) else ""
        for name, value in node.attrs.items():
            if not (name == "function" and called) and not _is_default(value, node.op.attributes.get(name, REQUIRED)):
                arguments.append(f"{name}={attribute(value)}")
        return f"{node.op.name}{called}({', '.join(arguments)})"

    def provenance(self, node: Node) -> str:
        scopes = [word(s) for s in node.provenance.scopes if s] if self.options.scopes else []
        text = f"  in {', '.join(scopes)}" if scopes else ""
        if self.options.locations and node.provenance.locations:
            places = [f"{word(loc.name)}:{loc.line}" for loc in node.provenance.locations]
            text += (" at " if text else "  at ") + ", ".join(dict.fromkeys(places))
        return text


def numbers_of(graph: Graph) -> dict[Result, int]:
    """The numbers that the text gives to the results of nodes."""
    return {result: i for i, result in enumerate(r for node in graph.nodes for r in node.results)}


def node_lines(graph: Graph) -> dict[Node, str]:
    """The line of each node, as the text form has it."""
    printer = Printer(graph, Options())
    return {node: printer.node(node) for node in printer.nodes}


def value_names(graph: Graph) -> dict[Value, str]:
    """What the text form calls each value: `%x`, `%12`, `@weight`, `#0`, `f32(0.5)`."""
    printer = Printer(graph, Options())
    leaves = (*graph.inputs, *printer.parameters, *canonical_leaves(graph)[1])
    return {value: printer.value(value) for value in (*leaves, *printer.numbers)}


def canonical_leaves(graph: Graph) -> tuple[list[Parameter], list[Constant]]:
    """Parameters and constants in the order of first use; then unused parameters by name, but no unused constants."""
    read = dict.fromkeys([*(v for n in graph.nodes for v in n.inputs), *(v for _, v in graph.outputs)])
    unused = sorted((p for p in graph.parameters.values() if p not in read), key=lambda p: p.name)
    return [v for v in read if isinstance(v, Parameter)] + unused, [v for v in read if isinstance(v, Constant)]


def _inline(constant: Constant) -> bool:
    return constant.type.rank == 0 and constant.data is not None


def _content(constant: Constant) -> str:
    if constant.data is None or constant.data.size > SHOWN_ELEMENTS:
        return f"sha256:{constant.digest}"
    return elements(constant.data, constant.dtype)


def _bound(symbol: Symbol) -> str:
    low = f"{symbol.min} <= " if symbol.min else ""
    high = f" <= {symbol.max}" if symbol.max is not None else ""
    return f"{low}{symbol.name}{high}" if low or high else ""


def _is_default(value: Any, default: Any) -> bool:
    return default is not REQUIRED and type(value) is type(default) and attribute(value) == attribute(default)


def _used_symbols(graph: Graph, nodes: Iterable[Node]) -> dict[str, Symbol]:
    """The symbols that the text mentions, with the bounds that the graph knows for them."""
    found: dict[str, Symbol] = {}

    def look(value: Any) -> None:
        if isinstance(value, Dim):
            found.update((s.name, graph.symbols.get(s.name, s)) for s in symbols(value))
        elif isinstance(value, tuple):
            for part in value:
                look(part)

    for input in graph.inputs:
        look(input.type.shape)
    for node in nodes:
        look(tuple(node.attrs.values()))
        for result in node.results:
            look(result.type.shape)
    for constraint in (*graph.constraints, *graph.inequalities):
        look(constraint)
    return found

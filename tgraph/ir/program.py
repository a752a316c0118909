"""A program: named graphs that share one table of parameters. A single graph is a program with the graph `main`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from html import escape
from typing import Any

from .errors import GraphError, TGraphError
from .graph import Graph
from .selection import no_scope
from .tables import html_sections
from .textual import Textual
from .types import TensorType
from .verify import verify_program
from .weights import Weights


def as_program(obj: Graph | Program, error: type[TGraphError]) -> Program:
    """A program as it is, a graph as a program of its own. Raises `error` for an empty program and for other objects."""
    if isinstance(obj, Graph):
        return Program(obj.weights, {obj.name: obj})
    if not isinstance(obj, Program):
        raise error(f"expected a Graph (tg.trace makes one), got {type(obj).__name__}")
    if not len(obj):
        raise error("the program has no graphs")
    return obj


def only_graph(obj: Graph | Program, error: type[TGraphError], usage: str, quoted: bool = True) -> Graph:
    """The graph itself, or the only graph of a program: for functions that take one graph.

    Raises `error` for a program of several, which lists them and shows `usage` with one of the names for `{name}`, and for other
    objects.
    """
    program = as_program(obj, error)
    first = next(iter(program))
    if len(program) == 1:
        return program[first]
    shown = usage.format(name=f'"{first}"' if quoted else first)
    raise error(f"the program has the graphs {', '.join(program)}, and this takes one: write {shown} for {first}")


class Program(Textual):
    """Graphs by name, in order; all share `weights`, and a parameter has one type in all of them."""

    def __init__(self, weights: Weights | None = None, graphs: Mapping[str, Graph] | None = None):
        self.weights: Weights = Weights() if weights is None else weights
        self.graphs: dict[str, Graph] = {}
        for name, graph in (graphs or {}).items():
            self.add(name, graph)

    @classmethod
    def of(cls, graph: Graph) -> Program:
        """The program of one graph, named `main`."""
        return cls(graph.weights, {"main": graph})

    def add(self, name: str, graph: Graph) -> None:
        """Add a graph. Raises GraphError if the name is taken, or the weights or a parameter's type are others."""
        if name in self.graphs:
            raise GraphError(f"the program has two graphs named {name!r}")
        if graph.weights is not self.weights:
            raise GraphError(f"graph {name!r} has weights of its own; the graphs of a program share one table")
        known = self.parameters
        for parameter in graph.parameters.values():
            if known.get(parameter.name, parameter.type) != parameter.type:
                raise GraphError(f"parameter {parameter.name!r} is {parameter.type} in graph {name!r} and "
                                 f"{known[parameter.name]} in another")
        self.graphs[name] = graph

    def named(self) -> Program:
        """The program with every graph named as it is called here; a graph of another name is copied."""
        graphs = {name: graph if graph.name == name else graph.copy(name) for name, graph in self.graphs.items()}
        return Program(self.weights, graphs)

    def only(self, names: Iterable[str]) -> Program:
        """The program of those of the graphs, in that order."""
        return Program(self.weights, {name: self[name] for name in names})

    def part(self, scope: str) -> Program:
        """The nodes of a scope, of each graph that has it, as `Graph.part` gives them. Raises GraphError if none has."""
        found: dict[str, Graph] = {}
        for name, graph in self.graphs.items():
            with suppress(GraphError):
                found[name] = graph.part(scope)
        if not found:
            raise GraphError(no_scope(self.graphs.values(), scope))
        return Program(self.weights, found)

    def share(self, weights: Weights) -> None:
        """Make all graphs use another table of parameter data."""
        self.weights = weights
        for graph in self.graphs.values():
            graph.weights = weights

    @property
    def parameters(self) -> dict[str, TensorType]:
        """The types of all parameters, those of functions too."""
        blocks = [block for g in self.graphs.values() for block in (*g.functions.values(), g)]
        return {p.name: p.type for block in blocks for p in block.parameters.values()}

    @property
    def functions(self) -> dict[str, Graph]:
        """The functions that the graphs call, callees first."""
        return {name: function for graph in self.graphs.values() for name, function in graph.functions.items()}

    @property
    def main(self) -> Graph:
        """The only graph, or the one named main. Raises GraphError if there are several and none is."""
        if len(self.graphs) == 1:
            return next(iter(self.graphs.values()))
        if "main" in self.graphs:
            return self.graphs["main"]
        raise GraphError(f"the program has no graph named main, but {', '.join(self.graphs) or 'none at all'}")

    def named_graphs(self) -> Mapping[str, Graph]:
        return self.graphs

    def __getitem__(self, name: str) -> Graph:
        if name not in self.graphs:
            raise GraphError(f"the program has no graph {name!r}, but {', '.join(self.graphs) or 'none at all'}")
        return self.graphs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.graphs)

    def __len__(self) -> int:
        return len(self.graphs)

    def load_weights(self, weights: Any, *, cast: bool = False) -> None:
        """Load the data of the parameters of all graphs into `weights`, by name, from a mapping or a `.safetensors` file.

        cast: convert floats of another precision. Raises WeightsError that lists all missing, unexpected and misshapen names.
        """
        self.weights.load(weights, self.parameters, cast)

    def verify(self) -> None:
        """Check every graph, and what they share. Raises VerifyError."""
        verify_program(self)

    def _repr_html_(self) -> str:
        """The pictures that a notebook shows, each graph to fold away."""
        pictures = {name: graph._repr_svg_() or f"<pre>{escape(repr(graph))}</pre>" for name, graph in self.graphs.items()}
        return html_sections(pictures.items())

    def __repr__(self) -> str:
        return f"<program of {', '.join(repr(g) for g in self.graphs.values())}>"

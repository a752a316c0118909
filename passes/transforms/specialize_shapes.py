"""Specialisation of a graph to fixed sizes of symbolic dims."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from passes.base import Pass, register_pass
from passes.outline import Functions, share
from passes.rewriting import current_report
from tgraph.ir.dims import DimLike, compare, substitute, symbols
from tgraph.ir.errors import PassError
from tgraph.ir.graph import Graph
from tgraph.ir.inequalities import Inequality, canonical
from tgraph.ir.rules import Constraints
from tgraph.ir.unification import substitute_attribute, unify_shapes
from tgraph.ir.values import Value


@register_pass
@dataclass(frozen=True)
class SpecializeShapes(Pass):
    """B = 1, S = 128: symbolic dims of the inputs become numbers, as in `specialize-shapes{B=1,S=128}`.

    Results are the same, but the graph takes inputs of these sizes only: their types change, so this changes the meaning.
    A graph whose inputs have no symbolic dim stays as it is. Functions are specialised to the sizes of their calls.
    """

    effect = "changes-meaning"
    option_help = "DIM=SIZE"
    sizes: tuple[tuple[str, int], ...] = ()

    @classmethod
    def from_options(cls, options: Mapping[str, str]) -> SpecializeShapes:
        """A pass from options that are the names of dims and their sizes."""
        for name, size in options.items():
            if not size.isdecimal():
                raise PassError(f"pass {cls.pass_name()}: the size of dim {name} is a whole number, got {size!r}")
        return cls(tuple((name, int(size)) for name, size in options.items()))

    def __str__(self) -> str:
        shown = ",".join(f"{name}={size}" for name, size in self.sizes)
        return self.pass_name() + (f"{{{shown}}}" if shown else "")

    def apply(self, graph: Graph) -> None:
        sizes: dict[str, DimLike] = dict(self.sizes)
        known = dict.fromkeys(s.name for i in graph.inputs for d in i.shape for s in symbols(d))
        if not sizes or not known:
            return
        self._check(graph, known)
        bind(graph, sizes, {})
        for name, size in self.sizes:
            current_report().rewrote(f"{name} = {size}")

    def _check(self, graph: Graph, known: Collection[str]) -> None:
        for name, size in self.sizes:
            if name not in known:
                raise PassError(f"graph {graph.name} has no dim {name!r} in its inputs; they have {', '.join(known)}")
            symbol = graph.symbols[name]
            if size < symbol.min or (symbol.max is not None and size > symbol.max):
                wanted = f"at least {symbol.min}" if symbol.max is None else f"within {symbol.min} .. {symbol.max}"
                raise PassError(f"dim {name} of graph {graph.name} is {wanted}; it cannot be {size}")


def bind(graph: Graph, sizes: Mapping[str, DimLike], functions: Functions) -> None:
    """Replace dims of the inputs by sizes: infers all types again, and specialises functions to the sizes of their calls."""
    graph.constraints, graph.inequalities = _open_constraints(graph, sizes), _open_inequalities(graph, sizes)
    outputs, old_nodes, old_inputs = graph.outputs, graph.nodes, graph.inputs
    graph.inputs = []
    mapping: dict[Value, Value] = {i: graph.input(i.name, i.type.substitute(sizes)) for i in old_inputs}
    for node in old_nodes:
        operands = [None if v is None else mapping.get(v, v) for v in node.operands]
        attrs = {name: substitute_attribute(value, sizes) for name, value in node.attrs.items()}
        if node.op.name == "call":
            attrs["function"] = _bound(attrs["function"], [v for v in operands if v is not None], sizes, functions)
        made = graph.insert(node.op, operands, attrs, node.provenance)
        mapping.update(zip(node.results, made if isinstance(made, tuple) else (made,)))
    graph.set_outputs([(name, mapping.get(v, v)) for name, v in outputs])
    for node in reversed(old_nodes):
        graph.erase(node)
    for name in sizes:
        graph.symbols.pop(name, None)


def _bound(function: Graph, operands: Sequence[Value], outer: Mapping[str, DimLike], functions: Functions) -> Graph:
    """A function specialised to the sizes of operands, and to those that it takes from the caller; shared by all calls with
    these sizes."""
    sizes: dict[str, DimLike] = {str(d): outer[str(d)] for d in function.outer_dims if str(d) in outer}
    for formal, actual in zip(function.inputs, operands):
        unify_shapes(formal.type, actual.type, sizes)
    body = function.copy()
    bind(body, {name: size for name, size in sizes.items() if isinstance(size, int)}, functions)
    return share(body, functions)


def _open_constraints(graph: Graph, sizes: Mapping[str, DimLike]) -> list[tuple[DimLike, DimLike]]:
    """The constraints that the sizes leave undecided. Raises PassError for one that cannot hold."""
    found = []
    for left, right in graph.constraints:
        a, b = substitute(left, sizes), substitute(right, sizes)
        verdict = compare(a, b)
        if verdict == "different":
            raise PassError(f"graph {graph.name} needs {left} == {right}, which {a} == {b} is not")
        if verdict == "unknown":
            found.append((a, b))
    return found


def _open_inequalities(graph: Graph, sizes: Mapping[str, DimLike]) -> list[Inequality]:
    """The inequalities that the sizes leave undecided. Raises PassError for one that cannot hold."""
    found = []
    for left, right in graph.inequalities:
        a, b = substitute(left, sizes), substitute(right, sizes)
        verdict = Constraints().order(a, b)
        if verdict == "never":
            raise PassError(f"graph {graph.name} needs {left} >= {right}, which {a} >= {b} is not")
        if verdict == "unknown":
            found.append(canonical(a, b))
    return found

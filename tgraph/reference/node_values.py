"""`tg.values`: the values of chosen nodes of a graph, in the reference or as a compiled graph computes them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import numpy as np

from ..ir.correspondence import correspondence, successors
from ..ir.errors import GraphError
from ..ir.graph import Graph
from ..ir.printer import value_names
from ..ir.program import Program, only_graph
from ..ir.selection import select
from ..ir.tables import text_table
from ..ir.values import Node, Value
from .inputs import generate_inputs
from .interpreter import Interpreter
from .runnable import Runnable
from .statistics import Statistics

On = Literal["target", "reference"]


class Observable(Runnable, Protocol):
    """The part of an executable that looking into it uses."""

    def node_values(self, feeds: Mapping[str, Any], nodes: Iterable[Node]) -> dict[Value, np.ndarray]: ...


@dataclass(frozen=True)
class NodeName:
    """What one result of a node is called: its scope and op (`encoder.layer.0.attention.softmax`), with a number behind them
    where a scope has several; and what the text form calls it, `value`. The op of a call is the function's name."""

    label: str
    value: str
    op: str
    scope: str
    where: str


@dataclass(frozen=True)
class Gone:
    """A node of the traced graph that a compiled graph no longer has, and the nodes that have come of it."""

    name: NodeName
    became: tuple[NodeName, ...]

    def __str__(self) -> str:
        made = ", ".join(f"{n.label} ({n.value})" for n in self.became)
        return f"{self.name.label} ({self.name.value}) " + (f"became part of {made}" if made else "is not computed any more")


@dataclass
class Values(Mapping[str, np.ndarray]):
    """Arrays by the label of their node, in the order of the graph; prints as a table of statistics.

    names: op, scope, line and value of each label. gone: what matched in the traced graph, and is not in the compiled one.
    """

    graph: str
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    names: dict[str, NodeName] = field(default_factory=dict)
    gone: list[Gone] = field(default_factory=list)

    def __getitem__(self, label: str) -> np.ndarray:
        return self.arrays[label]

    def __iter__(self) -> Iterator[str]:
        return iter(self.arrays)

    def __len__(self) -> int:
        return len(self.arrays)

    def statistics(self) -> dict[str, Statistics]:
        """The numbers of each array, by label."""
        return {label: Statistics.of(array) for label, array in self.arrays.items()}

    def save(self, folder: str | Path) -> list[Path]:
        """Write `values.npz`, an array for each label (those of bf16 as f32), and `values.json`, which says what they are."""
        from ..formats.disk import replacing

        path = Path(folder)
        arrays = {label: a.astype(np.float32) if a.dtype.kind == "V" else a for label, a in self.arrays.items()}
        with replacing(path / "values.npz") as stream:
            np.savez(stream, **arrays)  # type: ignore[arg-type]
        index = {label: {**asdict(self.names[label]), "dtype": str(self.arrays[label].dtype), **asdict(one)}
                 for label, one in self.statistics().items()}
        gone = [{**asdict(g.name), "became": [n.label for n in g.became]} for g in self.gone]
        with replacing(path / "values.json") as stream:
            stream.write(json.dumps({"graph": self.graph, "values": index, "gone": gone}, indent=1).encode())
        return [path / "values.npz", path / "values.json"]

    COLUMNS: ClassVar[tuple[str, ...]] = ("value", "node", "type", *Statistics.COLUMNS)

    def cells(self) -> list[list[str]]:
        """The table, a row for each array."""
        return [[self.names[label].value, label, f"{self.arrays[label].dtype}{list(one.shape)}", *one.cells()]
                for label, one in self.statistics().items()]

    def __str__(self) -> str:
        return "\n".join([f"{len(self)} values of {self.graph}", text_table(self.COLUMNS, self.cells()), *map(str, self.gone)])


def values(model: Observable | Graph | Program, inputs: Mapping[str, Any] | None = None, *, nodes: str | Sequence[str] = "*",
           on: On = "target", seed: int = 0) -> Values:
    """The values of the nodes that a pattern names: a scope, op, both (`layer.0.*.softmax`), value (`%12`), line or output.

        print(tg.values(exe, {"x": x}, nodes="encoder.layer.0"))

    Patterns are those of `exe.trail` (docs/explaining.md); several stand in a list, or with commas between them. Of an executable
    these are nodes of the graph that its passes made, with values as its target computes them, by a program of its own in which
    they are outputs; what matches in the graph given to `compile` and is not there any more is listed in `gone`, with what has
    come of it. With on="reference", and of a Graph, NumPy computes the graph as it was given, in float64.
    inputs: feeds by name, by default generated ones.

    Raises GraphError for a pattern that names no node and for a program of several graphs, CompileError for an executable from a
    bundle without the original weights.
    """
    pattern = nodes if isinstance(nodes, str) else ",".join(nodes)
    graph, executable = sides(model, "tg.values")
    feeds = generate_inputs(graph, seed=seed) if inputs is None else inputs
    if executable is None or on == "reference":
        weights = None if executable is None else executable.weights
        wanted = select(graph, pattern)
        return _collect(graph, wanted, reference_values(graph, feeds, wanted, weights=weights))
    given, there = _selected(graph, pattern), _selected(executable.optimized, pattern)
    if not given and not there:
        select(graph, pattern)  # says so
    found = _collect(executable.optimized, there, executable.node_values(feeds, there))
    found.gone = _gone(graph, executable.optimized, given)
    return found


def sides(model: Observable | Graph | Program, caller: str) -> tuple[Graph, Observable | None]:
    """The graph of a model, and its executable if it is one. Raises GraphError for a program of several graphs."""
    if isinstance(model, (Graph, Program)):
        return only_graph(model, GraphError, f"{caller}(program[{{name}}], ...)"), None
    several = getattr(model, "graphs", None)
    if several is not None:
        names = list(several)
        if len(names) > 1:
            raise GraphError(f"the program has the graphs {', '.join(names)}; give one of them: {caller}(exe.{names[0]}, ...)")
        return sides(several[names[0]], caller)
    assert not isinstance(model, (Graph, Program))
    return model.graph, model


def node_names(graph: Graph) -> dict[Value, NodeName]:
    """The names of all results of a graph's nodes."""
    texts = value_names(graph)
    ops = [f.name if isinstance(f := n.attrs.get("function"), Graph) else n.op.name for n in graph.nodes]
    labels = [f"{n.provenance.scope}.{op}" if n.provenance.scope else op for n, op in zip(graph.nodes, ops)]
    seen: Counter[str] = Counter()
    taken = set(labels)
    found: dict[Value, NodeName] = {}
    for node, op, label in zip(graph.nodes, ops, labels):
        seen[label] += 1
        name = label
        while seen[label] > 1 and (name := f"{label}.{seen[label]}") in taken:
            seen[label] += 1
        taken.add(name)
        for result in node.results:
            one = name if len(node.results) == 1 else f"{name}:{result.index}"
            found[result] = NodeName(one, texts[result], op, node.provenance.scope, node.provenance.describe())
    return found


def reference_values(graph: Graph, feeds: Mapping[str, Any], nodes: Iterable[Node], *, faithful: bool = False,
                     weights: Mapping[str, np.ndarray] | None = None) -> dict[Value, np.ndarray]:
    """The results of some nodes as the interpreter computes them."""
    wanted, found = set(nodes), dict[Value, np.ndarray]()

    def observe(node: Node, operands: Sequence[np.ndarray | None], results: Sequence[np.ndarray]) -> None:
        if node in wanted:
            found.update(zip(node.results, results))

    Interpreter(graph, faithful=faithful, weights=weights, observer=observe).run(feeds)
    return found


def _selected(graph: Graph, pattern: str) -> list[Node]:
    """The nodes that parts of a pattern name; parts may name none."""
    found: set[Node] = set()
    for part in pattern.split(","):
        with suppress(GraphError):
            found.update(select(graph, part))
    return [node for node in graph.nodes if node in found]


def _collect(graph: Graph, nodes: Sequence[Node], arrays: Mapping[Value, np.ndarray]) -> Values:
    names = node_names(graph)
    chosen = [r for node in nodes for r in node.results]
    return Values(graph.name, {names[r].label: arrays[r] for r in chosen}, {names[r].label: names[r] for r in chosen})


def _gone(traced: Graph, optimized: Graph, given: Sequence[Node]) -> list[Gone]:
    """The results of nodes of the traced graph that have no counterpart in the optimised one."""
    pairs, before, after = correspondence(traced, optimized), node_names(traced), node_names(optimized)
    found = []
    for node in given:
        made = [r for n in successors(node, optimized) for r in n.results] if node not in pairs else []
        for value in node.results if node not in pairs else ():
            alike = [r for r in made if str(r.type) == str(value.type)]  # of a product that a split follows, the parts
            found.append(Gone(before[value], tuple(after[r] for r in alike or made)))
    return found

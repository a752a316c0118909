"""Sums of embeddings, and the norm after them, as one call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from passes.outline import Functions, outline
from passes.products import missed
from passes.rewriting import current_report
from tgraph.ir.analysis import is_prepared, prepared
from tgraph.ir.graph import Graph
from tgraph.ir.values import Constant, Node, Result, Value

from .base import Pass, register_pass

NORMS = ("layer_norm", "rms_norm")


@register_pass
@dataclass(frozen=True)
class FuseEmbeddings(Pass):
    """norm(words[i] + positions[j] + ...) = call $embeddings_layer_norm(i, words, j, positions, ...).

    A sum of at least two terms, each a row of a table looked up by `embedding` or known before any input, one of them
    looked up; a term may be scaled by a constant. The norm (layer_norm or rms_norm) may be missing. If others than the
    norm read the sum, too, it is a second result.
    """

    effect = "exact"

    def apply(self, graph: Graph) -> None:
        ready = prepared(graph)
        functions: Functions = graph.functions
        for node in reversed(graph.nodes):
            if node not in graph or node.op.name != "add" or node in ready:
                continue
            terms = embedding_sum(graph, node, ready)
            if isinstance(terms, str):
                missed(_rule("layer_norm"), node, terms)
                continue
            norm = next((u for u in node.result.users if u.op.name in NORMS and u.inputs[0] is node.result), None)
            if norm is not None and not all(is_prepared(v, ready) for v in norm.inputs[1:]):
                norm = None
            members = [*terms, node] + ([] if norm is None else [norm])
            made = outline(graph, members, "embeddings" if norm is None else f"embeddings_{norm.op.name}", functions)
            current_report().rewrote(_rule(None if norm is None else norm.op.name), members[::-1], made.results)


def _rule(norm: str | None) -> str:
    terms = "words[i] + positions[j] + ..."
    return f"{terms} = call $embeddings(...)" if norm is None else f"norm({terms}) = call $embeddings_{norm}(...)"


def embedding_sum(graph: Graph, root: Node, ready: set[Node]) -> list[Node] | str:
    """The nodes below an `add` that make its terms, if it is a sum of embeddings; else the reason why it is none."""
    found: list[Node] = []
    pending: list[Value] = list(root.inputs)
    while pending:
        value = pending.pop()
        if is_prepared(value, ready):
            continue
        if not isinstance(value, Result):
            return "a term is an input"
        node = value.node
        if node.op.name == "mul" and any(isinstance(v, Constant) and v.type.rank == 0 for v in node.inputs):
            pending += [v for v in node.inputs if not isinstance(v, Constant)]
        elif node.op.name == "add":
            pending += node.inputs
        elif node.op.name != "embedding":
            return f"a term is made by {node.op.name}"
        if not _only(graph, value):
            return f"the result of {node.op.name} is also read elsewhere"
        found.append(node)
    if not any(n.op.name == "embedding" for n in found):
        return "no term is looked up"
    return found + _ranges(graph, found)


def _ranges(graph: Graph, nodes: Sequence[Node]) -> list[Node]:
    """The `range`s that number positions for these nodes alone, if the other indices tell how far they go."""
    indices = [n.inputs[0] for n in nodes if n.op.name == "embedding"]
    ranges = [v.node for v in indices if isinstance(v, Result) and v.node.op.name == "range" and _only(graph, v)]
    known = {d for v in indices if not (isinstance(v, Result) and v.node in ranges) for d in v.shape}
    return [n for n in ranges if all(isinstance(d, int) or d in known for d in (n.attrs["start"], n.attrs["stop"]))]


def _only(graph: Graph, value: Value) -> bool:
    return len(value.uses) == 1 and not graph.is_output(value)

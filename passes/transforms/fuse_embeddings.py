"""Fusion of a sum of embeddings with the norm after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from passes.base import Pass, register_pass
from passes.outline import Functions, outline
from passes.products import missed
from passes.rewriting import current_report
from tgraph.ir.analysis import is_prepared, prepared
from tgraph.ir.graph import Graph
from tgraph.ir.values import Constant, Node, Result, Value


@register_pass
@dataclass(frozen=True)
class FuseEmbeddings(Pass):
    """norm(words[i] + positions[j] + ...) = call $embeddings_layer_norm(i, words, j, positions, ...).

    A sum of two terms or more, each looked up by `embedding` or parameter-only, at least one of them looked up; a term may be
    scaled by a constant. The norm (layer_norm or rms_norm) may be missing. If something besides the norm reads the sum, it
    is a second result.
    """

    effect = "exact"

    def apply(self, graph: Graph) -> None:
        parameter_only = prepared(graph)
        functions: Functions = graph.functions
        failed = failures(graph, parameter_only)
        for node in reversed(graph.nodes):
            if node not in graph or node.op.name != "add" or node in parameter_only:
                continue
            reason = failed[node]
            terms = embedding_sum(node, parameter_only) if reason is None else []
            if not terms:
                missed(_rule("layer_norm"), node, reason or "no term is looked up")
                continue
            terms += _ranges(graph, terms)
            norm = next((u for u in node.result.users if is_norm(u) and u.inputs[0] is node.result), None)
            if norm is not None and not all(is_prepared(v, parameter_only) for v in norm.inputs[1:]):
                norm = None
            members = [*terms, node] + ([] if norm is None else [norm])
            made = outline(graph, members, "embeddings" if norm is None else f"embeddings_{norm.op.name}", functions)
            current_report().rewrote(_rule(None if norm is None else norm.op.name), members[::-1], made.results)


def is_norm(node: Node) -> bool:
    """Whether a node is a norm: works along the last axis of its first operand, and gives the same type."""
    return (node.op.traits.along == -1 and node.op.contract is None and len(node.results) == 1
            and node.result.type == node.inputs[0].type)


def _rule(norm: str | None) -> str:
    terms = "words[i] + positions[j] + ..."
    return f"{terms} = call $embeddings(...)" if norm is None else f"norm({terms}) = call $embeddings_{norm}(...)"


def failures(graph: Graph, parameter_only: set[Node]) -> dict[Node, str | None]:
    """For each `add`, and each `mul` by a constant, the reason why it cannot be a sum of embeddings; None if it may be one."""
    found: dict[Node, str | None] = {}

    def failure(value: Value) -> str | None:
        if is_prepared(value, parameter_only):
            return None
        if not isinstance(value, Result):
            return "a term is an input"
        node = value.node
        if node.op.name not in ("add", "embedding") and not _scales(node):
            return f"a term is made by {node.op.name}"
        return found.get(node) if _only(graph, value) else f"the result of {node.op.name} is also read elsewhere"

    for node in graph.nodes:
        if node.op.name == "add" or _scales(node):
            found[node] = next((r for v in reversed(_terms(node)) if (r := failure(v)) is not None), None)
    return found


def _scales(node: Node) -> bool:
    """Whether a node multiplies by a constant number."""
    return node.op.name == "mul" and any(isinstance(v, Constant) and v.type.rank == 0 for v in node.inputs)


def _terms(node: Node) -> list[Value]:
    """The operands of an `add`, or the operand that a `mul` scales."""
    return [v for v in node.inputs if node.op.name == "add" or not isinstance(v, Constant)]


def embedding_sum(root: Node, parameter_only: set[Node]) -> list[Node]:
    """The nodes that compute the terms of an `add` that may be a sum of embeddings; none if no term is looked up."""
    found: list[Node] = []
    pending = list(root.inputs)
    while pending:
        value = pending.pop()
        if is_prepared(value, parameter_only) or not isinstance(value, Result):
            continue
        if value.node.op.name != "embedding":
            pending += _terms(value.node)
        found.append(value.node)
    return found if any(n.op.name == "embedding" for n in found) else []


def _ranges(graph: Graph, nodes: Sequence[Node]) -> list[Node]:
    """The `range` nodes that only embeddings among `nodes` read as indices, and whose sizes other indices have, too."""
    indices = [n.inputs[0] for n in nodes if n.op.name == "embedding"]
    ranges = [v.node for v in indices if isinstance(v, Result) and v.node.op.name == "range" and _only(graph, v)]
    known = {d for v in indices if not (isinstance(v, Result) and v.node in ranges) for d in v.shape}
    return [n for n in ranges if all(isinstance(d, int) or d in known for d in (n.attrs["start"], n.attrs["stop"]))]


def _only(graph: Graph, value: Value) -> bool:
    return len(value.uses) == 1 and not graph.is_output(value)

"""Leaving out the computation of padded rows that no result depends on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from passes.base import Pass, register_pass
from passes.padding.packed_rows import RowPacker, has_row_form, packed_axes
from passes.padding.row_demand import WHOLE_VIEWS, RowDemand
from passes.products import missed
from passes.rewriting import current_report
from tgraph.ir.analysis import prepared
from tgraph.ir.builder import Builder
from tgraph.ir.errors import PassError
from tgraph.ir.graph import Graph
from tgraph.ir.location import NOWHERE, Provenance
from tgraph.ir.values import Node, Result, Value

RULE = "zero_padding(f(x), mask) = pad_rows(f(rows of x where mask), positions of mask)"


@register_pass
@dataclass(frozen=True)
class RemovePadding(Pass):
    """zero_padding(f(x), mask) = pad_rows(f(rows of x), positions): f works row by row, so padded rows are left out.

    Walks back from ops that ignore padded rows: zero_padding, where(mask, x, y), and masked attention for its keys and values.
    Products, norms, activations, embeddings and elementwise ops before them run on the N rows that `unpack(mask)` lists,
    [N, ...] for [B, S, ...], and attention becomes `ragged_attention`. Attention with a bias, or with a mask that differs
    by query, keeps its padded form; so do calls of functions: run this pass before those that make calls. A position that
    something else reads (the first token, say) is kept in every sequence of the batch, and is no key where the mask
    excludes it. Nothing is approximated: rows only have other neighbours.

    `mask` names the one input to take as a mask (default: every mask). `finite=true` states that padded rows are
    finite, so that x * mask counts as zero_padding. `output=hidden,mask=mask` first replaces the output `hidden` by
    zero_padding(hidden, mask), which changes the meaning: its padded rows become zeros.
    """

    effect = "rounds"
    moves_excluded = True
    output: str = ""
    mask: str = ""
    finite: bool = False

    def __post_init__(self) -> None:
        if self.output:
            object.__setattr__(self, "effect", "changes-meaning")  # of this instance alone

    def apply(self, graph: Graph) -> None:
        chosen = self._chosen(graph)
        if self.output:
            self._zero_output(graph, chosen)
        for mask in _masks(graph):
            if chosen is None or mask is chosen:
                self._remove(graph, mask)

    def _chosen(self, graph: Graph) -> Value | None:
        if not self.mask:
            if self.output:
                raise PassError("remove-padding: output= wants mask=, the name of an input bool[B, S]")
            return None
        found = next((i for i in graph.inputs if i.name == self.mask), None)
        if found is None or not found.dtype.is_bool or found.type.rank != 2:
            raise PassError(f"remove-padding: mask= names an input bool[B, S]; {self.mask!r} is "
                            + ("no input of " + graph.name if found is None else str(found.type)))
        return found

    def _zero_output(self, graph: Graph, mask: Value | None) -> None:
        outputs = dict(graph.outputs)
        if self.output not in outputs:
            raise PassError(f"remove-padding: {graph.name} has no output {self.output!r}; it has {', '.join(outputs)}")
        value = outputs[self.output]
        if mask is None or _is_zero_where_false(value, mask):
            return
        b = Builder(graph, value.node.provenance if isinstance(value, Result) else NOWHERE)
        made = b.zero_padding(value, mask)
        graph.set_outputs((name, made if name == self.output else v) for name, v in graph.outputs)
        current_report().rewrote("output = zero_padding(output, mask), which changes its padded rows", (), [made])

    def _remove(self, graph: Graph, mask: Value) -> None:
        parameter_only = prepared(graph)
        demand = RowDemand(graph, mask, self.finite)
        candidates = [n for n in graph.nodes if n not in parameter_only and has_row_form(n, demand)]
        packed = _worthwhile(graph, _without_outer_views(candidates, demand))
        if packed:
            old, new = _pack(graph, demand, packed)
            current_report().rewrote(RULE, old, new)
            return
        for reader in mask.users[:1]:
            missed(RULE, reader, "no product has rows that nothing depends on" if candidates else
                   "all rows that come to it are read elsewhere, too", 1 + len(candidates))


def _masks(graph: Graph) -> list[Value]:
    """Every boolean [B, S] that ops use as a mask, directly or within a conjunction."""
    found: dict[Value, None] = {}
    for node in graph.nodes:
        position = {"zero_padding": 1, "attention": 3, "where": 0}.get(node.op.name)
        pending = [node.operands[position]] if position is not None else []
        if node.op.name == "cast" and node.inputs[0].dtype.is_bool:
            pending = [node.inputs[0]]
        while pending:
            value = pending.pop()
            if value is None:
                continue
            if value.type.rank == 2 and value.dtype.is_bool:
                found[value] = None
            if isinstance(value, Result) and (value.node.op.name == "logical_and" or value.node.op.traits.view in WHOLE_VIEWS):
                pending += value.node.inputs
    return list(found)


def _is_zero_where_false(value: Value, mask: Value) -> bool:
    """Whether a value is made by `zero_padding` with the mask, or by `pad_rows` with its positions."""
    if not isinstance(value, Result):
        return False
    node = value.node
    if node.op.name == "zero_padding":
        return node.inputs[1] is mask
    positions = node.inputs[1] if node.op.name == "pad_rows" else None
    return (isinstance(positions, Result) and positions.node.op.name == "number_rows"
            and positions.node.inputs[0] is mask)


def _row_operands(node: Node, demand: RowDemand) -> Iterator[Value]:
    """The operands that have rows."""
    for position, value in enumerate(node.operands):
        if value is not None and packed_axes(node, position, demand) is not None:
            yield value


def _without_outer_views(candidates: Sequence[Node], demand: RowDemand) -> list[Node]:
    """The candidates without view ops first or last, so that rows are taken and put back where there is least to move."""
    kept = dict.fromkeys(candidates)
    for node in reversed(candidates):  # after the last op, before a padded reader; zero_padding goes into pad_rows
        parts = node.op.traits.view == "cut" and len(node.results) > 1
        if (node.op.traits.view in WHOLE_VIEWS or parts) and not any(
                u in kept or u.op.name == "zero_padding" for r in node.results for u in r.users):
            del kept[node]
    for node in candidates:  # before the first op, after a padded producer
        part = node.op.traits.view == "cut" and len(node.results) == 1
        if node in kept and (node.op.traits.view in WHOLE_VIEWS or part) and not any(
                isinstance(v, Result) and v.node in kept for v in _row_operands(node, demand)):
            del kept[node]
    return list(kept)


def _worthwhile(graph: Graph, nodes: Sequence[Node]) -> list[Node]:
    """The nodes of the connected components that have a product: only there packing pays."""
    inside = set(nodes)
    seen: set[Node] = set()
    chosen: set[Node] = set()
    for start in nodes:
        part, pending = set(), [start]
        while pending:
            node = pending.pop()
            if node in seen or node not in inside:
                continue
            seen.add(node)
            part.add(node)
            pending += [v.node for v in node.inputs if isinstance(v, Result)]
            pending += [u for r in node.results for u in r.users]
        if any(n.op.contract is not None for n in part):
            chosen |= part
    return [n for n in nodes if n in chosen]


def _pack(graph: Graph, demand: RowDemand, packed: Sequence[Node]) -> tuple[list[Node], list[Value]]:
    """Replace nodes by their row forms; readers outside get the rows put back. Returns the old nodes and the new values."""
    packer = RowPacker(graph, demand, Provenance.merge(u.provenance for u in demand.mask.users))
    inside = set(packed)
    erased: list[Node] = []
    new: list[Value] = []

    def replaced(node: Node) -> bool:
        return node.op.name == "zero_padding" and node.inputs[1] is demand.mask and packer.exact

    for node in packed:
        packer.pack(node)
    for node in packed:
        for result in node.results:
            uses = [(u, p) for u, p in result.uses if u not in inside]
            if not uses:
                continue
            zeroing = [u for u, _ in uses if replaced(u)]
            padded = packer.padded(result, Provenance.merge(n.provenance for n in (node, *zeroing)))
            new.append(padded)
            for user, position in uses:
                graph.set_operand(user, position, padded)
            for user in zeroing:
                graph.replace(user.result, padded)
                graph.erase(user)
                erased.append(user)
    for node in reversed(packed):
        graph.erase(node)
    return [*reversed(packed), *erased], new

"""Moving transposes through regions of elementwise and row-wise ops, where fewer transposes are left afterwards.

    transpose(x, p) -> gelu -> add(.., transpose(y, p)) -> transpose(.., p^-1)   becomes   gelu -> add, on x and y

A region is the set of such ops that are reached downwards from one transpose, and whose operands are transposed by the same
permutation, come from the region itself, or are parameter-only, so that they can be transposed the other way beforehand.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from passes.rewriting import current_report, erase_dead
from tgraph.ir.analysis import is_prepared, order_within, prepared
from tgraph.ir.axis_maps import moved_attributes, permutation, permuted
from tgraph.ir.builder import Builder
from tgraph.ir.graph import Graph
from tgraph.ir.location import Provenance
from tgraph.ir.values import Node, Result, Value

Perm = tuple[int, ...]
NAME = "op(transpose(x)) = transpose(op(x))"


@dataclass
class Region:
    """Nodes to apply before a transpose instead of after it, and `entries`, the transposes that they read."""

    perm: Perm
    nodes: dict[Node, None] = field(default_factory=dict)
    entries: dict[Node, None] = field(default_factory=dict)


def move_transposes(graph: Graph) -> int:
    """Move transposes through every region where that leaves fewer of them; returns the number of moves."""
    parameter_only = prepared(graph)
    report = current_report()
    pending = deque(n for n in graph.nodes if permutation(n) is not None and n not in parameter_only)
    moves = 0
    while pending:
        start = pending.popleft()
        if start not in graph:
            continue
        region = _grow(start, parameter_only)
        if not region.nodes or _saved(graph, region) <= 0:
            continue
        members = [*region.entries, *region.nodes]
        made = _move(graph, region, parameter_only)
        report.rewrote(NAME, members, [r for n in made for r in n.results])
        pending.extend(n for n in made if permutation(n) is not None and n not in parameter_only)
        moves += 1
    return moves


def _grow(start: Node, parameter_only: set[Node]) -> Region:
    """The region below a transpose: all movable ops that it reaches, less those with an operand that does not fit."""
    perm = permutation(start)
    assert perm is not None
    region = Region(perm)
    frontier: list[Node] = [start]
    while frontier:
        for user in frontier.pop().result.users:
            if user not in region.nodes and _movable(user, region.perm):
                region.nodes[user] = None
                frontier.append(user)
    while outside := [n for n in region.nodes if not all(_fits(region, parameter_only, n, i) for i in range(len(n.operands)))]:
        for node in outside:
            del region.nodes[node]
    for node in region.nodes:
        for value in node.inputs:
            if _is_entry(region, value):
                assert isinstance(value, Result)
                region.entries[value.node] = None
    return region


def _movable(node: Node, perm: Perm) -> bool:
    """Whether a node computes the same on an operand with its axes in another order."""
    rank, along = len(perm), node.op.traits.along
    if len(node.results) != 1 or node.result.type.rank != rank or not node.op.traits.rank_generic:
        return False
    if along is None or node.inputs[0].type.rank != rank:
        return node.op.elementwise
    return isinstance(along, str) or perm[along] == along % rank  # an axis by its number has to stay


def _is_entry(region: Region, value: Value | None) -> bool:
    """Whether a value is made by a transpose, with the region's permutation, of something outside of the region."""
    if not isinstance(value, Result) or permutation(value.node) != region.perm:
        return False
    source = value.node.inputs[0]
    return not (isinstance(source, Result) and source.node in region.nodes)


def _fits(region: Region, parameter_only: set[Node], node: Node, position: int) -> bool:
    """Whether an operand can be had without the transpose."""
    value = node.operands[position]
    if value is None:
        return True
    if node.op.traits.along is not None and position:
        return not (isinstance(value, Result) and value.node in region.nodes)
    inside = isinstance(value, Result) and value.node in region.nodes
    return inside or _is_entry(region, value) or not value.type.rank or is_prepared(value, parameter_only)


def _saved(graph: Graph, region: Region) -> int:
    """How many fewer transposes there are after the move."""
    before = sum(not graph.is_output(t.result) and all(u in region.nodes for u in t.result.users)
                 for t in region.entries)
    after = 0
    for node in region.nodes:
        outside = [u for u in node.result.users if u not in region.nodes]
        transposes = [perm for u in outside if (perm := permutation(u)) is not None]
        before += len(transposes)
        after += sum(_joined(region.perm, perm) is not None for perm in transposes)
        after += len(outside) > len(transposes) or graph.is_output(node.result)
    return before - after


def _joined(first: Perm, second: Perm) -> Perm | None:
    """The permutation of one transpose after another; None for the identity."""
    perm = tuple(first[a] for a in second)
    return None if perm == tuple(range(len(perm))) else perm


def _move(graph: Graph, region: Region, parameter_only: set[Node]) -> list[Node]:
    """Rebuild the region on the operands of its entries, with the transposes still needed after it. Returns the new nodes."""
    perm, made = region.perm, list[Node]()
    moved: dict[Value, Value] = {t.result: t.inputs[0] for t in region.entries}
    order = order_within(region.nodes, region.nodes)
    for node in order:
        below = [v.node for v in node.inputs if v in moved and isinstance(v, Result) and v.node in region.entries]
        b = Builder(graph, Provenance.merge((*(n.provenance for n in below), node.provenance)))
        operands = [_operand(b, node, i, perm, moved, parameter_only) for i in range(len(node.operands))]
        new = b.apply(node.op, operands, _attributes(node, perm))
        moved[node.result] = new
        made.append(new.node)
    for node in order:
        made += _connect_readers(graph, region, node.result, moved[node.result])
    erase_dead(graph, [*region.entries, *order])
    return made


def _attributes(node: Node, perm: Perm) -> dict[str, Any]:
    """The attributes of a node's op before the transpose."""
    if node.op.elementwise:
        return dict(node.attrs)
    # the new axis perm[i] is what axis i was
    order = permuted([perm.index(axis) for axis in range(len(perm))])
    attrs = moved_attributes(node, order, order)
    assert attrs is not None
    return attrs


def _operand(b: Builder, node: Node, position: int, perm: Perm, moved: dict[Value, Value],
             parameter_only: set[Node]) -> Value | None:
    """What a moved node reads in the place of an operand; parameter-only values are transposed back."""
    value = node.operands[position]
    if value is None or not value.type.rank or (node.op.traits.along is not None and position):
        return value
    if value in moved:
        return moved[value]
    shape = (1,) * (len(perm) - value.type.rank) + value.shape
    target = [shape[perm.index(axis)] for axis in range(len(perm))]
    wide, laid_out = value, value
    if sum(d != 1 for d in shape) <= 1:  # a vector: only axes of size 1 move past it
        laid_out = b.reshape(value, shape=tuple(target))
    else:
        wide = value if value.type.rank == len(perm) else b.reshape(value, shape=shape)
        laid_out = b.transpose(wide, perm=tuple(perm.index(axis) for axis in range(len(perm))))
    for made in (wide, laid_out):
        if isinstance(made, Result):
            parameter_only.add(made.node)
    return laid_out


def _connect_readers(graph: Graph, region: Region, old: Result, new: Value) -> list[Node]:
    """Let the readers outside of the region read the new value, by as few transposes as that takes."""
    made: list[Node] = []
    for user in [u for u in old.users if u not in region.nodes]:
        if (outer := permutation(user)) is None:
            continue
        perm = _joined(region.perm, outer)
        assert isinstance(new, Result)
        provenance = Provenance.merge((new.node.provenance, user.provenance))
        if perm is None:
            new.node.provenance = provenance
            graph.replace(user.result, new)
        else:
            value = Builder(graph, user.provenance).transpose(new, perm=perm)
            graph.replace(user.result, value)
            made.append(value.node)
        graph.erase(user)
    outside = [(u, i) for u, i in old.uses if u not in region.nodes]
    if outside or graph.is_output(old):
        value = Builder(graph, next(iter(region.entries)).provenance).transpose(new, perm=region.perm)
        for user, position in outside:
            graph.set_operand(user, position, value)
        graph.set_outputs((name, value if v is old else v) for name, v in graph.outputs)
        made.append(value.node)
    return made

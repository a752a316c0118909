"""The row forms of ops: what a node on [B, S, ...] or [B, H, S, D] is on [N, ...], the rows that a mask keeps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from passes.padding.row_demand import BATCH_FIRST, HEADS_BETWEEN, MOVED, Layout, RowDemand, is_view_of, operand_layout
from tgraph.ir.axis_maps import Order, axis_map, moved_attributes, permutation
from tgraph.ir.builder import Builder
from tgraph.ir.dims import Dim, DimLike, dim
from tgraph.ir.dtypes import i64
from tgraph.ir.graph import Graph
from tgraph.ir.location import Provenance
from tgraph.ir.values import Node, Result, Value


def has_row_form(node: Node, demand: RowDemand) -> bool:
    """Whether a node whose results are spared rows can run on the rows that are kept."""
    name, layout = node.op.name, demand.layout_of(node)
    rows = [row_layout(node, p, demand) is not None for p in range(len(node.operands))]
    if layout is None:
        return False
    if node.op.elementwise:
        return any(rows) and all(row or not all(_varies(node, p, a) for a in layout) for p, row in enumerate(rows))
    if node.op.traits.view == "join":
        return all(rows)
    if name == "attention":
        return all(rows[:3]) and node.operands[4:] == (None, None) and demand.masks_only_keys(node)
    if not rows or not rows[0]:
        return False
    if name == "zero_padding":
        return layout == BATCH_FIRST
    if node.op.traits.view in MOVED:
        return True
    return not any(_follows(node, p, layout, demand) for p in range(1, len(rows))) and _row_attributes(node, demand) is not None


def row_layout(node: Node, position: int, demand: RowDemand) -> Layout | None:
    """Which axes of an operand are those that its row form has as one; None if all rows read all of it."""
    value, layout = node.operands[position], demand.layout_of(node)
    if value is None or layout is None:
        return None
    if node.op.name == "attention":
        found = HEADS_BETWEEN if layout == HEADS_BETWEEN and position < 3 else None
    else:
        found = operand_layout(node, position, layout, demand.same)
    return found if found is not None and demand.fits(value, found) else None


def _follows(node: Node, position: int, layout: Layout, demand: RowDemand) -> bool:
    """Whether different rows of the result may read different parts of an operand."""
    axes = axis_map(node, position, demand.same)
    return node.operands[position] is not None and (axes is None or any(axes[a] is not None for a in layout))


def _varies(node: Node, position: int, axis: int) -> bool:
    """Whether an operand of an elementwise node has that axis of the result, and not as 1."""
    value = node.operands[position]
    assert value is not None
    at = axis - (node.results[0].type.rank - value.type.rank)
    return at >= 0 and value.shape[at] != 1


def _others(layout: Layout, rank: int) -> list[int]:
    """The axes that follow the first one in the packed form, in order."""
    return [a for a in range(rank) if a not in layout]


def _packed_order(layout: Layout, rank: int) -> Order:
    """The axes of the packed form: the rows, which stand for batch and length, and the others."""
    return [layout, *((a,) for a in _others(layout, rank))]


def _row_attributes(node: Node, demand: RowDemand, count: DimLike = 0) -> dict[str, Any] | None:
    """The attributes with which the node's op makes rows of rows; None if it has no meaning on them."""
    layout, source = demand.layout_of(node), row_layout(node, 0, demand)
    if layout is None or source is None:
        return None
    ranks = node.inputs[0].type.rank, node.results[0].type.rank
    return moved_attributes(node, _packed_order(source, ranks[0]), _packed_order(layout, ranks[1]), count)


@dataclass
class RowPacker:
    """Makes the row forms of the nodes of one graph, for one mask: [N, others...] for axes batch, length and others."""

    graph: Graph
    demand: RowDemand
    provenance: Provenance
    _rows: dict[tuple[Value, Layout], Value] = field(default_factory=dict)

    def __post_init__(self) -> None:
        b = Builder(self.graph, self.provenance)
        self.shape = (self.demand.mask.shape[0], self.demand.mask.shape[1])
        self.kept = self._kept(b)
        self.indices, self.offsets = b.unpack(self.kept, name=_free_dim(self.graph))
        self.count: DimLike = self.indices.shape[0]
        self.positions = b.number_rows(self.kept)

    def _kept(self, b: Builder) -> Value:
        """The mask, and True in the columns that are read whatever it says."""
        kept = self.demand.mask
        for start, stop in sorted(self.demand.columns, key=str):
            at = b.range(stop=self.shape[1], dtype=i64)
            column = b.equal(at, _number(b, start)) if stop - start == 1 else b.less(at, _number(b, stop))
            if start != 0 and stop - start != 1:
                column = b.logical_and(b.greater_or_equal(at, _number(b, start)), column)
            kept = b.logical_or(kept, column)
        return kept

    @property
    def exact(self) -> bool:
        """Whether the rows that are kept are those of the mask and no others."""
        return self.kept is self.demand.mask

    def pack(self, node: Node) -> None:
        """Add the row form of a node whose operands may have theirs."""
        layout = self.demand.layout_of(node)
        assert layout is not None
        made = self._made(Builder(self.graph, node.provenance), node, layout)
        self._rows.update(((r, layout), row) for r, row in zip(node.results, made if isinstance(made, tuple) else (made,)))

    def _made(self, b: Builder, node: Node, layout: Layout) -> Any:
        if node.op.name == "zero_padding":
            return self._zeroed(b, node)
        if node.op.name == "attention":
            heads = [self._row(b, v, HEADS_BETWEEN) for v in node.inputs[:3]]
            return b.ragged_attention(*heads, self.offsets, self._key_mask(b, node), **node.attrs)
        operands = [v if v is None else self._operand(b, node, p, v) for p, v in enumerate(node.operands)]
        if node.op.traits.view in MOVED:
            return self._view(b, node, layout, operands[0])
        attributes = node.attrs if node.op.elementwise else _row_attributes(node, self.demand, self.count)
        assert attributes is not None
        return self.graph.insert(node.op, operands, attributes, node.provenance)

    def _view(self, b: Builder, node: Node, layout: Layout, rows: Value | None) -> Value:
        """The rows of a view from those of its operand: by the same op, or by ours if that has a meaning for one rank only."""
        source = row_layout(node, 0, self.demand)
        assert rows is not None and source is not None
        rank, others = node.results[0].type.rank, _others(layout, node.results[0].type.rank)
        if node.op.traits.view == "permute":
            axes, kept = permutation(node), _others(source, rank)
            assert axes is not None
            perm = (0, *(kept.index(axes[a]) + 1 for a in others))
            unmoved = perm == tuple(range(len(perm)))  # but for the axes that are one in the packed form
            made: Value = _absorb(rows, node) if unmoved else b.transpose(rows, perm=perm)
            return made
        attributes = _row_attributes(node, self.demand, self.count) if node.op.traits.axis_attributes else None
        if attributes is not None:
            made = self.graph.insert(node.op, [rows], attributes, node.provenance)
        else:
            shape = (self.count, *(node.results[0].shape[a] for a in others))
            made = (b.reshape if node.op.traits.view == "regroup" else b.expand)(rows, shape=shape)
        return made

    def padded(self, value: Value, provenance: Provenance) -> Value:
        """The rows of a packed value, put back."""
        b, layout = Builder(self.graph, provenance), self.demand.layouts[value]
        made: Value = b.pad_rows(self._rows[value, layout], self.positions)
        if layout == BATCH_FIRST:
            return made
        axes = [*layout, *_others(layout, value.type.rank)]
        return b.transpose(made, perm=tuple(axes.index(a) for a in range(len(axes))))

    def _zeroed(self, b: Builder, node: Node) -> Value:
        rows = self._row(b, node.inputs[0], BATCH_FIRST)
        if self.exact and node.inputs[1] is self.demand.mask:
            return _absorb(rows, node)
        made: Value = b.zero_padding(rows, self._row(b, node.inputs[1], BATCH_FIRST))
        return made

    def _key_mask(self, b: Builder, node: Node) -> Value | None:
        """The keys that attention may read among the rows that are kept; None for all of them."""
        mask = node.operands[3]
        assert mask is not None
        if is_view_of(mask, self.demand.mask):
            return None if self.exact else self._row(b, self.demand.mask, BATCH_FIRST)
        return self._row(b, mask if mask.type.rank == 2 else b.reshape(mask, shape=self.shape), BATCH_FIRST)

    def _operand(self, b: Builder, node: Node, position: int, value: Value) -> Value:
        found, layout = row_layout(node, position, self.demand), self.demand.layout_of(node)
        if found is not None:
            return self._row(b, value, found)
        if not node.op.elementwise or layout is None:
            return value
        rank = node.results[0].type.rank
        shift = value.type.rank - rank
        if any(_varies(node, position, a) for a in layout):  # the same for all of a sequence, or of a position
            sizes = dict(zip(layout, self.shape))
            own = {a: value.shape[a + shift] for a in range(rank) if a + shift >= 0}
            return self._row(b, b.expand(value, shape=tuple(sizes.get(a, own.get(a, 1)) for a in range(rank))), layout)
        ones = tuple(a + shift for a in layout if a + shift >= 0)
        return b.squeeze(value, axes=ones) if ones else value

    def _row(self, b: Builder, value: Value, layout: Layout) -> Value:
        """The rows of a value that are kept."""
        found = self._rows.get((value, layout))
        if found is None:
            others = _others(layout, value.type.rank)
            first = value if layout == BATCH_FIRST else b.transpose(value, perm=(*layout, *others))
            flat = b.reshape(first, shape=(self.shape[0] * self.shape[1], *first.shape[2:]))
            found = self._rows[value, layout] = b.gather(flat, self.indices, axis=0)
        return found


def _absorb(rows: Value | None, node: Node) -> Value:
    """Rows that stand for a node's results as they are: what made them now knows of the node."""
    assert rows is not None
    if isinstance(rows, Result):
        rows.node.provenance = Provenance.merge((rows.node.provenance, node.provenance))
    return rows


def _number(b: Builder, size: DimLike) -> Any:
    return b.dim_size(size=size, dtype=i64) if isinstance(size, Dim) else size


def _free_dim(graph: Graph) -> str:
    """A name for the number of rows that no other dim has."""
    name, number = "N", 1
    while name in graph.symbols:
        number += 1
        name = f"N_{number}"
    assert not isinstance(dim(name), int)
    return name

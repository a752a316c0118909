"""Row forms of nodes: the same computation on [N, ...], the N rows that a mask keeps, for [B, S, ...] or [B, H, S, D]."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from passes.padding.row_demand import BATCH_FIRST, HEADS_BETWEEN, WHOLE_VIEWS, RowAxes, RowDemand, is_view_of, operand_row_axes
from tgraph.ir.axis_maps import Order, axis_map, moved_attributes, permutation
from tgraph.ir.builder import Builder
from tgraph.ir.dims import Dim, DimLike, dim
from tgraph.ir.dtypes import i64
from tgraph.ir.graph import Graph
from tgraph.ir.location import Provenance
from tgraph.ir.values import Node, Result, Value


def has_row_form(node: Node, demand: RowDemand) -> bool:
    """Whether no result needs padded rows of a node's results, and the node can run on the kept rows alone."""
    name, row_axes = node.op.name, demand.axes_of(node)
    rows = [packed_axes(node, p, demand) is not None for p in range(len(node.operands))]
    if row_axes is None:
        return False
    if node.op.elementwise:
        return any(rows) and all(row or not all(_varies(node, p, a) for a in row_axes) for p, row in enumerate(rows))
    if node.op.traits.view == "join":
        return all(rows)
    if name == "attention":
        kept_places = node.attrs["window"] is None  # rows between kept ones would no longer count
        return all(rows[:3]) and node.operands[4:] == (None, None) and kept_places and demand.masks_only_keys(node)
    if not rows or not rows[0]:
        return False
    if name == "zero_padding":
        return row_axes == BATCH_FIRST
    if node.op.traits.view in WHOLE_VIEWS:
        return True
    others_fixed = not any(_follows(node, p, row_axes, demand) for p in range(1, len(rows)))
    return others_fixed and _row_attributes(node, demand) is not None


def packed_axes(node: Node, position: int, demand: RowDemand) -> RowAxes | None:
    """The row axes of an operand, which its row form has as one axis; None if each row of the result may read all of it."""
    value, row_axes = node.operands[position], demand.axes_of(node)
    if value is None or row_axes is None:
        return None
    if node.op.name == "attention":
        found = HEADS_BETWEEN if row_axes == HEADS_BETWEEN and position < 3 else None
    else:
        found = operand_row_axes(node, position, row_axes, demand.same)
    return found if found is not None and demand.fits(value, found) else None


def _follows(node: Node, position: int, row_axes: RowAxes, demand: RowDemand) -> bool:
    """Whether the rows of the result may read different parts of an operand."""
    axes = axis_map(node, position, demand.same)
    return node.operands[position] is not None and (axes is None or any(axes[a] is not None for a in row_axes))


def _varies(node: Node, position: int, axis: int) -> bool:
    """Whether an operand of an elementwise node has an axis of the result, with a size other than 1."""
    value = node.operands[position]
    assert value is not None
    at = axis - (node.results[0].type.rank - value.type.rank)
    return at >= 0 and value.shape[at] != 1


def _other_axes(row_axes: RowAxes, rank: int) -> list[int]:
    """The axes besides batch and length, in order: those after the first one of the row form."""
    return [a for a in range(rank) if a not in row_axes]


def _packed_order(row_axes: RowAxes, rank: int) -> Order:
    """The axes of the row form, by the axes that they stand for: batch and length as one, then each of the others."""
    return [row_axes, *((a,) for a in _other_axes(row_axes, rank))]


def _row_attributes(node: Node, demand: RowDemand, count: DimLike = 0) -> dict[str, Any] | None:
    """The attributes of a node's op in its row form; None if the op cannot be applied there."""
    row_axes, source = demand.axes_of(node), packed_axes(node, 0, demand)
    if row_axes is None or source is None:
        return None
    ranks = node.inputs[0].type.rank, node.results[0].type.rank
    return moved_attributes(node, _packed_order(source, ranks[0]), _packed_order(row_axes, ranks[1]), count)


@dataclass
class RowPacker:
    """Adds the row forms of nodes to a graph, for one mask. Values have the shape [N, other axes...] there.

    `indices` of the N kept rows among B * S, `offsets` of the sequences, and `positions` to put rows back come from the mask.
    """

    graph: Graph
    demand: RowDemand
    provenance: Provenance
    _rows: dict[tuple[Value, RowAxes], Value] = field(default_factory=dict)

    def __post_init__(self) -> None:
        b = Builder(self.graph, self.provenance)
        self.shape = (self.demand.mask.shape[0], self.demand.mask.shape[1])
        self.kept = self._kept(b)
        self.indices, self.offsets = b.unpack(self.kept, name=_free_dim(self.graph))
        self.count: DimLike = self.indices.shape[0]
        self.positions = b.number_rows(self.kept)

    def _kept(self, b: Builder) -> Value:
        """The mask, with True in the columns that something reads whatever the mask is."""
        kept = self.demand.mask
        for start, stop in sorted(self.demand.columns, key=str):
            at = b.range(stop=self.shape[1], dtype=i64)
            column = b.equal(at, _size(b, start)) if stop - start == 1 else b.less(at, _size(b, stop))
            if start != 0 and stop - start != 1:
                column = b.logical_and(b.greater_or_equal(at, _size(b, start)), column)
            kept = b.logical_or(kept, column)
        return kept

    @property
    def exact(self) -> bool:
        """Whether exactly the rows where the mask is True are kept."""
        return self.kept is self.demand.mask

    def pack(self, node: Node) -> None:
        """Add the row form of a node; nodes come in the order of the graph."""
        row_axes = self.demand.axes_of(node)
        assert row_axes is not None
        made = self._made(Builder(self.graph, node.provenance), node, row_axes)
        self._rows.update(((r, row_axes), row) for r, row in zip(node.results, made if isinstance(made, tuple) else (made,)))

    def _made(self, b: Builder, node: Node, row_axes: RowAxes) -> Any:
        if node.op.name == "zero_padding":
            return self._zeroed(b, node)
        if node.op.name == "attention":
            heads = [self._row(b, v, HEADS_BETWEEN) for v in node.inputs[:3]]
            return b.ragged_attention(*heads, self.offsets, self._key_mask(b, node), **node.attrs)
        operands = [v if v is None else self._operand(b, node, p, v) for p, v in enumerate(node.operands)]
        if node.op.traits.view in WHOLE_VIEWS:
            return self._view(b, node, row_axes, operands[0])
        attributes = node.attrs if node.op.elementwise else _row_attributes(node, self.demand, self.count)
        assert attributes is not None
        return self.graph.insert(node.op, operands, attributes, node.provenance)

    def _view(self, b: Builder, node: Node, row_axes: RowAxes, rows: Value | None) -> Value:
        """The row form of a view op: the same op, or a transpose, reshape or expand if that is defined for one rank only."""
        source = packed_axes(node, 0, self.demand)
        assert rows is not None and source is not None
        rank, others = node.results[0].type.rank, _other_axes(row_axes, node.results[0].type.rank)
        if node.op.traits.view == "permute":
            axes, kept = permutation(node), _other_axes(source, rank)
            assert axes is not None
            perm = (0, *(kept.index(axes[a]) + 1 for a in others))
            unmoved = perm == tuple(range(len(perm)))  # only batch and length move, which are one axis here
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
        """The padded form of a value whose row form was added: its rows put back."""
        b, row_axes = Builder(self.graph, provenance), self.demand.row_axes[value]
        made: Value = b.pad_rows(self._rows[value, row_axes], self.positions)
        if row_axes == BATCH_FIRST:
            return made
        axes = [*row_axes, *_other_axes(row_axes, value.type.rank)]
        return b.transpose(made, perm=tuple(axes.index(a) for a in range(len(axes))))

    def _zeroed(self, b: Builder, node: Node) -> Value:
        """The row form of `zero_padding`: nothing to do if only rows of its mask are kept."""
        rows = self._row(b, node.inputs[0], BATCH_FIRST)
        if self.exact and node.inputs[1] is self.demand.mask:
            return _absorb(rows, node)
        made: Value = b.zero_padding(rows, self._row(b, node.inputs[1], BATCH_FIRST))
        return made

    def _key_mask(self, b: Builder, node: Node) -> Value | None:
        """The mask of the kept rows that attention may read as keys; None for all of them."""
        mask = node.operands[3]
        assert mask is not None
        if is_view_of(mask, self.demand.mask):
            return None if self.exact else self._row(b, self.demand.mask, BATCH_FIRST)
        return self._row(b, mask if mask.type.rank == 2 else b.reshape(mask, shape=self.shape), BATCH_FIRST)

    def _operand(self, b: Builder, node: Node, position: int, value: Value) -> Value:
        """What the row form of a node reads in the place of an operand."""
        found, row_axes = packed_axes(node, position, self.demand), self.demand.axes_of(node)
        if found is not None:
            return self._row(b, value, found)
        if not node.op.elementwise or row_axes is None:
            return value
        rank = node.results[0].type.rank
        shift = value.type.rank - rank
        if any(_varies(node, position, a) for a in row_axes):  # one for each sequence, or for each position
            sizes = dict(zip(row_axes, self.shape))
            own = {a: value.shape[a + shift] for a in range(rank) if a + shift >= 0}
            return self._row(b, b.expand(value, shape=tuple(sizes.get(a, own.get(a, 1)) for a in range(rank))), row_axes)
        ones = tuple(a + shift for a in row_axes if a + shift >= 0)
        return b.squeeze(value, axes=ones) if ones else value

    def _row(self, b: Builder, value: Value, row_axes: RowAxes) -> Value:
        """The row form of a value: the one that was added, or the kept rows taken from it."""
        found = self._rows.get((value, row_axes))
        if found is None:
            others = _other_axes(row_axes, value.type.rank)
            first = value if row_axes == BATCH_FIRST else b.transpose(value, perm=(*row_axes, *others))
            flat = b.reshape(first, shape=(self.shape[0] * self.shape[1], *first.shape[2:]))
            found = self._rows[value, row_axes] = b.gather(flat, self.indices, axis=0)
        return found


def _absorb(rows: Value | None, node: Node) -> Value:
    """The rows of an operand as the row form of a node; what computes them takes over the node's provenance, too."""
    assert rows is not None
    if isinstance(rows, Result):
        rows.node.provenance = Provenance.merge((rows.node.provenance, node.provenance))
    return rows


def _size(b: Builder, size: DimLike) -> Any:
    return b.dim_size(size=size, dtype=i64) if isinstance(size, Dim) else size


def _free_dim(graph: Graph) -> str:
    """A name for the number of rows N that no dim of the graph has."""
    name, number = "N", 1
    while name in graph.symbols:
        number += 1
        name = f"N_{number}"
    assert not isinstance(dim(name), int)
    return name

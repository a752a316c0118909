"""The row forms of ops: what a node on [B, S, ...] is on [N, ...], the rows that a mask keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from passes.padding.row_demand import ALONG, BATCH_FIRST, LAST_AXIS, REDUCTIONS, RowDemand, operand_layout
from tgraph.ir.builder import Builder
from tgraph.ir.dims import Dim, DimLike, dim
from tgraph.ir.dtypes import i64
from tgraph.ir.graph import Graph
from tgraph.ir.location import Provenance
from tgraph.ir.values import Node, Result, Value

VIEWS = {"expand", "reshape", "squeeze", "transpose", "unsqueeze"}
# ops with rows in their first operand; elementwise ops and concat may have them in all
FIRST = {"embedding", "gather", "linear", "matmul", "one_hot", "pad", "slice", "split", "zero_padding",
         *ALONG, *LAST_AXIS, *REDUCTIONS, *VIEWS}


def has_row_form(node: Node, demand: RowDemand) -> bool:
    """Whether a node whose results are spared rows, batch first, can run on the rows that are kept."""
    name = node.op.name
    rows = [is_row(node, p, demand) for p in range(len(node.operands))]
    if node.op.elementwise:
        return any(rows) and all(row or not (_varies(node, p, 0) and _varies(node, p, 1)) for p, row in enumerate(rows))
    if name == "concat":
        return all(rows)
    if name not in FIRST or not rows[0]:
        return False
    return name != "matmul" or node.inputs[1].type.rank == 2


def is_row(node: Node, position: int, demand: RowDemand) -> bool:
    """Whether row n of the results is made from row n of this operand."""
    value = node.operands[position]
    return (value is not None and operand_layout(node, position, BATCH_FIRST, demand.same) == BATCH_FIRST
            and demand.fits(value, BATCH_FIRST))


def _varies(node: Node, position: int, axis: int) -> bool:
    """Whether an operand of an elementwise node has that axis of the result, and not as 1."""
    value = node.operands[position]
    assert value is not None
    at = axis - (node.results[0].type.rank - value.type.rank)
    return at >= 0 and value.shape[at] != 1


@dataclass
class RowPacker:
    """Makes the row forms of the nodes of one graph, for one mask."""

    graph: Graph
    demand: RowDemand
    provenance: Provenance
    _rows: dict[Value, Value] = field(default_factory=dict)

    def __post_init__(self) -> None:
        b = Builder(self.graph, self.provenance)
        self.shape = (self.demand.mask.shape[0], self.demand.mask.shape[1])
        self.kept = self._kept(b)
        self.indices, _ = b.unpack(self.kept, name=_free_dim(self.graph))
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
        b = Builder(self.graph, node.provenance)
        if node.op.name == "zero_padding":
            self._rows[node.result] = self._zeroed(b, node)
            return
        operands = [v if v is None else self._operand(b, node, p, v) for p, v in enumerate(node.operands)]
        made = self.graph.insert(node.op, operands, self._attributes(node), node.provenance)
        self._rows.update(zip(node.results, made if isinstance(made, tuple) else (made,)))

    def padded(self, value: Value, provenance: Provenance) -> Value:
        """The rows of a packed value, put back."""
        made: Value = Builder(self.graph, provenance).pad_rows(self._rows[value], self.positions)
        return made

    def _zeroed(self, b: Builder, node: Node) -> Value:
        rows = self._row(b, node.inputs[0])
        if self.exact and node.inputs[1] is self.demand.mask:
            if isinstance(rows, Result):
                rows.node.provenance = Provenance.merge((rows.node.provenance, node.provenance))
            return rows
        made: Value = b.zero_padding(rows, self._row(b, node.inputs[1]))
        return made

    def _operand(self, b: Builder, node: Node, position: int, value: Value) -> Value:
        if is_row(node, position, self.demand):
            return self._row(b, value)
        if not node.op.elementwise:
            return value
        rest = value.shape[max(0, 2 - (node.results[0].type.rank - value.type.rank)):]
        made: Value = value
        if _varies(node, position, 0) or _varies(node, position, 1):  # the same for all of a sequence, or of a position
            made = self._row(b, b.expand(value, shape=(*self.shape, *rest)))
        elif value.type.rank == node.results[0].type.rank:
            made = b.squeeze(value, axes=(0,))
        return made

    def _row(self, b: Builder, value: Value) -> Value:
        """The rows of a value [B, S, ...] that are kept."""
        found = self._rows.get(value)
        if found is None:
            batch, length = self.shape
            flat = b.reshape(value, shape=(batch * length, *value.shape[2:]))
            found = self._rows[value] = b.gather(flat, self.indices, axis=0)
        return found

    def _attributes(self, node: Node) -> Mapping[str, Any]:
        """Attributes for one axis less; canonical axes count from the end and stay."""
        attrs = dict(node.attrs)
        name = node.op.name
        if name == "transpose":
            return {"perm": (0, *(a - 1 for a in attrs["perm"][2:]))}
        if name in ("reshape", "expand"):
            return {"shape": (self.count, *attrs["shape"][2:])}
        if name == "pad":
            return attrs | {k: attrs[k][1:] for k in ("before", "after")}
        return attrs | {"axis": attrs["axis"] - 1} if name == "gather" else attrs


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

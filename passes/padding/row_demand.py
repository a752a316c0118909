"""Which values are needed on unpadded rows alone, for one mask [B, S]: a walk from the outputs of a graph back.

The *row axes* of a value are the two axes that run over the mask's batch and length. A node *ignores* the padded rows of an
operand if no result that matters depends on them. `zero_padding`, `where`, and attention for keys and values under the mask
always do; ops that work row by row do if all readers of their own results ignore padded rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tgraph.ir.axis_maps import axis_map
from tgraph.ir.dims import DimLike
from tgraph.ir.graph import Graph
from tgraph.ir.rules import Constraints
from tgraph.ir.values import Constant, Node, Result, Value
from tgraph.ops.attention import four_axes

RowAxes = tuple[int, int]  # the axes of batch and length, counted from the start
Columns = tuple[DimLike, DimLike]  # the positions start .. stop - 1 of every sequence
Same = Callable[[DimLike, DimLike], bool]  # whether two sizes are provably equal
BATCH_FIRST: RowAxes = (0, 1)
HEADS_BETWEEN: RowAxes = (0, 2)  # of q, k, v and the result of attention
WHOLE_VIEWS = ("permute", "regroup", "repeat")  # kinds of view ops whose result has all elements of the operand


@dataclass
class RowDemand:
    """The values that no result needs on padded rows, with their row axes, and the columns that are needed all the same."""

    graph: Graph
    mask: Value
    finite: bool = False  # padded rows are finite, so that x * mask ignores them, too
    row_axes: dict[Value, RowAxes] = field(default_factory=dict, init=False)
    columns: set[Columns] = field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        constraints = Constraints(self.graph.constraints)
        self.same: Same = lambda a, b: constraints.compare(a, b) == "equal"
        self._find_implied()
        self._uniform_allowed, self._uniform_seen = True, False
        self._walk_back()
        if self.columns and self._uniform_seen:  # a column that is read may belong to a query without a key
            self._uniform_allowed = False
            self._walk_back()

    def _walk_back(self) -> None:
        self.row_axes, self.columns = {}, set()
        self._ignored: dict[tuple[Node, int], RowAxes] = {}  # operands whose padded rows are ignored
        self._column_reads: dict[tuple[Node, int], tuple[int, list[Columns]]] = {}  # operands of which columns are read
        outputs = {v for _, v in self.graph.outputs}
        for node in reversed(self.graph.nodes):
            for result in node.results:
                if result not in outputs:
                    self._combine_readers(result)
            self._visit_operands(node)

    def axes_of(self, node: Node) -> RowAxes | None:
        """The row axes of a node's results, if no result needs padded rows and all that are read have the same axes."""
        found = {self.row_axes.get(r) for r in node.results if r.uses}
        return found.pop() if len(found) == 1 else None

    def fits(self, value: Value, axes: RowAxes) -> bool:
        """Whether these axes of a value have the sizes of the mask's."""
        batch, length = axes
        return batch != length and max(axes) < value.type.rank and all(
            self.same(value.shape[a], size) for a, size in zip(axes, self.mask.shape))

    def _combine_readers(self, value: Result) -> None:
        """Decide on a value whose readers have been visited: all of them must ignore its padded rows, or read columns of it."""
        reads = [self._column_reads[use] for use in value.uses if use in self._column_reads]
        wanted = {self._ignored[use] for use in value.uses if use in self._ignored} or {(0, axis) for axis, _ in reads}
        if len(wanted) != 1 or any(use not in self._ignored and use not in self._column_reads for use in value.uses):
            return
        axes = wanted.pop()
        if self.fits(value, axes) and all(axis == axes[1] for axis, _ in reads):
            self.row_axes[value] = axes
            self.columns.update(c for _, columns in reads for c in columns)

    def _visit_operands(self, node: Node) -> None:
        """Note for each operand of a node whether its padded rows are ignored, or which columns of it are read."""
        axes = self.axes_of(node)
        for position, value in enumerate(node.operands):
            if value is None:
                continue
            found = self._always_ignored(node, position)
            if found is None and axes is not None:
                found = operand_row_axes(node, position, axes, self.same)
            if found is not None and self.fits(value, found):
                self._ignored[node, position] = found
            elif (columns := read_columns(node, position)) is not None:
                self._column_reads[node, position] = columns

    def _always_ignored(self, node: Node, position: int) -> RowAxes | None:
        """The row axes of an operand whose padded rows a node ignores whatever reads its results; None if it does not."""
        name = node.op.name
        if name == "zero_padding":
            return BATCH_FIRST if position == 0 and self._implied.get(node.inputs[1]) == BATCH_FIRST else None
        if name == "where" and position == 1:
            return self._aligned(node, 0, position, self._implied.get(node.inputs[0]))
        if name == "mul" and self.finite:
            factor = node.inputs[1 - position]
            if isinstance(factor, Result) and factor.node.op.name == "cast":
                return self._aligned(node, 1 - position, position, self._implied.get(factor.node.inputs[0]))
            return self._aligned(node, 1 - position, position, self._implied_numbers.get(factor))
        if name == "attention" and position in (1, 2):
            return HEADS_BETWEEN if self._masks_keys(node) else None
        return None

    def _aligned(self, node: Node, position: int, other: int, axes: RowAxes | None) -> RowAxes | None:
        """The axes of operand `other` of an elementwise op that correspond to `axes` of operand `position`, if it has them."""
        if axes is None:
            return None
        shift = node.inputs[other].type.rank - node.inputs[position].type.rank
        moved = (axes[0] + shift, axes[1] + shift)
        return moved if min(moved) >= 0 and self.fits(node.inputs[other], moved) else None

    def _find_implied(self) -> None:
        """Find the booleans that are False wherever the mask is (`_implied`), and numbers cast from such, with their row axes.

        They are the mask, its conjunctions with other booleans, and both seen through view ops.
        """
        self._implied: dict[Value, RowAxes] = {self.mask: BATCH_FIRST}
        self._implied_numbers: dict[Value, RowAxes] = {}
        for node in self.graph.nodes:
            if len(node.results) != 1:
                continue
            if node.op.name == "cast" and not node.result.dtype.is_bool and node.inputs[0] in self._implied:
                self._implied_numbers[node.result] = self._implied[node.inputs[0]]
            elif node.op.name == "logical_and":
                found = (self._broadcast_axes(node, operand) for operand in node.inputs if operand in self._implied)
                axes = next((f for f in found if f is not None), None)
                if axes is not None:
                    self._implied[node.result] = axes
            elif node.op.traits.view in WHOLE_VIEWS:
                for table in (self._implied, self._implied_numbers):
                    below = table.get(node.inputs[0])
                    sources = None if below is None else axis_map(node, 0, self.same)
                    if below is not None and sources is not None and all(a in sources for a in below):
                        table[node.result] = sources.index(below[0]), sources.index(below[1])

    def _broadcast_axes(self, node: Node, operand: Value) -> RowAxes | None:
        """The row axes of an operand where they are in the result of an op that broadcasts it."""
        batch, length = self._implied[operand]
        shift = node.result.type.rank - operand.type.rank
        return (batch + shift, length + shift) if self.fits(node.result, (batch + shift, length + shift)) else None

    def masks_only_keys(self, node: Node) -> bool:
        """Whether attention ignores the keys of padded rows by a mask that is the same for all queries and heads."""
        mask = node.operands[3]
        return mask is not None and four_axes(mask.type)[1:3] == (1, 1) and self._masks_keys(node)

    def _masks_keys(self, node: Node) -> bool:
        """Whether attention reads no key or value of a padded row."""
        mask = node.operands[3]
        found = None if mask is None else self._implied.get(mask)
        if mask is None or found is None or found != (0, mask.type.rank - 1):
            return False
        if node.attrs["empty_row"] != "uniform":
            return True
        # A query without a key gets the mean of all values, padded ones too: so no query that matters may lack a key.
        whole = mask is self.mask or is_view_of(mask, self.mask)
        self._uniform_seen = True
        return (self._uniform_allowed and whole and not node.attrs["causal"] and node.attrs["window"] is None
                and self.row_axes.get(node.result) == HEADS_BETWEEN)


def is_view_of(value: Value, base: Value) -> bool:
    """Whether a value has the elements of another, in the same order, each once or more."""
    while isinstance(value, Result) and value.node.op.traits.view in ("regroup", "repeat"):
        value = value.node.inputs[0]
    return value is base


def operand_row_axes(node: Node, position: int, axes: RowAxes, same: Same) -> RowAxes | None:
    """The row axes of an operand, given those of the result, if each row of the result depends on one of its rows; else None.

    Of an op that is neither elementwise nor a concatenation only the first operand can have rows: the others are weights,
    tables and masks.
    """
    if position > 0 and not node.op.elementwise and node.op.traits.view != "join":
        return None
    sources = axis_map(node, position, same)
    if sources is None:
        return None
    batch, length = sources[axes[0]], sources[axes[1]]
    return None if batch is None or length is None else (batch, length)


def read_columns(node: Node, position: int) -> tuple[int, list[Columns]] | None:
    """The axis of the first operand, and the positions along it, that a slice or a gather by constants reads; else None."""
    if position != 0:
        return None
    if node.op.name == "slice" and len(node.attrs["axes"]) == 1 and node.attrs["steps"][0] > 0:
        axis = node.attrs["axes"][0] % node.inputs[0].type.rank
        return axis, [(node.attrs["starts"][0], node.attrs["stops"][0])]
    indices = node.inputs[1] if node.op.name == "gather" else None
    if isinstance(indices, Constant) and indices.data is not None and indices.data.size <= 16:
        axis = node.attrs["axis"]
        size = node.inputs[0].shape[axis]
        starts = [int(i) if i >= 0 else size + int(i) for i in indices.data.reshape(-1)]
        return axis, [(start, start + 1) for start in starts]
    return None

"""Which rows of padded tensors matter: a walk from the results back, for one mask [B, S].

A value has *rows* if two of its axes, its *layout*, are the batch and the length of the mask. A reader *spares* padded
rows if its result does not depend on them: `zero_padding`, `where`, the keys and values of attention under the mask,
and all ops that work row by row and whose own readers spare them. Values that only such readers see are *spared*.
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

Layout = tuple[int, int]  # the axes of batch and length, counted from the start
Columns = tuple[DimLike, DimLike]  # positions start .. stop - 1 of every batch element
Same = Callable[[DimLike, DimLike], bool]  # whether two sizes are provably equal
BATCH_FIRST: Layout = (0, 1)
HEADS_BETWEEN: Layout = (0, 2)  # that of attention
MOVED = ("permute", "regroup", "repeat")  # views that show all of their operand


@dataclass
class RowDemand:
    """The spared values of a graph with their layouts, and the columns that something reads besides."""

    graph: Graph
    mask: Value
    finite: bool = False  # x * mask spares rows, too
    means: bool = True  # so may attention whose queries without a key get the mean of all values
    has_means: bool = field(default=False, init=False)
    layouts: dict[Value, Layout] = field(default_factory=dict)
    columns: set[Columns] = field(default_factory=set)
    _uses: dict[tuple[Node, int], Layout] = field(default_factory=dict)
    _reads: dict[tuple[Node, int], tuple[int, list[Columns]]] = field(default_factory=dict)
    _covered: dict[Value, Layout] = field(default_factory=dict)
    _numbers: dict[Value, Layout] = field(default_factory=dict)

    def __post_init__(self) -> None:
        constraints = Constraints(self.graph.constraints)
        self.same: Same = lambda a, b: constraints.compare(a, b) == "equal"
        self._cover()
        outputs = {v for _, v in self.graph.outputs}
        for node in reversed(self.graph.nodes):
            for result in node.results:
                if result not in outputs:
                    self._join(result)
            self._demand(node)
        if self.columns and self.has_means and self.means:  # a column that is read may belong to a query without a key
            self.layouts, self.columns, self._uses, self._reads, self.means = {}, set(), {}, {}, False
            self.__post_init__()

    def layout_of(self, node: Node) -> Layout | None:
        """The layout of a node's results, if all that are used are spared in one."""
        found = {self.layouts.get(r) for r in node.results if r.uses}
        return found.pop() if len(found) == 1 else None

    def fits(self, value: Value, layout: Layout) -> bool:
        """Whether these axes of a value have the sizes of the mask's."""
        i, j = layout
        return i != j and max(i, j) < value.type.rank and all(
            self.same(value.shape[a], size) for a, size in zip(layout, self.mask.shape))

    def _join(self, value: Result) -> None:
        """What all readers together want of a value."""
        read = [(use, self._reads[use]) for use in value.uses if use in self._reads]
        layouts = {self._uses[use] for use in value.uses if use in self._uses}
        layouts |= {(0, axis) for _, (axis, _) in read if not layouts}
        if len(layouts) != 1 or any(use not in self._uses and use not in self._reads for use in value.uses):
            return
        layout = layouts.pop()
        if self.fits(value, layout) and all(axis == layout[1] for _, (axis, _) in read):
            self.layouts[value] = layout
            self.columns.update(c for _, (_, columns) in read for c in columns)

    def _demand(self, node: Node) -> None:
        """What a node reads of its operands."""
        layout = self.layout_of(node)
        for position, value in enumerate(node.operands):
            if value is None:
                continue
            found = self._spared_by(node, position)
            if found is None and layout is not None:
                found = operand_layout(node, position, layout, self.same)
            if found is not None and self.fits(value, found):
                self._uses[node, position] = found
            elif (columns := read_columns(node, position)) is not None:
                self._reads[node, position] = columns

    def _spared_by(self, node: Node, position: int) -> Layout | None:
        """The layout in which a node spares rows of an operand, whatever its own readers want."""
        name = node.op.name
        if name == "zero_padding":
            return BATCH_FIRST if position == 0 and self.covered(node.inputs[1]) == BATCH_FIRST else None
        if name == "where" and position == 1:
            return self._aligned(node, 0, position, self.covered(node.inputs[0]))
        if name == "mul" and self.finite:
            factor = node.inputs[1 - position]
            if isinstance(factor, Result) and factor.node.op.name == "cast":
                return self._aligned(node, 1 - position, position, self.covered(factor.node.inputs[0]))
            return self._aligned(node, 1 - position, position, self._numbers.get(factor))
        if name == "attention" and position in (1, 2):
            return HEADS_BETWEEN if self._masks_keys(node) else None
        return None

    def _aligned(self, node: Node, position: int, other: int, layout: Layout | None) -> Layout | None:
        """Axes of one operand of an elementwise op as those of another, which must have them too."""
        if layout is None:
            return None
        shift = node.inputs[other].type.rank - node.inputs[position].type.rank
        moved = (layout[0] + shift, layout[1] + shift)
        return moved if min(moved) >= 0 and self.fits(node.inputs[other], moved) else None

    def covered(self, value: Value) -> Layout | None:
        """The layout in which a boolean is False wherever the mask is: the mask in another shape, and more."""
        return self._covered.get(value)

    def _cover(self) -> None:
        """Find what is covered, also as numbers that were cast from booleans and then seen in another shape."""
        self._covered, self._numbers = {self.mask: BATCH_FIRST}, {}
        for node in self.graph.nodes:
            if len(node.results) != 1:
                continue
            if node.op.name == "cast" and not node.result.dtype.is_bool and node.inputs[0] in self._covered:
                self._numbers[node.result] = self._covered[node.inputs[0]]
            elif node.op.name == "logical_and":
                found = (self._lifted(node, operand) for operand in node.inputs if operand in self._covered)
                layout = next((f for f in found if f is not None), None)
                if layout is not None:
                    self._covered[node.result] = layout
            else:
                for table in (self._covered, self._numbers):
                    below = table.get(node.inputs[0]) if node.inputs else None
                    axes = None if below is None or node.op.traits.view not in MOVED else axis_map(node, 0, self.same)
                    if below is not None and axes is not None and all(a in axes for a in below):
                        table[node.result] = axes.index(below[0]), axes.index(below[1])

    def _lifted(self, node: Node, operand: Value) -> Layout | None:
        """The layout of an operand in the result of an op that broadcasts."""
        first, second = self._covered[operand]
        shift = node.result.type.rank - operand.type.rank
        return (first + shift, second + shift) if self.fits(node.result, (first + shift, second + shift)) else None

    def masks_only_keys(self, node: Node) -> bool:
        """Whether attention spares the keys of padded rows by a mask that is the same for all queries and heads."""
        mask = node.operands[3]
        return mask is not None and four_axes(mask.type)[1:3] == (1, 1) and self._masks_keys(node)

    def _masks_keys(self, node: Node) -> bool:
        """Whether attention reads no key or value of a padded row."""
        mask = node.operands[3]
        found = None if mask is None else self.covered(mask)
        if mask is None or found is None or found != (0, mask.type.rank - 1):
            return False
        if node.attrs["empty_row"] != "uniform":
            return True
        # the mean over all keys, padded ones too, for a query without a key: only where no query that matters lacks one
        whole = mask is self.mask or is_view_of(mask, self.mask)
        self.has_means = True
        return self.means and whole and not node.attrs["causal"] and self.layouts.get(node.result) == HEADS_BETWEEN


def is_view_of(value: Value, base: Value) -> bool:
    """Whether a value has the elements of another, in the same order, each once or more."""
    while isinstance(value, Result) and value.node.op.traits.view in ("regroup", "repeat"):
        value = value.node.inputs[0]
    return value is base


def operand_layout(node: Node, position: int, layout: Layout, same: Same) -> Layout | None:
    """Where the rows of a result come from in one operand, if each comes from one row there; else None.

    Of an op whose operands differ in kind, only the first is looked at: the others are weights, tables and masks.
    """
    alike = node.op.elementwise or node.op.traits.view == "join"
    axes = axis_map(node, position, same) if alike or position == 0 else None
    if axes is None:
        return None
    first, second = axes[layout[0]], axes[layout[1]]
    return None if first is None or second is None else (first, second)


def read_columns(node: Node, position: int) -> tuple[int, list[Columns]] | None:
    """The axis and the positions that a slice or a gather by constants reads of its operand."""
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

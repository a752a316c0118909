"""Reductions: their axes and element types, and how kernels over rows compute them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from targets.base.tvm_api import Expr, tirx
from targets.codegen.anchor import accumulator_dtype, epilogue, only_node
from targets.codegen.kernel_builder import KernelBuilder
from targets.codegen.scalar import cast, maximum, minimum
from tgraph.ir.axis_maps import worked_axes
from tgraph.ir.dims import DimLike
from tgraph.ir.dtypes import DTYPES
from tgraph.ir.values import Node
from tgraph.ops.shape import product

Combine = Callable[[Expr, Expr], Expr]

# kind -> neutral element, and how two floats are combined; NaN propagates
OVER_ROWS: dict[str, tuple[float, Combine]] = {
    "sum": (0.0, lambda x, y: x + y),
    "mean": (0.0, lambda x, y: x + y),
    "max": (float("-inf"), maximum),
    "min": (float("inf"), minimum),
    "prod": (1.0, lambda x, y: x * y),
}
COMBINE = {"sum": "add", "mean": "add", "max": "maximum", "min": "minimum", "prod": "mul"}


@dataclass(frozen=True)
class Reduction:
    """One reduction: its kind ("sum", ...), the element type of its totals, axes that go and axes that stay."""

    node: Node
    kind: str
    dtype: str
    reduced: list[int]
    kept: list[int]

    @property
    def results(self) -> DimLike:
        """The number of totals."""
        return product(tuple(self.node.inputs[0].shape[a] for a in self.kept))

    @property
    def depth(self) -> DimLike:
        """The number of elements of each total."""
        return product(tuple(self.node.inputs[0].shape[a] for a in self.reduced))

    @property
    def along_rows(self) -> bool:
        """Whether floats are reduced over the last axes, so that the elements of a total lie beside each other."""
        x = self.node.inputs[0]
        return bool(x.type.rank) and x.dtype.is_float and self.kept == list(range(len(self.kept)))


def find(builder: KernelBuilder) -> Reduction:
    """The only reduction of a function."""
    node = only_node(builder, "a reduction", lambda op: op.traits.reduces is not None)
    x, kind, reduced = node.inputs[0], node.op.traits.reduces, list(worked_axes(node))
    assert kind is not None
    kept = [a for a in range(x.type.rank) if a not in reduced]
    return Reduction(node, kind, accumulator_dtype(x), reduced, kept)


def rows(builder: KernelBuilder, reduction: Reduction, reduce: Callable[..., None]) -> None:
    """Emit a reduction along rows and its epilogue, by a target's kernel."""
    x, finish = reduction.node.inputs[0], epilogue(builder, reduction.node)
    lead, length = reduction.results, reduction.depth

    def load(row: Expr, j: Expr) -> Expr:
        return cast(builder.access.load(x, ((lead, row), (length, j))), reduction.dtype)

    reduce(rows=builder.size(lead), length=builder.size(length), load=load, kind=reduction.kind, dtype=reduction.dtype,
           store=lambda row, value: finish(((lead, row),), value))


def start(kind: str, dtype: str) -> Expr:
    """The neutral element of a reduction: the result for no elements at all."""
    if kind in ("sum", "mean", "prod"):
        return tirx.const(1 if kind == "prod" else 0, dtype)
    is_float = next(d for d in DTYPES.values() if d.numpy_name == dtype).is_float
    if is_float:
        return tirx.const(float("-inf") if kind == "max" else float("inf"), dtype)
    return tirx.min_value(dtype) if kind == "max" else tirx.max_value(dtype)

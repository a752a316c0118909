"""Products of two tensors that are both known at run time only, over leading axes that broadcast."""

from __future__ import annotations

from targets.base.target import Target
from targets.base.tvm_api import Expr, int64, tirx
from targets.codegen.access import Index
from targets.codegen.anchor import find_anchor
from targets.codegen.kernel_builder import KernelBuilder
from targets.cuda.emitters.linear import processors
from targets.cuda.kernels.epilogue import Epilogue
from targets.cuda.kernels.gemm import gemm
from targets.cuda.kernels.product import LANES, Product, Values
from tgraph.ir.dims import DimLike
from tgraph.ir.values import Value
from tgraph.ops.shape import product as size_of


def emit(builder: KernelBuilder, target: Target) -> None:
    """Emit `matmul(x, y)` and its epilogue."""
    node = find_anchor(builder, "matmul")
    x, y = node.inputs
    shape, access = node.result.shape, builder.access
    epilogue = Epilogue(builder, node, lambda _, total: total)

    flat = all(d == 1 for d in y.shape[:-2])  # one matrix for all rows of x
    rows = size_of(shape[:-1]) if flat else shape[-2]
    lead: tuple[DimLike, ...] = () if flat else shape[:-2]

    def element(value: Value, b: Expr, i: Expr, j: Expr) -> Expr:
        own = value.shape
        positions = [*[p for _, p in access.split(b, lead)][len(shape) - len(own):], i, j]
        return access.load(value, tuple((d, int64(0) if d == 1 else p) for d, p in zip(own, positions)))

    def left(b: Expr, i: Expr, k: Expr) -> Expr:
        return access.load(x, ((rows, i), (x.shape[-1], k))) if flat else element(x, b, i, k)

    def right(b: Expr, j: Expr, k: Expr) -> Expr:
        return access.load(y, ((y.shape[-2], k), (y.shape[-1], j))) if flat else element(y, b, k, j)

    def index(b: Expr, i: Expr, j: Expr) -> Index:
        return ((size_of(lead), b), (rows, i), (shape[-1], j))

    def store(b: Expr, i: Expr, j: Expr, values: Values, count: int) -> None:
        epilogue.store(lambda lane: index(b, i, j + lane), values, count)

    b, i, group = (tirx.Var(name, "int64") for name in ("b", "i", "group"))
    wide = epilogue.wide(lambda lane: index(b, i, group * int64(LANES) + lane))
    batches, m, n, k = (builder.size(size) for size in (size_of(lead), rows, shape[-1], x.shape[-1]))
    product = Product.of(batches, m, n, k, left, right, store, x.dtype.numpy_name, wide=wide)
    builder.notes.append(gemm(product, processors(target)))

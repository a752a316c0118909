"""Products with weights as a checkpoint has them, [out, in], and what follows element by element: activation, residual."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from targets.base.target import Target
from targets.base.tvm_api import Expr, int64, tirx
from targets.codegen.access import Index
from targets.codegen.anchor import find_anchor
from targets.codegen.kernel_builder import KernelBuilder
from targets.codegen.scalar import cast
from targets.cuda.kernels.epilogue import Epilogue
from targets.cuda.kernels.gemm import gemm
from targets.cuda.kernels.library import LibraryProduct
from targets.cuda.kernels.linear_form import LinearForm
from targets.cuda.kernels.product import LANES, Product, Values
from targets.cuda.triton.linear import TritonLinear
from tgraph.ir.dims import DimLike

Candidate = LibraryProduct | TritonLinear
# of the largest GPU of each kind
PROCESSORS = {"sm_80": 108, "sm_86": 84, "sm_87": 16, "sm_89": 128, "sm_90": 132, "sm_100": 148, "sm_120": 170}


def processors(target: Target) -> int:
    """The number of multiprocessors of a GPU."""
    return PROCESSORS.get(target.arch, PROCESSORS["sm_90"])


def emit(builder: KernelBuilder, target: Target) -> None:
    """Emit `linear(x, weight, bias)` and its epilogue."""
    node = find_anchor(builder, "linear")
    x, weight, bias = node.operands
    assert x is not None and weight is not None
    rows: DimLike = 1
    for size in x.shape[:-1]:
        rows = rows * size
    columns, depth = weight.shape
    access = builder.access

    def biased(index: Index, total: Expr) -> Expr:
        if bias is None:
            return total
        return total + cast(access.load(bias, index[1:]), str(total.ty.dtype))

    epilogue = Epilogue(builder, node, biased)

    def index(i: Expr, j: Expr) -> Index:
        return ((rows, i), (columns, j))

    def store(b: Expr, i: Expr, j: Expr, values: Values, count: int) -> None:
        epilogue.store(lambda lane: index(i, j + lane), values, count)

    group, i = tirx.Var("group", "int64"), tirx.Var("i", "int64")
    wide = epilogue.wide(lambda lane: index(i, group * int64(LANES) + lane))
    product = Product.of(
        int64(1), builder.size(rows), builder.size(columns), builder.size(depth),
        lambda b, i, k: access.load(x, ((rows, i), (depth, k))),
        lambda b, j, k: access.load(weight, ((columns, j), (depth, k))),
        store, x.dtype.numpy_name, wide=wide)
    form = LinearForm(builder, node)
    library, triton = LibraryProduct(form), TritonLinear(form, target)
    # the library first where it does all; a kernel that does all before one that leaves a rest
    candidates: list[Candidate] = [triton, library] if library.followers else [library, triton]
    emit_first([c for c in candidates if c.fits], lambda: builder.notes.append(gemm(product, processors(target))))


def emit_first(candidates: Sequence[Candidate], own: Callable[[], None]) -> None:
    """Emit the first candidate that can compute the product at run time, else our own kernel."""
    if candidates:
        candidates[0].emit(lambda: emit_first(candidates[1:], own))
    else:
        own()

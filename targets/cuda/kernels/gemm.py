"""Products on a GPU: which kernel computes one, by its sizes.

The kernels of all sizes that may be best are part of one function, and the host chooses when it knows the sizes: for few rows
the one that reads W as fast as memory gives it; else the tile for which the processor with the most blocks is done first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from targets.base.tvm_api import Expr, T, int64, tirx, tvm
from targets.codegen.device_extents import on_host
from targets.cuda.kernels.gemm_mma import TensorProduct, TensorTile
from targets.cuda.kernels.gemm_rows import RowProduct, RowTile
from targets.cuda.kernels.gemm_simt import ThreadProduct, ThreadTile
from targets.cuda.kernels.launch import ceil_divide, static
from targets.cuda.kernels.product import Product

HALVES = ("float16", "bfloat16")
FEW = 8  # rows for which it takes no longer to compute than to read W
ROWS = 4  # of them at once

# (tile, the part of a processor's speed that it reaches)
TENSOR = [(TensorTile(128, 128, 32, (2, 2, 1), 4), 1.0), (TensorTile(64, 64, 64, (2, 2, 1), 4), 0.7),
          (TensorTile(32, 32, 128, (1, 1, 4), 4), 0.3)]
COMPUTED = [(TensorTile(64, 64, 32, (2, 2, 1), 4), 0.7), (TensorTile(32, 32, 64, (2, 2, 1), 4), 0.3)]
THREAD = [(ThreadTile(128, 128, 16, 16), 1.0), (ThreadTile(64, 64, 8, 16), 0.8), (ThreadTile(32, 32, 8, 8), 0.5)]
OTHER = [(ThreadTile(64, 64, 16, 16), 1.0), (ThreadTile(32, 32, 8, 8), 0.6)]


@dataclass(frozen=True)
class Choice:
    """A kernel and its cost, which is proportional to the time that it takes."""

    emit: Callable[[], None]
    cost: Expr


def gemm(product: Product, processors: int) -> str:
    """Emits the launches of a product on a GPU with so many processors; says which kernels it chooses among."""
    choices = [Choice(_kernel(product, tile), _cost(product, tile, speed, processors)) for tile, speed in _tiles(product)]
    _few(product, lambda: _cheapest(choices))
    tiles = " or ".join(f"{tile.rows}x{tile.columns}" for tile, _ in _tiles(product))
    units = "tensor cores" if product.x.dtype in HALVES else f"no tensor cores for {product.x.dtype}"
    copied = [name for name, operand in (("x", product.x), ("W", product.w)) if operand.copied]
    how = f"asynchronous copies of {' and '.join(copied) or 'nothing'}"
    few = f"; up to {FEW} rows, a warp for a few columns" if _can_be_few(product) else ""
    return f"our own kernel: {units}, tiles of {tiles} by size, {how}{few}"


def _tiles(product: Product) -> Sequence[tuple[TensorTile | ThreadTile, float]]:
    """The tiles for the product's types; operands that a block computes element by element need registers for each."""
    dtype = product.x.dtype
    if dtype in HALVES:
        return TENSOR if product.x.copied and product.w.copied else COMPUTED
    return THREAD if dtype == "float32" else OTHER


def _kernel(product: Product, tile: TensorTile | ThreadTile) -> Callable[[], None]:
    if isinstance(tile, TensorTile):
        return TensorProduct(product, tile).emit
    return ThreadProduct(product, tile).emit


def _cost(product: Product, tile: TensorTile | ThreadTile, speed: float, processors: int) -> Expr:
    blocks = product.batches * ceil_divide(product.m, tile.rows) * ceil_divide(product.n, tile.columns)
    return ceil_divide(blocks, processors) * int64(round(tile.rows * tile.columns / speed))


def _few(product: Product, otherwise: Callable[[], None]) -> None:
    """Emits the kernel for few rows where there are few, else `otherwise`."""
    if not _can_be_few(product):
        otherwise()
        return
    known = static(product.m)
    tile = RowTile(ROWS if known is None else max(1, min(known, ROWS)))
    _branch(product.m <= int64(FEW), RowProduct(product, tile).emit, otherwise)


def _can_be_few(product: Product) -> bool:
    return product.x.dtype in (*HALVES, "float32", "float64") and product.w.along_k


def _cheapest(choices: Sequence[Choice]) -> None:
    """Emits the choice of the least cost, the first among equals."""
    first, *others = choices
    if not others:
        first.emit()
        return
    _branch(tirx.all(*(first.cost <= other.cost for other in others)), first.emit, lambda: _cheapest(others))


def _branch(condition: Expr, then: Callable[[], None], otherwise: Callable[[], None]) -> None:
    """Emits one of both, or where the condition is a constant, the only one that can be taken."""
    condition = tvm.sym.Analyzer().simplify(on_host(condition))
    if (known := static(condition)) is not None:
        (then if known else otherwise)()
        return
    with T.If(condition):
        with T.Then():
            then()
        with T.Else():
            otherwise()

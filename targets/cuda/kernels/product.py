"""Products as kernels take them: Y[b, i, j] = sum over k of X[b, i, k] W[b, j, k]."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from targets.base.tvm_api import Expr
from targets.cuda.kernels.operand import Element, Operand

Values = Callable[[Expr], Expr]  # lane -> value
Store = Callable[[Expr, Expr, Expr, Values, int], None]  # (batch, i, first j, values, their number)
LANES = 4  # columns that are stored at once, if any


@dataclass(frozen=True)
class Product:
    """A product. batches, m, n, k: int64, any of which may be 0 or symbolic; x [m, k] and w [n, k] of each batch.

    store(b, i, j, values, count) emits the stores of columns j to j + count - 1; values(v) is the sum of column j + v, an
    expression of type `accumulate`, for an int32 v. `count` may be 1, and LANES if `wide`.
    """

    batches: Expr
    m: Expr
    n: Expr
    k: Expr
    x: Operand
    w: Operand
    store: Store
    wide: bool
    accumulate: str

    @classmethod
    def of(cls, batches: Expr, m: Expr, n: Expr, k: Expr, load_x: Element, load_w: Element, store: Store, dtype: str, *,
           wide: bool = False) -> Product:
        """A product of elements that are multiplied as `dtype`: load_x(b, i, k), load_w(b, j, k)."""
        accumulate = "float32" if dtype in ("float16", "bfloat16") else dtype
        x, w = Operand.of(m, k, load_x, dtype), Operand.of(n, k, load_w, dtype)
        return cls(batches, m, n, k, x, w, store, wide, accumulate)

    @property
    def lanes(self) -> int:
        """How many columns to store at once."""
        return LANES if self.wide else 1

"""Sums whose error does not grow with their length: at most BLOCK terms one after the other in f32, the blocks in f64.

A chain of n additions in f32 is off by up to n 2^-24 of the sum of the magnitudes, and by a good part of that where the terms are
alike. Here it is BLOCK 2^-24, for any n, and a conversion every BLOCK additions costs next to nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from targets.base.tvm_api import Expr, T, int64, tirx

BLOCK = 128


def in_blocks(count: Expr, dtype: str) -> bool:
    """Whether a sum of `count` terms of a type is taken in blocks: f32, unless there is one block at most."""
    return dtype == "float32" and not (isinstance(count, tirx.IntImm) and int(count.value) <= BLOCK)


def wide(dtype: str) -> str:
    """The type in which blocks of a type are added."""
    return "float64" if dtype == "float32" else dtype


def each_block(count: Expr, clear: Callable[[], None], add: Callable[[Expr], None], flush: Callable[[], None]) -> None:
    """clear(), add(i) for the next BLOCK values of i, flush(): until all i < count are done."""
    size = int64(BLOCK)
    with T.serial(int64(0), tirx.truncdiv(count + (BLOCK - 1), size)) as block:
        clear()
        with T.serial(int64(0), tirx.Min(size, count - block * size)) as i:
            add(block * size + i)
        flush()

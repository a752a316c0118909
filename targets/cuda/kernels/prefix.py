"""Prefix sums by a block: each thread sums neighbouring elements, and gets the sum of all before them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from targets.base.tvm_api import Expr, T, int64, tirx
from targets.cuda.kernels.device import barrier, registers, shared


@dataclass(frozen=True)
class Prefix:
    """The prefix sum of `length` elements by the `threads` threads of a block; sums are kept in `dtype`."""

    thread: Expr
    threads: int
    length: Expr
    dtype: str

    def run(self, element: Callable[[Expr], Expr], visit: Callable[[Expr, Expr, Expr], None]) -> Expr:
        """`visit(i, sum of the elements before i, element(i))` for every i; gives the sum of all. `element` is read twice."""
        own = T.bind(tirx.truncdiv(self.length + int64(self.threads - 1), int64(self.threads)))
        first = T.bind(tirx.Cast("int64", self.thread) * own)
        count = T.bind(tirx.Max(int64(0), tirx.Min(own, self.length - first)))
        total = registers("total", (1,), self.dtype)
        T.buffer_store(total, tirx.const(0, self.dtype), [0])
        with T.serial(int64(0), count) as i:
            T.buffer_store(total, total[0] + element(first + i), [0])
        before, everything = self._before(total[0])
        T.buffer_store(total, before, [0])
        with T.serial(int64(0), count) as i:
            here = T.bind(first + i)
            value = T.bind(element(here))
            visit(here, total[0], value)
            T.buffer_store(total, total[0] + value, [0])
        return everything

    def _before(self, own: Expr) -> tuple[Expr, Expr]:
        """The sums of the threads before this one, and of all (Hillis and Steele, doi:10.1145/7902.7903)."""
        sums, step, half = shared("sums", (2 * self.threads,), self.dtype), 1, 0
        T.buffer_store(sums, own, [self.thread])
        barrier()
        while step < self.threads:  # from one half of the memory to the other
            here, there = half * self.threads, (1 - half) * self.threads
            more = tirx.if_then_else(self.thread >= step, sums[tirx.Max(here + self.thread - step, 0)], tirx.const(0, self.dtype))
            T.buffer_store(sums, sums[here + self.thread] + more, [there + self.thread])
            barrier()
            step, half = 2 * step, 1 - half
        end = half * self.threads
        zero = tirx.const(0, self.dtype)
        before = tirx.if_then_else(self.thread > 0, sums[tirx.Max(end + self.thread - 1, 0)], zero)
        return before, sums[end + self.threads - 1]

"""Attention of few queries: the step of a decoder, bound by reading keys and values once (Flash-Decoding).

A panel of `attention_panel` has 16 or 32 queries on the lanes of its registers, whether they exist or not. Here a query goes over
its keys by itself, with the dims of a head on the lanes. Keys are cut into chunks, whose results wait in memory until they are
put together, so that there is work for all workers also where heads are few. What a chunk is depends on the keys alone, and
chunks are put together one after the other: results are bit-identical at any number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T

from targets.codegen.attention import AttentionSpec
from targets.codegen.opaque import bind
from targets.codegen.vector_math import exp_nonpositive, f32
from targets.cpu.kernels.attention_few_chunk import STATE, ChunkOfKeys, Partial, chunk_size
from targets.cpu.kernels.attention_panel import MINUS_INFINITY, PEAK, SEEN, TOTAL, first_reached, reach
from targets.cpu.kernels.attention_values import mean_of_values
from targets.cpu.kernels.lane_blocks import floats, int64, run
from targets.cpu.kernels.pieces import parallel, part_count
from targets.cpu.kernels.row_loops import over_rows
from targets.cpu.kernels.workers import ceil_divide, divide, remainder

FEW = 4  # queries that are faster one by one than as a panel


class ChunkBuffers:
    """Memory for the results of all chunks of up to FEW queries: `state` and `out`, each by (batch, head, query, chunk).

    To be made before any name is bound: TVM allocates at the beginning of a function, and sizes are in the shapes' own variables.
    """

    def __init__(self, spec: AttentionSpec) -> None:
        chunks = spec.batch * spec.heads * tirx.Min(spec.queries, int64(FEW)) * ceil_divide(spec.keys, chunk_size(spec))
        self.state = T.alloc_buffer((tirx.Max(int64(1), chunks * STATE),), "float32")
        self.out = T.alloc_buffer((tirx.Max(int64(1), chunks * spec.value_dim),), "float32")


def few_queries(spec: AttentionSpec, buffers: ChunkBuffers, lanes: int) -> None:
    """Emits the kernel of `spec`, which has at most FEW queries and no `sequence`, for vectors of `lanes` elements."""
    batches, heads, state, out = spec.batch, spec.heads, buffers.state, buffers.out
    size = chunk_size(spec)
    first = bind(divide(first_reached(spec, int64(0)), size))
    chunks = bind(tirx.Max(int64(0), ceil_divide(reach(spec, spec.queries), size) - first))
    key_heads = bind(divide(heads, spec.group))
    rows = bind(batches * heads * spec.queries)
    with parallel(part_count()) as worker:
        chunk_of_keys = ChunkOfKeys(spec, lanes)

        def piece(unit: Expr, units: Expr) -> None:
            with T.serial(units) as n:
                at = bind(divide(unit + n, chunks))
                chunk, b, key_head = bind(unit + n - at * chunks), bind(divide(at, key_heads)), bind(remainder(at, key_heads))
                with T.serial(int64(spec.group)) as member, T.serial(spec.queries) as query:
                    h = bind(key_head * spec.group + member)
                    slot = bind(((b * heads + h) * spec.queries + query) * chunks + chunk)
                    partial = Partial(state, slot * STATE, out, bind(slot * spec.value_dim))
                    chunk_of_keys.emit(replace(spec, b=b, h=h), key_head, query, (first + chunk) * size, partial)

        worker.each_run(bind(batches * key_heads * chunks), piece)
    merge = _Merge(spec, lanes, chunks, state, out)

    def row(index: Expr) -> None:
        at = bind(divide(index, spec.queries))
        b, query = bind(divide(at, heads)), bind(index - at * spec.queries)
        merge.emit(replace(spec, b=b, h=bind(at - b * heads)), query, bind(index * chunks))

    over_rows(rows, bind((chunks + 1) * spec.value_dim), row, merge.scratch)


class _Merge:
    """Emits what puts the chunks of one query together."""

    def __init__(self, spec: AttentionSpec, lanes: int, chunks: Expr, state: Expr, out: Expr) -> None:
        self.spec, self.lanes, self.chunks, self.state, self.out = spec, lanes, chunks, state, out

    def scratch(self) -> None:
        """Allocates what the queries of one worker need."""
        self.sums, self.total = floats(self.spec.value_dim), floats(STATE)

    def emit(self, spec: AttentionSpec, query: Expr, first: Expr) -> None:
        """Emits the result of a query of (spec.b, spec.h) whose chunks are numbered from `first` on."""
        total = self.total
        for row, start in ((PEAK, MINUS_INFINITY), (TOTAL, 0.0), (SEEN, 0.0)):
            T.buffer_store(total, f32(start), [row])
        with T.serial(self.chunks) as chunk:
            for row in (PEAK, SEEN):
                here = bind(self.state[(first + chunk) * STATE + row])
                T.buffer_store(total, tirx.Select(here > total[row], here, total[row]), [row])
        peak = bind(total[PEAK])
        shift = bind(tirx.Select(peak == f32(MINUS_INFINITY), f32(0.0), peak))  # -inf - (-inf) must not make a NaN
        self._each(lambda d: T.buffer_store(self.sums, f32(0.0), [d]))
        with T.serial(self.chunks) as chunk:
            at = bind(first + chunk)
            weight = bind(exp_nonpositive(self.state[at * STATE + PEAK] - shift))
            T.buffer_store(total, total[TOTAL] + weight * self.state[at * STATE + TOTAL], [TOTAL])
            base = bind(at * spec.value_dim)
            self._each(lambda d: T.buffer_store(self.sums, self.sums[d] + weight * self.out[base + d], [d]))
        inverse = bind(f32(1.0) / total[TOTAL])
        self._each(lambda d: T.buffer_store(self.sums, self.sums[d] * inverse, [d]))
        with T.If(total[SEEN] == f32(0.0)), T.Then():
            self._empty(spec)
        self._each(lambda d: spec.store(spec.b, spec.h, query, d, self.sums[d]))

    def _empty(self, spec: AttentionSpec) -> None:
        """Emits the result of a query that no key is left to."""
        if spec.empty_row == "uniform":
            mean_of_values(spec, self.sums)
            return
        value = f32(0.0)
        if spec.empty_row == "nan":
            value = tirx.Select(spec.keys == 0, f32(0.0), f32(float("nan")))
        self._each(lambda d: T.buffer_store(self.sums, value, [d]))

    def _each(self, body: Callable[[Expr], None]) -> None:
        run(self.spec.value_dim, body, self.lanes)

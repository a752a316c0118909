"""The inner loops of attention of few queries: one query against one chunk of keys.

Dims of a head lie on the lanes in both products, as they do in memory. A vector of keys is scored side by side, and their vectors
of products are summed by shuffles of pairs, two for a key; the weights then run over keys, as masks and biases do.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T

from targets.codegen.attention import AttentionSpec
from targets.codegen.opaque import bind
from targets.codegen.scalar import is_nan
from targets.codegen.vector_math import exp_nonpositive, f32
from targets.cpu.kernels.attention_panel import MINUS_INFINITY, PEAK, SEEN, TOTAL, first_reached, reach
from targets.cpu.kernels.lane_blocks import floats, int64, run, sum_of_each
from targets.cpu.kernels.row_loops import Accumulator, each
from targets.cpu.kernels.workers import divide

STATE = 4  # elements of a chunk's state: PEAK, TOTAL, SEEN
CHAINS = 8  # sums that have to be added to in turn so that none waits for itself


def chunk_size(spec: AttentionSpec) -> int:
    """Keys whose results are put together with those of the next ones: as many as the first cache holds (16 KB of them, and of
    values), where the heads of a group find them again."""
    return max(16, min(128, 4096 // max(1, spec.head_dim, spec.value_dim) // 16 * 16))


@dataclass(frozen=True)
class Partial:
    """Where the result of a chunk goes: its state from `state[at]` on, the weighted sum of its values from `out[base]` on."""

    state: Expr
    at: Expr
    out: Expr
    base: Expr


class ChunkOfKeys:
    """Emits the attention of a query to a chunk of keys; one for all chunks of a worker."""

    def __init__(self, spec: AttentionSpec, lanes: int) -> None:
        self.lanes, self.size = lanes, chunk_size(spec)
        self.query = floats(spec.head_dim)
        self.scores = floats(self.size + lanes)
        self.kept = floats(self.size) if spec.mask is not None else None
        self.exact = floats(spec.value_dim) if spec.mask is not None else None

    def emit(self, spec: AttentionSpec, key_head: Expr, query: Expr, start: Expr, to: Partial) -> None:
        """Emits it for `query` of (spec.b, spec.h) and those of a chunk's keys, from `start` on, that it may reach."""
        self.spec, self.key_head = spec, key_head
        first, end = bind(start), bind(tirx.Min(start + self.size, reach(spec, query + 1)))
        if spec.left is not None:
            first = bind(tirx.Max(start, first_reached(spec, query)))
        with T.If(end > first):
            with T.Then():
                self._attend(query, first, bind(end - first), to)
            with T.Else():
                for row, value in ((PEAK, MINUS_INFINITY), (TOTAL, 0.0), (SEEN, 0.0)):
                    T.buffer_store(to.state, f32(value), [to.at + row])
                run(spec.value_dim, lambda d: T.buffer_store(to.out, f32(0.0), [to.base + d]), self.lanes)

    def _attend(self, query: Expr, first: Expr, count: Expr, to: Partial) -> None:
        spec, lanes = self.spec, self.lanes

        def element(d: Expr) -> Expr:
            return tirx.Mul(spec.load_q(spec.b, spec.h, query, d), f32(spec.scale))  # not 0 where the scale is: 0 inf is NaN

        run(spec.head_dim, lambda d: T.buffer_store(self.query, element(d), [d]), lanes)
        whole = bind(divide(count, lanes))
        with T.serial(whole) as group:
            self._score(first + group * lanes, lanes, group * lanes)
        with T.serial(count - whole * lanes) as rest:
            self._score(first + whole * lanes + rest, 1, whole * lanes + rest)
        seen = self._adjust(query, first, count)
        with T.vectorized(lanes) as v:  # what fills up the last vector of keys
            T.buffer_store(self.scores, f32(MINUS_INFINITY), [count + v])
        peak, total = self._weights(bind(divide(count + (lanes - 1), lanes)))
        for row, value in ((PEAK, peak), (TOTAL, total), (SEEN, seen)):
            T.buffer_store(to.state, value, [to.at + row])
        self._values(first, count, to)
        if self.kept is not None:
            self._without_excluded(first, count, to)

    def _score(self, key: Expr, keys: int, at: Expr) -> None:
        """scores[at + i] = query times key number key + i, for i < keys (1 or `lanes`; 1 leaves something in those after it)."""
        spec, lanes = self.spec, self.lanes
        key = bind(key)
        sums = [floats(lanes) for _ in range(keys)]
        for products in sums:
            with T.vectorized(lanes) as v:
                T.buffer_store(products, f32(0.0), [v])

        def add(d: Expr | int, width: int) -> None:
            for i, products in enumerate(sums):
                with T.vectorized(width) as v:
                    place = d + tirx.Cast("int64", v)
                    product = self.query[place] * spec.load_k(spec.b, self.key_head, key + i, place)
                    T.buffer_store(products, products[v] + product, [v])

        with T.serial(int64(spec.head_dim // lanes)) as step:
            add(step * lanes, lanes)
        for start, width in pieces(spec.head_dim, lanes):
            if width < lanes:
                add(start, width)
        T.buffer_store(self.scores, sum_of_each(sums, lanes), [tirx.Ramp(at, int64(1), lanes)])

    def _adjust(self, query: Expr, first: Expr, count: Expr) -> Expr:
        """Makes scores of products: cap, bias and mask. Returns whether any key may be attended, 1 or 0."""
        spec, scores, lanes = self.spec, self.scores, self.lanes
        bias, mask, kept = spec.bias, spec.mask, self.kept
        if spec.softcap:
            each(count, lanes, lambda j: T.buffer_store(scores, spec.capped(scores[j]), [j]))
        if bias is not None:
            each(count, lanes, lambda j: T.buffer_store(scores, scores[j] + bias(spec.b, spec.h, query, first + j), [j]))
        if mask is None or kept is None:
            return f32(1.0)
        # kept apart from the scores: a key allowed with a score of -inf makes a NaN, no key makes an empty row
        each(count, lanes, lambda j: T.buffer_store(
            kept, tirx.Select(mask(spec.b, spec.h, query, first + j), f32(1.0), f32(0.0)), [j]))
        each(count, lanes, lambda j: T.buffer_store(
            scores, tirx.Select(kept[j] > f32(0.0), scores[j], f32(MINUS_INFINITY)), [j]))
        return Accumulator(lanes, "float32", 0.0, tirx.Max).reduce(count, lambda j: kept[j])

    def _weights(self, groups: Expr) -> tuple[Expr, Expr]:
        """Makes weights of scores, exp(score - peak). Returns the peak and the sum of the weights."""
        scores, lanes = self.scores, self.lanes
        largest = Accumulator(lanes, "float32", MINUS_INFINITY, lambda x, y: tirx.Select(y > x, y, x))  # a NaN is no peak
        peak = largest.reduce_groups(groups, lambda j: scores[j])
        shift = bind(tirx.Select(peak == f32(MINUS_INFINITY), f32(0.0), peak))  # -inf - (-inf) must not make a NaN
        with T.serial(groups) as group, T.vectorized(lanes) as v:
            j = group * lanes + tirx.Cast("int64", v)
            T.buffer_store(scores, exp_nonpositive(scores[j] - shift), [j])
        total = Accumulator(lanes, "float32", 0.0, lambda x, y: x + y)
        return peak, total.reduce_groups(groups, lambda j: scores[j])

    def _values(self, first: Expr, count: Expr, to: Partial) -> None:
        """out = the sum of weights times values."""
        parts = pieces(self.spec.value_dim, self.lanes)
        blocks = [b for b in range(0, len(parts) - CHAINS + 1, CHAINS) if parts[b + CHAINS - 1][1] == self.lanes]
        with T.serial(int64(len(blocks))) as block:
            self._columns(first, count, to, block * (CHAINS * self.lanes), parts[:CHAINS])
        for begin in range(len(blocks) * CHAINS, len(parts), CHAINS):
            self._columns(first, count, to, int64(0), parts[begin : begin + CHAINS])

    def _columns(self, first: Expr, count: Expr, to: Partial, base: Expr, parts: list[tuple[int, int]]) -> None:
        spec, chains = self.spec, max(1, CHAINS // len(parts))
        sums = [[floats(width) for _, width in parts] for _ in range(chains)]
        for column in (column for chain in sums for column in chain):
            _fill(column)

        def add(j: Expr, chain: list[Expr]) -> None:
            for (start, width), column in zip(parts, chain):
                with T.vectorized(width) as v:
                    value = spec.load_v(spec.b, self.key_head, first + j, base + start + tirx.Cast("int64", v))
                    T.buffer_store(column, column[v] + self.scores[j] * value, [v])

        turns = bind(divide(count, chains))
        with T.serial(turns) as turn:
            for number, chain in enumerate(sums):
                add(turn * chains + number, chain)
        if chains > 1:
            with T.serial(count - turns * chains) as rest:
                add(turns * chains + rest, sums[0])
        for part, (start, width) in enumerate(parts):
            for chain in sums[1:]:
                with T.vectorized(width) as v:
                    T.buffer_store(sums[0][part], sums[0][part][v] + chain[part][v], [v])
            with T.vectorized(width) as v:
                T.buffer_store(to.out, sums[0][part][v], [to.base + base + start + tirx.Cast("int64", v)])

    def _without_excluded(self, first: Expr, count: Expr, to: Partial) -> None:
        """Computes what is NaN again, from the keys that may be attended: a weight of 0 times NaN is NaN."""
        spec, kept, exact, lanes = self.spec, self.kept, self.exact, self.lanes
        assert kept is not None and exact is not None
        spoilt = Accumulator(lanes, "float32", 0.0, tirx.Max).reduce(
            spec.value_dim, lambda d: tirx.Select(is_nan(to.out[to.base + d]), f32(1.0), f32(0.0)))
        with T.If(spoilt > f32(0.0)), T.Then():
            run(spec.value_dim, lambda d: T.buffer_store(exact, f32(0.0), [d]), lanes)
            with T.serial(count) as j, T.If(kept[j] > f32(0.0)), T.Then():
                run(spec.value_dim, lambda d: T.buffer_store(
                    exact, exact[d] + self.scores[j] * spec.load_v(spec.b, self.key_head, first + j, d), [d]), lanes)
            run(spec.value_dim, lambda d: T.buffer_store(
                to.out, tirx.Select(is_nan(to.out[to.base + d]), exact[d], to.out[to.base + d]), [to.base + d]), lanes)


def pieces(length: int, lanes: int) -> list[tuple[int, int]]:
    """A run cut into vectors, ever shorter ones at its end: where each starts, and its width."""
    found, start, width = [], 0, lanes
    while start < length:
        if length - start >= width:
            found.append((start, width))
            start += width
        else:
            width //= 2
    return found


def _fill(vector: Expr) -> None:
    with T.vectorized(int(vector.shape[0])) as v:
        T.buffer_store(vector, f32(0.0), [v])

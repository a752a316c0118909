"""Blocked attention with online softmax (FlashAttention, arXiv:2205.14135); the scores never exist as a matrix.

Queries lie on the vector lanes: a panel of 16 queries is transposed once, scores are computed as S^T = K Q^T and outputs as
O^T += V^T P^T. Both products then read keys and values by broadcasts, so neither is transposed; maximum, exponential
and sum run over whole registers without a horizontal step; and P^T is born in the layout in which it is used.

A task is a few panels of one (batch, head); it walks over blocks of keys, copies a block of K and V into contiguous
memory, and uses it for each of its panels. How keys fall into blocks does not depend on the tasks, and lanes do not mix:
results are bit-identical at any number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T

from targets.kernels.cpu.lane_blocks import SIDE, run, transpose
from targets.kernels.vector_math import exp_nonpositive, f32
from tgraph.ir.errors import CompileError

Extent: TypeAlias = "int | Expr"
Read = Callable[[Expr, Expr, Expr, Expr], Expr]
Store = Callable[[Expr, Expr, Expr, Expr, Expr], None]

LANES = 16  # queries of a panel
EMPTY_ROWS = ("zero", "uniform", "nan")
_WANTED_TASKS = 32  # enough of them to even out over the threads, whose number is not known here


@dataclass(frozen=True)
class AttentionTile:
    """Sizes of the blocks: `keys` (`values`) rows of S^T (O^T) by 16 queries are accumulated in registers."""

    keys: int = 6
    values: int = 6
    key_block: int = 132
    query_block: int = 64

    @staticmethod
    def for_target(vector_bits: int, vector_registers: int, l2_bytes: int, head_dim: int, value_dim: int) -> AttentionTile:
        """Tiles that fill the registers, and blocks of keys that leave half of L2 to other data."""
        registers = LANES * 32 // vector_bits
        rows = max(1, (vector_registers - 4) // registers)
        rows = 8 if rows >= 8 else rows
        fitting = l2_bytes // 2 // (4 * (head_dim + value_dim + LANES)) - 64
        block = max(rows, min(132, fitting) // rows * rows)
        return AttentionTile(rows, rows, block, 64)


def attention(
    *,
    batch: Extent,
    heads: Extent,
    group: int,
    query_length: Extent,
    key_length: Extent,
    head_dim: int,
    value_dim: int,
    load_q: Read,
    load_k: Read,
    load_v: Read,
    store: Store,
    scale: float,
    causal: bool = False,
    offset: Expr | None = None,
    mask: Read | None = None,
    bias: Read | None = None,
    empty_row: str = "zero",
    key_padding: bool = False,
    tile: AttentionTile | None = None,
) -> None:
    """`store(b, h, i, d, softmax_j(scale q k^T + bias, where allowed) v)`, in f32, inside an open `T.prim_func()` frame.

    load_q(b, h, i, d), load_k(b, h // group, j, d), load_v(b, h // group, j, d): f32, contiguous in d, whose lanes they
    get. mask(b, h, i, j): bool, True = attend; bias(b, h, i, j): f32; both contiguous in j. With `key_padding` the mask
    depends on (b, j) alone, and blocks of keys that it empties are skipped. `causal` keeps j <= i + offset (int64).
    A query without any key to attend gives zeros, the mean of all values ("uniform") or NaN; with key_length 0 a sum
    over nothing, 0. Excluded keys have a weight of exactly 0. Extents are ints or int64 expressions and may be 0.
    """
    if empty_row not in EMPTY_ROWS:
        raise CompileError(f"attention: empty_row is one of {', '.join(EMPTY_ROWS)}, not {empty_row!r}")
    if key_padding and mask is None:
        raise CompileError("attention: key_padding describes a mask, and there is none")
    sizes = tile or AttentionTile()
    count = {"batch": batch, "heads": heads, "queries": query_length, "keys": key_length}
    extents = {name: T.bind(tirx.const(e, "int64") if isinstance(e, int) else e) for name, e in count.items()}
    panels = T.bind((extents["queries"] + (LANES - 1)) // LANES)
    most = max(1, sizes.query_block // LANES)
    wanted = extents["batch"] * extents["heads"] * panels // _WANTED_TASKS
    blocks = T.bind((panels + tirx.Max(_one(), tirx.Min(wanted, _int(most))) - 1) // tirx.Max(_one(), tirx.Min(wanted, _int(most))))
    per_task = T.bind((panels + blocks - 1) // tirx.Max(blocks, _one()))
    with T.parallel(extents["batch"] * extents["heads"] * blocks) as task:
        outer, inner = _number(task // blocks), _number(task % blocks)
        if causal:
            # early queries have few keys: pairing the first block with the last evens out contiguous shares of the tasks
            inner = tirx.Select(inner % 2 == 0, inner // 2, blocks - 1 - inner // 2)
        first = _number(inner * per_task)
        _Task(
            sizes=sizes, most=most, b=_number(outer // extents["heads"]), h=_number(outer % extents["heads"]), group=group,
            first=first, panels=_number(tirx.Max(_int(0), tirx.Min(per_task, panels - first))), queries=extents["queries"],
            keys=extents["keys"], head_dim=head_dim, value_dim=value_dim, load_q=load_q, load_k=load_k, load_v=load_v,
            store=store, scale=scale, causal=causal, offset=_int(0) if offset is None else offset, mask=mask, bias=bias,
            empty_row=empty_row, key_padding=key_padding,
        ).emit()  # fmt: skip


def _int(value: int) -> Expr:
    return tirx.const(value, "int64")


def _one() -> Expr:
    return _int(1)


def _number(value: Expr) -> Expr:
    """`value`, computed once and kept where TVM's simplifier does not look into it.

    A bound name would be inlined, and nested quotients of run-time extents cost the simplifier many seconds.
    """
    kept = T.alloc_buffer((1,), "int64", scope="global")
    T.buffer_store(kept, value, [0])
    return kept[0]


def _floats(count: int) -> Expr:
    return T.alloc_buffer((count,), "float32", scope="global")


def _fill(buffer: Expr, start: Expr | int, value: float) -> None:
    with T.vectorized(LANES) as v:
        T.buffer_store(buffer, f32(value), [start + tirx.Cast("int64", v)])


@dataclass
class _Task:
    """The emitter of one task: panels `first` to `first + panels - 1` of head `h` of batch `b` against all keys."""

    sizes: AttentionTile
    most: int
    b: Expr
    h: Expr
    group: int
    first: Expr
    panels: Expr
    queries: Expr
    keys: Expr
    head_dim: int
    value_dim: int
    load_q: Read
    load_k: Read
    load_v: Read
    store: Store
    scale: float
    causal: bool
    offset: Expr
    mask: Read | None
    bias: Read | None
    empty_row: str
    key_padding: bool

    def emit(self) -> None:
        rows = self.sizes.key_block + self.sizes.keys
        self.q = _floats(self.most * self.head_dim * LANES)
        self.out = _floats(self.most * self.value_dim * LANES)
        self.state = _floats(self.most * 3 * LANES)  # of each panel: running maximum, running sum, is a key attended
        self.k, self.v = _floats(rows * self.head_dim), _floats(rows * self.value_dim)
        self.p = _floats(rows * LANES)
        self.key_head = self.h if self.group == 1 else _number(self.h // self.group)
        staged = self.mask is not None and not self.key_padding
        self.staged_mask = _floats(rows * LANES) if staged else None
        self.staged_bias = _floats(rows * LANES) if self.bias is not None else None
        with T.serial(self.panels) as panel:
            self._begin(panel)
        end = self._limit((self.first + self.panels) * LANES)
        block = self.sizes.key_block
        with T.serial((end + block - 1) // block) as index:
            start = _number(index * block)
            self._key_block(start, _number(tirx.Min(_int(block), end - start)))
        self._finish_all()

    def _limit(self, query_end: Expr) -> Expr:
        """The end of the keys that queries before `query_end` may attend."""
        if not self.causal:
            return self.keys
        last = tirx.Min(query_end, self.queries) + self.offset
        return _number(tirx.Max(_int(0), tirx.Min(self.keys, last)))

    def _query(self, panel: Expr) -> Expr:
        return (self.first + panel) * LANES

    def _begin(self, panel: Expr) -> None:
        """Transposes and scales the panel's queries; rows past the last query repeat it. Clears the panel's state."""
        d_whole = self.head_dim // SIDE * SIDE

        def element(lane: Expr | int, d: Expr) -> Expr:
            row = tirx.Min(self._query(panel) + lane, self.queries - 1)
            return self.load_q(self.b, self.h, row, d) * f32(self.scale)

        base = panel * (self.head_dim * LANES)
        with T.serial(_int(d_whole // SIDE)) as d8, T.serial(_int(LANES // SIDE)) as i8:
            transpose(
                lambda r, lane: element(i8 * SIDE + r, d8 * SIDE + lane),
                self.q,
                lambda c: base + (d8 * SIDE + c) * LANES + i8 * SIDE,
            )
        for d in range(d_whole, self.head_dim):
            with T.serial(_int(LANES)) as lane:
                T.buffer_store(self.q, element(lane, _int(d)), [base + d * LANES + lane])
        with T.serial(_int(self.value_dim)) as d:
            _fill(self.out, (panel * self.value_dim + d) * LANES, 0.0)
        for row, value in enumerate((float("-inf"), 0.0, 0.0)):
            _fill(self.state, (panel * 3 + row) * LANES, value)

    def _key_block(self, start: Expr, count: Expr) -> None:
        if not self.key_padding:
            self._attend_block(start, count)
            return
        first, end = self._attended(start, count)
        with T.If(end > first), T.Then():
            self._attend_block(_number(start + first), _number(end - first))

    def _attended(self, start: Expr, count: Expr) -> tuple[Expr, Expr]:
        """The first key of the block that the mask keeps and the end of the last one, relative to `start`."""
        assert self.mask is not None
        first, end = (T.alloc_buffer((1,), "int64", scope="global") for _ in range(2))
        T.buffer_store(first, count, [0])
        T.buffer_store(end, _int(0), [0])
        with T.serial(count) as j:
            keeps = self.mask(self.b, self.h, self._query(_int(0)), start + j)
            T.buffer_store(first, tirx.Select(keeps, tirx.Min(first[0], j), first[0]), [0])
            T.buffer_store(end, tirx.Select(keeps, j + 1, end[0]), [0])
        return _number(first[0]), _number(end[0])

    def _attend_block(self, start: Expr, count: Expr) -> None:
        tile = self.sizes.keys
        with T.serial((count + tile - 1) // tile * tile) as j:
            # rows that fill up the last tile repeat the last key: their scores change no maximum
            key = _number(start + tirx.Min(j, count - 1))
            run(self.head_dim, lambda d: T.buffer_store(self.k, self.load_k(self.b, self.key_head, key, d), [j * self.head_dim + d]))
        with T.serial(count) as j:
            run(self.value_dim, lambda d: T.buffer_store(self.v, self.load_v(self.b, self.key_head, start + j, d), [j * self.value_dim + d]))
        with T.serial(self.panels) as panel:
            if self.causal:
                mine = _number(tirx.Min(count, self._limit(self._query(panel) + LANES) - start))
                with T.If(mine > 0), T.Then():
                    self._attend_panel(panel, start, mine)
            else:
                self._attend_panel(panel, start, count)

    def _attend_panel(self, panel: Expr, start: Expr, count: Expr) -> None:
        old = lambda lane: self.state[panel * 3 * LANES + lane]  # noqa: E731
        peak, shift, decay, total = (_floats(LANES) for _ in range(4))
        with T.vectorized(LANES) as v:
            T.buffer_store(peak, old(v), [v])
        self._stage(panel, start, count)
        self._scores(panel, start, count, peak)
        with T.vectorized(LANES) as v:
            # where nothing is attended yet, -inf - (-inf) must not make a NaN
            T.buffer_store(shift, tirx.Select(peak[v] == f32(float("-inf")), f32(0.0), peak[v]), [v])
        with T.vectorized(LANES) as v:
            T.buffer_store(decay, exp_nonpositive(old(v) - shift[v]), [v])
        _fill(total, 0, 0.0)
        with T.serial(count) as j:
            with T.vectorized(LANES) as v:
                T.buffer_store(self.p, exp_nonpositive(self.p[j * LANES + v] - shift[v]), [j * LANES + v])
            with T.vectorized(LANES) as v:
                T.buffer_store(total, total[v] + self.p[j * LANES + v], [v])
        base = panel * 3 * LANES
        with T.vectorized(LANES) as v:
            T.buffer_store(self.state, peak[v], [base + v])
        with T.vectorized(LANES) as v:
            T.buffer_store(self.state, self.state[base + LANES + v] * decay[v] + total[v], [base + LANES + v])
        self._outputs(panel, count, decay)

    def _stage(self, panel: Expr, start: Expr, count: Expr) -> None:
        """Mask and bias of the panel, read along the keys, transposed to lie like the scores."""
        if self.staged_mask is not None and self.mask is not None:
            mask = self.mask
            self._stage_one(panel, start, count, self.staged_mask, lambda *at: tirx.Select(mask(*at), f32(1.0), f32(0.0)))
        if self.staged_bias is not None and self.bias is not None:
            self._stage_one(panel, start, count, self.staged_bias, self.bias)

    def _stage_one(self, panel: Expr, start: Expr, count: Expr, staged: Expr, read: Read) -> None:
        def element(lane: Expr | int, j: Expr) -> Expr:
            return read(self.b, self.h, tirx.Min(self._query(panel) + lane, self.queries - 1), start + j)

        with T.serial(count // SIDE) as j8, T.serial(_int(LANES // SIDE)) as i8:
            transpose(
                lambda r, lane: element(i8 * SIDE + r, j8 * SIDE + lane),
                staged,
                lambda c: (j8 * SIDE + c) * LANES + i8 * SIDE,
            )
        with T.serial(count % SIDE) as tail, T.serial(_int(LANES)) as lane:
            j = count // SIDE * SIDE + tail
            T.buffer_store(staged, element(lane, j), [j * LANES + lane])

    def _scores(self, panel: Expr, start: Expr, count: Expr, peak: Expr) -> None:
        """p[j, lane] = score, -inf where not allowed; raises `peak` to the largest. NaN passes by `peak`, not by `p`."""
        tile, base = self.sizes.keys, panel * (self.head_dim * LANES)
        with T.serial((count + tile - 1) // tile) as block:
            acc = _floats(tile * LANES)
            for r in range(tile):
                _fill(acc, r * LANES, 0.0)
            with T.serial(_int(self.head_dim)) as d:
                for r in range(tile):
                    with T.vectorized(LANES) as v:
                        product = self.k[(block * tile + r) * self.head_dim + d] * self.q[base + d * LANES + v]
                        T.buffer_store(acc, acc[r * LANES + v] + product, [r * LANES + v])
            for r in range(tile):
                self._score_row(panel, start, tirx.Min(block * tile + r, count - 1), acc, r)
                with T.vectorized(LANES) as v:
                    T.buffer_store(self.p, acc[r * LANES + v], [(block * tile + r) * LANES + v])
                with T.vectorized(LANES) as v:
                    larger = acc[r * LANES + v] > peak[v]
                    T.buffer_store(peak, tirx.Select(larger, acc[r * LANES + v], peak[v]), [v])

    def _score_row(self, panel: Expr, start: Expr, j: Expr, acc: Expr, r: int) -> None:
        """Adds the bias to row r of the tile, and excludes what is not allowed."""
        if self.mask is None and not self.causal and self.bias is None:
            return
        j = _number(j)
        if self.staged_bias is not None:
            bias = self.staged_bias
            with T.vectorized(LANES) as v:
                T.buffer_store(acc, acc[r * LANES + v] + bias[j * LANES + v], [r * LANES + v])
        if self.mask is None and not self.causal:
            return
        with T.vectorized(LANES) as v:
            allowed = self._allowed(panel, start, j, v)
            T.buffer_store(acc, tirx.Select(allowed, acc[r * LANES + v], f32(float("-inf"))), [r * LANES + v])
        with T.vectorized(LANES) as v:
            seen = (panel * 3 + 2) * LANES + v
            allowed = self._allowed(panel, start, j, v)
            T.buffer_store(self.state, tirx.Select(allowed, f32(1.0), self.state[seen]), [seen])

    def _allowed(self, panel: Expr, start: Expr, j: Expr, v: Expr) -> Expr:
        conditions = []
        if self.causal:
            conditions.append(start + j - self.offset - self._query(panel) <= tirx.Cast("int64", v))
        if self.staged_mask is not None:
            conditions.append(self.staged_mask[j * LANES + v] > f32(0.0))
        elif self.mask is not None:
            conditions.append(self.mask(self.b, self.h, self._query(panel), start + j))
        return conditions[0] if len(conditions) == 1 else tirx.And(*conditions)

    def _outputs(self, panel: Expr, count: Expr, decay: Expr) -> None:
        """out = out * decay + V^T P^T, in tiles of `values` rows and one of what is left over."""
        tile = self.sizes.values
        if self.value_dim // tile:
            with T.serial(_int(self.value_dim // tile)) as block:
                self._output_tile(panel, count, decay, block * tile, tile)
        if self.value_dim % tile:
            self._output_tile(panel, count, decay, _int(self.value_dim // tile * tile), self.value_dim % tile)

    def _output_tile(self, panel: Expr, count: Expr, decay: Expr, d: Expr, rows: int) -> None:
        acc = _floats(rows * LANES)
        base = _number((panel * self.value_dim + d) * LANES)
        for r in range(rows):
            with T.vectorized(LANES) as v:
                T.buffer_store(acc, self.out[base + r * LANES + v] * decay[v], [r * LANES + v])
        with T.serial(count) as j:
            for r in range(rows):
                with T.vectorized(LANES) as v:
                    product = self.v[j * self.value_dim + d + r] * self.p[j * LANES + v]
                    T.buffer_store(acc, acc[r * LANES + v] + product, [r * LANES + v])
        for r in range(rows):
            with T.vectorized(LANES) as v:
                T.buffer_store(self.out, acc[r * LANES + v], [base + r * LANES + v])

    def _finish_all(self) -> None:
        self.rows = _floats(LANES * self.value_dim)
        self.empty = _floats(LANES)
        self.mean = _floats(self.value_dim) if self.empty_row == "uniform" else None
        if self.mean is not None:
            self._mean_of_values(self.mean)
        with T.serial(self.panels) as panel:
            self._finish(panel)

    def _is_empty(self, panel: Expr, lane: Expr) -> Expr:
        if self.mask is None and not self.causal:
            return self.keys == 0
        return self.state[(panel * 3 + 2) * LANES + lane] == f32(0.0)

    def _mean_of_values(self, mean: Expr) -> None:
        """The mean of all values, computed only if a query of this task has no key."""
        needed = T.alloc_buffer((1,), "int64", scope="global")
        T.buffer_store(needed, _int(0), [0])
        with T.serial(self.panels) as panel, T.serial(_int(LANES)) as lane:
            T.buffer_store(needed, tirx.Select(self._is_empty(panel, lane), _one(), needed[0]), [0])
        with T.If(needed[0] > 0), T.Then():
            run(self.value_dim, lambda d: T.buffer_store(mean, f32(0.0), [d]))
            with T.serial(self.keys) as j:
                run(
                    self.value_dim,
                    lambda d: T.buffer_store(mean, mean[d] + self.load_v(self.b, self.key_head, j, d), [d]),
                )
            count = tirx.Cast("float32", tirx.Max(self.keys, _one()))
            run(self.value_dim, lambda d: T.buffer_store(mean, mean[d] / count, [d]))

    def _finish(self, panel: Expr) -> None:
        """Divides by the sums, transposes back and stores the rows that exist."""
        inverse = _floats(LANES)
        with T.vectorized(LANES) as v:
            T.buffer_store(self.empty, tirx.Select(self._is_empty(panel, v), f32(1.0), f32(0.0)), [v])
        with T.vectorized(LANES) as v:
            T.buffer_store(inverse, f32(1.0) / self.state[(panel * 3 + 1) * LANES + v], [v])
        d_whole = self.value_dim // SIDE * SIDE

        def element(d: Expr, lane: Expr) -> Expr:
            return self.out[(panel * self.value_dim + d) * LANES + lane] * inverse[lane]

        with T.serial(_int(LANES // SIDE)) as i8, T.serial(_int(d_whole // SIDE)) as d8:
            transpose(
                lambda r, lane: element(d8 * SIDE + r, i8 * SIDE + lane),
                self.rows,
                lambda c: (i8 * SIDE + c) * self.value_dim + d8 * SIDE,
            )
        for d in range(d_whole, self.value_dim):
            with T.serial(_int(LANES)) as lane:
                T.buffer_store(self.rows, element(_int(d), lane), [lane * self.value_dim + d])
        with T.serial(tirx.Min(_int(LANES), self.queries - self._query(panel))) as lane:
            run(self.value_dim, lambda d: self._store_row(panel, lane, d))

    def _store_row(self, panel: Expr, lane: Expr, d: Expr) -> None:
        value = self.rows[lane * self.value_dim + d]
        fill = self.mean[d] if self.mean is not None else f32(0.0)
        if self.empty_row == "nan":
            fill = tirx.Select(self.keys == 0, f32(0.0), f32(float("nan")))
        value = tirx.Select(self.empty[lane] > f32(0.0), fill, value)
        self.store(self.b, self.h, self._query(panel) + lane, d, value)

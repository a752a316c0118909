"""One task of blocked attention: some panels of queries of one (batch, head) against all keys, block by block."""

from __future__ import annotations

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T

from targets.codegen.attention import AttentionSpec, Read
from targets.codegen.opaque import bind
from targets.codegen.vector_math import f32
from targets.cpu.kernels.attention_excluded import WithoutExcluded
from targets.cpu.kernels.attention_panel import (
    MINUS_INFINITY,
    PEAK,
    SEEN,
    STATE_ROWS,
    TOTAL,
    Adjust,
    AttentionTile,
    PanelBuffers,
    all_of,
    attend,
    fill,
    first_reached,
    reach,
)
from targets.cpu.kernels.attention_values import mean_of_values
from targets.cpu.kernels.lane_blocks import SIDE, floats, int64, run, transpose


class AttentionTask:
    """Emits the code of panels `first` to `first + panels - 1`; `panels` is at most `most`."""

    def __init__(self, spec: AttentionSpec, tile: AttentionTile, most: int, first: Expr, panels: Expr) -> None:
        self.spec, self.tile, self.first, self.panels = spec, tile, first, panels
        self.lanes = lanes = tile.panel
        rows = tile.key_block + tile.keys  # the last tile of keys is filled up
        self.at = PanelBuffers(
            lanes=lanes,
            q=floats(most * spec.head_dim * lanes),
            out=floats(most * spec.value_dim * lanes),
            state=floats(most * STATE_ROWS * lanes),
            k=floats(rows * spec.head_dim),
            v=floats(rows * spec.value_dim),
            p=floats(rows * lanes),
        )
        self.key_head = spec.h if spec.group == 1 else bind(spec.h // spec.group)
        self.mask = floats(rows * lanes) if spec.masked_pairs else None
        self.bias = floats(rows * lanes) if spec.bias is not None else None

    def emit(self) -> None:
        """Emits the whole task."""
        with T.serial(self.panels) as panel:
            self._begin(panel)
        end = bind(reach(self.spec, (self.first + self.panels) * self.lanes))
        size = self.tile.key_block
        blocks, skipped = (end + size - 1) // size, None
        if self.spec.left is not None:  # whole blocks, so that what a block is depends on no task
            skipped = bind(first_reached(self.spec, self.first * self.lanes) // size)
            blocks = tirx.Max(int64(0), blocks - skipped)
        with T.serial(blocks) as index:
            start = bind((index if skipped is None else index + skipped) * size)
            count = bind(tirx.Min(int64(size), end - start))
            if self.spec.mask is not None and self.spec.key_padding:
                first, last = self._attended(self.spec.mask, start, count)
                with T.If(last > first), T.Then():
                    self._block(bind(start + first), bind(last - first))
            else:
                self._block(start, count)
        self._finish()

    def _query(self, panel: Expr) -> Expr:
        return (self.first + panel) * self.lanes

    def _state(self, panel: Expr, row: int, lane: Expr) -> Expr:
        return self.at.state[(panel * STATE_ROWS + row) * self.lanes + lane]

    def _begin(self, panel: Expr) -> None:
        """Transposes and scales the panel's queries (rows past the last query repeat it) and clears its state."""
        spec = self.spec

        def element(d: Expr, lane: Expr | int) -> Expr:
            row = tirx.Min(self._query(panel) + lane, spec.queries - 1)
            return tirx.Mul(spec.load_q(spec.b, spec.h, row, d), f32(spec.scale))  # not 0 where the scale is: 0 inf is NaN

        base = bind(panel * (spec.head_dim * self.lanes))
        whole = spec.head_dim // SIDE * SIDE
        with T.serial(int64(whole // SIDE)) as d8, T.serial(int64(self.lanes // SIDE)) as i8:
            transpose(
                lambda r, lane: element(d8 * SIDE + lane, i8 * SIDE + r),
                self.at.q,
                lambda c: base + (d8 * SIDE + c) * self.lanes + i8 * SIDE,
            )
        with T.serial(int64(spec.head_dim - whole)) as d, T.serial(int64(self.lanes)) as lane:
            T.buffer_store(self.at.q, element(d + whole, lane), [base + (d + whole) * self.lanes + lane])
        with T.serial(int64(spec.value_dim)) as d:
            fill(self.at.out, (panel * spec.value_dim + d) * self.lanes, 0.0, self.lanes)
        for row, value in ((PEAK, MINUS_INFINITY), (TOTAL, 0.0), (SEEN, 0.0)):
            fill(self.at.state, (panel * STATE_ROWS + row) * self.lanes, value, self.lanes)

    def _attended(self, mask: Read, start: Expr, count: Expr) -> tuple[Expr, Expr]:
        """The first key of the block that the mask keeps, and the end of the last one, relative to `start`."""
        first, end = (T.alloc_buffer((1,), "int64", scope="global") for _ in range(2))
        T.buffer_store(first, count, [0])
        T.buffer_store(end, int64(0), [0])
        with T.serial(count) as j:
            keeps = mask(self.spec.b, self.spec.h, self._query(int64(0)), start + j)
            T.buffer_store(first, tirx.Select(keeps, tirx.Min(first[0], j), first[0]), [0])
            T.buffer_store(end, tirx.Select(keeps, j + 1, end[0]), [0])
        return first[0], end[0]

    def _block(self, start: Expr, count: Expr) -> None:
        """Copies `count` > 0 keys and values into contiguous memory and attends them from every panel of the task."""
        spec, at, rows = self.spec, self.at, self.tile.keys
        with T.serial((count + rows - 1) // rows * rows) as j:
            # rows that fill up the last tile repeat the last key: their scores raise no maximum
            key = bind(start + tirx.Min(j, count - 1))
            self._copy_row(at.k, j, spec.head_dim, spec.load_k, key)
        with T.serial(count) as j:
            self._copy_row(at.v, j, spec.value_dim, spec.load_v, start + j)
        with T.serial(self.panels) as panel:
            reached = count
            if spec.right is not None:
                reached = bind(tirx.Min(count, reach(spec, self._query(panel) + self.lanes) - start))
            sees = [] if spec.right is None else [reached > 0]
            if spec.left is not None:
                sees.append(start + reached > first_reached(spec, self._query(panel)))
            if sees:
                with T.If(sees[0] if len(sees) == 1 else tirx.And(*sees)), T.Then():
                    self._panel(panel, start, reached)
            else:
                self._panel(panel, start, count)

    def _copy_row(self, to: Expr, row: Expr, dim: int, load: Read, key: Expr) -> None:
        run(dim, lambda d: T.buffer_store(to, load(self.spec.b, self.key_head, key, d), [row * dim + d]))

    def _panel(self, panel: Expr, start: Expr, count: Expr) -> None:
        spec = self.spec
        if self.mask is not None and spec.mask is not None:
            mask = spec.mask
            self._stage(panel, start, count, self.mask, lambda *at: tirx.Select(mask(*at), f32(1.0), f32(0.0)))
        if self.bias is not None and spec.bias is not None:
            self._stage(panel, start, count, self.bias, spec.bias)
        adjust = self._adjust(panel, start) if spec.excludes or spec.softcap or self.bias is not None else None
        attend(self.at, self.tile, panel, count, spec.head_dim, spec.value_dim, adjust)

    def _stage(self, panel: Expr, start: Expr, count: Expr, staged: Expr, read: Read) -> None:
        """staged[j, lane] = read(query lane, key j): read along the keys, transposed to lie as the scores do."""
        spec = self.spec

        def element(lane: Expr | int, j: Expr) -> Expr:
            return read(spec.b, spec.h, tirx.Min(self._query(panel) + lane, spec.queries - 1), start + j)

        with T.serial(count // SIDE) as j8, T.serial(int64(self.lanes // SIDE)) as i8:
            transpose(
                lambda r, lane: element(i8 * SIDE + r, j8 * SIDE + lane),
                staged,
                lambda c: (j8 * SIDE + c) * self.lanes + i8 * SIDE,
            )
        with T.serial(count % SIDE) as tail, T.serial(int64(self.lanes)) as lane:
            j = count // SIDE * SIDE + tail
            T.buffer_store(staged, element(lane, j), [j * self.lanes + lane])

    def _adjust(self, panel: Expr, start: Expr) -> Adjust:
        spec = self.spec

        def allowed(j: Expr, v: Expr) -> Expr:
            conditions = []
            place = start + j - spec.offset - self._query(panel)  # of the key, from the panel's first query on
            if spec.right is not None:
                conditions.append((place - int64(spec.right) if spec.right else place) <= tirx.Cast("int64", v))
            if spec.left is not None:
                conditions.append(place + int64(spec.left) >= tirx.Cast("int64", v))
            if self.mask is not None:
                conditions.append(self.mask[j * self.lanes + v] > f32(0.0))
            elif spec.mask is not None:
                conditions.append(spec.mask(spec.b, spec.h, self._query(panel), start + j))
            return all_of(conditions)

        def adjust(raw: Expr, j: Expr) -> None:
            if spec.softcap:
                with T.vectorized(self.lanes) as v:
                    T.buffer_store(raw, spec.capped(raw[v]), [v])
            if self.bias is not None:
                with T.vectorized(self.lanes) as v:
                    T.buffer_store(raw, raw[v] + self.bias[j * self.lanes + v], [v])
            if not spec.excludes:
                return
            with T.vectorized(self.lanes) as v:
                T.buffer_store(raw, tirx.Select(allowed(j, v), raw[v], f32(MINUS_INFINITY)), [v])
            # kept apart from the sums: a key allowed with a score of -inf makes a NaN, no key makes an empty row
            with T.vectorized(self.lanes) as v:
                seen = tirx.Select(allowed(j, v), f32(1.0), self._state(panel, SEEN, v))
                T.buffer_store(self.at.state, seen, [(panel * STATE_ROWS + SEEN) * self.lanes + v])

        return adjust

    def _is_empty(self, panel: Expr, lane: Expr) -> Expr:
        return self._state(panel, SEEN, lane) == f32(0.0) if self.spec.excludes else self.spec.keys == 0

    def _finish(self) -> None:
        rows, empty = floats(self.lanes * self.spec.value_dim), floats(self.lanes)
        mean = self._mean_of_values() if self.spec.empty_row == "uniform" else None
        without = WithoutExcluded(self.spec, self.at, self.key_head) if self.spec.excludes else None
        with T.serial(self.panels) as panel:
            if without is not None:
                without.emit(panel, bind(self._query(panel)))
            self._finish_panel(panel, rows, empty, mean)

    def _mean_of_values(self) -> Expr:
        """The mean of all values, computed if a query of this task has no key."""
        spec = self.spec
        mean, needed = floats(spec.value_dim), floats(1)
        T.buffer_store(needed, f32(0.0), [0])
        with T.serial(self.panels) as panel, T.serial(int64(self.lanes)) as lane:
            T.buffer_store(needed, tirx.Select(self._is_empty(panel, lane), f32(1.0), needed[0]), [0])
        with T.If(needed[0] > f32(0.0)), T.Then():
            mean_of_values(spec, mean)
        return mean

    def _finish_panel(self, panel: Expr, rows: Expr, empty: Expr, mean: Expr | None) -> None:
        """Divides by the sums, transposes back, and stores the rows that exist."""
        spec, inverse = self.spec, floats(self.lanes)
        with T.vectorized(self.lanes) as v:
            T.buffer_store(empty, tirx.Select(self._is_empty(panel, v), f32(1.0), f32(0.0)), [v])
        with T.vectorized(self.lanes) as v:
            T.buffer_store(inverse, f32(1.0) / self._state(panel, TOTAL, v), [v])

        def element(d: Expr, lane: Expr) -> Expr:
            return self.at.out[(panel * spec.value_dim + d) * self.lanes + lane] * inverse[lane]

        whole = spec.value_dim // SIDE * SIDE
        with T.serial(int64(self.lanes // SIDE)) as i8, T.serial(int64(whole // SIDE)) as d8:
            transpose(
                lambda r, lane: element(d8 * SIDE + r, i8 * SIDE + lane),
                rows,
                lambda c: (i8 * SIDE + c) * spec.value_dim + d8 * SIDE,
            )
        with T.serial(int64(spec.value_dim - whole)) as d, T.serial(int64(self.lanes)) as lane:
            T.buffer_store(rows, element(d + whole, lane), [lane * spec.value_dim + d + whole])

        def value(lane: Expr, d: Expr) -> Expr:
            of_empty = f32(0.0) if mean is None else mean[d]
            if spec.empty_row == "nan":
                of_empty = tirx.Select(spec.keys == 0, f32(0.0), f32(float("nan")))
            return tirx.Select(empty[lane] > f32(0.0), of_empty, rows[lane * spec.value_dim + d])

        with T.serial(tirx.Min(int64(self.lanes), spec.queries - self._query(panel))) as lane:
            query = bind(self._query(panel) + lane)
            run(spec.value_dim, lambda d: spec.store(spec.b, spec.h, query, d, value(lane, d)))

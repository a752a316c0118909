"""Attention on a GPU (FlashAttention-2, arXiv:2307.08691): blocks have queries of one head, scores never exist as a matrix.

Half precisions are multiplied by tensor cores; sums, softmax and everything of f32 are in f32. Results depend on operands and
sizes alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import get_args

from targets.base.tvm_api import Buffer, Expr, T, int64, tirx, tvm
from targets.codegen.attention import Read, Store
from targets.codegen.device_extents import on_host
from targets.codegen.vector_math import constant
from targets.cuda.kernels.attention_block import AttentionBlock, products_of
from targets.cuda.kernels.attention_fragments import key_rows, value_rows
from targets.cuda.kernels.attention_spec import AttentionSpec, AttentionTile
from targets.cuda.kernels.device import WARP, ballot, grid, registers
from tgraph.ir.errors import CompileError
from tgraph.ops.attention import EmptyRow

__all__ = ["AttentionTile", "attention"]

SHARED_BYTES = 99 * 1024  # that a block may have on every GPU from compute capability 8.0 on
FULL = 216  # blocks that keep a large GPU busy: two for each of an A100's 108 multiprocessors
RESIDENT = 2  # blocks of a multiprocessor: up to 255 registers a thread
Sequence = Callable[[Expr], tuple[Expr, Expr]]


def attention(
    *,
    batch: Expr,
    heads: Expr,
    group: int,
    query_length: Expr,
    key_length: Expr,
    head_dim: int,
    value_dim: int,
    dtype: str,
    load_q: Read,
    load_k: Read,
    load_v: Read,
    store: Store,
    place: Read | None = None,
    scale: float,
    causal: bool = False,
    offset: Expr | None = None,
    mask: Read | None = None,
    bias: Read | None = None,
    empty_row: str = "zero",
    key_padding: bool = False,
    sequence: Sequence | None = None,
    tile: AttentionTile | None = None,
) -> list[str]:
    """`store(b, h, i, d, (softmax over the allowed j of scale q k^T + bias) v)`, in an open `T.prim_func()` frame.

    load_q(b, h, i, d), load_k(b, h // group, j, d), load_v(b, h // group, j, d): elements of `dtype` (f16, f32, or bf16 held as
    f32). mask(b, h, i, j): bool, True = attend; bias(b, h, i, j): f32. `store` gets f32; with `place(b, h, i, d)`, the element
    of the output that it would write as it is, whole pieces of rows may be written there instead. `key_padding` says that the
    mask depends on (b, j) alone: tiles of keys that it empties are then skipped. `causal` keeps j <= i + offset (int64, default
    0). A query without an allowed key gives zeros, the mean of all values ("uniform") or NaN; with key_length 0 the sum over
    nothing, 0. Weights of excluded keys are exactly 0. Extents are int64 and may be 0; there are fewer than 65536 heads.

    `sequence(b)` gives the first row and the number of rows of batch b where they lie one after the other: i and j are then
    among these rows, and both lengths theirs; query_length is that of all rows and bounds the launch.

    Without `tile`, its size follows the dims, and the number of blocks that there would be. Gives what was chosen, in words.
    CompileError for an unknown empty_row, key_padding without a mask, and dims of which no tile fits shared memory.
    """
    if empty_row not in get_args(EmptyRow):
        raise CompileError(f"attention: empty_row is one of {', '.join(get_args(EmptyRow))}, not {empty_row!r}")
    if key_padding and mask is None:
        raise CompileError("attention: key_padding describes a mask, and there is none")
    zero = int64(0)
    spec = AttentionSpec(
        b=zero, h=zero, group=group, queries=query_length, keys=key_length, head_dim=head_dim, value_dim=value_dim, dtype=dtype,
        load_q=load_q, load_k=load_k, load_v=load_v, store=store, place=place, scale=scale, causal=causal,
        offset=zero if offset is None else offset, mask=mask, bias=bias, empty_row=empty_row, key_padding=key_padding)
    large, small = tiles(dtype, head_dim, value_dim, spec.plain) if tile is None else (tile, tile)
    if value_dim == 0:
        return []
    launch = lambda tile: _launch(spec, tile, batch, heads, sequence)
    blocks = _tiles_of(query_length, large, batch, sequence) * heads
    several = query_length > (int64(small.queries) if sequence is None else batch * int64(small.queries))
    enough = tvm.sym.Analyzer().simplify(on_host(tirx.all(several, blocks >= int64(FULL))))
    if large == small or isinstance(enough, tirx.IntImm):
        chosen = [large if isinstance(enough, tirx.IntImm) and int(enough.value) else small]
        launch(chosen[0])
    else:
        chosen = [small, large]
        with T.If(enough):
            with T.Then():
                launch(large)
            with T.Else():
                launch(small)
    return _notes(spec, chosen)


def _notes(spec: AttentionSpec, chosen: list[AttentionTile]) -> list[str]:
    queries = f"blocks of {chosen[0].queries} queries" + "".join(f", of {t.queries} where they are many" for t in chosen[1:])
    how = "sums of products in f32" if spec.dtype == "float32" else f"tensor cores for {spec.dtype}"
    computed = [name for name, rows in (("keys", key_rows(spec)), ("values", value_rows(spec))) if not rows.copied]
    found = f"{how}, {queries}, {chosen[0].keys} keys at a time"
    return [found, f"{' and '.join(computed)} cannot be copied as they lie: every block computes them"] if computed else [found]


def tiles(dtype: str, head_dim: int, value_dim: int, plain: bool) -> tuple[AttentionTile, AttentionTile]:
    """The tile for many queries, and that for few; `plain` if nothing is read for each pair of query and key.

    Raises CompileError for dims of which none fits.
    """
    # where registers do for twice as many queries
    double = plain and dtype != "float32" and max(head_dim, value_dim) <= 64
    fitting = fitting_tiles(dtype, head_dim, value_dim)
    if not fitting:
        raise CompileError(f"attention: rows of {head_dim} and {value_dim} {dtype} do not fit the shared memory of a GPU")
    small = fitting[0]
    return replace(small, panels=2) if double and small == _sizes(dtype)[0] else small, small


def fitting_tiles(dtype: str, head_dim: int, value_dim: int) -> list[AttentionTile]:
    """The tiles whose keys and values the shared memory of any GPU holds, the fastest first; none for very long rows."""
    words = products_of(dtype).memory_words
    return [tile for tile in _sizes(dtype) if 4 * words(tile, head_dim, value_dim) <= SHARED_BYTES]


def _sizes(dtype: str) -> list[AttentionTile]:
    keys = 32 if dtype == "float32" else 64
    return [AttentionTile(4, 1, keys), AttentionTile(4, 1, keys // 2), AttentionTile(4, 1, 16), AttentionTile(2, 1, 16),
            AttentionTile(2, 1, 16, 1), AttentionTile(1, 1, 16, 1)]


def _tiles_of(queries: Expr, tile: AttentionTile, batch: Expr, sequence: Sequence | None) -> Expr:
    """How many tiles all queries of a head are, or at most are where their sequences have any lengths."""
    if sequence is None:
        return tirx.truncdiv(queries + int64(tile.queries - 1), int64(tile.queries)) * batch
    return tirx.truncdiv(queries, int64(tile.queries)) + batch


def _launch(spec: AttentionSpec, tile: AttentionTile, batch: Expr, heads: Expr, sequence: Sequence | None) -> None:
    with grid(tile.threads, _tiles_of(spec.queries, tile, batch, sequence), heads, resident=RESIDENT) as (x, h, _, thread):
        # kept in registers and not bound to names, which TVM would put in wherever they are read
        at = registers("at", (2,), "int64")  # batch, first query
        if sequence is None:
            count = tirx.Cast("int32", tirx.truncdiv(spec.queries + int64(tile.queries - 1), int64(tile.queries)))
            number = registers("number", (1,), "int32")
            T.buffer_store(number, tirx.truncmod(tirx.Cast("int32", x), count), [0])
            T.buffer_store(at, tirx.Cast("int64", tirx.truncdiv(tirx.Cast("int32", x), count)), [0])
            first = count - 1 - number[0] if spec.causal else number[0]  # those that attend most come first
            T.buffer_store(at, tirx.Cast("int64", first * tile.queries), [1])
            AttentionBlock(replace(spec, b=at[0], h=h), tile, at[1], thread).emit()
            return
        _find_sequence(at, x, tile, batch, sequence, thread)
        rows = registers("sequence", (2,), "int64")
        with T.If(at[0] >= int64(0)), T.Then():
            for i, value in enumerate(sequence(at[0])):
                T.buffer_store(rows, value, [i])
            with T.If(at[1] < rows[1]), T.Then():
                AttentionBlock(_of_sequence(replace(spec, b=at[0], h=h), rows[0], rows[1]), tile, at[1], thread).emit()


def _find_sequence(at: Buffer, slot: Expr, tile: AttentionTile, batch: Expr, sequence: Sequence, thread: Expr) -> None:
    """at = the sequence of a block (-1 if it has none), and the first query of its tile.

    Sequence b has the blocks from first_row(b) // queries + b on: enough for its rows, wherever they begin, and in order.
    """
    def begin(b: Expr) -> Expr:
        return tirx.truncdiv(sequence(b)[0], int64(tile.queries)) + b

    T.buffer_store(at, int64(-1), [0])
    with T.serial(tirx.truncdiv(batch + int64(WARP - 1), int64(WARP))) as chunk:
        b = chunk * int64(WARP) + tirx.Cast("int64", thread % WARP)
        started = tirx.if_then_else(b < batch, begin(b) <= slot, constant(False, "bool"))
        T.buffer_store(at, at[0] + tirx.Cast("int64", tirx.popcount(ballot(started))), [0])
    with T.If(at[0] >= int64(0)), T.Then():
        T.buffer_store(at, (slot - begin(at[0])) * int64(tile.queries), [1])


def _of_sequence(spec: AttentionSpec, first: Expr, rows: Expr) -> AttentionSpec:
    """The attention of one sequence, with its rows counted from its first one."""
    q, k, v, store, mask, place = spec.load_q, spec.load_k, spec.load_v, spec.store, spec.mask, spec.place
    return replace(
        spec, queries=rows, keys=rows,
        load_q=lambda b, h, i, d: q(b, h, first + i, d),
        load_k=lambda b, h, j, d: k(b, h, first + j, d),
        load_v=lambda b, h, j, d: v(b, h, first + j, d),
        store=lambda b, h, i, d, value: store(b, h, first + i, d, value),
        place=None if place is None else lambda b, h, i, d: place(b, h, first + i, d),
        mask=None if mask is None else lambda b, h, i, j: mask(b, h, i, first + j))

"""Attention on a GPU (FlashAttention-2, arXiv:2307.08691): blocks have queries of one head, scores never exist as a matrix.

Half precisions are multiplied by tensor cores; sums, softmax and everything of f32 are in f32. Results depend on operands and
sizes alone.
"""

from __future__ import annotations

from dataclasses import replace

from targets.base.tvm_api import Buffer, Expr, T, int64, tirx, tvm
from targets.codegen.attention import AttentionSpec, SequenceRows
from targets.codegen.device_extents import on_host
from targets.cuda.kernels.attention_block import AttentionBlock, products_of
from targets.cuda.kernels.attention_fragments import key_rows, value_rows
from targets.cuda.kernels.attention_tile import AttentionTile
from targets.cuda.kernels.device import WARP, ballot, grid, registers, where
from tgraph.ir.errors import CompileError

__all__ = ["AttentionTile", "attention"]

SHARED_BYTES = 99 * 1024  # that a block may have on every GPU from compute capability 8.0 on
FULL = 216  # blocks that keep a large GPU busy: two for each of an A100's 108 multiprocessors
RESIDENT = 2  # blocks of a multiprocessor: up to 255 registers a thread


def attention(spec: AttentionSpec, tile: AttentionTile | None = None) -> list[str]:
    """Emits the launches of `spec`, in an open `T.prim_func()` frame, and gives in words what was chosen.

    Where the output has a `place`, whole pieces of rows are written there. Tiles of keys that a mask with `key_padding` empties
    are skipped. There are fewer than 65536 heads. Of a ragged batch `queries` bounds the launch.

    Without `tile`, its size follows from the dims and from the number of blocks that there would be. Raises CompileError for dims
    of which no tile fits shared memory.
    """
    large, small = (tile, tile) if tile else tiles(spec.dtype, spec.head_dim, spec.value_dim, spec.reads_pairs)
    if spec.value_dim == 0:
        return []
    blocks = _tiles_of(spec, large) * spec.heads
    several = spec.queries > (int64(small.queries) if spec.sequence is None else spec.batch * int64(small.queries))
    enough = tvm.sym.Analyzer().simplify(on_host(tirx.all(several, blocks >= int64(FULL))))
    if large == small or isinstance(enough, tirx.IntImm):
        chosen = [large if isinstance(enough, tirx.IntImm) and int(enough.value) else small]
        _launch(spec, chosen[0])
    else:
        chosen = [small, large]
        with T.If(enough):
            with T.Then():
                _launch(spec, large)
            with T.Else():
                _launch(spec, small)
    return _notes(spec, chosen)


def _notes(spec: AttentionSpec, chosen: list[AttentionTile]) -> list[str]:
    queries = f"blocks of {chosen[0].queries} queries" + "".join(f", of {t.queries} where they are many" for t in chosen[1:])
    how = "sums of products in f32" if spec.dtype == "float32" else f"tensor cores for {spec.dtype}"
    computed = [name for name, rows in (("keys", key_rows(spec)), ("values", value_rows(spec))) if not rows.copied]
    found = f"{how}, {queries}, {chosen[0].keys} keys at a time"
    return [found, f"{' and '.join(computed)} cannot be copied as they lie: every block computes them"] if computed else [found]


def tiles(dtype: str, head_dim: int, value_dim: int, reads_pairs: bool) -> tuple[AttentionTile, AttentionTile]:
    """The tile for many queries, and that for few; `reads_pairs` if something is read for each pair of query and key.

    Raises CompileError for dims of which none fits.
    """
    # where registers do for twice as many queries
    double = not reads_pairs and dtype != "float32" and max(head_dim, value_dim) <= 64
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


def _tiles_of(spec: AttentionSpec, tile: AttentionTile) -> Expr:
    """The number of tiles of all queries of a head; of a ragged batch, an upper bound."""
    if spec.sequence is None:
        return tirx.truncdiv(spec.queries + int64(tile.queries - 1), int64(tile.queries)) * spec.batch
    return tirx.truncdiv(spec.queries, int64(tile.queries)) + spec.batch


def _launch(spec: AttentionSpec, tile: AttentionTile) -> None:
    with grid(tile.threads, _tiles_of(spec, tile), spec.heads, resident=RESIDENT) as (x, h, _, thread):
        # kept in registers and not bound to names, which TVM would put in wherever they are read
        at = registers("at", (2,), "int64")  # batch, first query
        sequence = spec.sequence
        if sequence is None:
            count = tirx.Cast("int32", tirx.truncdiv(spec.queries + int64(tile.queries - 1), int64(tile.queries)))
            number = registers("number", (1,), "int32")
            T.buffer_store(number, tirx.truncmod(tirx.Cast("int32", x), count), [0])
            T.buffer_store(at, tirx.Cast("int64", tirx.truncdiv(tirx.Cast("int32", x), count)), [0])
            first = count - 1 - number[0] if spec.right is not None else number[0]  # those that attend most come first
            T.buffer_store(at, tirx.Cast("int64", first * tile.queries), [1])
            AttentionBlock(replace(spec, b=at[0], h=h), tile, at[1], thread).emit()
            return
        _find_sequence(at, x, spec.batch, sequence, tile, thread)
        rows = registers("sequence", (2,), "int64")
        with T.If(at[0] >= int64(0)), T.Then():
            for i, value in enumerate(sequence(at[0])):
                T.buffer_store(rows, value, [i])
            with T.If(at[1] < rows[1]), T.Then():
                AttentionBlock(replace(spec, b=at[0], h=h).within(rows[0], rows[1]), tile, at[1], thread).emit()


def _find_sequence(at: Buffer, slot: Expr, batch: Expr, sequence: SequenceRows, tile: AttentionTile, thread: Expr) -> None:
    """at = the sequence that a block works on (-1: none), and the first query of its tile.

    SequenceRows b has the blocks from first_row(b) // queries + b on: enough for its rows, wherever they begin, and in order.
    """
    def begin(b: Expr) -> Expr:
        return tirx.truncdiv(sequence(b)[0], int64(tile.queries)) + b

    T.buffer_store(at, int64(-1), [0])
    with T.serial(tirx.truncdiv(batch + int64(WARP - 1), int64(WARP))) as chunk:
        b = chunk * int64(WARP) + tirx.Cast("int64", thread % WARP)
        started = where(b < batch, lambda: begin(b) <= slot)
        T.buffer_store(at, at[0] + tirx.Cast("int64", tirx.popcount(ballot(started))), [0])
    with T.If(at[0] >= int64(0)), T.Then():
        T.buffer_store(at, (slot - begin(at[0])) * int64(tile.queries), [1])

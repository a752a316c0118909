"""Small blocks between memory and vector registers: scalars and buffers, contiguous runs, 8x8 transposition."""

from __future__ import annotations

from collections.abc import Callable

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T

SIDE = 8  # of a transposed block: a 256-bit register of f32

# Unpack low and high, shuffle pairs, exchange 128-bit halves: the lanes that each step picks from two registers.
_UNPACK = ((0, 8, 1, 9, 4, 12, 5, 13), (2, 10, 3, 11, 6, 14, 7, 15))
_PAIRS = ((0, 1, 8, 9, 4, 5, 12, 13), (2, 3, 10, 11, 6, 7, 14, 15))
_HALVES = ((0, 1, 2, 3, 8, 9, 10, 11), (4, 5, 6, 7, 12, 13, 14, 15))


def int64(value: int | Expr) -> Expr:
    """An extent or an index as an int64 expression."""
    return tirx.const(value, "int64") if isinstance(value, int) else value


def floats(count: int) -> Expr:
    """An f32 buffer: in registers or on the stack below 1,024 bytes, else a thread's workspace."""
    return T.alloc_buffer((count,), "float32", scope="global")


def run(length: int, body: Callable[[Expr], None], widest: int = 16) -> None:
    """Emits `body(index)` for index in 0 .. length - 1, by vectors of `widest` lanes and ever shorter ones for the rest."""
    start, width = 0, widest
    while start < length:
        count = (length - start) // width
        if count:
            with T.serial(int64(count)) as group, T.vectorized(width) as v:
                body(group * width + (tirx.Cast("int64", v) + start))
            start += count * width
        width //= 2


def transpose(load: Callable[[int, Expr], Expr], buffer: Expr, index: Callable[[int], Expr]) -> None:
    """Stores column c of an 8x8 f32 block at `buffer[index(c) : index(c) + 8]`; `load(r, lane)` gives row r.

    24 shuffles of registers, no scalar element is touched.
    """
    block = T.alloc_buffer((SIDE * SIDE,), "float32", scope="global")
    for r in range(SIDE):
        with T.vectorized(SIDE) as v:
            T.buffer_store(block, load(r, tirx.Cast("int64", v)), [v + r * SIDE])
    rows = [tirx.BufferLoad(block, [_lanes(tirx.const(r * SIDE, "int32"))]) for r in range(SIDE)]
    unpacked = [_pick(rows[r], rows[r + 1], half) for r in range(0, SIDE, 2) for half in _UNPACK]
    quads = [
        _pick(unpacked[base + column], unpacked[base + column + 2], pairs)
        for base in (0, 4)
        for column in (0, 1)
        for pairs in _PAIRS
    ]
    for c in range(SIDE):
        column = _pick(quads[c % 4], quads[c % 4 + 4], _HALVES[c // 4])
        T.buffer_store(buffer, column, [_lanes(index(c))])


def sum_of_each(vectors: list[Expr], lanes: int) -> Expr:
    """A vector of sums, of all elements of each of `lanes` vectors (f32 buffers); of one vector alone, its sum in every lane.

    Neighbours are added, then pairs of neighbours, and so on: two shuffles and an addition for each vector.
    """
    rows = [tirx.BufferLoad(vector, [tirx.Ramp(tirx.const(0, "int32"), tirx.const(1, "int32"), lanes)]) for vector in vectors]
    every = range(2 * lanes)  # of two vectors
    # two steps within each 128 bits, where a shuffle is cheapest, then whole ones of these
    near = [tuple(i for first in range(0, lanes, 4) for i in (first + part, first + part + 2,
                  first + part + lanes, first + part + lanes + 2)) for part in (0, 1)]
    far = [tuple(i for first in range(4 * part, 2 * lanes, 8) for i in every[first : first + 4]) for part in (0, 1)]
    for step in range(lanes.bit_length() - 1):
        even, odd = near if step < 2 else far
        pairs = zip(rows[::2], rows[1::2]) if len(rows) > 1 else [(rows[0], rows[0])]
        rows = [T.bind(_pick(x, y, even) + _pick(x, y, odd)) for x, y in pairs]
    return rows[0]


def _lanes(start: Expr) -> Expr:
    return tirx.Ramp(start, tirx.const(1, start.ty.dtype), SIDE)


def _pick(x: Expr, y: Expr, lanes: tuple[int, ...]) -> Expr:
    return T.bind(tirx.Shuffle([x, y], [tirx.const(lane, "int32") for lane in lanes]))

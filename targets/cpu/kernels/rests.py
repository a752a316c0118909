"""What is too large in A for sums of bytes in 16 bits: it is taken out of packed A, and multiplied separately.

A group that is too large by itself is split into two halves, or into four quarters where i8 cannot hold its numbers, which is
always enough; of two groups that are too large together the second one goes. Where that would be often, a step takes one group:
the first row of a tile decides for all of them, since rows of a layer are alike, and the result is the same either way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T

from targets.codegen.opaque import bind
from targets.codegen.vector_math import constant
from targets.cpu.kernels.byte_dot import GROUP, LIMIT, ByteDot, every, in_fours, in_pairs
from targets.cpu.kernels.dots import run, vector_at
from targets.cpu.kernels.workers import i64

CHUNK = 32  # bytes of A that are looked at in one vector, also where weights come in wider ones
WORDS, PAIRS = CHUNK // GROUP, CHUNK // 2
OFTEN = 8  # with rests in more than one of so many steps of two groups, steps of one group are faster

Place = Callable[[Expr], Expr]


class Rests:
    """The rests of packed A, of `rows` of `groups` groups, and where the sums of each row start.

    The weights' 128 add 128 times the sum of its x to a row's sums, which start lower by as much. Of u8, which have their zero
    anywhere, x less the mean of its row is taken, which is mostly small; the mean times the sums of the weights of each column,
    which a panel has behind them, is added in the end.
    """

    def __init__(self, dot: ByteDot, rows: int, groups: int) -> None:
        self.dot, self.groups = dot.single, groups
        # of a row: of two groups three of four halves, or seven of eight quarters
        self.capacity = max(1, (7 if dot.unsigned else 3) * groups // 2)
        self.starts = T.alloc_buffer((rows,), "int32")
        self._doubled = T.alloc_buffer((rows,), "int32")  # of each tile
        self._counts = T.alloc_buffer((rows,), "int32")
        self._words = T.alloc_buffer((rows * self.capacity * GROUP,), "int8")
        self._numbers = T.alloc_buffer((rows * self.capacity,), "int32")  # that the words belong to
        self._parts = T.alloc_buffer((WORDS,), "int32")  # of a row's sum
        if dot.unsigned:
            self._means = T.alloc_buffer((rows,), "int32")
            self._given = T.alloc_buffer((CHUNK,), "int8")  # a chunk as it was

    def doubled(self, tile: Expr) -> Expr:
        """Whether the steps of a tile take two groups."""
        return self._doubled[tile] != 0

    def take(self, tile: Expr, row: Expr, first: Expr, packed: Any, k: int, chunks: int, place: Place) -> None:
        """Emits what moves rests out of a row of a tile in `packed`: k bytes in chunks at `place(number)`.

        The `first` row of a tile decides how many groups its steps take.
        """
        T.buffer_store(self._counts, constant(0, "int32"), [row])
        total = self._row_sum(packed, chunks, place)
        if self.dot.unsigned:
            mean = bind(tirx.truncdiv(total, constant(max(1, k), "int32")))
            T.buffer_store(self._means, mean, [row])
            for beyond in range(k, chunks * CHUNK):  # all in the last chunk
                T.buffer_store(packed, tirx.Cast("int8", mean), [place(i64(chunks - 1)) + beyond % CHUNK])
            self._shift(row, mean, packed, chunks, place)
            total = total - mean * k
        T.buffer_store(self.starts, total * -128, [row])
        with T.If(first), T.Then():
            self._decide(tile, packed, chunks, place)
        with T.serial(i64(chunks)) as chunk:
            at = bind(place(chunk))
            of_one, of_two = _too_large(packed, at)
            with T.If(tirx.Select(self.doubled(tile), of_two, of_one) != 0), T.Then():
                for word in range(WORDS):
                    with T.If(_has(of_one, word)), T.Then():
                        self._halve(row, packed, at + word * GROUP, chunk * WORDS + word)
                    if word % 2:
                        with T.If(tirx.And(self.doubled(tile), _has(of_two, word - 1))), T.Then():
                            self._move(row, packed, at + word * GROUP, chunk * WORDS + word)

    def _row_sum(self, packed: Any, chunks: int, place: Place) -> Expr:
        T.buffer_store(self._parts, every(0, "int32", WORDS), [vector_at(i64(0), WORDS)])
        with T.serial(i64(chunks)) as chunk:
            x, ones = run(packed, bind(place(chunk)), CHUNK), every(1, "int8", CHUNK)
            pairs = in_pairs(x, ones, CHUNK) if self.dot.unsigned else in_pairs(ones, x, CHUNK)
            T.buffer_store(self._parts, run(self._parts, i64(0), WORDS) + in_fours(pairs, PAIRS), [vector_at(i64(0), WORDS)])
        total: Expr = self._parts[i64(0)]
        for lane in range(1, WORDS):
            total = total + self._parts[i64(lane)]
        return bind(total)

    def _shift(self, row: Expr, mean: Expr, packed: Any, chunks: int, place: Place) -> None:
        """Emits x - mean for a row of u8. Of a group that i8 cannot hold a quarter stays, which is always small enough."""
        flip = every(-128, "int8", CHUNK)  # u8 x - y as i8 (x - 128) - (y - 128)
        less = tirx.Broadcast(bind(tirx.Cast("int8", mean - 128)), CHUNK)
        with T.serial(i64(chunks)) as chunk:
            at = bind(place(chunk))
            x = bind(run(packed, at, CHUNK))
            shifted = bind(T.call_llvm_pure_intrin(f"int8x{CHUNK}", "llvm.ssub.sat", x ^ flip, less))
            beyond = _bits(tirx.Or(shifted.equal(every(127, "int8", CHUNK)), shifted.equal(every(-128, "int8", CHUNK))), "int8")
            T.buffer_store(packed, shifted, [vector_at(at, CHUNK)])
            with T.If(beyond != 0), T.Then():
                T.buffer_store(self._given, x, [vector_at(i64(0), CHUNK)])
                with T.serial(i64(WORDS)) as word, T.If(_has(beyond, word)), T.Then():
                    group = bind(tirx.reinterpret(f"uint8x{GROUP}", run(self._given, word * GROUP, GROUP)))
                    exact = bind(tirx.Cast(f"int16x{GROUP}", group) - tirx.Broadcast(tirx.Cast("int16", mean), GROUP))
                    quarters = [tirx.Cast(f"int8x{GROUP}", (exact + every(number, "int16", GROUP)) >> every(2, "int16", GROUP))
                                for number in range(4)]
                    T.buffer_store(packed, quarters[0], [vector_at(at + word * GROUP, GROUP)])
                    for quarter in quarters[1:]:
                        self._keep(row, quarter, chunk * WORDS + word)

    def _decide(self, tile: Expr, packed: Any, chunks: int, place: Place) -> None:
        """Emits the decision how many groups the steps of a tile take, by a row."""
        T.buffer_store(self._doubled, constant(0, "int32"), [tile])
        with T.serial(i64(chunks)) as chunk:
            found: Expr = self._doubled[tile]
            _, of_two = _too_large(packed, bind(place(chunk)))
            for word in range(0, WORDS, 2):
                found = found + tirx.Cast("int32", _has(of_two, word))
            T.buffer_store(self._doubled, found, [tile])
        seldom = self._doubled[tile] <= constant(chunks * WORDS // 2 // OFTEN, "int32")
        T.buffer_store(self._doubled, tirx.Cast("int32", seldom), [tile])

    def _halve(self, row: Expr, packed: Any, at: Expr, group: Expr) -> None:
        whole = run(packed, at, GROUP)
        half = bind(whole >> every(1, "int8", GROUP))
        self._keep(row, whole - half, group)
        T.buffer_store(packed, half, [vector_at(at, GROUP)])

    def _move(self, row: Expr, packed: Any, at: Expr, group: Expr) -> None:
        self._keep(row, run(packed, at, GROUP), group)
        T.buffer_store(packed, every(0, "int8", GROUP), [vector_at(at, GROUP)])

    def _keep(self, row: Expr, word: Expr, group: Expr) -> None:
        count = bind(self._counts[row])
        place = bind(row * self.capacity + tirx.Cast("int64", count))
        T.buffer_store(self._words, word, [vector_at(place * GROUP, GROUP)])
        T.buffer_store(self._numbers, tirx.Cast("int32", group), [place])
        T.buffer_store(self._counts, count + 1, [row])

    def add(self, row: Expr, panels: Any, panel: Expr, sums: Any, at: Expr) -> None:
        """Emits the products of a row's rests with the panel that begins at `panel`, added to the row's sums from `at` on."""
        dot, lanes = self.dot, self.dot.lanes
        if dot.unsigned:
            for v in range(2):
                of_columns = run(panels, panel + (self.groups * 2 + v) * (lanes * GROUP), lanes * GROUP)
                more = tirx.Broadcast(self._means[row], lanes) * tirx.reinterpret(f"int32x{lanes}", of_columns)
                T.buffer_store(sums, run(sums, at + v * lanes, lanes) + more, [vector_at(at + v * lanes, lanes)])
        with T.If(self._counts[row] > 0), T.Then():
            totals = [T.alloc_buffer((lanes,), "int32") for _ in range(2)]
            for v, total in enumerate(totals):
                T.buffer_store(total, run(sums, at + v * lanes, lanes), [vector_at(i64(0), lanes)])
            with T.serial(tirx.Cast("int64", self._counts[row])) as number:
                place = bind(row * self.capacity + number)
                weights = bind(panel + tirx.Cast("int64", self._numbers[place]) * (2 * lanes * GROUP))
                for v, total in enumerate(totals):
                    more = dot.step(run(total, i64(0), lanes), self._words, place * GROUP, panels, weights + v * lanes * GROUP)
                    T.buffer_store(total, more, [vector_at(i64(0), lanes)])
            for v, total in enumerate(totals):
                T.buffer_store(sums, run(total, i64(0), lanes), [vector_at(at + v * lanes, lanes)])


def _too_large(packed: Any, at: Expr) -> tuple[Expr, Expr]:
    """Where in a chunk x of one sign add up to too much, as bits of its bytes: in a group, and in two (the bits of the first)."""
    x, one, most = run(packed, at, CHUNK), every(1, "int8", CHUNK), every(LIMIT, "int16", PAIRS)
    above = bind(in_pairs(one, tirx.max(x, every(0, "int8", CHUNK)), CHUNK))
    below = bind(above - in_pairs(one, x, CHUNK))
    return (_bits(tirx.max(above, below) > most, "int16"),
            _bits(tirx.max(_with_next_word(above), _with_next_word(below)) > most, "int16"))


def _bits(condition: Expr, of: str) -> Expr:
    """Bits of the bytes of a chunk, from a condition on its elements of type `of`."""
    lanes = {"int8": CHUNK, "int16": PAIRS}[of]
    marks = tirx.Select(condition, every(-1, of, lanes), every(0, of, lanes))
    return bind(T.call_llvm_pure_intrin("int32", "llvm.x86.avx2.pmovmskb", tirx.reinterpret(f"int8x{CHUNK}", marks)))


def _with_next_word(pairs: Expr) -> Expr:
    """The pairs of a chunk, to those of even words added those of the next one; of odd words as they are."""
    two_words = tirx.reinterpret(f"uint64x{WORDS // 2}", pairs)
    return pairs + tirx.reinterpret(f"int16x{PAIRS}", two_words >> every(32, "uint64", WORDS // 2))


def _has(bits: Expr, word: int | Expr) -> Expr:
    """Whether a bit of the word is set."""
    shift = constant(word * GROUP, "int32") if isinstance(word, int) else tirx.Cast("int32", word * GROUP)
    return ((bits >> shift) & constant((1 << GROUP) - 1, "int32")) != 0

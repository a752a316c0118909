"""Copying of an operand's rows to shared memory, where they lie as 32-bit words: one f32, or two of a half precision.

Plain memory goes asynchronously, 16 bytes at a time; anything else (turned by rotary, cast, permuted) is computed, element by
element.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from targets.base.tvm_api import Buffer, Expr, T, int64, tirx
from targets.codegen.scalar import cast
from targets.codegen.vector_math import constant
from targets.cuda.kernels import device
from targets.cuda.kernels.adjacent import adjacent, stored_element
from targets.cuda.kernels.attention_tile import Lanes, padded

PIECE = 4  # words of one copy
BATCH = 8  # words that a thread computes before it stores the first

Element = Callable[[Expr, Expr], Expr]


def per_word(dtype: str) -> int:
    """How many elements a word holds."""
    return 1 if dtype == "float32" else 2


def word_type(dtype: str) -> str:
    """The type of the words that hold elements of `dtype`."""
    return "float32" if dtype == "float32" else "uint32"


@dataclass(frozen=True)
class Lines:
    """`count` lines of `stride` words each in shared memory, from word `base` on."""

    memory: Buffer
    base: Expr | int
    stride: int
    count: int

    def at(self, line: Expr, word: Expr) -> Expr:
        return line * self.stride + word + self.base


@dataclass(frozen=True)
class Rows:
    """Rows of an operand: load(j, d), of `dtype` (bf16 held as f32), for j < length (int32) and d < dim; elsewhere 0."""

    load: Element
    length: Expr
    dim: int
    dtype: str

    @property
    def words(self) -> int:
        """The number of words of a row, with its padding."""
        return padded(self.dim) // per_word(self.dtype)

    @property
    def copied(self) -> bool:
        """Whether 16 bytes at a time can be copied as they are."""
        j, group = tirx.Var("j", "int64"), PIECE * per_word(self.dtype)
        return self.dim % group == 0 and adjacent(lambda d: self.load(j, d), group, self.dtype)

    def fill(self, lines: Lines, start: Expr, lanes: Lanes) -> None:
        """The block begins to fill lines with the rows from `start` (int32) on."""
        (self._copy if self.copied else self._compute)(lines, start, lanes)

    def _copy(self, lines: Lines, start: Expr, lanes: Lanes) -> None:
        pieces, group = self.words // PIECE, PIECE * per_word(self.dtype)
        all_of_it, none = constant(4 * PIECE, "int32"), constant(0, "int32")

        def copy(number: Expr) -> None:
            row, piece = number // pieces, number % pieces
            element = stored_element(self.load(_wide(start + row), _wide(piece) * int64(group)))
            assert element is not None
            inside = start + row < self.length
            if pieces * group != self.dim:
                inside = tirx.And(inside, piece < self.dim // group)
            # nothing is read where the count is 0, so that the address may lie outside
            device.copy_async(device.address(lines.memory, lines.at(row, piece * PIECE)), tirx.address_of(element),
                              tirx.Select(inside, all_of_it, none))

        total = lines.count * pieces
        for step in range(-(-total // lanes.tile.threads)):
            _if(step * lanes.tile.threads + lanes.thread, total, (step + 1) * lanes.tile.threads, copy)

    def _compute(self, lines: Lines, start: Expr, lanes: Lanes) -> None:
        total, threads = lines.count * self.words, lanes.tile.threads
        batch = min(BATCH, -(-total // threads))
        blocks = -(-total // (threads * batch))
        pending = device.registers("pending", (batch,), word_type(self.dtype))
        with T.serial(blocks) as block:
            for stored in (False, True):
                for i in range(batch):
                    def body(number: Expr, i: int = i, stored: bool = stored) -> None:
                        row, word = number // self.words, number % self.words
                        if stored:
                            T.buffer_store(lines.memory, pending[i], [lines.at(row, word)])
                        else:
                            T.buffer_store(pending, self.word(start + row, word), [i])

                    _if((block * batch + i) * threads + lanes.thread, total, blocks * batch * threads, body)

    def word(self, j: Expr, word: Expr) -> Expr:
        """A word of row j (int32), 0 outside."""
        d = _wide(word) * int64(per_word(self.dtype))
        inside = tirx.And(j < self.length, d < int64(self.dim))
        if self.dtype == "float32":
            return device.where(inside, lambda: cast(self.load(_wide(j), d), "float32"))

        def half(i: int) -> Expr:
            return bits(self.load(_wide(j), d + int64(i)), self.dtype)

        def second() -> Expr:
            return half(1) if self.dim % 2 == 0 else device.where(d + int64(1) < int64(self.dim), lambda: half(1))

        return device.where(inside, lambda: join(half(0), second()))


def bits(value: Expr, dtype: str) -> Expr:
    """The 16 bits of a half-precision value (bf16 held as f32), as a uint32."""
    if dtype == "bfloat16":
        return tirx.reinterpret("uint32", value) >> constant(16, "uint32")
    return tirx.Cast("uint32", tirx.reinterpret("uint16", value))


def join(low: Expr, high: Expr) -> Expr:
    """A word of two halves."""
    return low | (high << constant(16, "uint32"))


def half_of(word: Expr, second: Expr, dtype: str) -> Expr:
    """One of the two numbers in a word, as f32."""
    sixteen = constant(16, "uint32")
    if dtype == "bfloat16":
        return tirx.reinterpret("float32", tirx.Select(second, (word >> sixteen) << sixteen, word << sixteen))
    return cast(tirx.reinterpret("float16", tirx.Cast("uint16", tirx.Select(second, word >> sixteen, word))), "float32")


def _wide(x: Expr) -> Expr:
    return tirx.Cast("int64", x)


def _if(number: Expr, total: int, end: int, body: Callable[[Expr], None]) -> None:
    """`body(number)` if the number, which is below `end`, is below `total`."""
    if end <= total:
        body(number)
    else:
        with T.If(number < total), T.Then():
            body(number)

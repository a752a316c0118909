"""Workers of TVM's pool that go through a loop together, without a launch for each of its rounds.

The work of a round is cut into chunks. Each worker takes those that are its own, which its caches know from the round before, and
every other round in the opposite order, so that it begins with what it had last; then those that nobody has taken for a while,
for their worker may be without a core; and the next round begins when all are done. So a round never waits for a worker that has
not begun it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from tvm import tirx
from tvm.ir import Expr
from tvm.script.ir_builder import tirx as T

from targets.codegen.opaque import bind
from targets.cpu.kernels.workers import divide, i64

LINE = 16  # numbers (of 4 bytes) from one chunk's to the next one's: each has a line of the cache for itself
CHUNKS = 2  # of a worker

# A chunk has two numbers: the rounds for which it was taken, and those for which it is done. `claim` gives a chunk to compute, or
# -1 if all are done. Who waits long lets other threads run. (Several kernels of a module define these: the linker keeps one.)
_LLVM = """
define linkonce_odr i32 @tgraph_claim_chunk(ptr %chunks, i32 %first, i32 %own, i32 %count, i32 %round) noinline {
entry:
  %following = add i32 %round, 1
  %odd = trunc i32 %round to i1
  %last = sub i32 %own, 1
  br label %scan
scan:
  %looks = phi i32 [ 0, %entry ], [ %looks.next, %again ]
  %patient = icmp slt i32 %looks, 64
  %reach = select i1 %patient, i32 %own, i32 %count
  br label %next
next:
  %j = phi i32 [ 0, %scan ], [ %j.next, %taken ]
  %within = icmp slt i32 %j, %reach
  br i1 %within, label %try, label %check
try:
  %mine.left = icmp slt i32 %j, %own
  %turned = and i1 %odd, %mine.left
  %opposite = sub i32 %last, %j
  %place = select i1 %turned, i32 %opposite, i32 %j
  %sum = add i32 %first, %place
  %chunk = urem i32 %sum, %count
  %at = mul i32 %chunk, 16
  %claimed.ptr = getelementptr i32, ptr %chunks, i32 %at
  %claimed = load atomic i32, ptr %claimed.ptr acquire, align 4
  %free = icmp eq i32 %claimed, %round
  br i1 %free, label %take, label %taken
take:
  %pair = cmpxchg ptr %claimed.ptr, i32 %round, i32 %following acq_rel acquire, align 4
  %won = extractvalue { i32, i1 } %pair, 1
  br i1 %won, label %mine, label %taken
mine:
  ret i32 %chunk
taken:
  %j.next = add i32 %j, 1
  br label %next
check:
  %i = phi i32 [ 0, %next ], [ %i.next, %ended ]
  %left = icmp slt i32 %i, %count
  br i1 %left, label %look, label %all
look:
  %i.at = mul i32 %i, 16
  %i.done = add i32 %i.at, 1
  %done.ptr = getelementptr i32, ptr %chunks, i32 %i.done
  %done = load atomic i32, ptr %done.ptr acquire, align 4
  %ahead = sub i32 %done, %round
  %is.done = icmp sgt i32 %ahead, 0
  br i1 %is.done, label %ended, label %wait
ended:
  %i.next = add i32 %i, 1
  br label %check
all:
  ret i32 -1
wait:
  %looks.next = add i32 %looks, 1
  %long = icmp sgt i32 %looks, 2048
  br i1 %long, label %yield, label %again
yield:
  %ignored = call i32 @sched_yield()
  br label %again
again:
  br label %scan
}
define linkonce_odr i32 @tgraph_end_chunk(ptr %chunks, i32 %chunk, i32 %round) alwaysinline {
  %at = mul i32 %chunk, 16
  %done.at = add i32 %at, 1
  %done.ptr = getelementptr i32, ptr %chunks, i32 %done.at
  %following = add i32 %round, 1
  store atomic i32 %following, ptr %done.ptr release, align 4
  ret i32 0
}
declare i32 @sched_yield()
"""


class Team:
    """Groups of workers, each of which has the same chunks of its own work.

    Made outside of the parallel loop. most: an upper bound of the chunks of all groups, which depends on the kernel's parameters
    alone.
    """

    def __init__(self, members: Expr, chunks: Expr, groups: Expr, most: Expr) -> None:
        self.members, self.chunks = members, chunks
        self.counts = T.alloc_buffer((most * LINE,), "int32")
        with T.serial(groups * chunks) as i:
            for number in range(2):
                T.buffer_store(self.counts, tirx.const(0, "int32"), [i * LINE + number])

    @staticmethod
    def imported() -> AbstractContextManager[Any]:
        """The frame that a kernel with teams is built in."""
        return T.attr("", "pragma_import_llvm", _LLVM)


class Member:
    """One worker of a group, within the parallel loop."""

    def __init__(self, team: Team, group: Expr, member: Expr) -> None:
        def first(number: Expr) -> Expr:
            return divide(team.chunks * number, team.members)

        self.team, self._at = team, bind(group * team.chunks * LINE)
        self._first = bind(tirx.Cast("int32", first(member)))
        self._own = bind(tirx.Cast("int32", first(member + i64(1))) - self._first)
        self._count = bind(tirx.Cast("int32", team.chunks))
        self._round, self._chunk = T.alloc_buffer((1,), "int32"), T.alloc_buffer((1,), "int32")
        T.buffer_store(self._round, tirx.const(0, "int32"), [0])

    def round(self, emit: Callable[[Expr], None]) -> None:
        """Emits a round: `emit(chunk)` for all chunks, each by one of the members; all are done when it ends."""
        self._claim()
        with T.While(self._chunk[0] >= tirx.const(0, "int32")):
            emit(bind(tirx.Cast("int64", self._chunk[0])))
            T.evaluate(tirx.call_extern("int32", "tgraph_end_chunk", self._chunks, self._chunk[0], self._round[0]))
            self._claim()
        T.buffer_store(self._round, self._round[0] + tirx.const(1, "int32"), [0])

    def turned(self, position: Expr, count: Expr) -> Expr:
        """`position` of `count`, counted from the end in every other round."""
        odd = tirx.EQ(self._round[0] & tirx.const(1, "int32"), tirx.const(1, "int32"))
        return tirx.Select(odd, count - 1 - position, position)

    def _claim(self) -> None:
        found = tirx.call_extern("int32", "tgraph_claim_chunk", self._chunks, self._first, self._own, self._count, self._round[0])
        T.buffer_store(self._chunk, found, [0])

    @property
    def _chunks(self) -> Expr:
        return tirx.address_of(self.team.counts[self._at])

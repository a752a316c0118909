"""Work in pieces: each is done once, by whoever comes first; a worker that is held up holds up nothing but its own piece."""

from __future__ import annotations

import os

import numpy as np
import pytest

tvm = pytest.importorskip("tvm")

from tvm import tirx  # noqa: E402
from tvm.script.ir_builder import IRBuilder  # noqa: E402
from tvm.script.ir_builder import tirx as T  # noqa: E402

from targets.codegen.opaque import bind  # noqa: E402
from targets.cpu.kernels.pieces import PIECES, parallel, part_count  # noqa: E402
from targets.cpu.kernels.workers import i64, worker_grid  # noqa: E402
from tests.targets.codegen.test_gemm import run_with  # noqa: E402

HIGH, WIDE = 10, 24
COLUMNS = (1, 7, 96, 193)


def counted(emit):
    """A kernel with a buffer of sizes known at run time, to which `emit(buffer, rows, columns)` adds."""
    with IRBuilder() as builder, T.prim_func():
        T.func_name("main")
        rows, columns = T.int64(), T.int64()
        counts = T.arg("counts", T.buffer((rows, columns), "int32"))
        emit(counts, rows, columns)
    return builder.get()


def add_one(counts, row, column):
    T.buffer_store(counts, counts[row, column] + tirx.const(1, "int32"), [row, column])


def blocks(columns: int, always: bool):
    def emit(counts, rows, _):
        grid = worker_grid(part_count(), rows, columns)
        with parallel(bind(grid[0] * grid[1])) as worker:

            def piece(row, high, column, wide):
                with T.serial(high) as i, T.serial(wide) as j:
                    add_one(counts, row + i, column + j)

            worker.each_block(grid, rows, columns, piece, high=HIGH, wide=WIDE, always=always)

    return counted(emit)


def runs(pieces: int | None):
    def emit(counts, rows, columns):
        with parallel(part_count()) as worker:

            def piece(first, count):
                with T.serial(count) as i, T.serial(columns) as j:
                    add_one(counts, first + i, j)

            worker.each_run(rows, piece, None if pieces is None else i64(pieces))

    return counted(emit)


def held_up():
    """Each row notes how many rows were done before it was: the first one waits for all others."""

    def emit(counts, rows, _):
        with parallel(part_count()) as worker:

            def piece(row, _):
                done, looks = T.alloc_buffer((1,), "int32"), T.alloc_buffer((1,), "int32")

                def look():
                    T.buffer_store(done, tirx.const(0, "int32"), [0])
                    with T.serial(rows) as other:
                        T.buffer_store(done, done[0] + tirx.Cast("int32", counts[other, 0] > 0), [0])

                T.buffer_store(looks, tirx.const(0, "int32"), [0])
                look()
                with T.If(row < 1), T.Then():
                    with T.While(tirx.And(done[0] < tirx.Cast("int32", rows - 1), looks[0] < 1_000_000)):
                        T.evaluate(tirx.call_extern("int32", "sched_yield"))
                        T.buffer_store(looks, looks[0] + tirx.const(1, "int32"), [0])
                        look()
                T.buffer_store(counts, done[0] + tirx.const(1, "int32"), [row, 0])

            worker.each_run(rows, piece)

    return counted(emit)


@pytest.fixture(scope="module")
def kernels(build):
    return build({**{f"blocks {n} {always}": blocks(n, always) for n in COLUMNS for always in (False, True)},
                  **{f"runs {pieces}": runs(pieces) for pieces in (None, 1, 5)}, "held up": held_up()})


def counts(kernels, name, rows, columns, threads, monkeypatch):
    buffer = tvm.runtime.tensor(np.zeros((rows, columns), "int32"))
    run_with(threads, lambda: kernels.library[name](buffer), monkeypatch)
    return buffer.numpy()


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("rows", [0, 1, 2, 9, 10, 11, 39, 85, 300])
def test_each_piece_is_done_once(kernels, rows, threads, monkeypatch):
    for columns in COLUMNS:
        for always in (False, True):
            assert (counts(kernels, f"blocks {columns} {always}", rows, columns, threads, monkeypatch) == 1).all()
    for pieces in (None, 1, 5):
        assert (counts(kernels, f"runs {pieces}", rows, 3, threads, monkeypatch) == 1).all()


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one core")
def test_others_take_what_a_worker_that_is_held_up_has_not_begun(kernels, monkeypatch):
    rows = 2 * PIECES  # of two workers, a piece each
    done = counts(kernels, "held up", rows, 1, 2, monkeypatch)
    assert done[0] == rows, "the first row saw all others done"

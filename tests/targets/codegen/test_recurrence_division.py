"""The division of a recurrence's work among workers: nobody without work while others have more than their share."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest

tvm = pytest.importorskip("tvm")

from tvm.script.ir_builder import IRBuilder  # noqa: E402
from tvm.script.ir_builder import tirx as T  # noqa: E402

from targets.cpu.kernels.recurrence_division import MOST, Problem  # noqa: E402

BATCHES, WORKERS = [0, 1, 2, 3, 6, 7, 8, 16, 24, 25, 31, 64, 1000], [1, 2, 3, 4, 8]
PROBLEMS = {  # LSTMs of AVX-512 and AVX2: inside of a cache, too large for one, too small for a team
    "256": Problem(1, 6, 24, 16, 1 << 16, 2 << 20),
    "256, both": Problem(2, 6, 24, 16, 1 << 16, 2 << 20),
    "512": Problem(1, 6, 24, 32, 1 << 17, 2 << 20),
    "512, both": Problem(2, 6, 24, 32, 1 << 17, 2 << 20),
    "32": Problem(1, 6, 24, 2, 1 << 13, 2 << 20),
    "16": Problem(1, 6, 24, 1, 1 << 12, 2 << 20),
    "256, AVX2": Problem(1, 2, 8, 32, 1 << 15, 1 << 19),
}


@pytest.fixture(scope="module")
def divided(build: Callable) -> dict[tuple[str, int, int], tuple[int, ...]]:
    """(blocks, members, groups, most) by problem, batch and workers."""
    def kernel(problem: Problem):
        with IRBuilder() as builder, T.prim_func():
            T.func_name("main")
            cases = T.int64()
            given = T.arg("given", T.buffer((cases, 2), "int64"))
            found = T.arg("found", T.buffer((cases, 4), "int64"))
            with T.serial(cases) as i:
                division = problem.divide(given[i, 0], given[i, 1])
                for n, value in enumerate((division.blocks, division.members, division.groups, division.most)):
                    T.buffer_store(found, value, [i, n])
        return builder.get()

    names = {name: f"case_{n}" for n, name in enumerate(PROBLEMS)}
    kernels = build({names[name]: kernel(problem) for name, problem in PROBLEMS.items()})
    given = np.array(list(itertools.product(BATCHES, WORKERS)))
    return {(name, batch, workers): tuple(map(int, row)) for name in PROBLEMS for (batch, workers), row in
            zip(given.tolist(), kernels(names[name], given, out=((len(given), 4), "int64")))}


def test_workers_are_used(divided: dict) -> None:
    for (name, batch, workers), (blocks, members, groups, most) in divided.items():
        problem, case = PROBLEMS[name], (name, batch, workers)
        assert 1 <= groups <= most <= MOST and 1 <= members <= problem.panels, case
        assert groups * members <= workers and groups <= blocks * problem.directions, case
        assert -(-batch // blocks) <= problem.block, case  # rows of the largest block
        if members == 1 and batch >= blocks:
            assert groups == min(workers, blocks * problem.directions), case


def test_teams(divided: dict) -> None:
    """One row of a large layer is for all workers; small layers, and rows for everybody, are not worth a hand-over."""
    assert divided["256", 1, 2] == (1, 2, 1, 1)
    assert divided["256, both", 1, 2] == (1, 1, 2, 2)
    assert divided["512, both", 1, 2] == (1, 2, 1, 2)
    assert divided["256, both", 1, 4] == (1, 2, 2, 2)
    assert divided["32", 1, 2][1] == divided["16", 1, 8][1] == divided["256", 16, 2][1] == divided["256", 8, 2][1] == 1
    assert divided["512", 64, 2][1] == 2
    assert divided["256", 8, 2][2] == 2  # as many groups as workers

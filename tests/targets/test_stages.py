"""The plan of memory: values that are alive at the same time lie apart, in no more than they need."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

import tgraph as tg
from targets.base.target import ALIGNMENT, Target
from targets.lowering.pipeline import kernel_graph
from targets.lowering.split_prepare import split_prepare
from targets.lowering.stages import MemoryPlan, plan_program
from tgraph.ir.program import Program

SPANS = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 6), st.integers(0, 600)), max_size=30)


class Plan(MemoryPlan):
    """A plan for values that are alive from a node to another, with a size in bytes."""

    def __init__(self, spans: list[tuple[int, int, int]]):
        self.intervals = [(start, start + length) for start, length, _ in spans]
        self.bytes = [size for _, _, size in spans]


@given(SPANS)
def test_values_that_live_together_lie_apart(spans: list[tuple[int, int, int]]) -> None:
    plan = Plan(spans)
    offsets, arena = plan.place({})
    sizes = [-(-max(b, 1) // ALIGNMENT) * ALIGNMENT for b in plan.bytes]
    ends = [at + size for at, size in zip(offsets, sizes)]
    assert arena == max(ends, default=0) <= sum(sizes)
    assert all(at % ALIGNMENT == 0 for at in offsets)
    for i, (a, b) in enumerate(plan.intervals):
        for j, (c, d) in enumerate(plan.intervals[:i]):
            assert d < a or b < c or ends[i] <= offsets[j] or ends[j] <= offsets[i]


def test_a_chain_of_values_takes_two_places() -> None:
    n = tg.dim("N")

    def model(x: tg.Tensor) -> tg.Tensor:
        for _ in range(30):
            x = tg.softmax(x * 1.5)
        return x

    graph = tg.trace(model, x=tg.f32[n, 16], name="chain")
    kernels = split_prepare(kernel_graph(Program(graph.weights, {"chain": graph}), Target.parse("cpu")))[1]
    plan = plan_program(kernels)["chain"].memory
    assert len(plan.values) == 29
    assert plan.place({"N": 100})[1] == 2 * 6400

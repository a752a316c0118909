"""The generator knows every op, says all that it can say, and says the same each time."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest

import tgraph as tg
from tgraph.ir.binding import bind_inputs
from tgraph.ir.determined import undetermined
from tgraph.ir.dims import symbols
from tgraph.ir.registry import OPS, Op, get_op
from tgraph.testing.examination import examine
from tgraph.testing.generator.feeds import TRIALS, feeds_of, sizes_of
from tgraph.testing.generator.idioms import IDIOMS
from tgraph.testing.generator.maker import EVERY
from tgraph.testing.generator.program import program
from tgraph.testing.generator.strategies import strategy_of
from tgraph.testing.others import HAS_TORCH

get_op("add")
BUILT_IN = sorted(name for name, op in OPS.items() if op.infer.__module__.startswith("tgraph.ops"))
PROGRAMS = range(180)


@pytest.fixture(scope="module")
def programs() -> list[tg.Graph]:
    return [program(seed) for seed in PROGRAMS]


@pytest.mark.parametrize("name", BUILT_IN)
def test_an_op_occurs_with_all_its_attributes_and_operands(name: str) -> None:
    """In programs of that op alone: each attribute has more than one value, each optional operand is there and is not."""
    op, seen, present = OPS[name], defaultdict(set), defaultdict(set)
    for seed in range(60):
        for node in program(seed, [name]).nodes:
            if node.op is op:
                for key, value in node.attrs.items():
                    seen[key].add(str(value))
                for operand, value in zip(op.operands, node.operands):
                    present[operand.name].add(value is not None)
    assert set(seen) >= set(op.attributes) and present.keys() >= {o.name for o in op.operands if not o.variadic}, "never applied"
    assert [key for key in op.attributes if len(seen[key]) < 2] == []
    assert [o.name for o in op.operands if o.optional and len(present[o.name]) < 2] == []


def test_a_new_op_needs_a_strategy() -> None:
    def takes_words(x: tg.TensorType, *, words: str) -> tg.TensorType:
        """Something new."""
        return x

    def reads_neighbours(x: tg.TensorType, *, reach: int = 1) -> tg.TensorType:
        """Something else."""
        return x

    for op in (Op(takes_words, "takes_words", elementwise=True), Op(reads_neighbours, "reads_neighbours")):
        with pytest.raises(LookupError, match=f"op {op.name} has no strategy"):
            strategy_of(op)

    def half(x: tg.TensorType) -> tg.TensorType:
        """A new elementwise op needs none."""
        return x

    assert callable(strategy_of(Op(half, "half", elementwise=True)))


def test_a_seed_is_a_program(programs: list[tg.Graph]) -> None:
    for seed in (0, 7, 99):
        again = program(seed)
        assert str(again) == str(programs[seed])
        for trial in range(TRIALS):
            one, other = feeds_of(programs[seed], seed, trial), feeds_of(tg.parse(str(again)), seed, trial)
            assert all(np.array_equal(one[k].view(np.uint8) if one[k].ndim else one[k], other[k].view(np.uint8) if one[k].ndim
                                      else other[k], equal_nan=one[k].ndim == 0 and one[k].dtype.kind == "f") for k in one)


def test_programs_are_sound(programs: list[tg.Graph]) -> None:
    """They verify, are their own text, and the reference runs them on most sets of inputs."""
    trials = skipped = 0
    for seed, graph in zip(PROGRAMS, programs):
        tg.verify(graph)
        outcome = examine({seed: graph}, ())[seed]
        assert outcome.findings == [], f"seed {seed}\n{graph}"
        trials, skipped = trials + outcome.trials, skipped + outcome.skipped
    assert skipped < trials / 20


def test_programs_have_what_back_ends_trip_over(programs: list[tg.Graph]) -> None:
    values = [v for g in programs for n in g.nodes for v in n.results]
    assert {v.dtype for v in values} == set(EVERY)
    more = [program(seed) for seed in range(1000, 1400)]
    assert {n.op.name for g in (*programs, *more) for n in g.nodes} >= set(BUILT_IN) - {"unpack_panels", "call"}
    sizes = {d for v in values for d in v.shape}
    assert {0, 1, 33} <= sizes and {"B", "S", "L"} <= {str(d) for d in sizes}
    assert sum(len(v.uses) > 2 for v in values) > len(values) / 60  # shared values
    assert max(len(g) for g in programs) > 40 and sum(len(g) < 10 for g in programs) > 20
    assert {v.type.rank for v in values} >= {0, 1, 2, 3, 4}
    assert len(IDIOMS) > 15
    with_states = [g for g in programs if g.states]
    assert len(with_states) > len(programs) / 12
    read = {name in {i.name for i in g.inputs} for g in with_states for name in g.states}
    written = {name in {n for n, _ in g.outputs} for g in with_states for name in g.states}
    assert read == written == {True, False}


def test_inputs_are_hard_by_rule(programs: list[tg.Graph]) -> None:
    feeds = [a for seed, g in zip(PROGRAMS, programs) for t in (1, 2) for a in feeds_of(g, seed, t).values()]
    floats = np.concatenate([a.ravel() for a in feeds if a.dtype == np.float32])
    assert np.isnan(floats).any() and (floats == np.inf).any() and (floats == -np.inf).any()
    assert (np.signbit(floats) & (floats == 0)).any() and (floats == np.finfo(np.float32).min).any()
    assert ((floats != 0) & (np.abs(floats) < np.finfo(np.float32).tiny)).any()
    for dtype in (np.int8, np.int32, np.int64):
        integers = np.concatenate([a.ravel() for a in feeds if a.dtype == dtype])
        assert {np.iinfo(dtype).min, np.iinfo(dtype).max, 0, -1} <= set(integers.tolist())
    calm = [a for seed, g in zip(PROGRAMS, programs) for a in feeds_of(g, seed, 0).values() if a.dtype.kind == "f"]
    assert all(np.isfinite(a).all() for a in calm)


@pytest.mark.skipif(not HAS_TORCH, reason="PyTorch is not installed")
def test_the_reference_is_what_pytorch_computes(programs: list[tg.Graph]) -> None:
    unmapped: set[str] = set()
    for seed, graph in zip(PROGRAMS, programs):
        outcome = examine({seed: graph}, ("torch",))[seed]
        assert outcome.findings == [], f"seed {seed}\n{graph}"
        unmapped |= set(outcome.not_comparable)
    # they have a meaning in f32 only
    assert unmapped <= {f"torch: no meaning of {op}" for op in ("quantize_rows", "quantize_blocks")}


def test_sizes_are_those_that_a_graph_takes() -> None:
    graph = tg.parse("""graph g(%x: f32[B, S-2], %y: f32[T, L], %z: f32[U]) -> (z: f32[U])
  where 1 <= S <= 64, 4 <= L <= 9, T == S, U == 4, S >= 2, T >= L + 3, B + 7 >= S {
  return (z: %z)
}""")
    for seed in range(8):
        for trial in range(TRIALS):
            sizes = bind_inputs(graph, feeds_of(graph, seed, trial))[1]
            assert sizes == sizes_of(graph, seed, trial) and sizes["U"] == 4


def test_all_sizes_follow_from_inputs(programs: list[tg.Graph]) -> None:
    """The last had B only in (B+1)//2, of which two sizes make the same."""
    for graph in (*programs, program(2195543)):
        assert undetermined(graph) is None


@pytest.mark.parametrize("seed", [2042417, 2061202])
def test_nothing_is_required_of_sizes_that_data_decide_or_nothing_has(seed: int) -> None:
    """The first once added rows of a mask to 8 others; of the second, all that had a size S >= 2 was dead."""
    graph = program(seed)
    tg.verify(graph)
    given = {s.name for i in graph.inputs for d in i.shape for s in symbols(d)}
    assert {s.name for pair in (*graph.constraints, *graph.inequalities) for d in pair for s in symbols(d)} <= given

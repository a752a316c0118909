"""What tgraph.testing gives to users: strategies of hypothesis, `check`, and strategies of ops of their own."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tgraph as tg
from tgraph import testing
from tgraph.testing.generator.written import WRITTEN


@settings(max_examples=40)
@given(st.data())
def test_graphs_have_what_was_asked_for(data: st.DataObject) -> None:
    graph = data.draw(testing.graphs(["add", "cast", "reduce_sum", "where"], dtypes=[tg.f32, tg.i32, tg.bool_]))
    tg.verify(graph)
    values = [*graph.inputs, *(v for n in graph.nodes for v in (*n.inputs, *n.results))]
    assert {v.dtype for v in values} <= {tg.f32, tg.i32, tg.bool_}
    feeds = data.draw(testing.feeds(graph, calm=True))
    assert all(np.isfinite(a).all() for a in feeds.values())
    assert testing.check(graph, ways=["text", "json"])


@settings(max_examples=30)
@given(testing.graphs(nodes=3), st.sampled_from(testing.EVERY))
def test_graphs_of_all_ops_end_where_they_are_told_to(graph: tg.Graph, dtype: tg.DType) -> None:
    tg.verify(graph)
    assert set(graph.weights) >= set(graph.parameters)
    tg.parse(str(graph))


def test_each_element_type_alone_gives_graphs() -> None:
    for dtype in testing.EVERY:
        @settings(max_examples=4)
        @given(testing.graphs(["expand", "concat", "transpose", "where"], dtypes=[dtype]))
        def only(graph: tg.Graph) -> None:
            assert {v.dtype for n in graph.nodes for v in n.results} == {dtype}

        only()


def test_bad_arguments_are_named() -> None:
    with pytest.raises(tg.GraphError, match="names of ops and element types"):
        testing.graphs("add")
    with pytest.raises(tg.TGraphError, match="unknown op"):
        testing.graphs(["nothing"])
    graph = tg.trace(lambda x: x * 2.0, x=tg.f32[4])
    with pytest.raises(tg.GraphError, match="no way 'O9'"):
        testing.check(graph, ways=["O9"])


def test_without_hypothesis_the_error_says_what_to_install() -> None:
    code = ("import sys; sys.modules['hypothesis'] = None\nimport tgraph as tg\n"
            "print(bool(tg.testing.check(tg.trace(lambda x: x + 1.0, x=tg.f32[4]), ways=['text'])))\ntg.testing.graphs()")
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.stdout.strip() == "True", found.stderr
    assert "tgraph.testing.graphs needs hypothesis: pip install tgraph-compiler[testing]" in found.stderr


@pytest.mark.filterwarnings("ignore")
def test_an_op_of_ones_own_needs_a_strategy_and_is_then_checked() -> None:
    @tg.op(along=-1)
    def last_sum(x: tg.TensorType, *, scale: float = 1.0) -> tg.TensorType:
        """scale times the sum along the last axis."""
        return x.with_shape(x.shape[:-1])

    @last_sum.reference
    def _(x: np.ndarray, scale: float) -> np.ndarray:
        return scale * x.sum(axis=-1)

    @last_sum.decomposition
    def _(b, x, scale):  # type: ignore[no-untyped-def]
        return b.reduce_sum(x, axes=(-1,))  # the scale is forgotten

    with pytest.raises(LookupError, match="op last_sum has no strategy"):
        testing.graphs(["last_sum"])
    try:
        @testing.strategy("last_sum")
        def _(m: testing.Maker) -> object:
            return m.b.last_sum(m.pick((tg.f32,), least=1), scale=m.random.choice((1.0, 3.0)))

        found = [testing.check(testing.program(seed, ["last_sum"]), seed, ways=["O3"]) for seed in range(8)]
    finally:
        del WRITTEN["last_sum"]
    assert any(found) and not all(found)
    assert {(f.kind, f.step) for outcome in found for f in outcome.findings} == {("wrong", "O3")}


def test_a_graph_that_takes_none_of_the_inputs_is_no_success() -> None:
    graph = tg.trace(lambda x, i: tg.gather(x, i), x=tg.f32[4], i=tg.i64[64])  # indices that are made lie outside
    outcome = testing.check(graph, ways=["text"])
    assert outcome.trials == 0 and "takes none of the inputs" in str(outcome)

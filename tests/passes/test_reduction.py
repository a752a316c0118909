"""Delta debugging: small, valid, still interesting results, in few tries."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_graphs import graphs

import tgraph as tg
from passes.debug.reduction import Reducer, reduce_graph
from tgraph.models.bert import Bert, BertConfig


def bert(layers: int = 3) -> tg.Graph:
    config = BertConfig(hidden_size=8, num_hidden_layers=layers, num_attention_heads=2, intermediate_size=16, vocab_size=50)
    length = tg.dim("S", max=512)
    return tg.trace(Bert(config), input_ids=tg.i64[tg.dim("B"), length], mask=tg.bool_[tg.dim("B"), length])


def ops(graph: tg.Graph) -> list[str]:
    return [n.op.name for n in graph.nodes]


def test_one_op_is_left_of_a_bert() -> None:
    search = Reducer(bert(), lambda g: "attention" in ops(g))
    result = search.run()
    assert ops(result) == ["attention"] and len(result.nodes[0].inputs) == 3, "the mask is optional"
    assert len(result.outputs) == 1 and not result.parameters and len(result.inputs) == 3
    assert search.tried < 150
    tg.verify(result)


def test_a_deep_stack_takes_few_tries() -> None:
    search = Reducer(bert(24), lambda g: any(n.provenance.scope.startswith("encoder.layer.17") and n.op.name == "gelu"
                                               for n in g.nodes))
    assert ops(search.run()) == ["gelu"]
    assert search.tried < 300


def test_a_pair_far_apart_stays_connected() -> None:
    """Interesting: a tanh that depends on a gelu."""
    def depends(graph: tg.Graph) -> bool:
        below: dict[object, bool] = {}
        for node in graph.nodes:
            below[node] = node.op.name == "gelu" or any(below[v.node] for v in node.inputs if hasattr(v, "node"))
        return any(n.op.name == "tanh" and below[n] for n in graph.nodes)

    result = reduce_graph(bert(1), depends)
    assert {"gelu", "tanh"} <= set(ops(result)) and len(result) <= 8


def test_outputs_that_do_not_matter_are_dropped() -> None:
    graph = tg.trace(lambda x: {"a": tg.exp(x), "b": tg.relu(x), "c": tg.tanh(tg.relu(x))}, x=tg.f32[3])
    result = reduce_graph(graph, lambda g: any(n == "b" for n, _ in g.outputs))
    assert [n for n, _ in result.outputs] == ["b"] and len(result) == 0
    assert len(graph.outputs) == 3, "the given graph stays"


def test_constraints_of_dims_that_are_gone_go_too() -> None:
    graph = tg.parse("graph g(%x: f32[S], %z: f32[T], %w: f32[3]) -> (y: f32[S], e: f32[3]) where S == T {\n"
                     "  %0 = add(%x, %z) : f32[S]\n  %1 = exp(%w) : f32[3]\n  return (y: %0, e: %1)\n}")
    result = reduce_graph(graph, lambda g: "exp" in ops(g))
    assert result.constraints == [] and [i.name for i in result.inputs] == ["w"]


def test_a_chain_that_nothing_reads_is_cut() -> None:
    graph = tg.parse("graph g(%x: f32[B, 4]) -> (y: f32[B, 4]) {\n"
                     "  %0, %1 = split(%x, sizes=[1, 3], axis=-1) : (f32[B, 1], f32[B, 3])\n"
                     "  %2 = concat(%1, %0, axis=-1) : f32[B, 4]\n  return (y: %x)\n}")
    assert ops(reduce_graph(graph, lambda g: "concat" in ops(g))) == ["concat"]


def test_what_is_not_interesting_is_refused() -> None:
    with pytest.raises(tg.PassError, match="graph bert is not interesting as it is"):
        reduce_graph(bert(1), lambda g: False)


@given(graphs(), st.data())
@settings(max_examples=40)
def test_every_candidate_is_valid(graph: tg.Graph, data: st.DataObject) -> None:
    present = sorted(set(ops(graph)))
    if not present:
        return
    wanted = data.draw(st.sampled_from(present))

    def interesting(candidate: tg.Graph) -> bool:
        tg.verify(candidate)
        assert tg.parse(str(candidate)) == candidate
        return wanted in ops(candidate)

    result = reduce_graph(graph, interesting)
    assert ops(result) == [wanted] or len(result) < len(graph) or ops(graph).count(wanted) == len(graph)

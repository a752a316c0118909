"""Passes inside of the functions that a graph calls."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

import tgraph as tg
from passes import PASSES, ValidateEach, bisect, optimize
from passes.functions import rewrite_functions
from passes.patterns import rule
from passes.rewriting import RewritePass
from tgraph.models.bert import Bert, BertConfig
from tgraph.reference import generate_inputs, run

B, S = tg.dims("B S")
GATED = """
function $gate(%x: f32[N, 8]) -> (y: f32[N, 8]) {
  %0 = sigmoid(%x) : f32[N, 8]
  %1 = mul(%x, %0) : f32[N, 8]
  return (y: %1)
}

function $twice(%x: f32[N, 8]) -> (y: f32[N, 8]) {
  %0 = call $gate(%x) : f32[N, 8]
  %1 = call $gate(%0) : f32[N, 8]
  return (y: %1)
}

graph g(%x: f32[B, 8]) -> (y: f32[B, 8]) {
  %0 = call $twice(%x) : f32[B, 8]
  %1 = call $gate(%0) : f32[B, 8]
  %2 = call $twice(%1) : f32[B, 8]
  return (y: %2)
}
"""


@dataclass(frozen=True)
class Wrong(RewritePass):
    """x sigmoid(x) = relu(x), which is wrong."""

    effect = "rounds"
    rules = (rule("x sigmoid(x) = relu(x)", lambda x: x * tg.sigmoid(x), lambda x: tg.relu(x)),)


def test_calls_share_the_new_functions_and_the_given_ones_stay() -> None:
    graph = tg.parse(GATED)
    text = str(graph)
    after = optimize(graph, "fuse-silu", verify_each=True, instruments=[ValidateEach()])
    assert str(graph) == text
    assert [len(f) for f in after.functions.values()] == [1, 2] and list(after.functions) == ["gate", "twice"]
    assert "silu" in str(after) and "sigmoid" not in str(after)
    called = [n.attrs["function"] for n in after.nodes]
    assert called[0] is called[2] and str(called[0].nodes[0].attrs["function"]) == str(called[1])


def test_nothing_to_do_leaves_the_functions_themselves() -> None:
    graph = tg.parse(GATED)
    functions = [n.attrs["function"] for n in graph.nodes]
    rewrite_functions(graph, lambda body: None)
    assert all(n.attrs["function"] is f for n, f in zip(graph.nodes, functions))


def test_a_wrong_rewrite_in_a_function_is_caught_and_named() -> None:
    graph = tg.parse(GATED)
    with pytest.raises(tg.PassError, match=r"pass wrong .*changes the result"):
        optimize(graph, [Wrong()], instruments=[ValidateEach()])
    culprit = bisect(graph, [Wrong()])
    assert culprit is not None and culprit.rewrite is not None
    assert (culprit.rewrite.rule, culprit.number) == ("x sigmoid(x) = relu(x)", 1)


def test_passes_that_make_functions_do_not_enter_them() -> None:
    outside = {name for name, cls in PASSES.items() if cls.__module__.startswith("passes.") and not cls.enters_functions}
    assert outside == {
        "fuse-bias-activation", "fuse-embeddings", "fuse-skip-norm", "inline",  # make functions, or take them apart
        "remove-dead-outputs", "remove-padding",  # about outputs
        "quantize-products", "store-weights",  # in a function, a weight is an input like others
        "mixed-precision", "specialize-shapes",  # go in by themselves
    }


@pytest.fixture(scope="module")
def bert() -> tg.Graph:
    config = BertConfig(vocab_size=30, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
                        max_position_embeddings=16)
    graph = tg.trace(Bert(config), input_ids=tg.i64[B, S], mask=tg.bool_[B, S])
    return optimize(graph, f"{tg.passes.LEVELS['O3']},fuse-embeddings,fuse-skip-norm")


def test_specialized_functions_have_no_symbol_left(bert: tg.Graph) -> None:
    small = optimize(bert, "specialize-shapes{B=2,S=5}", verify_each=True)
    assert {"linear_gelu", "add_layer_norm"} <= set(small.functions)
    for graph in (small, *small.functions.values()):
        assert not graph.symbols
    feeds = generate_inputs(bert, {"B": 2, "S": 5})
    expected, found = run(bert, feeds), run(small, feeds)
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name])
    assert optimize(small, "specialize-shapes{B=2,S=5}") == small


@pytest.mark.parametrize("dtype", ["f16", "bf16"])
def test_products_of_functions_are_lowered(bert: tg.Graph, dtype: str) -> None:
    lowered = optimize(bert, f"mixed-precision{{dtype={dtype}}}", verify_each=True)
    products = [n for g in (lowered, *lowered.functions.values()) for n in g.nodes if n.op.name in ("linear", "attention")]
    assert len(products) == 2 * 4 + 2 and {str(n.result.dtype) for n in products} == {dtype}
    feeds = generate_inputs(bert)
    expected, found = run(bert, feeds), run(lowered, feeds)
    for name in expected:  # casts between floats do not round in float64
        np.testing.assert_allclose(found[name], expected[name], atol=1e-12)

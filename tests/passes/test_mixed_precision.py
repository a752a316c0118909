"""mixed-precision on a whole model: within the tolerance of the type, with the given signature."""

from __future__ import annotations

import numpy as np
import pytest

import tgraph as tg
from passes import run_pipeline
from tgraph.models.bert import Bert, BertConfig
from tgraph.reference import generate_inputs, run
from tgraph.reference.tolerance import TOLERANCES, compare

B, S = tg.dims("B S")
CONFIG = BertConfig(vocab_size=30, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
                    max_position_embeddings=16)
HALVES = {"f16": tg.f16, "bf16": tg.bf16}


@pytest.fixture(scope="module")
def graph() -> tg.Graph:
    return tg.trace(Bert(CONFIG), name="bert", input_ids=tg.i64[B, S], mask=tg.bool_[B, S])


@pytest.mark.parametrize("dtype", HALVES)
def test_bert(graph: tg.Graph, dtype: str) -> None:
    lowered = run_pipeline(graph, f"fuse-qkv,mixed-precision{{dtype={dtype}}}", verify_each=True)[0]
    half = HALVES[dtype]
    for node in lowered.nodes:
        if node.op.name in ("linear", "attention"):
            assert node.result.dtype == half
        elif node.op.name in ("layer_norm", "gelu", "add", "tanh"):
            assert node.result.dtype == tg.f32
    assert [(n, v.type) for n, v in lowered.outputs] == [(n, v.type) for n, v in graph.outputs]
    assert [(i.name, i.type) for i in lowered.inputs] == [(i.name, i.type) for i in graph.inputs]
    feeds = generate_inputs(graph)
    expected, exact, rounded = run(graph, feeds), run(lowered, feeds), run(lowered, feeds, faithful=True)
    for name in expected:
        assert compare(exact[name], expected[name], 1e-12).ok  # casts between floats do not round in float64
        comparison = compare(rounded[name], expected[name], TOLERANCES[half][0])
        assert comparison.ok and comparison.error > 1e-6, comparison


@pytest.mark.parametrize("dtype", HALVES)
def test_bert_compiled(graph: tg.Graph, dtype: str) -> None:
    feeds = generate_inputs(graph)
    expected = run(graph, feeds)
    found = tg.compile(graph, "cpu", passes=f"fuse-qkv,mixed-precision{{dtype={dtype}}}").run(feeds)
    for name in expected:
        assert found[name].dtype == np.float32
        assert compare(found[name], expected[name], TOLERANCES[HALVES[dtype]][0]).ok


def test_moves_between_products_move_halves(graph: tg.Graph) -> None:
    """One rounding of x a layer half, and none between the projections, the heads and the product after attention."""
    lowered = run_pipeline(graph, "mixed-precision", verify_each=True)[0]
    casts = [n.result for n in lowered.nodes if n.op.name == "cast"]
    inputs = [r for r in casts if r.shape[:1] == (B,) and r.dtype == tg.f16]
    assert len(inputs) == 2 * 3 + 1  # x, the middle and the hidden of each feed-forward network; the pooler
    moved = [n for n in lowered.nodes if n.op.name in ("reshape", "transpose")]
    assert moved and all(n.result.dtype == tg.f16 for n in moved)


@pytest.mark.parametrize(("options", "message"), [
    ("dtype=f8", "dtype is f16 or bf16, got 'f8'"),
    ("keep=linear+softmax", "keep lists attention, linear, matmul.*softmax"),
])
def test_wrong_options(graph: tg.Graph, options: str, message: str) -> None:
    with pytest.raises(tg.PassError, match=message):
        run_pipeline(graph, f"mixed-precision{{{options}}}")

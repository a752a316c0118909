"""`compile(..., precision=, weights=)`: what is stored, what stays the same, how far results lie from the reference."""

from __future__ import annotations

import numpy as np
import pytest

import tgraph as tg
from tgraph.models.bert import Bert, BertConfig
from tgraph.reference import generate_inputs, run
from tgraph.reference.tolerance import TOLERANCES, compare

B, S = tg.dims("B S")
CONFIG = BertConfig(vocab_size=50, hidden_size=48, num_hidden_layers=2, num_attention_heads=2, intermediate_size=80,
                    max_position_embeddings=16)
HALVES = {"f16": tg.f16, "bf16": tg.bf16}


@pytest.fixture(scope="module")
def graph() -> tg.Graph:
    return tg.trace(Bert(CONFIG), name="bert", input_ids=tg.i64[B, S], mask=tg.bool_[B, S])


def signature(graph: tg.Graph) -> object:
    return [(i.name, i.type) for i in graph.inputs], [(n, v.type) for n, v in graph.outputs]


@pytest.mark.parametrize("dtype", HALVES)
def test_weights_in_half_precision(graph: tg.Graph, dtype: str) -> None:
    exe = tg.compile(graph, weights=dtype)
    matrices = [v.type for _, v in exe.prepare.outputs if v.type.rank >= 2]
    assert matrices and all(t.dtype == HALVES[dtype] for t in matrices)
    assert signature(exe.kernels) == signature(graph)
    feeds = generate_inputs(graph)
    expected, found = run(graph, feeds), exe.run(feeds)
    for name in expected:
        comparison = compare(found[name], expected[name], TOLERANCES[HALVES[dtype]][0])
        assert comparison.ok and comparison.error > 1e-6, comparison


def test_other_weights_are_narrowed_as_well(graph: tg.Graph) -> None:
    exe = tg.compile(graph, weights="bf16")
    feeds = generate_inputs(graph)
    before = exe.run(feeds)
    exe.load_weights({name: -np.asarray(graph.weights[name]) for name in graph.parameters})
    after = exe.run(feeds)
    assert any(not np.array_equal(before[name], after[name]) for name in before)

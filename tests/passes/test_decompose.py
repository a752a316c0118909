"""Taking ops apart, and what the fusions make of the parts."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

import tgraph as tg
from passes import optimize
from tgraph.ir.errors import PassError
from tgraph.ir.registry import OPS
from tgraph.models.bert import Bert, BertConfig
from tgraph.reference import generate_inputs, run

B, S = tg.dims("B S")
FUSIONS = ("canonicalize,simplify,cse,fuse-softmax,fuse-layer-norm,fuse-rms-norm,fuse-gelu,fuse-silu,"
           "eliminate-transposes,dce")
LAYERS = 2


@pytest.fixture(scope="module")
def bert() -> tg.Graph:
    config = BertConfig(num_hidden_layers=LAYERS, hidden_size=16, num_attention_heads=2, intermediate_size=24,
                        vocab_size=40)
    return tg.trace(Bert(config), input_ids=tg.i64[B, S], mask=tg.bool_[B, S])


def ops(graph: tg.Graph) -> Counter[str]:
    return Counter(n.op.name for n in graph.nodes)


def test_nothing_composite_is_left(bert: tg.Graph) -> None:
    assert not [n.op.name for n in optimize(bert, "decompose", verify_each=True).nodes if n.op.decompose is not None]


def test_the_fusions_find_everything_again(bert: tg.Graph) -> None:
    fused = optimize(bert, f"decompose,{FUSIONS}", verify_each=True)
    found, traced = ops(fused), ops(bert)
    for name in ("layer_norm", "gelu", "linear", "embedding", "gather", "tanh"):
        assert found[name] == traced[name], name
    assert found["softmax"] == LAYERS
    feeds = generate_inputs(bert)
    before, after = run(bert, feeds), run(fused, feeds)
    for name in before:
        np.testing.assert_allclose(after[name], before[name], atol=1e-6)


def test_transposes_become_fewer(bert: tg.Graph) -> None:
    decomposed = optimize(bert, "decompose")
    left = ops(optimize(decomposed, "eliminate-transposes"))
    linears = ops(bert)["linear"]
    # the transpose of each weight goes, and the two of each key become one
    assert left["transpose"] == ops(decomposed)["transpose"] - linears - LAYERS
    assert left["linear"] == linears


def test_scopes_survive(bert: tg.Graph) -> None:
    def scopes(graph: tg.Graph) -> set[str]:
        return {s for n in graph.nodes for s in n.provenance.scopes}

    # the slice of the token types is in the prepare part; nothing else may be lost
    assert scopes(optimize(bert, f"decompose,{FUSIONS}")) == scopes(bert)


@pytest.mark.parametrize("name", sorted(n for n, op in OPS.items() if op.decompose is not None))
def test_each_op_by_name(name: str) -> None:
    graph = tg.trace(lambda x: tg.exp(x), tg.f32[B])
    assert optimize(graph, f"decompose{{ops={name}}}") == graph


@pytest.mark.parametrize(("option", "message"), [
    ("exp", "exp is a primitive"), ("sofmax", "no op 'sofmax'; composites: softmax"),
    ("gelu+exp", "exp is a primitive")])
def test_names_of_ops_are_checked(option: str, message: str) -> None:
    with pytest.raises(PassError, match=message):
        optimize(tg.trace(lambda x: tg.exp(x), tg.f32[B]), f"decompose{{ops={option}}}")

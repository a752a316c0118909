"""The workloads' computations: what other runtimes are given means what tgraph's graph means, and costs what is counted."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

import tgraph as tg
from benchmarks.harness.bert_peer import BertPeer
from benchmarks.harness.job import WEIGHTS, Job
from benchmarks.harness.onnx_bert import bert_onnx
from benchmarks.harness.onnx_int8 import compress_weights
from benchmarks.harness.runtimes import RUNTIMES, UnsupportedError
from benchmarks.models.attention import AttentionPeer, attention_graph
from benchmarks.models.products import ProductsPeer, products_graph
from benchmarks.work import least_bytes, product_flops, ragged_flops
from tgraph.formats import save_safetensors
from tgraph.models.bert import Bert, BertConfig
from tgraph.reference.inputs import generate_inputs


def run_onnx(model: Any, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return list(session.run(None, feeds))


@pytest.mark.parametrize("causal", [False, True])
def test_attention(causal: bool) -> None:
    graph = attention_graph(heads=3, head_dim=8, causal=causal)
    feeds = generate_inputs(graph, {"B": 2, "S": 5})
    expected, = tg.reference.run(graph, feeds).values()
    peer = AttentionPeer({}, 3, 8, causal)
    for name, model in peer.onnx().items():
        assert np.abs(run_onnx(model, peer.onnx_feeds(feeds))[0] - expected).max() < 1e-5, name


def test_products() -> None:
    graph = products_graph(6, 4, 3)
    feeds = generate_inputs(graph, {"M": 5})
    peer = ProductsPeer(graph.weights)
    outputs = run_onnx(peer.onnx()[""], peer.onnx_feeds(feeds))
    for (name, expected), output in zip(tg.reference.run(graph, feeds).items(), outputs, strict=True):
        assert expected.shape == (1, 6) and np.abs(output - expected).max() < 1e-5, name


def test_weights_of_eight_bits() -> None:
    graph = products_graph(16, 64, 2)
    feeds = generate_inputs(graph, {"M": 3})
    made = compress_weights(ProductsPeer(graph.weights).onnx()[""])
    assert [n.op_type for n in made.graph.node] == ["DequantizeLinear", "MatMul", "Slice"] * 2
    for weight in [t for t in made.graph.initializer if t.name.endswith(".i8")]:
        assert max(abs(v) for v in np.frombuffer(weight.raw_data, np.int8)) == 127
    for expected, output in zip(tg.reference.run(graph, feeds).values(), run_onnx(made, feeds), strict=True):
        assert 0 < np.abs(output - expected).max() < 0.02 * np.abs(expected).max()


def test_only_weights_of_products_lose_bits() -> None:
    config = {"vocab_size": 9, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 12,
              "max_position_embeddings": 6}
    batch, length = tg.dim("B"), tg.dim("S", max=6)
    graph = tg.trace(Bert(BertConfig(**config)), input_ids=tg.i64[batch, length].range(0, 9), mask=tg.bool_[batch, length])
    made = compress_weights(bert_onnx({**config, "layer_norm_eps": 1e-12}, graph.weights))
    assert sum(n.op_type == "DequantizeLinear" for n in made.graph.node) == 7  # 6 of the layer, and the pooler's


SMALL = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24,
         "max_position_embeddings": 12}


@pytest.mark.parametrize("head", ["hidden", "sentence"])
def test_an_encoder_goes_out_as_transformers_has_it(head: str, tmp_path: Path) -> None:
    """What is written is read back, and what is made of its states is what tgraph's graph gives."""
    bert = Bert(BertConfig(**SMALL))
    graph, feeds = _encoder(bert)
    config = dataclasses.asdict(bert.config)
    peer = BertPeer({f"bert.{name}": graph.weights[name] for name in graph.parameters}, config, "bert.", head)
    peer.transformers(tmp_path / "model")
    read: Any = tg.models.from_pretrained(tmp_path / "model")
    again = tg.trace(read, input_ids=graph.inputs[0].type, mask=graph.inputs[1].type)
    hidden, pooled = tg.reference.run(graph, feeds).values()
    for expected, found in zip((hidden, pooled), tg.reference.run(again, feeds).values()):
        assert np.array_equal(expected, found)
    rows = peer.rows(feeds)
    assert [len(row) for row in rows] == feeds["mask"].sum(axis=1).tolist()
    made = peer.outputs(hidden, pooled, rows)
    if head == "hidden":
        assert made[0] is hidden and made[1] is pooled
    else:
        mean = (hidden * feeds["mask"][..., None]).sum(axis=1) / feeds["mask"].sum(axis=1, keepdims=True)
        assert np.allclose(made[0], mean / np.linalg.norm(mean, axis=1, keepdims=True))


def _encoder(bert: Bert) -> tuple[tg.Graph, dict[str, np.ndarray]]:
    """A graph, and feeds whose rows have 7, 3 and 5 real tokens."""
    batch, length = tg.dim("B"), tg.dim("S", max=12)
    graph = tg.trace(bert, input_ids=tg.i64[batch, length].range(0, 50), mask=tg.bool_[batch, length])
    return graph, {**generate_inputs(graph, {"B": 3, "S": 7}), "mask": np.arange(7) < np.array([[7], [3], [5]])}


@pytest.mark.parametrize(("precision", "allowed"), [("f32", 1e-4), ("i8", 0.1)])
def test_ctranslate2(precision: str, allowed: float, tmp_path: Path) -> None:
    """Its encoder gives what the reference does at real tokens."""
    for package in ("ctranslate2", "transformers", "torch"):
        pytest.importorskip(package)
    bert = Bert(BertConfig(**SMALL))
    graph, feeds = _encoder(bert)
    save_safetensors(tmp_path / WEIGHTS, {name: graph.weights[name] for name in graph.parameters})
    arguments = {"config": dataclasses.asdict(bert.config), "prefix": "", "head": "hidden"}
    runtime = RUNTIMES["ctranslate2"]()
    runtime.load(Job("", str(tmp_path), 1, peer={"class": "benchmarks.harness.bert_peer:BertPeer", "arguments": arguments},
                     precision=precision))
    hidden, pooled = runtime.variants[""](runtime.take(feeds))
    states, first = tg.reference.run(graph, feeds).values()
    real = feeds["mask"]
    assert np.abs(hidden[real] - states[real]).max() < allowed and np.abs(pooled - first).max() < allowed


def test_ctranslate2_has_no_attention_alone(tmp_path: Path) -> None:
    pytest.importorskip("ctranslate2")
    save_safetensors(tmp_path / WEIGHTS, {})
    arguments = {"heads": 2, "head_dim": 8, "causal": False}
    job = Job("", str(tmp_path), 1, peer={"class": "benchmarks.models.attention:AttentionPeer", "arguments": arguments})
    with pytest.raises(UnsupportedError, match="no such model"):
        RUNTIMES["ctranslate2"]().load(job)


def test_work_of_attention() -> None:
    full, causal = (product_flops(attention_graph(2, 8, c), {"B": 3, "S": 10}) for c in (False, True))
    assert full == 3 * 2 * 10 * 10 * 8 * 4
    assert causal == 3 * 2 * (10 * 11 // 2) * 8 * 4
    assert least_bytes(attention_graph(2, 8, False), {"B": 3, "S": 10}) == 4 * 3 * 10 * 16 * 4


def test_work_of_products_and_lookups() -> None:
    graph = products_graph(6, 4, 3)
    assert product_flops(graph, {"M": 5}) == 3 * 2 * 5 * 6 * 4
    assert least_bytes(graph, {"M": 5}) == 4 * (3 * 6 * 4 + 5 * 4 + 3 * 6)

    class Lookup(tg.Module):
        def __init__(self) -> None:
            self.table = tg.nn.Embedding(1000, 4)

        def __call__(self, ids: tg.Tensor) -> tg.Tensor:
            return self.table(ids)

    rows = tg.trace(Lookup(), ids=tg.i64[tg.dim("N")].range(0, 1000))
    assert least_bytes(rows, {"N": 3}) == 3 * 8 + 2 * 3 * 16  # the indices, the rows, and the same as outputs


def test_padding_is_no_work() -> None:
    graph = attention_graph(2, 8, False)
    assert ragged_flops(graph, [3, 7]) == 2 * (9 + 49) * 8 * 4

"""Every model of the project on a CUDA device, in each precision, against the reference."""

from __future__ import annotations

import numpy as np
import pytest

import tgraph as tg
from passes.pipelines import LEVELS
from tests.ops.sample import as_tuple
from tgraph import nn
from tgraph.models import bert
from tgraph.models.sentence import load_minilm
from tgraph.models.transformer import Transformer

B, S, T = tg.dims("B S T")
CONFIG = bert.BertConfig(vocab_size=60, hidden_size=128, num_hidden_layers=2, num_attention_heads=2, intermediate_size=256,
                         max_position_embeddings=64)
HEADS = (bert.Bert, bert.BertForMaskedLM, bert.BertForNextSentencePrediction, bert.BertForPreTraining,
         bert.BertForSequenceClassification, bert.BertForTokenClassification, bert.BertForQuestionAnswering)
TOLERANCE = {"f32": 1e-4, "f16": 1e-2, "bf16": 8e-2}
RAGGED = "remove-padding{output=hidden,mask=mask}," + LEVELS["O3"]


class Heads(nn.Module):
    """Berts with all heads: one graph, so that what they share is compiled once."""

    def __init__(self, config: bert.BertConfig) -> None:
        for kind in HEADS:
            setattr(self, kind.__name__, kind(config))

    def __call__(self, input_ids: tg.Tensor, mask: tg.Tensor) -> list[tg.Tensor]:
        given = (getattr(self, kind.__name__)(input_ids, mask=mask) for kind in HEADS)
        return [output for outputs in given for output in (outputs.values() if isinstance(outputs, dict) else as_tuple(outputs))]


def model(kind: type) -> tg.Graph:
    if kind is Transformer:
        return tg.trace(Transformer(60, 60, dim=64, heads=2, hidden=128, layers=2, max_length=64),
                        source=tg.i64[B, S].range(0, 60), target=tg.i64[B, T].range(0, 60), source_mask=tg.bool_[B, S])
    return tg.trace(kind(CONFIG), input_ids=tg.i64[B, S].range(0, 60), mask=tg.bool_[B, S])


def feeds(graph: tg.Graph, batch: int = 2, length: int = 21) -> dict[str, np.ndarray]:
    """Sentences of which all but the last are padded."""
    random, found = np.random.default_rng(length), {}
    for value in graph.inputs:
        shape = tuple({"B": batch, "S": length, "T": length // 2}[str(d)] for d in value.shape)
        real = np.arange(shape[1]) < np.linspace(1, shape[1], batch).astype(int)[:, None]
        found[value.name] = real if value.dtype == tg.bool_ else random.integers(0, 60, shape)
    return found


def compare(graph: tg.Graph, given: dict[str, np.ndarray], precision: str, passes: str | None = None) -> None:
    exe, expected = tg.compile(graph, "cuda", precision=precision, passes=passes), tg.compile(graph, "numpy").run(given)
    real = given["mask"] if passes else None
    for name, result in exe.run(given).items():
        wanted = expected[name]
        if real is not None and result.shape[:2] == real.shape:
            result, wanted = result[real], wanted[real]
        assert np.abs(result - wanted).max() <= TOLERANCE[precision] * max(1, np.abs(wanted).max()), name


@pytest.mark.parametrize("kind", [Heads, Transformer], ids=lambda k: k.__name__)
def test_f32(kind: type) -> None:
    graph = model(kind)
    compare(graph, feeds(graph), "f32")


@pytest.mark.parametrize("precision", ["f16", "bf16"])
@pytest.mark.parametrize("kind", [bert.Bert, Transformer], ids=lambda k: k.__name__)
def test_halves(kind: type, precision: str) -> None:
    graph = model(kind)
    compare(graph, feeds(graph), precision)


@pytest.mark.parametrize("precision", ["f32", "f16"])
def test_without_padding(precision: str) -> None:
    graph = model(bert.Bert)
    compare(graph, feeds(graph, batch=4), precision, RAGGED)


def test_minilm() -> None:
    graph = tg.trace(load_minilm()[0], input_ids=tg.i64[B, S].range(0, 30522), mask=tg.bool_[B, S])
    compare(graph, feeds(graph, length=9), "f16")

"""BERT: the names and shapes of the public checkpoints, strict loading, heads, and the sentence model with its weights."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

import tgraph as tg
from tgraph.models import bert
from tgraph.models.sentence import encode_batch, load_minilm, minilm_folder

B, S = tg.dims("B S")
CONFIG = bert.BertConfig(vocab_size=11, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=12,
                         max_position_embeddings=6)
# The state of `BertModel` in Hugging Face's transformers, one layer, with the sizes of CONFIG.
NAMES = {
    "embeddings.word_embeddings.weight": (11, 8), "embeddings.position_embeddings.weight": (6, 8),
    "embeddings.token_type_embeddings.weight": (2, 8), "embeddings.LayerNorm.weight": (8,), "embeddings.LayerNorm.bias": (8,),
    "encoder.layer.0.attention.self.query.weight": (8, 8), "encoder.layer.0.attention.self.query.bias": (8,),
    "encoder.layer.0.attention.self.key.weight": (8, 8), "encoder.layer.0.attention.self.key.bias": (8,),
    "encoder.layer.0.attention.self.value.weight": (8, 8), "encoder.layer.0.attention.self.value.bias": (8,),
    "encoder.layer.0.attention.output.dense.weight": (8, 8), "encoder.layer.0.attention.output.dense.bias": (8,),
    "encoder.layer.0.attention.output.LayerNorm.weight": (8,), "encoder.layer.0.attention.output.LayerNorm.bias": (8,),
    "encoder.layer.0.intermediate.dense.weight": (12, 8), "encoder.layer.0.intermediate.dense.bias": (12,),
    "encoder.layer.0.output.dense.weight": (8, 12), "encoder.layer.0.output.dense.bias": (8,),
    "encoder.layer.0.output.LayerNorm.weight": (8,), "encoder.layer.0.output.LayerNorm.bias": (8,),
    "pooler.dense.weight": (8, 8), "pooler.dense.bias": (8,),
}
PREDICTIONS = ["cls.predictions.transform.dense.weight", "cls.predictions.transform.dense.bias",
               "cls.predictions.transform.LayerNorm.weight",
               "cls.predictions.transform.LayerNorm.bias", "cls.predictions.bias"]
HEADS = {  # what comes beside `bert.`, and whether the pooler is part of it
    bert.BertForMaskedLM: (PREDICTIONS, False), bert.BertForNextSentencePrediction: (
        ["cls.seq_relationship.weight", "cls.seq_relationship.bias"], True),
    bert.BertForPreTraining: ([*PREDICTIONS, "cls.seq_relationship.weight", "cls.seq_relationship.bias"], True),
    bert.BertForSequenceClassification: (["classifier.weight", "classifier.bias"], True),
    bert.BertForTokenClassification: (["classifier.weight", "classifier.bias"], False),
    bert.BertForQuestionAnswering: (["qa_outputs.weight", "qa_outputs.bias"], False),
}
SHAPES = {
    bert.BertForMaskedLM: {"logits": (2, 4, 11)}, bert.BertForNextSentencePrediction: {"logits": (2, 2)},
    bert.BertForPreTraining: {"prediction_logits": (2, 4, 11), "seq_relationship_logits": (2, 2)},
    bert.BertForSequenceClassification: {"logits": (2, 2)}, bert.BertForTokenClassification: {"logits": (2, 4, 2)},
    bert.BertForQuestionAnswering: {"start_logits": (2, 4), "end_logits": (2, 4)},
}
IDS = np.array([[1, 5, 2, 0], [3, 3, 10, 4]])
MASK = np.array([[True, True, True, False], [True] * 4])


def checkpoint(seed: int = 0) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    return {name: generator.standard_normal(shape).astype(np.float32) for name, shape in NAMES.items()}


def test_names_and_shapes_are_the_checkpoints() -> None:
    parameters = bert.Bert(CONFIG).parameters()
    assert {name: p.type.shape for name, p in parameters.items()} == NAMES
    graph = tg.trace(bert.Bert(CONFIG), tg.i64[B, S], mask=tg.bool_[B, S])
    assert set(graph.parameters) == set(NAMES)
    assert {n.provenance.scope for n in graph.nodes} >= {"embeddings", "encoder.layer.0.attention.self", "pooler"}


def test_base_has_the_published_number_of_parameters() -> None:
    assert sum(int(np.prod(p.type.shape)) for p in bert.Bert().parameters().values()) == 109_482_240


@pytest.mark.parametrize("head", HEADS, ids=lambda h: h.__name__)
def test_heads(head: type) -> None:
    names, pooler = HEADS[head]
    model = head(CONFIG)
    expected = {f"bert.{name}" for name in NAMES if pooler or not name.startswith("pooler")} | set(names)
    assert set(model.parameters()) == expected
    graph = tg.trace(model, tg.i64[B, S], mask=tg.bool_[B, S], token_type_ids=tg.i64[B, S])
    outputs = tg.reference.run(graph, {"input_ids": IDS, "mask": MASK, "token_type_ids": IDS % 2})
    assert {name: array.shape for name, array in outputs.items()} == SHAPES[head]
    assert all(np.isfinite(array).all() for array in outputs.values())


def test_the_decoder_reads_the_table_of_words() -> None:
    model = bert.BertForMaskedLM(CONFIG)
    assert model.aliases() == {"cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
                               "cls.predictions.decoder.bias": "cls.predictions.bias"}
    graph = tg.trace(model, tg.i64[B, S])
    table = graph.parameters["bert.embeddings.word_embeddings.weight"]
    assert {node.op.name for node, _ in table.uses} == {"embedding", "linear"}


def test_loading_takes_aliases_buffers_and_old_names() -> None:
    weights = {name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): array
               for name, array in checkpoint().items()}
    weights["embeddings.position_ids"] = np.arange(6)[None]
    model = bert.Bert(CONFIG)
    bert.load_checkpoint(model, weights)
    assert np.array_equal(model.encoder.layer[0].output.LayerNorm.weight.data,
                          checkpoint()["encoder.layer.0.output.LayerNorm.weight"])
    masked = bert.BertForMaskedLM(CONFIG)
    given = {name: np.zeros(p.type.shape, np.float32) for name, p in masked.parameters().items()}
    bert.load_checkpoint(masked, given | {"cls.predictions.decoder.weight": given["bert.embeddings.word_embeddings.weight"]})


def test_loading_lists_all_that_is_wrong() -> None:
    weights = checkpoint()
    del weights["pooler.dense.bias"], weights["encoder.layer.0.attention.self.key.weight"]
    weights["encoder.layer.1.output.dense.bias"] = np.zeros(8, np.float32)
    weights["embeddings.word_embeddings.weight"] = np.zeros((12, 8), np.float32)
    weights["pooler.dense.weight"] = weights["pooler.dense.weight"].astype(np.float64)
    with pytest.raises(tg.WeightsError) as raised:
        bert.load_checkpoint(bert.Bert(CONFIG), weights)
    for text in ("pooler.dense.bias", "attention.self.key.weight", "layer.1.output.dense.bias", "word_embeddings", "12, 8",
                 "pooler.dense.weight"):
        assert text in str(raised.value)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def numpy_bert(w: dict[str, np.ndarray], ids: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """BERT as the paper writes it, one sentence and one head at a time."""
    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return x @ w[f"{name}.weight"].T.astype(float) + w[f"{name}.bias"]

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1,
                                                               keepdims=True) + 1e-12) * w[f"{name}.weight"] + w[f"{name}.bias"]

    layer, hidden = "encoder.layer.0", []
    for sentence, keys in zip(ids, mask):
        x = w["embeddings.word_embeddings.weight"][sentence].astype(float) + w["embeddings.token_type_embeddings.weight"][0]
        x = norm(x + w["embeddings.position_embeddings.weight"][:len(sentence)], "embeddings.LayerNorm")
        q, k, v = (linear(x, f"{layer}.attention.self.{n}") for n in ("query", "key", "value"))
        heads = [softmax(np.where(keys, q[:, h] @ k[:, h].T / 2, -np.inf)) @ v[:, h] for h in (slice(0, 4), slice(4, 8))]
        x = norm(linear(np.hstack(heads), f"{layer}.attention.output.dense") + x, f"{layer}.attention.output.LayerNorm")
        up = linear(x, f"{layer}.intermediate.dense")
        gelu = up / 2 * (1 + np.vectorize(__import__("math").erf)(up / np.sqrt(2)))
        hidden.append(norm(linear(gelu, f"{layer}.output.dense") + x, f"{layer}.output.LayerNorm"))
    states = np.stack(hidden)
    return states, np.tanh(linear(states[:, 0], "pooler.dense"))


@pytest.fixture(scope="module")
def graph() -> tg.Graph:
    model = bert.Bert(CONFIG)
    bert.load_checkpoint(model, checkpoint())
    return tg.trace(model, tg.i64[B, S], mask=tg.bool_[B, S])


def test_the_model_is_the_papers(graph: tg.Graph) -> None:
    hidden, pooled = numpy_bert(checkpoint(), IDS, MASK)
    outputs = tg.reference.run(graph, {"input_ids": IDS, "mask": MASK})
    np.testing.assert_allclose(outputs["hidden"], hidden, atol=1e-12)
    np.testing.assert_allclose(outputs["pooled"], pooled, atol=1e-12)


def test_the_compiled_model_is_the_papers(graph: tg.Graph) -> None:
    executable = tg.compile(graph, "cpu")
    outputs = executable(IDS, MASK)
    hidden, pooled = numpy_bert(checkpoint(), IDS, MASK)
    np.testing.assert_allclose(outputs.hidden, hidden, atol=2e-5)
    np.testing.assert_allclose(outputs.pooled, pooled, atol=2e-5)
    assert tg.check(executable)
    with pytest.raises(tg.InputError, match=r"embedding: index 11 at \[0, 0\] is outside of 0 .. 10"):
        executable(IDS + 10, MASK)
    with pytest.raises(tg.InputError, match=r"6"):  # one more token than there are positions
        executable(np.ones((1, 7), np.int64), np.ones((1, 7), bool))


def test_config() -> None:
    config = bert.BertConfig.from_dict({"hidden_size": 16, "num_attention_heads": 4, "model_type": "bert",
                                        "architectures": ["BertModel"]})
    assert dataclasses.replace(bert.BertConfig(), hidden_size=16, num_attention_heads=4) == config
    with pytest.raises(tg.TraceError, match="5 heads do not divide the hidden size 16"):
        bert.BertConfig(hidden_size=16, num_attention_heads=5)
    with pytest.raises(tg.TraceError, match="unknown activation 'swish2'"):
        bert.Bert(dataclasses.replace(CONFIG, hidden_act="swish2"))


def test_minilm_loads_and_knows_what_is_alike() -> None:
    model, tokenizer = load_minilm()
    stored = json.loads((minilm_folder() / "config.json").read_text(encoding="utf-8"))
    assert sum(name.endswith("self.query.weight") for name in model.parameters()) == stored["num_hidden_layers"] == 6
    assert all(p.data is not None for p in model.parameters().values())
    ids, mask = encode_batch(tokenizer, ["A man is eating food.", "A man eats something.", "The stock market fell."])
    assert ids.shape == mask.shape and (ids[:, 0] == 101).all() and mask[:, 0].all() and (ids[~mask] == 0).all()
    graph = tg.trace(model, input_ids=tg.i64[B, S], mask=tg.bool_[B, S])
    vectors = tg.reference.run(graph, {"input_ids": ids, "mask": mask})["embedding"]
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-9)
    likeness = vectors @ vectors.T
    assert likeness[0, 1] > 0.6 > 0.2 > likeness[0, 2]
    alone = tg.reference.run(graph, {"input_ids": ids[:1, :mask[0].sum()], "mask": mask[:1, :mask[0].sum()]})["embedding"]
    np.testing.assert_allclose(alone[0], vectors[0], atol=1e-9)  # padding changes nothing


def test_cut_and_padded_batches() -> None:
    _, tokenizer = load_minilm()
    ids, mask = encode_batch(tokenizer, ["one two three four five six", "one"], max_length=4)
    assert ids.shape == (2, 4) and mask.sum(axis=1).tolist() == [4, 3]
    assert encode_batch(tokenizer, [])[0].shape == (0, 0)

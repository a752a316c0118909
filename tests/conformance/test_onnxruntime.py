"""The real MiniLM against ONNX Runtime on the same weights, the graph written by hand in ONNX's ops."""

from __future__ import annotations

import json

import numpy as np
import onnxruntime
import pytest

import tgraph as tg
from benchmarks.harness.onnx_bert import SENTENCE, bert_onnx
from tgraph.formats.safetensors import load_safetensors
from tgraph.models.sentence import encode_batch, load_minilm, minilm_folder

PARAPHRASES = [
    ("A man is eating food.", "A man eats something."),
    ("The girl is carrying a baby.", "A girl carries her baby."),
    ("How do I reset my password?", "I forgot my password, how can I change it?"),
    ("The company's profits rose sharply last year.", "Last year, the profits of the company went up a lot."),
]
UNRELATED = [
    ("A man is eating food.", "The stock market fell today."),
    ("The girl is carrying a baby.", "Compilers translate programs into machine code."),
    ("How do I reset my password?", "Penguins live in the southern hemisphere."),
]


@pytest.fixture(scope="module")
def minilm():  # type: ignore[no-untyped-def]
    model, tokenizer = load_minilm()
    B, S = tg.dims("B S")
    return tg.compile(tg.trace(model, input_ids=tg.i64[B, S], mask=tg.bool_[B, S])), tokenizer


@pytest.fixture(scope="module")
def session():  # type: ignore[no-untyped-def]
    folder = minilm_folder()
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    model = bert_onnx(config, load_safetensors(folder / "model.safetensors"), head=SENTENCE)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("batch", [1, 7])
@pytest.mark.parametrize("length", [5, 16, 64, 128, 200])
def test_embeddings(minilm, session, batch: int, length: int) -> None:  # type: ignore[no-untyped-def]
    exe, _ = minilm
    generator = np.random.default_rng(length)
    ids = generator.integers(1000, 30000, (batch, length))
    lengths = generator.integers(1, length + 1, batch)
    lengths[0] = length
    mask = np.arange(length) < lengths[:, None]
    expected, = session.run(None, {"input_ids": ids, "attention_mask": mask.astype(np.int64)})
    assert np.abs(exe(ids, mask) - expected).max() < 1e-4


def test_meaning(minilm) -> None:  # type: ignore[no-untyped-def]
    exe, tokenizer = minilm
    for pairs, fits in ((PARAPHRASES, lambda s: s > 0.7), (UNRELATED, lambda s: s < 0.2)):
        for pair in pairs:
            first, second = exe(*encode_batch(tokenizer, pair))
            assert fits(first @ second), (pair, float(first @ second))


def test_padding_changes_nothing(minilm) -> None:  # type: ignore[no-untyped-def]
    exe, tokenizer = minilm
    sentences = ["Short.", "A sentence that is a good deal longer than the other one, so that padding is needed."]
    together = exe(*encode_batch(tokenizer, sentences))
    for row, sentence in enumerate(sentences):
        assert np.abs(exe(*encode_batch(tokenizer, [sentence]))[0] - together[row]).max() < 1e-5

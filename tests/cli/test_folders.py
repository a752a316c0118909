"""Folders of models, as Hugging Face's transformers saves them, where commands take a FILE or MODEL."""

from __future__ import annotations

from pathlib import Path

from tests.models.test_pretrained import write_folder


def test_a_folder_is_a_model(run) -> None:
    write_folder(Path("tiny"), "distilbert", "DistilBertForSequenceClassification")
    shown = run("dump", "tiny").stdout
    header = "graph distil_bert_for_sequence_classification(%input_ids: i64[B, S].range(0, 23), %mask: bool[B, S])"
    assert shown.startswith(header)
    assert "param @distilbert.transformer.layer.1.attention.q_lin.weight" in shown
    assert "attention" in run("opt", "tiny", "-p", "O2").stdout
    run("dump", "tiny", "-o", "tiny.tg")
    assert run("dump", "tiny.tg").stdout == shown
    assert "ok against the NumPy reference" in run("check", "tiny", "--target", "numpy").stdout
    assert "logits" in run("run", "tiny", "--random", "--dim", "B=2,S=5", "--target", "numpy").stdout


def test_a_folder_that_is_no_model(run) -> None:
    Path("empty").mkdir()
    assert "empty has no config.json" in run("dump", "empty", fails=2).stderr
    write_folder(Path("odd"), "bert", "BertModel", model_type="jamba")
    assert "model_type is 'jamba'; known: bert, roberta" in run("dump", "odd", fails=2).stderr

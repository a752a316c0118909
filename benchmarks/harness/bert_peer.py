"""BERT for the other runtimes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.job import WEIGHTS, Feeds
from benchmarks.harness.onnx_bert import HIDDEN, bert_onnx
from benchmarks.harness.torch_bert import TorchBert

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")  # the words that a tokenizer cannot do without


class BertPeer:
    """An EncoderModel. config: the fields of BertConfig; weights: by the names of Hugging Face's checkpoints, after `prefix`."""

    def __init__(self, weights: Mapping[str, np.ndarray], config: Mapping[str, Any], prefix: str = "", head: str = HIDDEN):
        self.arguments: dict[str, Any] = {"config": config, "weights": weights, "prefix": prefix, "head": head}
        self.optimizer = {"model_type": "bert", "num_heads": config["num_attention_heads"], "hidden_size": config["hidden_size"]}

    def onnx(self) -> dict[str, Any]:
        return {"exported graph": bert_onnx(**self.arguments)}

    def onnx_feeds(self, feeds: Feeds) -> dict[str, np.ndarray]:
        return {"input_ids": feeds["input_ids"], "attention_mask": feeds["mask"].astype(np.int64)}

    def openvino(self) -> None:
        return None

    def torch(self, precision: str) -> TorchBert:
        return TorchBert(**self.arguments, precision=precision)

    def torch_feeds(self, feeds: Feeds) -> list[np.ndarray]:
        return [feeds["input_ids"], feeds["mask"]]

    def transformers(self, folder: Path) -> None:
        from tgraph.formats import save_safetensors

        prefix, weights = self.arguments["prefix"], self.arguments["weights"]
        folder.mkdir()
        config = {**self.arguments["config"], "model_type": "bert", "architectures": ["BertModel"],
                  "position_embedding_type": "absolute"}
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
        (folder / "vocab.txt").write_text("\n".join(SPECIAL), encoding="utf-8")  # tokens come as numbers
        (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}', encoding="utf-8")
        save_safetensors(folder / WEIGHTS, {n.removeprefix(prefix): weights[n] for n in weights}, {"format": "pt"})

    def rows(self, feeds: Feeds) -> list[list[int]]:
        return [row[real].tolist() for row, real in zip(feeds["input_ids"], feeds["mask"])]

    def outputs(self, hidden: np.ndarray, pooled: np.ndarray, rows: list[list[int]]) -> list[np.ndarray]:
        if self.arguments["head"] == HIDDEN:
            return [hidden, pooled]
        means = np.stack([states[:len(row)].mean(axis=0) for states, row in zip(hidden, rows)])
        return [means / np.linalg.norm(means, axis=-1, keepdims=True)]

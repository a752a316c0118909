"""BERT for the other runtimes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.harness.job import Feeds
from benchmarks.harness.onnx_bert import HIDDEN, bert_onnx
from benchmarks.harness.torch_bert import TorchBert


class BertPeer:
    """A PeerModel. config: the fields of BertConfig; weights: by the names of Hugging Face's checkpoints, after `prefix`."""

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

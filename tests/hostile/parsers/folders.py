"""Folders of models as transformers writes them: config.json, generation_config.json, tokenizer.json, 1_Pooling/config.json."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np

import tgraph as tg
from tests.hostile.mutate import mutate_json
from tests.hostile.parser import Parser
from tgraph.formats.safetensors import save_safetensors
from tgraph.models.families import FAMILIES
from tgraph.models.g2p import load_g2p
from tgraph.models.generation_config import GenerationConfig
from tgraph.models.pretrained import _config_of, _entries_of, _family_of
from tgraph.models.sentence import load_sentence_model

SIZES = {"vocab_size": 11, "hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8,
         "max_position_embeddings": 6, "type_vocab_size": 2}


@functools.cache
def _weights() -> dict[str, np.ndarray]:
    """Those of the first config, a BERT of one layer."""
    from tgraph.models.bert import Bert, BertConfig

    model = Bert(BertConfig(**SIZES))
    return {name: np.zeros(p.type.shape, p.type.dtype.numpy) for name, p in model.parameters().items()}


def _configs() -> list[bytes]:
    """A BERT that the weights fit, and one config of each family with its own names of things."""
    return [json.dumps(config).encode() for config in (
        {"model_type": "bert", "architectures": ["BertModel"], **SIZES}, {"architectures": ["BertModel"], **SIZES},
        *({"model_type": kind, **SIZES, "num_hidden_groups": 1, "inner_group_num": 1, "d_model": 4, "d_kv": 2, "d_ff": 8,
           "num_layers": 1, "num_decoder_layers": 1, "num_heads": 2, "n_embd": 4, "n_head": 2, "n_layer": 1, "n_positions": 6,
           "dim": 4, "hidden_dim": 8, "n_heads": 2, "n_layers": 1, "embedding_size": 4, "num_key_value_heads": 1,
           "rope_theta": 1e4, "rope_scaling": None, "position_buckets": 4, "max_relative_positions": 4, "pos_att_type": "c2p|p2c",
           "relative_attention": True, "conv_kernel_size": 3, "id2label": {"0": "a"}, "hidden_act": "gelu"}
          for kind in FAMILIES))]


def _weights_beside(folder: Path) -> None:
    save_safetensors(folder / "model.safetensors", _weights())


def _read_config(path: Path) -> object:
    model = tg.models.from_pretrained(path.parent, ignore=("",))
    return tg.trace(model, **model.specs)


def _build(path: Path) -> object:
    """The model of a config alone, without weights that it must fit."""
    values = _config_of(path.parent)
    family, name = _family_of(path.parent, values, None)
    with _entries_of(path):
        model = family.architectures[name](family.config.from_dict(values))
    return tg.trace(model, **model.specs)


def _generation() -> list[bytes]:
    return [json.dumps(c).encode() for c in ({}, {"eos_token_id": 2, "decoder_start_token_id": 0}, {"eos_token_id": [1, 2]})]


def _read_generation(path: Path) -> object:
    return GenerationConfig.of(path.parent)


def _pooling() -> list[bytes]:
    return [json.dumps({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}).encode()]


def _sentence_folder(folder: Path) -> None:
    _weights_beside(folder)
    (folder / "config.json").write_bytes(_configs()[0])
    (folder / "tokenizer.json").write_bytes(_tokenizers()[0])
    (folder / "1_Pooling").mkdir(exist_ok=True)


def _write_pooling(path: Path, data: bytes) -> None:
    (path.parent / "1_Pooling" / "config.json").write_bytes(data)


def _read_sentence(path: Path) -> object:
    return load_sentence_model(str(path.parent))


@functools.cache
def _tokenizers() -> list[bytes]:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    words = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "b", "##c", "ab"])}
    wordpiece = Tokenizer(models.WordPiece(words, unk_token="[UNK]"))
    wordpiece.normalizer, wordpiece.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    wordpiece.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    bpe = Tokenizer(models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")]))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel()
    unigram = Tokenizer(models.Unigram([("<unk>", 0.0), ("a", -1.0), ("ab", -2.0)], 0))
    return [t.to_str().encode() for t in (wordpiece, bpe, unigram)]


def _read_tokenizer(path: Path) -> object:
    return tg.models.load_tokenizer(path.parent)


def _npz() -> list[bytes]:
    import io

    file = io.BytesIO()
    np.savez(file, enc_emb=np.zeros((29, 256), "f"), dec_emb=np.zeros((74, 256), "f"))
    return [file.getvalue()[:3000]]


PARSERS = {
    "generation-config": Parser("generation_config.json", _read_generation, _generation, mutate_json),
    "config": Parser("config.json", _read_config, _configs, mutate_json, prepare=_weights_beside, accepts=False),
    "config-model": Parser("config.json", _build, _configs, mutate_json, accepts=False),
    "pooling": Parser("x", _read_sentence, _pooling, mutate_json, _write_pooling, _sentence_folder, accepts=False),
    "tokenizer": Parser("tokenizer.json", _read_tokenizer, _tokenizers, mutate_json),
    "npz": Parser("x.npz", load_g2p, _npz, accepts=False),
}

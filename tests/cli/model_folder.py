"""Small models with random weights in folders as transformers saves them, with tokenizers of words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from tgraph.models.gpt2 import GPT2Config, GPT2LMHeadModel
from tgraph.models.llama import LlamaConfig, LlamaForCausalLM
from tgraph.models.mpnet import MPNet, MPNetConfig
from tgraph.models.t5 import T5Config, T5ForConditionalGeneration

WORDS = ["[PAD]", "[END]", "the", "a", "cat", "dog", "sat", "ran", "on", "in", "mat", "house", "and", "then", "slept", "all",
         "day", "long"]


def model_folder(path: Path, model: Any, config: dict[str, Any]) -> Path:
    """A model with large random weights, so that what it says changes, and a tokenizer."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[PAD]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(["[PAD]", "[END]"])
    path.mkdir(exist_ok=True)
    tokenizer.save(str(path / "tokenizer.json"))
    (path / "config.json").write_text(json.dumps({"vocab_size": len(WORDS), "eos_token_id": 1, "pad_token_id": 0, **config}))
    generator = np.random.default_rng(0)
    save_file({name: (generator.standard_normal(p.shape) * (2 if "wpe" in name else 0.6)).astype("f")
               for name, p in model.parameters().items()}, str(path / "model.safetensors"))
    return path


def gpt2_folder(path: Path) -> Path:
    sizes = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64}
    model = GPT2LMHeadModel(GPT2Config.from_dict({"vocab_size": len(WORDS), **sizes}))
    return model_folder(path, model, {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], **sizes})


def llama_folder(path: Path) -> Path:
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig.from_dict({"vocab_size": len(WORDS), **sizes}))
    return model_folder(path, model, {"model_type": "llama", "architectures": ["LlamaForCausalLM"], **sizes})


def t5_folder(path: Path) -> Path:
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
    model = T5ForConditionalGeneration(T5Config.from_dict({"vocab_size": len(WORDS), **sizes}))
    return model_folder(path, model, {"model_type": "t5", "architectures": ["T5ForConditionalGeneration"],
                                      "decoder_start_token_id": 0, **sizes})


def mpnet_folder(path: Path) -> Path:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32,
             "max_position_embeddings": 40}
    model = MPNet(MPNetConfig.from_dict({"vocab_size": len(WORDS), **sizes}), pooler=False)
    return model_folder(path, model, {"model_type": "mpnet", "architectures": ["MPNetModel"], **sizes})

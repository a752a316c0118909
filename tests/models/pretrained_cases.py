"""Two small configs of every kind of model, and the weights and inputs that tests give to Hugging Face's models and to ours."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

SMALL = {"vocab_size": 23, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24,
         "max_position_embeddings": 20}
LARGE = {"vocab_size": 57, "hidden_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 72,
         "max_position_embeddings": 64}


@dataclass(frozen=True)
class Case:
    """A `model_type`, the entries of two config.json, and its architectures in Hugging Face's library."""

    small: dict[str, Any]
    large: dict[str, Any]
    architectures: tuple[str, ...]
    segments: bool = False  # whether it takes token_type_ids
    pad: int = 0

    def config(self, size: str) -> dict[str, Any]:
        return {"small": self.small, "large": self.large}[size]


def heads(name: str, *further: str, masked: bool = True) -> tuple[str, ...]:
    usual = ("Model", *(("ForMaskedLM",) if masked else ()), "ForSequenceClassification", "ForTokenClassification",
             "ForQuestionAnswering", *further)
    return tuple(f"{name}{head}" for head in usual)


CASES: dict[str, Case] = {
    "bert": Case(SMALL, {**LARGE, "hidden_act": "gelu_new", "num_labels": 3},
                 heads("Bert", "ForPreTraining", "ForNextSentencePrediction"), segments=True),
    "roberta": Case(SMALL, {**LARGE, "num_labels": 5, "layer_norm_eps": 1e-5}, heads("Roberta"), segments=True, pad=1),
    "xlm-roberta": Case(SMALL, LARGE, heads("XLMRoberta"), segments=True, pad=1),
    "camembert": Case(SMALL, LARGE, heads("Camembert"), segments=True, pad=1),
    "albert": Case({**SMALL, "embedding_size": 12}, {**LARGE, "embedding_size": 20, "num_hidden_groups": 2, "inner_group_num": 2},
                   heads("Albert", "ForPreTraining"), segments=True),
    "distilbert": Case(
        {"vocab_size": 23, "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24, "max_position_embeddings": 20},
        {"vocab_size": 57, "dim": 48, "n_layers": 4, "n_heads": 4, "hidden_dim": 72, "max_position_embeddings": 64,
         "activation": "relu", "num_labels": 4}, heads("DistilBert")),
    "electra": Case({**SMALL, "embedding_size": 12}, {**LARGE, "embedding_size": 48, "num_labels": 3},
                    heads("Electra", "ForPreTraining"), segments=True),
    "mpnet": Case(SMALL, {**LARGE, "hidden_act": "gelu_new"}, heads("MPNet"), pad=1),
    "deberta-v2": Case(
        {**SMALL, "relative_attention": True, "position_buckets": 6, "norm_rel_ebd": "layer_norm", "share_att_key": True,
         "pos_att_type": "p2c|c2p", "position_biased_input": False, "type_vocab_size": 0},  # as version 3
        {**LARGE, "relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_biased_input": True, "type_vocab_size": 2,
         "max_relative_positions": 9, "embedding_size": 20, "conv_kernel_size": 3, "conv_act": "gelu", "conv_groups": 2},
        heads("DebertaV2"), segments=True),
    "modernbert": Case({**SMALL, "local_attention": 4, "pad_token_id": 0},
                       {**LARGE, "local_attention": 10, "pad_token_id": 0, "classifier_pooling": "mean", "norm_bias": True,
                        "attention_bias": True, "mlp_bias": True, "classifier_bias": True}, heads("ModernBert")),
    "t5": Case({"vocab_size": 23, "d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2},
               {"vocab_size": 57, "d_model": 48, "d_kv": 8, "d_ff": 72, "num_layers": 3, "num_decoder_layers": 2, "num_heads": 4,
                "feed_forward_proj": "gated-gelu", "relative_attention_num_buckets": 12, "relative_attention_max_distance": 20},
               ("T5Model", "T5EncoderModel", "T5ForConditionalGeneration")),
    "gpt2": Case({"vocab_size": 23, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 20, "pad_token_id": 0},
                 {"vocab_size": 57, "n_embd": 48, "n_layer": 3, "n_head": 4, "n_positions": 64, "n_inner": 60, "pad_token_id": 0,
                  "activation_function": "relu"},
                 ("GPT2Model", "GPT2LMHeadModel", "GPT2ForSequenceClassification", "GPT2ForTokenClassification")),
    "llama": Case({**SMALL, "num_key_value_heads": 1, "pad_token_id": 0},
                  {**LARGE, "num_key_value_heads": 2, "pad_token_id": 0, "head_dim": 8, "attention_bias": True, "mlp_bias": True,
                   "tie_word_embeddings": True, "rope_parameters": {
                       "rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                       "original_max_position_embeddings": 16}},
                  ("LlamaModel", "LlamaForCausalLM", "LlamaForSequenceClassification", "LlamaForTokenClassification")),
    "mistral": Case({**SMALL, "num_key_value_heads": 1, "pad_token_id": 0, "sliding_window": 3},
                    {**LARGE, "num_key_value_heads": 2, "pad_token_id": 0, "sliding_window": None,
                     "rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 100.0}},
                    ("MistralModel", "MistralForCausalLM", "MistralForSequenceClassification", "MistralForTokenClassification")),
    "qwen2": Case({**SMALL, "num_key_value_heads": 1, "pad_token_id": 0},
                  {**LARGE, "num_key_value_heads": 2, "pad_token_id": 0, "use_sliding_window": True, "sliding_window": 5,
                   "max_window_layers": 2, "rope_parameters": {
                       "rope_type": "yarn", "rope_theta": 500.0, "factor": 4.0, "original_max_position_embeddings": 16}},
                  ("Qwen2Model", "Qwen2ForCausalLM", "Qwen2ForSequenceClassification", "Qwen2ForTokenClassification")),
}
LENGTHS = {"small": (7, 4, 1), "large": (37, 21, 5)}
# Hugging Face's names of outputs
OUTPUTS = {"last_hidden_state": "hidden", "pooler_output": "pooled", "encoder_last_hidden_state": "encoder_hidden",
           **{name: name for name in ("logits", "start_logits", "end_logits", "prediction_logits", "seq_relationship_logits",
                                      "sop_logits")}}


def random_weights(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Weights that depend on names and shapes alone, all of them different, of sizes at which every term of a model counts."""
    made = {}
    for name, shape in shapes.items():
        seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
        values = np.random.default_rng(seed).standard_normal(shape)
        if len(shape) == 1:
            values = values * 0.2 + (0 if name.endswith("bias") else 1)
        elif "bias" not in name:
            values = values / np.sqrt(shape[-1])
        made[name] = values.astype(np.float32)
    return made


def inputs(case: Case, size: str, segments: bool = False) -> dict[str, np.ndarray]:
    """Sequences of different lengths, with their mask; of encoder-decoders also the target's."""
    lengths = LENGTHS[size]
    config = case.config(size)
    words, random = config["vocab_size"], np.random.default_rng(7)
    mask = np.arange(max(lengths)) < np.array(lengths)[:, None]
    ids = np.where(mask, random.integers(2, words, mask.shape), case.pad)
    made = {"input_ids": ids, "mask": mask}
    if segments:
        made["token_type_ids"] = random.integers(0, 2, mask.shape)
    if "d_kv" in config:
        target = mask[:, 1:] | (np.arange(max(lengths) - 1) == 0)
        made["decoder_input_ids"], made["decoder_mask"] = np.where(target, random.integers(2, words, target.shape), 0), target
    return made


def real(output: np.ndarray, feeds: Mapping[str, np.ndarray]) -> np.ndarray:
    """What an output says of the tokens that are no padding: [number of them, ...]; all of it, if it is not of tokens."""
    for name in ("decoder_mask", "mask"):
        if name in feeds and output.ndim > 1 and output.shape[:2] == feeds[name].shape:
            return output[feeds[name]]
    return output

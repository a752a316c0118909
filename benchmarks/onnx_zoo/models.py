"""The models of the zoo: their configurations, what goes in, and how many composite ops each of them is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import transformers
from torch import Tensor, nn

LAYERS, HEADS, HIDDEN, FFN, VOCABULARY, PIXELS, PATCH = 2, 4, 64, 128, 99, 32, 8
Feeds = dict[str, Tensor]


@dataclass(frozen=True)
class Entry:
    """A model to export.

    build: the model, by the name of its attention ("eager" or "sdpa"). feeds: inputs by batch and length. dynamic: of each input,
    the name of the size of each axis that is not fixed. call: what of the model is exported. attentions, norms, gelus: how
    many of these it computes, as its configuration says. implementations: the attentions that its code has. most: the largest
    that a size may be, where the model needs to know it.
    """

    name: str
    build: Callable[[str], nn.Module]
    feeds: Callable[[int, int], Feeds]
    dynamic: Mapping[str, Mapping[int, str]]
    call: Callable[..., Any]
    attentions: int
    norms: int
    gelus: int
    implementations: Sequence[str] = ("eager", "sdpa")
    most: Mapping[str, int] = field(default_factory=dict)

    def module(self, attention: str) -> nn.Module:
        """The model as a module of positional tensors."""
        torch.manual_seed(0)
        model = self.build(attention).eval()
        for parameter in model.parameters():  # random everywhere: a bias of zeros hides one that is lost
            nn.init.normal_(parameter, std=0.08) if parameter.dim() > 1 else nn.init.normal_(parameter, 0.5, 0.2)
        return Exported(model, self.call)


class Exported(nn.Module):  # type: ignore[misc]
    """A model, called with tensors by position."""

    def __init__(self, model: nn.Module, function: Callable[..., Any]):
        super().__init__()
        self.model, self.function = model, function

    def forward(self, *tensors: Tensor) -> Any:
        return self.function(self.model, *tensors)


def ids(batch: int, length: int) -> Tensor:
    generator = torch.Generator().manual_seed(batch * 1000 + length)
    return torch.randint(3, VOCABULARY, (batch, length), generator=generator)


def mask(batch: int, length: int) -> Tensor:
    """Row i lacks its last i keys."""
    return (torch.arange(length)[None, :] < length - torch.arange(batch)[:, None]).long()


def hidden(batch: int, length: int) -> Tensor:
    return torch.randn(batch, length, HIDDEN, generator=torch.Generator().manual_seed(batch + length))


def _text(batch: int, length: int) -> Feeds:
    return {"input_ids": ids(batch, length), "attention_mask": mask(batch, length)}


def _typed_text(batch: int, length: int) -> Feeds:
    return {**_text(batch, length), "token_type_ids": (torch.arange(length) > length // 2).long().repeat(batch, 1)}


TEXT = {"input_ids": {0: "batch", 1: "length"}, "attention_mask": {0: "batch", 1: "length"}}
TYPED_TEXT = {**TEXT, "token_type_ids": {0: "batch", 1: "length"}}
COMMON: dict[str, Any] = {"hidden_size": HIDDEN, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
                          "vocab_size": VOCABULARY, "max_position_embeddings": 64, "intermediate_size": FFN, "pad_token_id": 0}


def _of(name: str, head: str = "Model", config: str = "", **settings: Any) -> Callable[[str], nn.Module]:
    """A model of transformers by the beginning of its class's name."""

    def build(attention: str) -> nn.Module:
        made = getattr(transformers, f"{config or name}Config")(**settings)
        made._attn_implementation = attention
        made._experts_implementation = "batched_mm"  # the one that PyTorch's exporters take
        made.use_cache = False
        return getattr(transformers, f"{name}{head}")._from_config(made)

    return build


def _first(model: Any, input_ids: Tensor, attention_mask: Tensor) -> Any:
    return model(input_ids=input_ids, attention_mask=attention_mask)[0]


def _typed(model: Any, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Any:
    return model(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)[0]


def _encoder(name: str, head: str = "Model", norms: int = 2 * LAYERS + 1, gelus: int = LAYERS, typed: bool = False,
             implementations: Sequence[str] = ("eager", "sdpa"), label: str = "", most: int = 0, **settings: Any) -> Entry:
    return Entry(label or name.lower() + ("" if head == "Model" else f"-{head}"), _of(name, head, **{**COMMON, **settings}),
                 _typed_text if typed else _text, TYPED_TEXT if typed else TEXT, _typed if typed else _first,
                 LAYERS, norms, gelus, implementations, {"length": most} if most else {})


def _decoder(name: str, head: str = "ForCausalLM", norms: int = 2 * LAYERS + 1, gelus: int = 0, **settings: Any) -> Entry:
    return _encoder(name, head, norms, gelus, label=name.lower(), **settings)


GPT2: dict[str, Any] = {"n_embd": HIDDEN, "n_layer": LAYERS, "n_head": HEADS, "n_positions": 64, "vocab_size": VOCABULARY,
                        "bos_token_id": 0, "eos_token_id": 0}
LLAMA = {**COMMON, "num_key_value_heads": 2}
T5: dict[str, Any] = {"vocab_size": VOCABULARY, "d_model": HIDDEN, "d_kv": HIDDEN // HEADS, "d_ff": FFN, "num_layers": LAYERS,
      "num_decoder_layers": LAYERS, "num_heads": HEADS, "relative_attention_num_buckets": 8, "pad_token_id": 0,
      "decoder_start_token_id": 0}
BART: dict[str, Any] = {"vocab_size": VOCABULARY, "d_model": HIDDEN, "encoder_layers": LAYERS, "decoder_layers": LAYERS,
        "encoder_attention_heads": HEADS, "decoder_attention_heads": HEADS, "encoder_ffn_dim": FFN, "decoder_ffn_dim": FFN,
        "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2,
        "forced_eos_token_id": None}
VISION: dict[str, Any] = {"hidden_size": HIDDEN, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
                          "intermediate_size": FFN, "image_size": PIXELS, "patch_size": PATCH}


def _pixels(batch: int, length: int) -> Feeds:
    return {"pixel_values": torch.randn(batch, 3, PIXELS, PIXELS, generator=torch.Generator().manual_seed(batch))}


def _with_past(heads: int) -> Callable[[int, int], Feeds]:
    def feeds(batch: int, length: int) -> Feeds:
        generator = torch.Generator().manual_seed(length)
        past = {f"past_{i}_{kind}": torch.randn(batch, heads, length, HIDDEN // HEADS, generator=generator)
                for i in range(LAYERS) for kind in ("key", "value")}
        return {"input_ids": ids(batch, 3), "attention_mask": mask(batch, length + 3).flip(1), **past}

    return feeds


PAST = {"input_ids": {0: "batch", 1: "length"}, "attention_mask": {0: "batch", 1: "total"},
        **{f"past_{i}_{kind}": {0: "batch", 2: "past"} for i in range(LAYERS) for kind in ("key", "value")}}


def _continued(model: Any, input_ids: Tensor, attention_mask: Tensor, *past: Tensor) -> Any:
    cache = transformers.DynamicCache([(past[2 * i], past[2 * i + 1]) for i in range(LAYERS)])
    result = model(input_ids=input_ids, attention_mask=attention_mask, past_key_values=cache, use_cache=True)
    layers = result.past_key_values.layers
    return (result[0], *[t for layer in layers for t in (layer.keys, layer.values)])


def _past(name: str, heads: int, norms: int, gelus: int, **settings: Any) -> Entry:
    return Entry(f"{name.lower()}-past", _of(name, "ForCausalLM" if name != "GPT2" else "LMHeadModel", **settings),
                 _with_past(heads), PAST, _continued, LAYERS, norms, gelus)


def _seq2seq_feeds(batch: int, length: int) -> Feeds:
    return {"decoder_input_ids": ids(batch, length), "encoder_hidden_states": hidden(batch, length + 2),
            "encoder_attention_mask": mask(batch, length + 2)}


SEQ2SEQ = {"decoder_input_ids": {0: "batch", 1: "length"}, "encoder_hidden_states": {0: "batch", 1: "source"},
           "encoder_attention_mask": {0: "batch", 1: "source"}}


def _decoding(model: Any, decoder_input_ids: Tensor, states: Tensor, attention_mask: Tensor) -> Any:
    return model(encoder_outputs=(states,), attention_mask=attention_mask, decoder_input_ids=decoder_input_ids,
                 use_cache=False)[0]


def _encoding(model: Any, input_ids: Tensor, attention_mask: Tensor) -> Any:
    return model.get_encoder()(input_ids=input_ids, attention_mask=attention_mask)[0]


ENTRIES = [
    _encoder("Bert", typed=True),
    _encoder("Bert", "ForMaskedLM", norms=2 * LAYERS + 2, gelus=LAYERS + 1),
    _encoder("Bert", "ForSequenceClassification"),
    _encoder("Bert", "ForQuestionAnswering"),
    _encoder("Bert", "ForTokenClassification"),
    _encoder("Roberta"),
    _encoder("XLMRoberta"),
    _encoder("Camembert"),
    _encoder("Albert", typed=True, embedding_size=32, hidden_act="gelu_new"),
    _encoder("DistilBert", dim=HIDDEN, n_layers=LAYERS, n_heads=HEADS, hidden_dim=FFN),
    _encoder("Electra", embedding_size=32, typed=True),
    _encoder("MPNet", implementations=("eager",)),
    _encoder("DebertaV2", implementations=("eager",), relative_attention=True, pos_att_type=["p2c", "c2p"], position_buckets=8,
             norm_rel_ebd="layer_norm", share_att_key=True, norms=2 * LAYERS + 2, position_biased_input=False,
             type_vocab_size=0),
    _encoder("ModernBert", norms=2 * LAYERS + 1, global_attn_every_n_layers=2, local_attention=8, cls_token_id=1, sep_token_id=2,
             bos_token_id=1, eos_token_id=2),
    _encoder("NomicBert", gelus=0),
    _encoder("RoFormer", embedding_size=HIDDEN, implementations=("eager",)),
    _encoder("ConvBert", implementations=("eager",), embedding_size=HIDDEN, head_ratio=2),
    _decoder("GPT2", "LMHeadModel", gelus=LAYERS, **GPT2),
    _past("GPT2", HEADS, 2 * LAYERS + 1, LAYERS, **GPT2),
    _decoder("Llama", **LLAMA),
    _past("Llama", 2, 2 * LAYERS + 1, 0, **LLAMA),
    _decoder("Mistral", **LLAMA, sliding_window=8),
    _decoder("Qwen2", **LLAMA),
    _decoder("Qwen3", **LLAMA, head_dim=16, norms=4 * LAYERS + 1),
    _decoder("Phi", norms=LAYERS + 1, gelus=LAYERS, **COMMON),
    _decoder("Gemma2", **LLAMA, head_dim=16, norms=4 * LAYERS + 1, gelus=LAYERS, implementations=("eager",)),
    _decoder("GPTNeoX", gelus=LAYERS, **COMMON),
    _decoder("OPT", **COMMON, ffn_dim=FFN, word_embed_proj_dim=HIDDEN),
    _decoder("Bloom", norms=2 * LAYERS + 2, gelus=LAYERS, **COMMON, n_layer=LAYERS, n_head=HEADS,
             implementations=("eager",)),
    _decoder("Falcon", norms=LAYERS + 1, gelus=LAYERS, **COMMON, alibi=False, parallel_attn=True, multi_query=True),
    Entry("t5-encoder", _of("T5", "EncoderModel", "T5", **T5), _text, TEXT, _first, LAYERS, 2 * LAYERS + 1, 0),
    Entry("t5-decoder", _of("T5", "ForConditionalGeneration", **T5), _seq2seq_feeds, SEQ2SEQ, _decoding,
          2 * LAYERS, 3 * LAYERS + 1, 0),
    Entry("bart-encoder", _of("Bart", **BART), _text, TEXT, _encoding, LAYERS, 2 * LAYERS + 1, LAYERS),
    Entry("bart-decoder", _of("Bart", "ForConditionalGeneration", **BART), _seq2seq_feeds, SEQ2SEQ, _decoding,
          2 * LAYERS, 3 * LAYERS + 1, LAYERS),
    Entry("marian-encoder", _of("Marian", **{**BART, "eos_token_id": 0, "decoder_start_token_id": 0}), _text, TEXT, _encoding,
          LAYERS, 2 * LAYERS, LAYERS),
    Entry("vit", _of("ViT", **VISION), _pixels, {"pixel_values": {0: "batch"}}, lambda model, x: model(x)[0],
          LAYERS, 2 * LAYERS + 1, LAYERS),
    Entry("clip-vision", _of("CLIPVision", "Model", **VISION), _pixels, {"pixel_values": {0: "batch"}},
          lambda model, x: model(x)[1], LAYERS, 2 * LAYERS + 2, LAYERS),
    Entry("clip-text", _of("CLIPText", **{**COMMON, "eos_token_id": 2, "bos_token_id": 1}), _text, TEXT, _first,
          LAYERS, 2 * LAYERS + 1, LAYERS),
    Entry("whisper-encoder",
          _of("Whisper", "Model", d_model=HIDDEN, encoder_layers=LAYERS, decoder_layers=LAYERS, encoder_attention_heads=HEADS,
              decoder_attention_heads=HEADS, encoder_ffn_dim=FFN, decoder_ffn_dim=FFN, num_mel_bins=16, max_source_positions=20,
              vocab_size=VOCABULARY, pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1),
          lambda batch, length: {"input_features": torch.randn(batch, 16, 40, generator=torch.Generator().manual_seed(batch))},
          {"input_features": {0: "batch"}}, lambda model, x: model.get_encoder()(x)[0], LAYERS, 2 * LAYERS + 1, LAYERS + 2),
]

"""Llama (arXiv:2302.13971, arXiv:2407.21783), Mistral (arXiv:2310.06825) and Qwen2 (arXiv:2407.10671).

Decoders with rotary positions, grouped key heads, RMS normalisation and gated feed-forward networks; their configs differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .. import nn
from ..current_tracer import apply
from ..ir.errors import FormatError
from ..tensor import Tensor
from .config import ModelConfig, activation
from .decoder_heads import CausalLM, DecoderHead, DecoderOutput, LastTokenClassification
from .heads import Model
from .rope import rope_of, rotary_angles

_FULL, _SLIDING = "full_attention", "sliding_attention"


@dataclass(frozen=True)
class LlamaConfig(ModelConfig):
    """Sizes of a model; the defaults are Llama-7B."""

    vocab_size: int = 32000
    hidden_size: int = 4096
    intermediate_size: int = 11008
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    num_key_value_heads: int | None = None  # None: as many as query heads
    head_dim: int | None = None  # None: the hidden size over the heads
    hidden_act: str = "silu"
    max_position_embeddings: int = 2048
    rms_norm_eps: float = 1e-6
    tie_word_embeddings: bool = False
    attention_bias: bool = False  # of all four projections
    qkv_bias: bool = False  # of the projections to queries, keys and values
    mlp_bias: bool = False
    pad_token_id: int | None = None
    sliding_window: int | None = None  # how many keys a query sees, its own included; None: all
    layer_types: tuple[str, ...] = ()  # of each layer; (): all have the window, if there is one
    rope: Mapping[str, Any] | None = None  # of rotary positions, as in config.json's rope_parameters

    def __post_init__(self) -> None:
        if self.head_dim is None:
            self.check_heads(self.hidden_size, self.num_attention_heads)

    @classmethod
    def translated(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        return {**super().translated(values), "rope": rope_of(values, 10000.0), "layer_types": (), "sliding_window": None}

    @property
    def max_length(self) -> int | None:
        return self.max_position_embeddings

    @property
    def head_size(self) -> int:
        """The size of a head."""
        return self.head_dim or self.hidden_size // self.num_attention_heads

    def window(self, layer: int) -> int | None:
        """How many keys a query of a layer sees; None: all."""
        sliding = not self.layer_types or self.layer_types[layer] == _SLIDING
        return self.sliding_window if sliding else None


@dataclass(frozen=True)
class MistralConfig(LlamaConfig):
    """Sizes of a model; the defaults are Mistral-7B."""

    intermediate_size: int = 14336
    max_position_embeddings: int = 131072

    @classmethod
    def translated(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        return {**super().translated(values), "sliding_window": values.get("sliding_window", 4096),
                "num_key_value_heads": values.get("num_key_value_heads", 8)}


@dataclass(frozen=True)
class Qwen2Config(LlamaConfig):
    """Sizes of a model; the defaults are those that a config.json leaves out."""

    vocab_size: int = 151936
    intermediate_size: int = 22016
    max_position_embeddings: int = 32768
    qkv_bias: bool = True

    @classmethod
    def translated(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        window = values.get("sliding_window", 4096) if values.get("use_sliding_window") else None
        count, first = values.get("num_hidden_layers", 32), values.get("max_window_layers", 28)
        types = tuple(values.get("layer_types") or (_SLIDING if window and i >= first else _FULL for i in range(count)))
        others = sorted(set(types) - {_FULL, _SLIDING})
        if others:
            raise FormatError(f"layer_types has {', '.join(others)}; supported: {_FULL}, {_SLIDING}")
        return {**super().translated(values), "sliding_window": window, "layer_types": types,
                "num_key_value_heads": values.get("num_key_value_heads", 32)}


class LlamaAttention(nn.Module):
    """Causal self-attention of rotated queries and keys, with its output projection."""

    def __init__(self, config: LlamaConfig, layer: int):
        size, heads, kv_heads = config.hidden_size, config.num_attention_heads, config.num_key_value_heads
        kv_heads = heads if kv_heads is None else kv_heads
        bias = config.attention_bias or config.qkv_bias
        self.q_proj = nn.Linear(size, heads * config.head_size, bias)
        self.k_proj = nn.Linear(size, kv_heads * config.head_size, bias)
        self.v_proj = nn.Linear(size, kv_heads * config.head_size, bias)
        self.o_proj = nn.Linear(heads * config.head_size, size, config.attention_bias)
        self.attend = nn.DotProductAttention(heads, kv_heads, causal=True, window=config.window(layer))

    def __call__(self, x: Tensor, mask: Tensor | None, rotation: tuple[Tensor, Tensor],
                 past: nn.PastOfLayer | None = None) -> Tensor:
        return self.o_proj(self.attend(self.q_proj(x), self.k_proj(x), self.v_proj(x), mask, rotation=rotation, past=past))


class LlamaMLP(nn.Module):
    """down_proj(activation(gate_proj(x)) * up_proj(x)): SwiGLU (arXiv:2002.05202)."""

    def __init__(self, config: LlamaConfig):
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, config.mlp_bias)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, config.mlp_bias)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, config.mlp_bias)
        self.activation = activation(config.hidden_act)

    def __call__(self, x: Tensor) -> Tensor:
        return self.down_proj(self.activation(self.gate_proj(x)) * self.up_proj(x))


class LlamaLayer(nn.Module):
    """One layer, normalised before each part."""

    def __init__(self, config: LlamaConfig, layer: int):
        self.input_layernorm = nn.RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = LlamaAttention(config, layer)
        self.post_attention_layernorm = nn.RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = LlamaMLP(config)

    def __call__(self, x: Tensor, mask: Tensor | None, rotation: tuple[Tensor, Tensor],
                 past: nn.PastOfLayer | None = None) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), mask, rotation, past)
        return x + self.mlp(self.post_attention_layernorm(x))


class Llama(Model):
    """Embeddings, layers, normalisation."""

    def __init__(self, config: LlamaConfig | None = None):
        self.config = config = config or LlamaConfig()
        rope = config.rope or {"rope_theta": 10000.0}
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.rotary = rotary_angles(config.head_size, rope)
        self.layers = [LlamaLayer(config, layer) for layer in range(config.num_hidden_layers)]
        self.norm = nn.RMSNorm(config.hidden_size, config.rms_norm_eps)

    def __call__(self, input_ids: Tensor, mask: Tensor | None = None, positions: Tensor | None = None,
                 now: nn.Progress | None = None) -> DecoderOutput:
        """input_ids i64 [B, S]; mask bool [B, S], False for padding; positions i64 [S] or [B, S], by default 0 .. S-1.

        now: the tokens come after those of a past, which brings mask and positions.
        """
        if now is not None:
            positions = now.positions
        rotation = self.rotary(apply("range", stop=input_ids.shape[1]) if positions is None else positions)
        x = self.embed_tokens(input_ids)
        for number, layer in enumerate(self.layers):
            x = layer(x, mask, rotation, None if now is None else now.layer(number))
        return DecoderOutput(self.norm(x))


class LlamaForCausalLM(CausalLM):
    """Scores [B, S, vocab_size] for the token after each."""

    prefix, decoder = "model", Llama

    def __init__(self, config: LlamaConfig | None = None):
        super().__init__(config)
        self.lm_head = nn.Linear(self.config.hidden_size, self.config.vocab_size, bias=False)
        if self.config.tie_word_embeddings:
            self.lm_head.weight = self.body.embed_tokens.weight
        heads = self.config.num_key_value_heads or self.config.num_attention_heads
        self.past = nn.Past(self.config.num_hidden_layers, heads, self.config.head_size)


class LlamaForSequenceClassification(LastTokenClassification):
    prefix, decoder = "model", Llama


class LlamaForTokenClassification(DecoderHead):
    """Scores [B, S, labels] for every token."""

    prefix, decoder = "model", Llama

    def __init__(self, config: LlamaConfig | None = None):
        super().__init__(config)
        self.score = nn.Linear(self.config.hidden_size, self.config.num_labels)

    def __call__(self, input_ids: Tensor, mask: Tensor | None = None, positions: Tensor | None = None) -> dict[str, Any]:
        return {"logits": self.score(self.body(input_ids, mask, positions).hidden)}

"""GPT-2 ("Language Models are Unsupervised Multitask Learners", Radford et al., 2019): a decoder with learned positions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .. import nn
from ..current_tracer import apply
from ..ir.dtypes import f32
from ..tensor import Parameter, Tensor, constant
from .config import ModelConfig, activation
from .decoder_heads import CausalLM, DecoderHead, DecoderOutput, LastTokenClassification
from .heads import Model


@dataclass(frozen=True)
class GPT2Config(ModelConfig):
    """Sizes of a model; the defaults are the smallest GPT-2."""

    renamed = {"hidden_size": "n_embd", "num_hidden_layers": "n_layer", "num_attention_heads": "n_head",
               "intermediate_size": "n_inner", "max_position_embeddings": "n_positions", "hidden_act": "activation_function"}
    supported = {"scale_attn_weights": (True,), "scale_attn_by_inverse_layer_idx": (False,)}

    vocab_size: int = 50257
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int | None = None  # None: four times the hidden size
    max_position_embeddings: int = 1024
    hidden_act: str = "gelu_new"
    layer_norm_epsilon: float = 1e-5
    tie_word_embeddings: bool = True
    pad_token_id: int | None = None

    def __post_init__(self) -> None:
        self.check_heads(self.hidden_size, self.num_attention_heads)

    @property
    def max_length(self) -> int | None:
        return self.max_position_embeddings


class Conv1D(nn.Module):
    """x W + b, a linear map whose weight [in, out] lies as GPT-2's checkpoints have it."""

    def __init__(self, in_features: int, out_features: int):
        self.weight = Parameter(f32[in_features, out_features])
        self.bias = Parameter(f32[out_features], constant(0.0))

    def __call__(self, x: Tensor) -> Tensor:
        return apply("matmul", x, self.weight) + self.bias


class GPT2Attention(nn.Module):
    """Causal self-attention with its output projection; one product for queries, keys and values."""

    def __init__(self, config: GPT2Config):
        self.c_attn = Conv1D(config.hidden_size, 3 * config.hidden_size)
        self.c_proj = Conv1D(config.hidden_size, config.hidden_size)
        self.attend = nn.DotProductAttention(config.num_attention_heads, causal=True)

    def __call__(self, x: Tensor, mask: Tensor | None, past: nn.PastOfLayer | None = None) -> Tensor:
        query, key, value = apply("split", self.c_attn(x), sizes=3)
        return self.c_proj(self.attend(query, key, value, mask, past=past))


class GPT2MLP(nn.Module):
    """c_proj(activation(c_fc(x)))."""

    def __init__(self, config: GPT2Config):
        hidden = config.intermediate_size or 4 * config.hidden_size
        self.c_fc, self.c_proj = Conv1D(config.hidden_size, hidden), Conv1D(hidden, config.hidden_size)
        self.activation = activation(config.hidden_act)

    def __call__(self, x: Tensor) -> Tensor:
        return self.c_proj(self.activation(self.c_fc(x)))


class GPT2Block(nn.Module):
    """One layer, normalised before each part."""

    def __init__(self, config: GPT2Config):
        self.ln_1 = nn.LayerNorm(config.hidden_size, config.layer_norm_epsilon)
        self.attn = GPT2Attention(config)
        self.ln_2 = nn.LayerNorm(config.hidden_size, config.layer_norm_epsilon)
        self.mlp = GPT2MLP(config)

    def __call__(self, x: Tensor, mask: Tensor | None, past: nn.PastOfLayer | None = None) -> Tensor:
        x = x + self.attn(self.ln_1(x), mask, past)
        return x + self.mlp(self.ln_2(x))


class GPT2(Model):
    """Embeddings, layers, normalisation."""

    def __init__(self, config: GPT2Config | None = None):
        self.config = config = config or GPT2Config()
        self.wte = nn.Embedding(config.vocab_size, config.hidden_size)
        self.wpe = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.h = [GPT2Block(config) for _ in range(config.num_hidden_layers)]
        self.ln_f = nn.LayerNorm(config.hidden_size, config.layer_norm_epsilon)

    def __call__(self, input_ids: Tensor, mask: Tensor | None = None, positions: Tensor | None = None,
                 now: nn.Progress | None = None) -> DecoderOutput:
        """input_ids i64 [B, S]; mask bool [B, S], False for padding; positions i64 [S] or [B, S], by default 0 .. S-1.

        now: the tokens come after those of a past, which brings mask and positions.
        """
        if now is not None:
            positions = now.positions
        positions = apply("range", stop=input_ids.shape[1]) if positions is None else positions
        x = self.wte(input_ids) + self.wpe(positions)
        for number, block in enumerate(self.h):
            x = block(x, mask, None if now is None else now.layer(number))
        return DecoderOutput(self.ln_f(x))


class GPT2LMHeadModel(CausalLM):
    """Scores [B, S, vocab_size] for the token after each."""

    prefix, decoder = "transformer", GPT2

    def __init__(self, config: GPT2Config | None = None):
        super().__init__(config)
        self.lm_head = nn.Linear(self.config.hidden_size, self.config.vocab_size, bias=False)
        if self.config.tie_word_embeddings:
            self.lm_head.weight = self.body.wte.weight
        heads = self.config.num_attention_heads
        self.past = nn.Past(self.config.num_hidden_layers, heads, self.config.hidden_size // heads)


class GPT2ForSequenceClassification(LastTokenClassification):
    prefix, decoder = "transformer", GPT2


class GPT2ForTokenClassification(DecoderHead):
    """Scores [B, S, labels] for every token."""

    prefix, decoder = "transformer", GPT2

    def __init__(self, config: GPT2Config | None = None):
        super().__init__(config)
        self.classifier = nn.Linear(self.config.hidden_size, self.config.num_labels)

    def __call__(self, input_ids: Tensor, mask: Tensor | None = None, positions: Tensor | None = None) -> dict[str, Any]:
        return {"logits": self.classifier(self.body(input_ids, mask, positions).hidden)}

"""T5 (arXiv:1910.10683), T5 v1.1 and FLAN-T5 (arXiv:2210.11416).

Encoder and decoder with a bias for each distance, RMS normalisation, scores that are not scaled, and no bias in linear maps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from .. import nn
from ..current_tracer import apply
from ..ir.dims import dim
from ..ir.dtypes import bool_, i64
from ..ir.errors import FormatError
from ..ir.types import TensorType
from ..nn.feed_forward import ACTIVATIONS
from ..tensor import Parameter, Tensor
from .config import ModelConfig, activation
from .heads import EncoderOutput, Model


@dataclass(frozen=True)
class T5Config(ModelConfig):
    """Sizes of a model and which of its parts there are; the defaults are T5-small."""

    activations = ()

    vocab_size: int = 32128
    d_model: int = 512
    d_kv: int = 64
    d_ff: int = 2048
    num_layers: int = 6
    num_decoder_layers: int | None = None  # None: as many as the encoder has
    num_heads: int = 8
    relative_attention_num_buckets: int = 32
    relative_attention_max_distance: int = 128
    layer_norm_epsilon: float = 1e-6
    feed_forward_proj: str = "relu"  # an activation, or gated-activation
    tie_word_embeddings: bool = True
    scale_decoder_outputs: bool = True  # by d_model^-0.5, before the head

    @classmethod
    def translated(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        kind = values.get("feed_forward_proj", "relu")
        if not isinstance(kind, str) or kind.removeprefix("gated-") not in (*ACTIVATIONS, "gelu_new"):
            raise FormatError(f"feed_forward_proj is {kind!r}; supported: an activation, or gated-activation, of "
                              f"{', '.join((*ACTIVATIONS, 'gelu_new'))}")
        # Before transformers 5, one entry said both whether the head is the table of words, and whether its input is scaled.
        scaled = values.get("scale_decoder_outputs", values.get("tie_word_embeddings", True))
        return {**super().translated(values), "scale_decoder_outputs": scaled}

    def fitted_to(self, weights: Mapping[str, Any]) -> T5Config:
        """With a head of its own if the checkpoint has one that is not the table of words."""
        head = weights.get("lm_head.weight")
        own = head is not None and not np.array_equal(head, weights["shared.weight"])
        return replace(self, tie_word_embeddings=self.tie_word_embeddings and not own)

    @property
    def gated(self) -> bool:
        return self.feed_forward_proj.startswith("gated-")

    @property
    def hidden_act(self) -> str:
        """`gated-gelu` means GELU by tanh, in all checkpoints that say so."""
        return "gelu_new" if self.feed_forward_proj == "gated-gelu" else self.feed_forward_proj.removeprefix("gated-")


class T5Attention(nn.Module):
    """Attention without scale; `relative_attention_bias` is there in a stack's first layer, and all others use it too."""

    def __init__(self, config: T5Config, causal: bool = False, first: bool = False):
        size, inner = config.d_model, config.num_heads * config.d_kv
        buckets, farthest = config.relative_attention_num_buckets, config.relative_attention_max_distance
        self.q, self.k, self.v = (nn.Linear(size, inner, bias=False) for _ in range(3))
        self.o = nn.Linear(inner, size, bias=False)
        self.attend = nn.DotProductAttention(config.num_heads, causal=causal, scale=1.0)
        self.relative_attention_bias = (nn.RelativePositionBias(config.num_heads, buckets, farthest, causal)
                                        if first else None)

    def __call__(self, x: Tensor, memory: Tensor, mask: Tensor | None, bias: Tensor | None = None,
                 past: nn.PastOfLayer | None = None) -> Tensor:
        return self.o(self.attend(self.q(x), self.k(memory), self.v(memory), mask, bias, past=past))

    def project(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of the memory [B, S, d_model], by head."""
        return self.attend.project(self.k(memory), self.v(memory))

    def recall(self, x: Tensor, memory: nn.MemoryOfLayer) -> Tensor:
        """x attends to keys and values that `project` made."""
        return self.o(self.attend.recall(self.q(x), memory))


class T5SelfAttentionLayer(nn.Module):
    """x + attention of the normalised x to itself."""

    def __init__(self, config: T5Config, causal: bool, first: bool):
        self.SelfAttention = T5Attention(config, causal, first)
        self.layer_norm = nn.RMSNorm(config.d_model, config.layer_norm_epsilon)

    def __call__(self, x: Tensor, mask: Tensor | None, bias: Tensor, past: nn.PastOfLayer | None = None) -> Tensor:
        normed = self.layer_norm(x)
        return x + self.SelfAttention(normed, normed, mask, bias, past)


class T5CrossAttentionLayer(nn.Module):
    """x + attention of the normalised x to what the encoder gives."""

    def __init__(self, config: T5Config):
        self.EncDecAttention = T5Attention(config)
        self.layer_norm = nn.RMSNorm(config.d_model, config.layer_norm_epsilon)

    def __call__(self, x: Tensor, memory: Tensor | nn.MemoryOfLayer, mask: Tensor | None) -> Tensor:
        normed = self.layer_norm(x)
        if isinstance(memory, nn.MemoryOfLayer):
            return x + self.EncDecAttention.recall(normed, memory)
        return x + self.EncDecAttention(normed, memory, mask)


class T5FeedForward(nn.Module):
    """wo(activation(wi(x))), or gated: wo(activation(wi_0(x)) * wi_1(x))."""

    def __init__(self, config: T5Config):
        names = ("wi_0", "wi_1") if config.gated else ("wi",)
        for name in names:
            setattr(self, name, nn.Linear(config.d_model, config.d_ff, bias=False))
        self.inputs = names
        self.wo = nn.Linear(config.d_ff, config.d_model, bias=False)
        self.activation = activation(config.hidden_act)

    def __call__(self, x: Tensor) -> Tensor:
        first, *gate = (getattr(self, name)(x) for name in self.inputs)
        hidden = self.activation(first)
        return self.wo(hidden * gate[0] if gate else hidden)


class T5FeedForwardLayer(nn.Module):
    """x + the feed-forward network of the normalised x."""

    def __init__(self, config: T5Config):
        self.DenseReluDense = T5FeedForward(config)
        self.layer_norm = nn.RMSNorm(config.d_model, config.layer_norm_epsilon)

    def __call__(self, x: Tensor) -> Tensor:
        return x + self.DenseReluDense(self.layer_norm(x))


class T5Block(nn.Module):
    """One layer of the encoder or, if causal, of the decoder, which attends to the encoder's output too."""

    def __init__(self, config: T5Config, causal: bool, first: bool):
        cross = [T5CrossAttentionLayer(config)] if causal else []
        self.layer = [T5SelfAttentionLayer(config, causal, first), *cross, T5FeedForwardLayer(config)]

    def __call__(self, x: Tensor, mask: Tensor | None, bias: Tensor, memory: Tensor | nn.MemoryOfLayer | None,
                 memory_mask: Tensor | None, past: nn.PastOfLayer | None = None) -> Tensor:
        x = self.layer[0](x, mask, bias, past)
        if memory is not None:
            x = self.layer[1](x, memory, memory_mask)
        return self.layer[-1](x)


class T5Stack(nn.Module):
    """The encoder, or the decoder; the table of words belongs to both."""

    def __init__(self, config: T5Config, table: Parameter, causal: bool):
        count = config.num_layers if not causal or config.num_decoder_layers is None else config.num_decoder_layers
        self.embed_tokens = nn.Embedding(config.vocab_size, config.d_model)
        self.embed_tokens.weight = table
        self.block = [T5Block(config, causal, first=number == 0) for number in range(count)]
        self.final_layer_norm = nn.RMSNorm(config.d_model, config.layer_norm_epsilon)

    def __call__(self, input_ids: Tensor, mask: Tensor | None, positions: Tensor | None = None, memory: Tensor | None = None,
                 memory_mask: Tensor | None = None) -> Tensor:
        """Token numbers [B, S], at positions [S] (by default 0 .. S-1), to [B, S, d_model]."""
        positions = apply("range", stop=input_ids.shape[1]) if positions is None else positions
        table: Any = self.block[0].layer[0]
        bias = table.SelfAttention.relative_attention_bias(positions, positions)
        x = self.embed_tokens(input_ids)
        for block in self.block:
            x = block(x, mask, bias, memory, memory_mask)
        return self.final_layer_norm(x)

    def project(self, memory: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Keys and values of the memory [B, S, d_model] for each layer of a decoder."""
        cross: list[Any] = [block.layer[1] for block in self.block]
        return [layer.EncDecAttention.project(memory) for layer in cross]

    def step(self, tokens: Tensor, now: nn.Progress, memory: nn.Memory) -> Tensor:
        """New tokens [B, T], after those of the past, to [B, T, d_model]."""
        table: Any = self.block[0].layer[0]
        keys = apply("range", stop=now.past.layers[0].key.shape[2])
        bias = table.SelfAttention.relative_attention_bias(now.positions, keys)
        x = self.embed_tokens(tokens)
        for number, block in enumerate(self.block):
            x = block(x, None, bias, memory.layer(number), None, now.layer(number))
        return self.final_layer_norm(x)


class T5Base(Model):
    """The table of words and the encoder, which all architectures have."""

    def __init__(self, config: T5Config | None = None):
        self.config = config = config or T5Config()
        self.shared = nn.Embedding(config.vocab_size, config.d_model)
        self.encoder = T5Stack(config, self.shared.weight, causal=False)

    def encode(self, input_ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """Source tokens i64 [B, S] and their mask to the memory [B, S, d_model]."""
        return self.encoder(input_ids, mask)


class T5EncoderModel(T5Base):
    """The encoder alone."""

    def __call__(self, input_ids: Tensor, mask: Tensor | None = None) -> EncoderOutput:
        """input_ids i64 [B, S]; mask bool [B, S], True for tokens, False for padding."""
        return EncoderOutput(self.encode(input_ids, mask))


class T5Output(NamedTuple):
    """The last states of the decoder [B, T, d_model], and of the encoder [B, S, d_model]."""

    hidden: Tensor
    encoder_hidden: Tensor


class T5(T5Base):
    """Encoder and decoder. `encode` and `decode` are its halves, for `tg.trace_program`."""

    def __init__(self, config: T5Config | None = None):
        super().__init__(config)
        self.decoder = T5Stack(self.config, self.shared.weight, causal=True)

    @property
    def specs(self) -> dict[str, TensorType]:
        """Inputs of any batch and lengths: tokens of source and target, and the mask of the source's tokens that count."""
        batch, source, target = dim("B"), dim("S"), dim("T")
        words = self.config.vocab_size
        return {"input_ids": i64[batch, source].range(0, words), "decoder_input_ids": i64[batch, target].range(0, words),
                "mask": bool_[batch, source]}

    def decode(self, memory: Tensor, decoder_input_ids: Tensor, mask: Tensor | None = None, decoder_mask: Tensor | None = None,
               positions: Tensor | None = None) -> Tensor:
        """Memory and the target's tokens i64 [B, T] to states [B, T, d_model]; mask [B, S] of the memory, decoder_mask [B, T]."""
        return self.decoder(decoder_input_ids, decoder_mask, positions, memory, mask)

    def __call__(self, input_ids: Tensor, decoder_input_ids: Tensor, mask: Tensor | None = None,
                 decoder_mask: Tensor | None = None) -> Any:
        memory = self.encode(input_ids, mask)
        return T5Output(self.decode(memory, decoder_input_ids, mask, decoder_mask), memory)


class T5ForConditionalGeneration(T5):
    """Scores [B, T, vocab_size] for the target's token after each."""

    def __init__(self, config: T5Config | None = None):
        super().__init__(config)
        self.lm_head = nn.Linear(self.config.d_model, self.config.vocab_size, bias=False)
        if self.config.tie_word_embeddings:
            self.lm_head.weight = self.shared.weight
        layers, heads, size = len(self.decoder.block), self.config.num_heads, self.config.d_kv
        self.memory, self.past = nn.Memory(layers, heads, size), nn.Past(layers, heads, size)

    @property
    def start_specs(self) -> dict[str, TensorType]:
        """The inputs of `start`, for `tg.trace_program(model, start=model.start_specs, step=model.step_specs)`."""
        return {name: type for name, type in self.specs.items() if name != "decoder_input_ids"}

    @property
    def step_specs(self) -> dict[str, TensorType]:
        """The inputs of `step`."""
        return {"tokens": self.specs["decoder_input_ids"]}

    def start(self, input_ids: Tensor, mask: Tensor | None = None) -> None:
        """Read source tokens i64 [B, S], False in mask bool [B, S] for padding; `step` then writes a target."""
        self.memory.fill(self.decoder.project(self.encode(input_ids, mask)), mask)
        self.past.reset()

    def step(self, tokens: Tensor) -> Tensor:
        """New target tokens i64 [B, T] to scores [B, vocab_size] for the one after the last of them."""
        return self._scores(self.decoder.step(tokens, self.past.begin(tokens), self.memory)[:, -1])

    def _scores(self, hidden: Tensor) -> Tensor:
        return self.lm_head(hidden * self.config.d_model ** -0.5 if self.config.scale_decoder_outputs else hidden)

    def decode(self, memory: Tensor, decoder_input_ids: Tensor, mask: Tensor | None = None, decoder_mask: Tensor | None = None,
               positions: Tensor | None = None) -> Tensor:
        """Memory and the target's tokens i64 [B, T] to scores [B, T, vocab_size]."""
        return self._scores(super().decode(memory, decoder_input_ids, mask, decoder_mask, positions))

    def __call__(self, input_ids: Tensor, decoder_input_ids: Tensor, mask: Tensor | None = None,
                 decoder_mask: Tensor | None = None) -> Any:
        memory = self.encode(input_ids, mask)
        return {"logits": self.decode(memory, decoder_input_ids, mask, decoder_mask)}

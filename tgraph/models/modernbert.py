"""ModernBERT (arXiv:2412.13663): rotary positions, layers that see a window or everything, and gated feed-forward networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .. import nn
from ..current_tracer import apply
from ..ir.errors import FormatError
from ..tensor import Tensor
from .config import ModelConfig, activation
from .heads import EncoderModel, EncoderOutput, Head, with_attentions
from .rope import complete_rope, rotary_angles

_FULL, _SLIDING = "full_attention", "sliding_attention"
_BASES = {_FULL: 160_000.0, _SLIDING: 10_000.0}


@dataclass(frozen=True)
class ModernBertConfig(ModelConfig):
    """Sizes of a model and which of its parts there are; the defaults are ModernBERT-base."""

    activations = ("hidden_activation", "classifier_activation")

    vocab_size: int = 50368
    hidden_size: int = 768
    intermediate_size: int = 1152
    num_hidden_layers: int = 22
    num_attention_heads: int = 12
    hidden_activation: str = "gelu"
    max_position_embeddings: int = 8192
    norm_eps: float = 1e-5
    norm_bias: bool = False
    attention_bias: bool = False
    mlp_bias: bool = False
    decoder_bias: bool = True
    classifier_bias: bool = False
    classifier_activation: str = "gelu"
    classifier_pooling: str = "cls"
    tie_word_embeddings: bool = True
    global_attn_every_n_layers: int = 3
    local_attention: int = 128
    layer_types: tuple[str, ...] = ()  # of each layer; (): every n-th is global
    rope: Mapping[str, Mapping[str, Any]] | None = None  # by type of layer; None: the published bases

    def __post_init__(self) -> None:
        self.check_heads(self.hidden_size, self.num_attention_heads)

    @classmethod
    def translated(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        types = tuple(values.get("layer_types") or ())
        if not set(types) <= set(_BASES):
            raise FormatError(f"layer_types has {', '.join(sorted(set(types) - set(_BASES)))}; supported: {', '.join(_BASES)}")
        if values.get("classifier_pooling", "cls") not in ("cls", "mean"):
            raise FormatError(f"classifier_pooling is {values['classifier_pooling']!r}; supported: 'cls', 'mean'")
        given = values.get("rope_parameters") or {}
        base = values.get("global_rope_theta") or _BASES[_FULL]
        bases = {_FULL: base, _SLIDING: values.get("local_rope_theta", _BASES[_SLIDING]) or base}  # null: the global one
        rope = {kind: complete_rope({"rope_theta": bases[kind], **(given.get(kind) or {})}, values) for kind in _BASES}
        return {**super().translated(values), "layer_types": types, "rope": rope}

    @property
    def max_length(self) -> int | None:
        return self.max_position_embeddings

    def layer_type(self, number: int) -> str:
        """Whether a layer sees everything or a window."""
        if self.layer_types:
            return self.layer_types[number]
        return _SLIDING if number % self.global_attn_every_n_layers else _FULL


class ModernBertEmbeddings(nn.Module):
    """Word embeddings, normalised."""

    def __init__(self, config: ModernBertConfig):
        self.tok_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, config.norm_eps, config.norm_bias)

    def __call__(self, input_ids: Tensor) -> Tensor:
        return self.norm(self.tok_embeddings(input_ids))


class ModernBertAttention(nn.Module):
    """Self-attention of rotated queries and keys; one product for queries, keys and values."""

    def __init__(self, config: ModernBertConfig, layer_type: str):
        size = config.hidden_size
        self.Wqkv = nn.Linear(size, 3 * size, config.attention_bias)
        self.Wo = nn.Linear(size, size, config.attention_bias)
        window = config.local_attention // 2 + 1 if layer_type == _SLIDING else None  # half of it on each side
        self.attend = nn.DotProductAttention(config.num_attention_heads, window=window)

    def __call__(self, x: Tensor, mask: Tensor | None, rotation: tuple[Tensor, Tensor], weights: list[Tensor] | None) -> Tensor:
        query, key, value = apply("split", self.Wqkv(x), sizes=3)
        return self.Wo(self.attend(query, key, value, mask, rotation=rotation, weights=weights))


class ModernBertMLP(nn.Module):
    """Wo(activation(first half of Wi(x)) * second half): GeGLU (arXiv:2002.05202)."""

    def __init__(self, config: ModernBertConfig):
        self.Wi = nn.Linear(config.hidden_size, 2 * config.intermediate_size, config.mlp_bias)
        self.Wo = nn.Linear(config.intermediate_size, config.hidden_size, config.mlp_bias)
        self.activation = activation(config.hidden_activation)

    def __call__(self, x: Tensor) -> Tensor:
        x, gate = apply("split", self.Wi(x), sizes=2)
        return self.Wo(self.activation(x) * gate)


class ModernBertLayer(nn.Module):
    """One layer, normalised before each part; before the first attention the embeddings have been."""

    def __init__(self, config: ModernBertConfig, number: int):
        self.type = config.layer_type(number)
        self.attn_norm = nn.LayerNorm(config.hidden_size, config.norm_eps, config.norm_bias) if number else None
        self.attn = ModernBertAttention(config, self.type)
        self.mlp_norm = nn.LayerNorm(config.hidden_size, config.norm_eps, config.norm_bias)
        self.mlp = ModernBertMLP(config)

    def __call__(self, x: Tensor, mask: Tensor | None, rotation: tuple[Tensor, Tensor], weights: list[Tensor] | None) -> Tensor:
        x = x + self.attn(x if self.attn_norm is None else self.attn_norm(x), mask, rotation, weights)
        return x + self.mlp(self.mlp_norm(x))


class ModernBert(EncoderModel):
    """Embeddings, layers, normalisation."""

    def __init__(self, config: ModernBertConfig | None = None, output_attentions: bool = False):
        super().__init__(config or ModernBertConfig(), output_attentions)
        config, head_dim = self.config, self.config.hidden_size // self.config.num_attention_heads
        rope = config.rope or {kind: {"rope_theta": base} for kind, base in _BASES.items()}
        self.embeddings = ModernBertEmbeddings(config)
        self.layers = [ModernBertLayer(config, number) for number in range(config.num_hidden_layers)]
        self.rotary = {kind: rotary_angles(head_dim, rope[kind]) for kind in _BASES}
        self.final_norm = nn.LayerNorm(config.hidden_size, config.norm_eps, config.norm_bias)

    def __call__(self, input_ids: Tensor, mask: Tensor | None = None) -> EncoderOutput:
        """input_ids i64 [B, S]; mask bool [B, S], True for tokens, False for padding."""
        weights, positions = self.new_list(), apply("range", stop=input_ids.shape[1])
        rotations = {kind: angles(positions) for kind, angles in self.rotary.items()}
        x = self.embeddings(input_ids)
        for layer in self.layers:
            x = layer(x, mask, rotations[layer.type], weights)
        return self.outputs(self.final_norm(x), None, weights)


class ModernBertPredictionHead(nn.Module):
    """norm(activation(dense(x))): what comes before every head."""

    def __init__(self, config: ModernBertConfig):
        self.dense = nn.Linear(config.hidden_size, config.hidden_size, config.classifier_bias)
        self.norm = nn.LayerNorm(config.hidden_size, config.norm_eps, config.norm_bias)
        self.activation = activation(config.classifier_activation)

    def __call__(self, x: Tensor) -> Tensor:
        return self.norm(self.activation(self.dense(x)))


class ModernBertHead(Head):
    """Base of the heads."""

    prefix, encoder, segments = "model", ModernBert, False

    def __init__(self, config: ModernBertConfig | None = None, **options: Any):
        super().__init__(config, **options)
        self.head = ModernBertPredictionHead(self.config)


class ModernBertForMaskedLM(ModernBertHead):
    """Scores [B, S, vocab_size] for the token at each position."""

    def __init__(self, config: ModernBertConfig | None = None, **options: Any):
        super().__init__(config, **options)
        self.decoder = nn.Linear(self.config.hidden_size, self.config.vocab_size, self.config.decoder_bias)
        if self.config.tie_word_embeddings:
            self.decoder.weight = self.body.embeddings.tok_embeddings.weight

    def __call__(self, input_ids: Tensor, mask: Tensor | None = None,
                 token_type_ids: Tensor | None = None) -> dict[str, Any]:
        output = self.encode(input_ids, mask, token_type_ids)
        return with_attentions(output, logits=self.decoder(self.head(output.hidden)))


class ModernBertForSequenceClassification(ModernBertHead):
    """Scores [B, labels] for the whole input, of its first token or of the mean of all."""

    def __init__(self, config: ModernBertConfig | None = None, **options: Any):
        super().__init__(config, **options)
        self.classifier = nn.Linear(self.config.hidden_size, self.config.num_labels)

    def __call__(self, input_ids: Tensor, mask: Tensor | None = None,
                 token_type_ids: Tensor | None = None) -> dict[str, Any]:
        output = self.encode(input_ids, mask, token_type_ids)
        hidden = output.hidden
        if self.config.classifier_pooling == "cls":
            pooled = hidden[:, 0]
        elif mask is None:
            pooled = hidden.mean(axis=1)
        else:
            pooled = apply("zero_padding", hidden, mask).sum(axis=1) / mask.astype(hidden.dtype).sum(axis=1, keepdims=True)
        return with_attentions(output, logits=self.classifier(self.head(pooled)))


class ModernBertForTokenClassification(ModernBertHead):
    """Scores [B, S, labels] for every token."""

    def __init__(self, config: ModernBertConfig | None = None, **options: Any):
        super().__init__(config, **options)
        self.classifier = nn.Linear(self.config.hidden_size, self.config.num_labels)

    def __call__(self, input_ids: Tensor, mask: Tensor | None = None,
                 token_type_ids: Tensor | None = None) -> dict[str, Any]:
        output = self.encode(input_ids, mask, token_type_ids)
        return with_attentions(output, logits=self.classifier(self.head(output.hidden)))


class ModernBertForQuestionAnswering(ModernBertForTokenClassification):
    """Scores [B, S] for the first and for the last token of the answer."""

    def __call__(self, input_ids: Tensor, mask: Tensor | None = None,
                 token_type_ids: Tensor | None = None) -> dict[str, Any]:
        output = self.encode(input_ids, mask, token_type_ids)
        scores = self.classifier(self.head(output.hidden))
        return with_attentions(output, start_logits=scores[..., 0], end_logits=scores[..., 1])

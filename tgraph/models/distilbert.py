"""DistilBERT (arXiv:1910.01108): a BERT of half the layers, without segments and pooler."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .. import nn
from ..current_tracer import apply
from ..tensor import Tensor
from .config import ModelConfig, activation
from .heads import EncoderModel, EncoderOutput, Head, QuestionAnswering, TiedDecoder, TokenClassification, with_attentions

_EPSILON = 1e-12  # of all normalisations; no config says it


@dataclass(frozen=True)
class DistilBertConfig(ModelConfig):
    """Sizes of a model; the defaults are DistilBERT-base."""

    renamed = {"hidden_size": "dim", "num_hidden_layers": "n_layers", "num_attention_heads": "n_heads",
               "intermediate_size": "hidden_dim", "hidden_act": "activation"}

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 6
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    max_position_embeddings: int = 512

    def __post_init__(self) -> None:
        self.check_heads(self.hidden_size, self.num_attention_heads)

    @property
    def max_length(self) -> int | None:
        return self.max_position_embeddings


class DistilBertEmbeddings(nn.Module):
    """Word and position embeddings, summed and normalised."""

    def __init__(self, config: DistilBertConfig):
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, _EPSILON)

    def __call__(self, input_ids: Tensor) -> Tensor:
        positions = self.position_embeddings(apply("range", stop=input_ids.shape[1]))
        return self.LayerNorm(self.word_embeddings(input_ids) + positions)


class DistilBertAttention(nn.Module):
    """Self-attention with its output projection."""

    def __init__(self, config: DistilBertConfig):
        size = config.hidden_size
        self.q_lin, self.k_lin, self.v_lin, self.out_lin = (nn.Linear(size, size) for _ in range(4))
        self.attend = nn.DotProductAttention(config.num_attention_heads)

    def __call__(self, x: Tensor, mask: Tensor | None, weights: list[Tensor] | None) -> Tensor:
        return self.out_lin(self.attend(self.q_lin(x), self.k_lin(x), self.v_lin(x), mask, weights=weights))


class DistilBertFeedForward(nn.Module):
    """lin2(activation(lin1(x)))."""

    def __init__(self, config: DistilBertConfig):
        self.lin1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.lin2 = nn.Linear(config.intermediate_size, config.hidden_size)
        self.activation = activation(config.hidden_act)

    def __call__(self, x: Tensor) -> Tensor:
        return self.lin2(self.activation(self.lin1(x)))


class DistilBertLayer(nn.Module):
    """One encoder layer, normalised after each part."""

    def __init__(self, config: DistilBertConfig):
        self.attention = DistilBertAttention(config)
        self.sa_layer_norm = nn.LayerNorm(config.hidden_size, _EPSILON)
        self.ffn = DistilBertFeedForward(config)
        self.output_layer_norm = nn.LayerNorm(config.hidden_size, _EPSILON)

    def __call__(self, x: Tensor, mask: Tensor | None, weights: list[Tensor] | None) -> Tensor:
        x = self.sa_layer_norm(self.attention(x, mask, weights) + x)
        return self.output_layer_norm(self.ffn(x) + x)


class DistilBertTransformer(nn.Module):
    """The stack of layers."""

    def __init__(self, config: DistilBertConfig):
        self.layer = [DistilBertLayer(config) for _ in range(config.num_hidden_layers)]

    def __call__(self, x: Tensor, mask: Tensor | None, weights: list[Tensor] | None) -> Tensor:
        for layer in self.layer:
            x = layer(x, mask, weights)
        return x


class DistilBert(EncoderModel):
    """The encoder with its embeddings."""

    def __init__(self, config: DistilBertConfig | None = None, output_attentions: bool = False):
        super().__init__(config or DistilBertConfig(), output_attentions)
        self.embeddings = DistilBertEmbeddings(self.config)
        self.transformer = DistilBertTransformer(self.config)

    def __call__(self, input_ids: Tensor, mask: Tensor | None = None) -> EncoderOutput:
        """input_ids i64 [B, S]; mask bool [B, S], True for tokens, False for padding."""
        weights = self.new_list()
        return self.outputs(self.transformer(self.embeddings(input_ids), mask, weights), None, weights)


class DistilBertForMaskedLM(Head):
    """Scores [B, S, vocab_size] for the token at each position."""

    prefix, encoder, segments = "distilbert", DistilBert, False

    def __init__(self, config: DistilBertConfig | None = None, **options: Any):
        super().__init__(config, **options)
        self.activation = activation(self.config.hidden_act)
        self.vocab_transform = nn.Linear(self.config.hidden_size, self.config.hidden_size)
        self.vocab_layer_norm = nn.LayerNorm(self.config.hidden_size, _EPSILON)
        self.vocab_projector = TiedDecoder(self.body.embeddings.word_embeddings.weight)

    def __call__(self, input_ids: Tensor, mask: Tensor | None = None,
                 token_type_ids: Tensor | None = None) -> dict[str, Any]:
        output = self.encode(input_ids, mask, token_type_ids)
        x = self.vocab_layer_norm(self.activation(self.vocab_transform(output.hidden)))
        return with_attentions(output, logits=self.vocab_projector(x))


class DistilBertForSequenceClassification(Head):
    """Scores [B, labels] for the whole input, of its first token."""

    prefix, encoder, segments = "distilbert", DistilBert, False

    def __init__(self, config: DistilBertConfig | None = None, **options: Any):
        super().__init__(config, **options)
        self.pre_classifier = nn.Linear(self.config.hidden_size, self.config.hidden_size)
        self.classifier = nn.Linear(self.config.hidden_size, self.config.num_labels)

    def __call__(self, input_ids: Tensor, mask: Tensor | None = None,
                 token_type_ids: Tensor | None = None) -> dict[str, Any]:
        output = self.encode(input_ids, mask, token_type_ids)
        pooled = apply("relu", self.pre_classifier(output.hidden[:, 0]))
        return with_attentions(output, logits=self.classifier(pooled))


class DistilBertForTokenClassification(TokenClassification):
    prefix, encoder, segments = "distilbert", DistilBert, False


class DistilBertForQuestionAnswering(QuestionAnswering):
    prefix, encoder, segments = "distilbert", DistilBert, False

"""ALBERT (arXiv:1909.11942): BERT with layers that share their weights, and embeddings narrower than the layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .. import nn
from ..current_tracer import apply
from ..ir.dtypes import f32
from ..tensor import Parameter, Tensor, constant
from ..user_code import model_error
from .bert import BertConfig, BertEmbeddings
from .config import activation
from .heads import (
    EncoderModel,
    EncoderOutput,
    Head,
    PooledClassification,
    QuestionAnswering,
    TiedDecoder,
    TokenClassification,
    with_attentions,
)


@dataclass(frozen=True)
class AlbertConfig(BertConfig):
    """Sizes of a model; the defaults are ALBERT-xxlarge."""

    vocab_size: int = 30000
    embedding_size: int = 128
    hidden_size: int = 4096
    num_attention_heads: int = 64
    intermediate_size: int = 16384
    hidden_act: str = "gelu_new"
    num_hidden_groups: int = 1
    inner_group_num: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.num_hidden_groups <= self.num_hidden_layers:
            raise model_error(f"AlbertConfig: {self.num_hidden_layers} layers are not {self.num_hidden_groups} groups")


class AlbertAttention(nn.Module):
    """Self-attention with its output projection, residual and normalisation."""

    def __init__(self, config: AlbertConfig):
        size = config.hidden_size
        self.query, self.key, self.value, self.dense = (nn.Linear(size, size) for _ in range(4))
        self.attend = nn.DotProductAttention(config.num_attention_heads)
        self.LayerNorm = nn.LayerNorm(size, config.layer_norm_eps)

    def __call__(self, x: Tensor, mask: Tensor | None, weights: list[Tensor] | None) -> Tensor:
        attended = self.attend(self.query(x), self.key(x), self.value(x), mask, weights=weights)
        return self.LayerNorm(x + self.dense(attended))


class AlbertLayer(nn.Module):
    """Attention and feed-forward network."""

    def __init__(self, config: AlbertConfig):
        self.full_layer_layer_norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.attention = AlbertAttention(config)
        self.ffn = nn.Linear(config.hidden_size, config.intermediate_size)
        self.ffn_output = nn.Linear(config.intermediate_size, config.hidden_size)
        self.activation = activation(config.hidden_act)

    def __call__(self, x: Tensor, mask: Tensor | None, weights: list[Tensor] | None) -> Tensor:
        x = self.attention(x, mask, weights)
        return self.full_layer_layer_norm(self.ffn_output(self.activation(self.ffn(x))) + x)


class AlbertLayerGroup(nn.Module):
    """The layers that one step of the stack goes through."""

    def __init__(self, config: AlbertConfig):
        self.albert_layers = [AlbertLayer(config) for _ in range(config.inner_group_num)]


class AlbertTransformer(nn.Module):
    """A linear map to the hidden size, then the steps; neighbouring steps share the layers of one group."""

    def __init__(self, config: AlbertConfig):
        self.embedding_hidden_mapping_in = nn.Linear(config.embedding_size, config.hidden_size)
        self.albert_layer_groups = [AlbertLayerGroup(config) for _ in range(config.num_hidden_groups)]
        self.steps = config.num_hidden_layers

    def __call__(self, x: Tensor, mask: Tensor | None, weights: list[Tensor] | None) -> Tensor:
        x = self.embedding_hidden_mapping_in(x)
        for step in range(self.steps):
            for layer in self.albert_layer_groups[step * len(self.albert_layer_groups) // self.steps].albert_layers:
                x = layer(x, mask, weights)
        return x


class Albert(EncoderModel):
    """The encoder with its embeddings and, unless pooler=False, the pooler: tanh of a linear map of the first token."""

    has_pooler = True

    def __init__(self, config: AlbertConfig | None = None, pooler: bool = True, output_attentions: bool = False):
        super().__init__(config or AlbertConfig(), output_attentions)
        config = self.config
        self.embeddings = BertEmbeddings(config, config.embedding_size)
        self.encoder = AlbertTransformer(config)
        self.pooler = nn.Linear(config.hidden_size, config.hidden_size) if pooler else None

    def __call__(self, input_ids: Tensor, mask: Tensor | None = None,
                 token_type_ids: Tensor | None = None) -> EncoderOutput:
        """input_ids i64 [B, S]; mask bool [B, S], True for tokens, False for padding; token_type_ids i64 [B, S]."""
        weights = self.new_list()
        hidden = self.encoder(self.embeddings(input_ids, token_type_ids), mask, weights)
        return self.outputs(hidden, None if self.pooler is None else apply("tanh", self.pooler(hidden[:, 0])), weights)


class AlbertMLMHead(nn.Module):
    """Scores over the vocabulary; the weight is the table of word embeddings."""

    def __init__(self, config: AlbertConfig, table: Parameter):
        self.LayerNorm = nn.LayerNorm(config.embedding_size, config.layer_norm_eps)
        self.bias = Parameter(f32[config.vocab_size], constant(0.0))
        self.dense = nn.Linear(config.hidden_size, config.embedding_size)
        self.decoder = TiedDecoder(table, self.bias)
        self.activation = activation(config.hidden_act)

    def __call__(self, hidden: Tensor) -> Tensor:
        return self.decoder(self.LayerNorm(self.activation(self.dense(hidden))))


class AlbertForMaskedLM(Head):
    """Scores [B, S, vocab_size] for the token at each position."""

    prefix, encoder = "albert", Albert

    def __init__(self, config: AlbertConfig | None = None, **options: Any):
        super().__init__(config, **options)
        self.predictions = AlbertMLMHead(self.config, self.body.embeddings.word_embeddings.weight)

    def __call__(self, input_ids: Tensor, mask: Tensor | None = None,
                 token_type_ids: Tensor | None = None) -> dict[str, Any]:
        output = self.encode(input_ids, mask, token_type_ids)
        return with_attentions(output, logits=self.predictions(output.hidden))


class AlbertSOPHead(nn.Module):
    """Scores [B, labels] for the order of two segments."""

    def __init__(self, config: AlbertConfig):
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)

    def __call__(self, pooled: Tensor) -> Tensor:
        return self.classifier(pooled)


class AlbertForPreTraining(Head):
    """Both heads of pre-training: masked tokens and the order of the segments."""

    prefix, encoder = "albert", Albert

    def __init__(self, config: AlbertConfig | None = None, **options: Any):
        super().__init__(config, pooler=True, **options)
        self.predictions = AlbertMLMHead(self.config, self.body.embeddings.word_embeddings.weight)
        self.sop_classifier = AlbertSOPHead(self.config)

    def __call__(self, input_ids: Tensor, mask: Tensor | None = None,
                 token_type_ids: Tensor | None = None) -> dict[str, Any]:
        output = self.encode(input_ids, mask, token_type_ids)
        return with_attentions(output, prediction_logits=self.predictions(output.hidden),
                               sop_logits=self.sop_classifier(output.pooled))


class AlbertForSequenceClassification(PooledClassification):
    prefix, encoder = "albert", Albert


class AlbertForTokenClassification(TokenClassification):
    prefix, encoder = "albert", Albert


class AlbertForQuestionAnswering(QuestionAnswering):
    prefix, encoder = "albert", Albert

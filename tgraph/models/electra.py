"""ELECTRA (arXiv:2003.10555): BERT with embeddings of their own width; it finds tokens that another one put in place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .. import nn
from ..current_tracer import apply
from ..tensor import Tensor
from .bert import BertConfig, BertEmbeddings, BertEncoder
from .config import activation
from .heads import (
    EncoderModel,
    EncoderOutput,
    FirstTokenClassification,
    Head,
    QuestionAnswering,
    TiedDecoder,
    TokenClassification,
    with_attentions,
)


@dataclass(frozen=True)
class ElectraConfig(BertConfig):
    """Sizes of a model; the defaults are ELECTRA-small's discriminator."""

    embedding_size: int = 128
    hidden_size: int = 256
    num_attention_heads: int = 4
    intermediate_size: int = 1024


class Electra(EncoderModel):
    """Embeddings, a linear map to the hidden size if it is another, and BERT's encoder; no pooler."""

    def __init__(self, config: ElectraConfig | None = None, output_attentions: bool = False):
        super().__init__(config or ElectraConfig(), output_attentions)
        config = self.config
        self.embeddings = BertEmbeddings(config, config.embedding_size)
        self.embeddings_project = (nn.Linear(config.embedding_size, config.hidden_size)
                                   if config.embedding_size != config.hidden_size else None)
        self.encoder = BertEncoder(config)

    def __call__(self, input_ids: Tensor, mask: Tensor | None = None,
                 token_type_ids: Tensor | None = None) -> EncoderOutput:
        """input_ids i64 [B, S]; mask bool [B, S], True for tokens, False for padding; token_type_ids i64 [B, S]."""
        weights = self.new_list()
        x = self.embeddings(input_ids, token_type_ids)
        if self.embeddings_project is not None:
            x = self.embeddings_project(x)
        return self.outputs(self.encoder(x, mask, weights), None, weights)


class ElectraDiscriminatorPredictions(nn.Module):
    """A number [B, S] for each token, which is above 0 if the token seems to have been replaced."""

    def __init__(self, config: ElectraConfig):
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.activation = activation(config.hidden_act)
        self.dense_prediction = nn.Linear(config.hidden_size, 1)

    def __call__(self, hidden: Tensor) -> Tensor:
        return self.dense_prediction(self.activation(self.dense(hidden)))[..., 0]


class ElectraForPreTraining(Head):
    """The discriminator: scores [B, S] for a token to be one that was replaced."""

    prefix, encoder = "electra", Electra

    def __init__(self, config: ElectraConfig | None = None, **options: Any):
        super().__init__(config, **options)
        self.discriminator_predictions = ElectraDiscriminatorPredictions(self.config)

    def __call__(self, input_ids: Tensor, mask: Tensor | None = None,
                 token_type_ids: Tensor | None = None) -> dict[str, Any]:
        output = self.encode(input_ids, mask, token_type_ids)
        return with_attentions(output, logits=self.discriminator_predictions(output.hidden))


class ElectraGeneratorPredictions(nn.Module):
    """dense, GELU, LayerNorm: from the hidden size back to the embeddings' width."""

    def __init__(self, config: ElectraConfig):
        self.LayerNorm = nn.LayerNorm(config.embedding_size, config.layer_norm_eps)
        self.dense = nn.Linear(config.hidden_size, config.embedding_size)

    def __call__(self, hidden: Tensor) -> Tensor:
        return self.LayerNorm(apply("gelu", self.dense(hidden)))


class ElectraForMaskedLM(Head):
    """The generator: scores [B, S, vocab_size] for the token at each position."""

    prefix, encoder = "electra", Electra

    def __init__(self, config: ElectraConfig | None = None, **options: Any):
        super().__init__(config, **options)
        self.generator_predictions = ElectraGeneratorPredictions(self.config)
        self.generator_lm_head = TiedDecoder(self.body.embeddings.word_embeddings.weight)

    def __call__(self, input_ids: Tensor, mask: Tensor | None = None,
                 token_type_ids: Tensor | None = None) -> dict[str, Any]:
        output = self.encode(input_ids, mask, token_type_ids)
        return with_attentions(output, logits=self.generator_lm_head(self.generator_predictions(output.hidden)))


class ElectraForSequenceClassification(FirstTokenClassification):
    prefix, encoder, activation = "electra", Electra, "gelu"


class ElectraForTokenClassification(TokenClassification):
    prefix, encoder = "electra", Electra


class ElectraForQuestionAnswering(QuestionAnswering):
    prefix, encoder = "electra", Electra

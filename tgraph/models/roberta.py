"""RoBERTa (arXiv:1907.11692), XLM-RoBERTa and CamemBERT: BERT with positions that count tokens, not padding, and other heads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from .. import nn
from ..current_tracer import apply
from ..ir.dtypes import f32, i64
from ..tensor import Parameter, Tensor, constant
from .bert import Bert, BertConfig, BertEmbeddings
from .heads import (
    EncoderModel,
    FirstTokenClassification,
    Head,
    QuestionAnswering,
    TiedDecoder,
    TokenClassification,
    with_attentions,
)


@dataclass(frozen=True)
class RobertaConfig(BertConfig):
    """Sizes of a model; defaults are those that a config.json leaves out."""

    vocab_size: int = 50265
    pad_token_id: int = 1

    @property
    def max_length(self) -> int | None:
        return self.max_position_embeddings - self.pad_token_id - 1


def counted_positions(input_ids: Tensor, pad_token_id: int) -> Tensor:
    """Positions of token numbers [B, S]: pad_token_id + 1, + 2, ... for tokens, pad_token_id for padding (fairseq's numbers)."""
    tokens = (input_ids != pad_token_id).astype(i64)
    return apply("cumsum", tokens, axis=1) * tokens + pad_token_id


class RobertaEmbeddings(BertEmbeddings):
    """Word, position and segment embeddings, summed and normalised; padding is where input_ids is pad_token_id."""

    def __init__(self, config: RobertaConfig):
        super().__init__(config)
        self.pad_token_id = config.pad_token_id

    def positions(self, input_ids: Tensor) -> Tensor:
        return counted_positions(input_ids, self.pad_token_id)


class Roberta(Bert):
    """The encoder with its embeddings and, unless pooler=False, the pooler."""

    def __init__(self, config: RobertaConfig | None = None, pooler: bool = True, output_attentions: bool = False):
        super().__init__(config or RobertaConfig(), pooler, output_attentions)

    def make_embeddings(self) -> BertEmbeddings:
        return RobertaEmbeddings(self.config)


class RobertaLMHead(nn.Module):
    """Scores over the vocabulary: dense, GELU, normalisation, and the table of word embeddings. MPNet has it too."""

    def __init__(self, config: Any, table: Parameter):
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.layer_norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.bias = Parameter(f32[config.vocab_size], constant(0.0))
        self.decoder = TiedDecoder(table, self.bias)

    def __call__(self, hidden: Tensor) -> Tensor:
        return self.decoder(self.layer_norm(apply("gelu", self.dense(hidden))))


class RobertaForMaskedLM(Head):
    """Scores [B, S, vocab_size] for the token at each position."""

    prefix = "roberta"
    encoder: ClassVar[type[EncoderModel]] = Roberta

    def __init__(self, config: RobertaConfig | None = None, **options: Any):
        super().__init__(config, **options)
        self.lm_head = RobertaLMHead(self.config, self.body.embeddings.word_embeddings.weight)

    def __call__(self, input_ids: Tensor, mask: Tensor | None = None,
                 token_type_ids: Tensor | None = None) -> dict[str, Any]:
        output = self.encode(input_ids, mask, token_type_ids)
        return with_attentions(output, logits=self.lm_head(output.hidden))


class RobertaForSequenceClassification(FirstTokenClassification):
    prefix, encoder = "roberta", Roberta


class RobertaForTokenClassification(TokenClassification):
    prefix, encoder = "roberta", Roberta


class RobertaForQuestionAnswering(QuestionAnswering):
    prefix, encoder = "roberta", Roberta

"""MPNet (arXiv:2004.09297): positions that count tokens, as RoBERTa's, and a bias for each distance; all-mpnet-base-v2 is one."""

from __future__ import annotations

from dataclasses import dataclass

from .. import nn
from ..current_tracer import apply
from ..tensor import Tensor
from .bert import BertConfig, BertIntermediate, BertPooler, BertResidual
from .heads import (
    EncoderModel,
    EncoderOutput,
    FirstTokenClassification,
    QuestionAnswering,
    TokenClassification,
)
from .roberta import RobertaForMaskedLM, counted_positions

_PAD = 1  # the number of the padding token, from which positions are counted; the model has it fixed


@dataclass(frozen=True)
class MPNetConfig(BertConfig):
    """Sizes of a model; the defaults are MPNet-base."""

    supported = {"relative_attention_num_buckets": (32,)}  # Hugging Face's model has no other number

    vocab_size: int = 30527

    @property
    def max_length(self) -> int | None:
        return self.max_position_embeddings - _PAD - 1


class MPNetEmbeddings(nn.Module):
    """Word and position embeddings, summed and normalised."""

    def __init__(self, config: MPNetConfig):
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)

    def __call__(self, input_ids: Tensor) -> Tensor:
        return self.LayerNorm(self.word_embeddings(input_ids) + self.position_embeddings(counted_positions(input_ids, _PAD)))


class MPNetSelfAttention(nn.Module):
    """Self-attention with its output projection."""

    def __init__(self, config: MPNetConfig):
        size = config.hidden_size
        self.q, self.k, self.v, self.o = (nn.Linear(size, size) for _ in range(4))
        self.attend = nn.DotProductAttention(config.num_attention_heads)

    def __call__(self, x: Tensor, mask: Tensor | None, bias: Tensor, weights: list[Tensor] | None) -> Tensor:
        return self.o(self.attend(self.q(x), self.k(x), self.v(x), mask, bias, weights=weights))


class MPNetAttention(nn.Module):
    """Self-attention with residual and normalisation."""

    def __init__(self, config: MPNetConfig):
        self.attn = MPNetSelfAttention(config)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)

    def __call__(self, x: Tensor, mask: Tensor | None, bias: Tensor, weights: list[Tensor] | None) -> Tensor:
        return self.LayerNorm(self.attn(x, mask, bias, weights) + x)


class MPNetLayer(nn.Module):
    """One encoder layer."""

    def __init__(self, config: MPNetConfig):
        self.attention = MPNetAttention(config)
        self.intermediate = BertIntermediate(config)
        self.output = BertResidual(config.intermediate_size, config)

    def __call__(self, x: Tensor, mask: Tensor | None, bias: Tensor, weights: list[Tensor] | None) -> Tensor:
        x = self.attention(x, mask, bias, weights)
        return self.output(self.intermediate(x), x)


class MPNetEncoder(nn.Module):
    """The stack of layers, which share one bias for the distances between tokens."""

    def __init__(self, config: MPNetConfig):
        self.layer = [MPNetLayer(config) for _ in range(config.num_hidden_layers)]
        self.relative_attention_bias = nn.RelativePositionBias(config.num_attention_heads)

    def __call__(self, x: Tensor, mask: Tensor | None, weights: list[Tensor] | None) -> Tensor:
        positions = apply("range", stop=x.shape[1])
        bias = self.relative_attention_bias(positions, positions)
        for layer in self.layer:
            x = layer(x, mask, bias, weights)
        return x


class MPNet(EncoderModel):
    """The encoder with its embeddings and, unless pooler=False, the pooler."""

    has_pooler = True

    def __init__(self, config: MPNetConfig | None = None, pooler: bool = True, output_attentions: bool = False):
        super().__init__(config or MPNetConfig(), output_attentions)
        self.embeddings = MPNetEmbeddings(self.config)
        self.encoder = MPNetEncoder(self.config)
        self.pooler = BertPooler(self.config) if pooler else None

    def __call__(self, input_ids: Tensor, mask: Tensor | None = None) -> EncoderOutput:
        """input_ids i64 [B, S], 1 for padding; mask bool [B, S], True for tokens, False for padding."""
        weights = self.new_list()
        hidden = self.encoder(self.embeddings(input_ids), mask, weights)
        return self.outputs(hidden, None if self.pooler is None else self.pooler(hidden), weights)


class MPNetForMaskedLM(RobertaForMaskedLM):
    """Scores [B, S, vocab_size] for the token at each position, by RoBERTa's head."""

    prefix, encoder, segments = "mpnet", MPNet, False


class MPNetForSequenceClassification(FirstTokenClassification):
    prefix, encoder, segments = "mpnet", MPNet, False


class MPNetForTokenClassification(TokenClassification):
    prefix, encoder, segments = "mpnet", MPNet, False


class MPNetForQuestionAnswering(QuestionAnswering):
    prefix, encoder, segments = "mpnet", MPNet, False

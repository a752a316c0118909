"""BERT (arXiv:1810.04805): embeddings, encoder, pooler and the heads, with the parameter names of Hugging Face's checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from .. import nn
from ..current_tracer import apply
from ..ir.dtypes import f32
from ..nn.attention import merge_heads, split_heads
from ..tensor import Parameter, Tensor, constant
from .config import ModelConfig, activation
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
from .loading import load_checkpoint as load_checkpoint


@dataclass(frozen=True)
class BertConfig(ModelConfig):
    """Sizes of a model; the defaults are BERT-base, uncased."""

    supported = {"position_embedding_type": ("absolute",)}

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12

    def __post_init__(self) -> None:
        self.check_heads(self.hidden_size, self.num_attention_heads)

    @property
    def max_length(self) -> int | None:
        return self.max_position_embeddings


class BertEmbeddings(nn.Module):
    """Word, position and segment embeddings, summed and normalised. width: their size, by default the hidden size."""

    def __init__(self, config: BertConfig, width: int | None = None):
        width = config.hidden_size if width is None else width
        self.word_embeddings = nn.Embedding(config.vocab_size, width)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, width)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, width)
        self.LayerNorm = nn.LayerNorm(width, config.layer_norm_eps)

    def positions(self, input_ids: Tensor) -> Tensor:
        """The number of each token's position, [S] or [B, S]."""
        return apply("range", stop=input_ids.shape[1])

    def __call__(self, input_ids: Tensor, token_type_ids: Tensor | None = None) -> Tensor:
        """Token numbers [B, S] (and segments [B, S], default all 0) to [B, S, H]."""
        words = self.word_embeddings(input_ids)
        positions = self.position_embeddings(self.positions(input_ids))
        table = self.token_type_embeddings
        segments = table.weight[0] if token_type_ids is None else table(token_type_ids)
        return self.LayerNorm(words + segments + positions)


class BertSelfAttention(nn.Module):
    """Scaled dot-product attention of all heads, without the projection after it."""

    def __init__(self, config: BertConfig):
        self.heads = config.num_attention_heads
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(config.hidden_size, config.hidden_size)
        self.value = nn.Linear(config.hidden_size, config.hidden_size)

    def __call__(self, x: Tensor, mask: Tensor | None, weights: list[Tensor] | None = None) -> Tensor:
        query, key, value = (split_heads(project(x), self.heads) for project in (self.query, self.key, self.value))
        if weights is not None:
            weights.append(nn.attention_weights(query, key, mask))
        return merge_heads(apply("attention", query, key, value, mask))


class BertResidual(nn.Module):
    """LayerNorm(dense(x) + residual): how both halves of a layer end."""

    def __init__(self, in_features: int, config: BertConfig):
        self.dense = nn.Linear(in_features, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)

    def __call__(self, x: Tensor, residual: Tensor) -> Tensor:
        return self.LayerNorm(self.dense(x) + residual)


class BertAttention(nn.Module):
    """Self-attention with its output projection, residual and normalisation."""

    def __init__(self, config: BertConfig):
        self.self = BertSelfAttention(config)
        self.output = BertResidual(config.hidden_size, config)

    def __call__(self, x: Tensor, mask: Tensor | None, weights: list[Tensor] | None = None) -> Tensor:
        return self.output(self.self(x, mask, weights), x)


class BertIntermediate(nn.Module):
    """The first half of the feed-forward network."""

    def __init__(self, config: BertConfig):
        self.dense = nn.Linear(config.hidden_size, config.intermediate_size)
        self.activation = activation(config.hidden_act)

    def __call__(self, x: Tensor) -> Tensor:
        return self.activation(self.dense(x))


class BertLayer(nn.Module):
    """One encoder layer."""

    def __init__(self, config: BertConfig):
        self.attention = BertAttention(config)
        self.intermediate = BertIntermediate(config)
        self.output = BertResidual(config.intermediate_size, config)

    def __call__(self, x: Tensor, mask: Tensor | None, weights: list[Tensor] | None = None) -> Tensor:
        x = self.attention(x, mask, weights)
        return self.output(self.intermediate(x), x)


class BertEncoder(nn.Module):
    """The stack of layers."""

    def __init__(self, config: BertConfig):
        self.layer = [BertLayer(config) for _ in range(config.num_hidden_layers)]

    def __call__(self, x: Tensor, mask: Tensor | None, weights: list[Tensor] | None = None) -> Tensor:
        for layer in self.layer:
            x = layer(x, mask, weights)
        return x


class BertPooler(nn.Module):
    """tanh(dense(first token))."""

    def __init__(self, config: BertConfig):
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)

    def __call__(self, hidden: Tensor) -> Tensor:
        return apply("tanh", self.dense(hidden[:, 0]))


class Bert(EncoderModel):
    """The encoder with its embeddings and, unless pooler=False, the pooler."""

    has_pooler = True

    def __init__(self, config: BertConfig | None = None, pooler: bool = True, output_attentions: bool = False):
        super().__init__(config or BertConfig(), output_attentions)
        self.embeddings = self.make_embeddings()
        self.encoder = BertEncoder(self.config)
        self.pooler = BertPooler(self.config) if pooler else None

    def make_embeddings(self) -> BertEmbeddings:
        """The embeddings, which models like BERT have their own of."""
        return BertEmbeddings(self.config)

    def __call__(self, input_ids: Tensor, mask: Tensor | None = None,
                 token_type_ids: Tensor | None = None) -> EncoderOutput:
        """input_ids i64 [B, S]; mask bool [B, S], True for tokens, False for padding; token_type_ids i64 [B, S]."""
        weights = self.new_list()
        hidden = self.encoder(self.embeddings(input_ids, token_type_ids), mask, weights)
        return self.outputs(hidden, None if self.pooler is None else self.pooler(hidden), weights)


class BertPredictionTransform(nn.Module):
    """dense, activation, LayerNorm: what comes before the vocabulary, whose table may be narrower than the layers."""

    def __init__(self, config: BertConfig, table: Parameter):
        width = table.shape[1]
        assert isinstance(width, int)
        self.dense = nn.Linear(config.hidden_size, width)
        self.activation = activation(config.hidden_act)
        self.LayerNorm = nn.LayerNorm(width, config.layer_norm_eps)

    def __call__(self, x: Tensor) -> Tensor:
        return self.LayerNorm(self.activation(self.dense(x)))


class BertPredictions(nn.Module):
    """Scores over the vocabulary; the weight is the table of word embeddings."""

    def __init__(self, config: BertConfig, table: Parameter):
        self.transform = BertPredictionTransform(config, table)
        self.bias = Parameter(f32[config.vocab_size], constant(0.0))
        self.decoder = TiedDecoder(table, self.bias)

    def __call__(self, x: Tensor) -> Tensor:
        return self.decoder(self.transform(x))


class BertPreTrainingHeads(nn.Module):
    """The heads `cls.predictions` and, where asked for, `cls.seq_relationship`."""

    def __init__(self, config: BertConfig, table: Parameter | None, next_sentence: bool):
        self.predictions = BertPredictions(config, table) if table is not None else None
        self.seq_relationship = nn.Linear(config.hidden_size, 2) if next_sentence else None


class BertForMaskedLM(Head):
    """Scores [B, S, vocab_size] for the token at each position."""

    prefix = "bert"
    encoder: ClassVar[type[EncoderModel]] = Bert

    def __init__(self, config: BertConfig | None = None, **options: Any):
        super().__init__(config, **options)
        self.cls = BertPreTrainingHeads(self.config, self.body.embeddings.word_embeddings.weight, next_sentence=False)

    def __call__(self, input_ids: Tensor, mask: Tensor | None = None,
                 token_type_ids: Tensor | None = None) -> dict[str, Any]:
        assert self.cls.predictions is not None
        output = self.encode(input_ids, mask, token_type_ids)
        return with_attentions(output, logits=self.cls.predictions(output.hidden))


class BertForNextSentencePrediction(Head):
    """Scores [B, 2]: the second segment follows the first, or it does not."""

    prefix, encoder = "bert", Bert

    def __init__(self, config: BertConfig | None = None, **options: Any):
        super().__init__(config, pooler=True, **options)
        self.cls = BertPreTrainingHeads(self.config, None, next_sentence=True)

    def __call__(self, input_ids: Tensor, mask: Tensor | None = None,
                 token_type_ids: Tensor | None = None) -> dict[str, Any]:
        assert self.cls.seq_relationship is not None
        output = self.encode(input_ids, mask, token_type_ids)
        return with_attentions(output, logits=self.cls.seq_relationship(output.pooled))


class BertForPreTraining(Head):
    """Both heads of pre-training: masked tokens and the next sentence."""

    prefix, encoder = "bert", Bert

    def __init__(self, config: BertConfig | None = None, **options: Any):
        super().__init__(config, pooler=True, **options)
        self.cls = BertPreTrainingHeads(self.config, self.body.embeddings.word_embeddings.weight, next_sentence=True)

    def __call__(self, input_ids: Tensor, mask: Tensor | None = None,
                 token_type_ids: Tensor | None = None) -> dict[str, Any]:
        assert self.cls.predictions is not None and self.cls.seq_relationship is not None
        output = self.encode(input_ids, mask, token_type_ids)
        return with_attentions(output, prediction_logits=self.cls.predictions(output.hidden),
                               seq_relationship_logits=self.cls.seq_relationship(output.pooled))


class BertForSequenceClassification(PooledClassification):
    prefix, encoder = "bert", Bert


class BertForTokenClassification(TokenClassification):
    prefix, encoder = "bert", Bert


class BertForQuestionAnswering(QuestionAnswering):
    prefix, encoder = "bert", Bert

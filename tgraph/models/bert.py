"""BERT (arXiv:1810.04805): embeddings, encoder, pooler and the heads, with the parameter names of Hugging Face's checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

from .. import nn
from ..current_tracer import apply
from ..ir.dtypes import f32
from ..ir.weights import named_arrays
from ..nn.attention import merge_heads, split_heads
from ..tensor import Parameter, Tensor, constant
from ..user_code import model_error


@dataclass(frozen=True)
class BertConfig:
    """Sizes of a model; the defaults are BERT-base, uncased."""

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
        if self.hidden_size % self.num_attention_heads:
            raise model_error(f"BertConfig: {self.num_attention_heads} heads do not divide the hidden size {self.hidden_size}")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> BertConfig:
        """From the entries of a checkpoint's config.json; those that tgraph does not use are ignored."""
        return cls(**{f.name: values[f.name] for f in fields(cls) if f.name in values})


class BertOutput(NamedTuple):
    """What `Bert` returns: the last layer's states [B, S, H], and the pooled first token [B, H]."""

    hidden: Tensor
    pooled: Any


class BertEmbeddings(nn.Module):
    """Word, position and segment embeddings, summed and normalised."""

    def __init__(self, config: BertConfig):
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)

    def __call__(self, input_ids: Tensor, token_type_ids: Tensor | None = None) -> Tensor:
        """Token numbers [B, S] (and segments [B, S], default all 0) to [B, S, H]."""
        words = self.word_embeddings(input_ids)
        positions = self.position_embeddings(apply("range", stop=input_ids.shape[1]))
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

    def __call__(self, x: Tensor, mask: Tensor | None) -> Tensor:
        query, key, value = (split_heads(project(x), self.heads) for project in (self.query, self.key, self.value))
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

    def __call__(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return self.output(self.self(x, mask), x)


class BertIntermediate(nn.Module):
    """The first half of the feed-forward network."""

    def __init__(self, config: BertConfig):
        self.dense = nn.Linear(config.hidden_size, config.intermediate_size)
        self.activation = nn.get_activation({"gelu_new": "gelu_tanh"}.get(config.hidden_act, config.hidden_act))

    def __call__(self, x: Tensor) -> Tensor:
        return self.activation(self.dense(x))


class BertLayer(nn.Module):
    """One encoder layer."""

    def __init__(self, config: BertConfig):
        self.attention = BertAttention(config)
        self.intermediate = BertIntermediate(config)
        self.output = BertResidual(config.intermediate_size, config)

    def __call__(self, x: Tensor, mask: Tensor | None) -> Tensor:
        x = self.attention(x, mask)
        return self.output(self.intermediate(x), x)


class BertEncoder(nn.Module):
    """The stack of layers."""

    def __init__(self, config: BertConfig):
        self.layer = [BertLayer(config) for _ in range(config.num_hidden_layers)]

    def __call__(self, x: Tensor, mask: Tensor | None) -> Tensor:
        for layer in self.layer:
            x = layer(x, mask)
        return x


class BertPooler(nn.Module):
    """tanh(dense(first token))."""

    def __init__(self, config: BertConfig):
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)

    def __call__(self, hidden: Tensor) -> Tensor:
        return apply("tanh", self.dense(hidden[:, 0]))


class Bert(nn.Module):
    """The encoder with its embeddings and, unless pooler=False, the pooler."""

    def __init__(self, config: BertConfig | None = None, pooler: bool = True):
        self.config = config = config or BertConfig()
        self.embeddings = BertEmbeddings(config)
        self.encoder = BertEncoder(config)
        self.pooler = BertPooler(config) if pooler else None

    def __call__(self, input_ids: Tensor, mask: Tensor | None = None,
                 token_type_ids: Tensor | None = None) -> BertOutput:
        """input_ids i64 [B, S]; mask bool [B, S], True for tokens, False for padding; token_type_ids i64 [B, S]."""
        hidden = self.encoder(self.embeddings(input_ids, token_type_ids), mask)
        return BertOutput(hidden, None if self.pooler is None else self.pooler(hidden))


class BertPredictionTransform(nn.Module):
    """dense, activation, LayerNorm: what comes before the vocabulary."""

    def __init__(self, config: BertConfig):
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.activation = nn.get_activation({"gelu_new": "gelu_tanh"}.get(config.hidden_act, config.hidden_act))
        self.LayerNorm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)

    def __call__(self, x: Tensor) -> Tensor:
        return self.LayerNorm(self.activation(self.dense(x)))


class BertPredictions(nn.Module):
    """Scores over the vocabulary; the weight is the table of word embeddings."""

    def __init__(self, config: BertConfig, table: Parameter):
        self.transform = BertPredictionTransform(config)
        self.bias = Parameter(f32[config.vocab_size], constant(0.0))
        self.decoder = nn.Linear(config.hidden_size, config.vocab_size)
        self.decoder.weight, self.decoder.bias = table, self.bias

    def __call__(self, x: Tensor) -> Tensor:
        return self.decoder(self.transform(x))


class BertPreTrainingHeads(nn.Module):
    """The heads `cls.predictions` and, where asked for, `cls.seq_relationship`."""

    def __init__(self, config: BertConfig, table: Parameter | None, next_sentence: bool):
        self.predictions = BertPredictions(config, table) if table is not None else None
        self.seq_relationship = nn.Linear(config.hidden_size, 2) if next_sentence else None


class BertForMaskedLM(nn.Module):
    """Scores [B, S, vocab_size] for the token at each position."""

    def __init__(self, config: BertConfig | None = None):
        config = config or BertConfig()
        self.bert = Bert(config, pooler=False)
        self.cls = BertPreTrainingHeads(config, self.bert.embeddings.word_embeddings.weight, next_sentence=False)

    def __call__(self, input_ids: Tensor, mask: Tensor | None = None,
                 token_type_ids: Tensor | None = None) -> dict[str, Any]:
        assert self.cls.predictions is not None
        return {"logits": self.cls.predictions(self.bert(input_ids, mask, token_type_ids).hidden)}


class BertForNextSentencePrediction(nn.Module):
    """Scores [B, 2]: the second segment follows the first, or it does not."""

    def __init__(self, config: BertConfig | None = None):
        config = config or BertConfig()
        self.bert = Bert(config)
        self.cls = BertPreTrainingHeads(config, None, next_sentence=True)

    def __call__(self, input_ids: Tensor, mask: Tensor | None = None,
                 token_type_ids: Tensor | None = None) -> dict[str, Any]:
        assert self.cls.seq_relationship is not None
        return {"logits": self.cls.seq_relationship(self.bert(input_ids, mask, token_type_ids).pooled)}


class BertForPreTraining(nn.Module):
    """Both heads of pre-training: masked tokens and the next sentence."""

    def __init__(self, config: BertConfig | None = None):
        config = config or BertConfig()
        self.bert = Bert(config)
        self.cls = BertPreTrainingHeads(config, self.bert.embeddings.word_embeddings.weight, next_sentence=True)

    def __call__(self, input_ids: Tensor, mask: Tensor | None = None,
                 token_type_ids: Tensor | None = None) -> dict[str, Any]:
        assert self.cls.predictions is not None and self.cls.seq_relationship is not None
        output = self.bert(input_ids, mask, token_type_ids)
        return {"prediction_logits": self.cls.predictions(output.hidden),
                "seq_relationship_logits": self.cls.seq_relationship(output.pooled)}


class BertForSequenceClassification(nn.Module):
    """Scores [B, labels] for the whole input."""

    def __init__(self, config: BertConfig | None = None, labels: int = 2):
        config = config or BertConfig()
        self.bert = Bert(config)
        self.classifier = nn.Linear(config.hidden_size, labels)

    def __call__(self, input_ids: Tensor, mask: Tensor | None = None,
                 token_type_ids: Tensor | None = None) -> dict[str, Any]:
        return {"logits": self.classifier(self.bert(input_ids, mask, token_type_ids).pooled)}


class BertForTokenClassification(nn.Module):
    """Scores [B, S, labels] for every token."""

    def __init__(self, config: BertConfig | None = None, labels: int = 2):
        config = config or BertConfig()
        self.bert = Bert(config, pooler=False)
        self.classifier = nn.Linear(config.hidden_size, labels)

    def __call__(self, input_ids: Tensor, mask: Tensor | None = None,
                 token_type_ids: Tensor | None = None) -> dict[str, Any]:
        return {"logits": self.classifier(self.bert(input_ids, mask, token_type_ids).hidden)}


class BertForQuestionAnswering(nn.Module):
    """Scores [B, S] for the first and for the last token of the answer."""

    def __init__(self, config: BertConfig | None = None):
        config = config or BertConfig()
        self.bert = Bert(config, pooler=False)
        self.qa_outputs = nn.Linear(config.hidden_size, 2)

    def __call__(self, input_ids: Tensor, mask: Tensor | None = None,
                 token_type_ids: Tensor | None = None) -> dict[str, Any]:
        scores = self.qa_outputs(self.bert(input_ids, mask, token_type_ids).hidden)
        return {"start_logits": scores[..., 0], "end_logits": scores[..., 1]}


def load_checkpoint(model: nn.Module, weights: Mapping[str, Any] | str | Path, *, cast: bool = False) -> None:
    """Load a public BERT checkpoint, strictly, by its Hugging Face names; in place. cast: convert floats of another precision.

    TensorFlow's names for LayerNorm (`gamma`, `beta`) are taken too, and buffers that hold no weights are dropped.
    Raises WeightsError that lists all missing, unexpected and misshapen names.
    """
    given, _ = named_arrays(weights)
    renamed = {}
    for name in given:
        if name.endswith(".position_ids"):
            continue
        new = name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
        renamed[new] = given[name]
    model.load_weights(renamed, cast=cast)

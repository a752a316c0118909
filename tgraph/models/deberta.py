"""DeBERTa v2 and v3 (arXiv:2006.03654, arXiv:2111.09543): attention to content and to relative positions, with vectors for each.

A score is q k + q r(i-j) + k r'(i-j), where r and r' are projections of a table of relative positions. The two terms with
positions are a bias of the op `attention`, gathered from products with all positions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from .. import nn
from ..current_tracer import apply
from ..functions.convolution import conv1d
from ..ir.dtypes import f32
from ..ir.errors import FormatError
from ..nn.attention import merge_heads, split_heads
from ..tensor import Parameter, Tensor, constant
from ..user_code import model_error
from .bert import BertConfig, BertIntermediate, BertPredictionTransform, BertPreTrainingHeads, BertResidual
from .config import activation
from .heads import EncoderModel, EncoderOutput, Head, QuestionAnswering, TokenClassification, with_attentions


@dataclass(frozen=True)
class DebertaV2Config(BertConfig):
    """Sizes of a model and which of its parts there are; defaults are those that a config.json leaves out."""

    activations = ("hidden_act", "pooler_hidden_act", "conv_act")

    vocab_size: int = 128100
    hidden_size: int = 1536
    num_hidden_layers: int = 24
    num_attention_heads: int = 24
    intermediate_size: int = 6144
    type_vocab_size: int = 0
    layer_norm_eps: float = 1e-7
    relative_attention: bool = False
    max_relative_positions: int = -1
    position_buckets: int = -1
    position_biased_input: bool = True
    pos_att_type: tuple[str, ...] = ()
    share_att_key: bool = False
    norm_rel_ebd: str = "none"
    embedding_size: int = 0  # 0: the hidden size
    conv_kernel_size: int = 0  # 0: no convolution
    conv_groups: int = 1
    conv_act: str = "tanh"
    pooler_hidden_act: str = "gelu"
    legacy: bool = True  # whether DebertaV2ForMaskedLM has BERT's head; else that with which the models were trained

    @classmethod
    def translated(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        kinds = values.get("pos_att_type") or ()
        kinds = tuple(kind.strip() for kind in (kinds.lower().split("|") if isinstance(kinds, str) else kinds))
        if not set(kinds) <= {"c2p", "p2c"}:
            raise FormatError(f"pos_att_type is {values['pos_att_type']!r}; supported: c2p, p2c")
        norms = [norm.strip() for norm in str(values.get("norm_rel_ebd", "none")).lower().split("|")]
        norm = "layer_norm" if "layer_norm" in norms else "none"
        return {**super().translated(values), "pos_att_type": kinds, "norm_rel_ebd": norm}

    def fitted_to(self, weights: Mapping[str, Any]) -> DebertaV2Config:
        """With the head that the checkpoint has: those of version 3 do not say that it is not BERT's."""
        heads = {kind: any(name.startswith(kind) for name in weights) for kind in ("cls.predictions.", "lm_predictions.")}
        return replace(self, legacy=False) if heads["lm_predictions."] and not heads["cls.predictions."] else self

    @property
    def max_length(self) -> int | None:
        return self.max_position_embeddings if self.position_biased_input else None

    @property
    def max_distance(self) -> int:
        """The distance beyond which relative positions are alike."""
        return self.max_position_embeddings if self.max_relative_positions < 1 else self.max_relative_positions

    @property
    def span(self) -> int:
        """Half the number of relative positions."""
        return self.position_buckets if self.position_buckets > 0 else self.max_distance


class DebertaV2Embeddings(nn.Module):
    """Word embeddings, those of positions and segments if there are any, a projection if they are narrower, normalisation."""

    def __init__(self, config: DebertaV2Config):
        width = config.embedding_size or config.hidden_size
        self.word_embeddings = nn.Embedding(config.vocab_size, width)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, width) if config.position_biased_input else None
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, width) if config.type_vocab_size > 0 else None
        self.embed_proj = nn.Linear(width, config.hidden_size, bias=False) if width != config.hidden_size else None
        self.LayerNorm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)

    def __call__(self, input_ids: Tensor, mask: Tensor | None, token_type_ids: Tensor | None) -> Tensor:
        x = self.word_embeddings(input_ids)
        if self.position_embeddings is not None:
            x = x + self.position_embeddings(apply("range", stop=input_ids.shape[1]))
        if self.token_type_embeddings is not None:
            table = self.token_type_embeddings
            x = x + (table.weight[0] if token_type_ids is None else table(token_type_ids))
        x = self.LayerNorm(x if self.embed_proj is None else self.embed_proj(x))
        return x if mask is None else apply("zero_padding", x, mask)


class Places(NamedTuple):
    """Where, among the products of queries (or keys) with all relative positions, those for each pair are: both are [S, S].

    The product of token t with row r of the table is at t * 2 * span + r.
    """

    of_query: Tensor
    of_key: Tensor


class RelativePositions(nn.Module):
    """Which row of the table of relative positions stands for the distance of a query and a key."""

    def __init__(self, config: DebertaV2Config):
        self.reach = 2 * config.max_distance  # all distances beyond it are alike
        distance = np.arange(-self.reach, self.reach + 1)
        if config.position_buckets > 0:
            distance = _log_bucket(distance, config.position_buckets, config.max_distance)
        self.count = 2 * config.span
        self.rows = np.clip(distance + config.span, 0, self.count - 1)

    def __call__(self, length: Any) -> Places:
        """The places of the products for query i and key j, by i - j."""
        tokens = apply("range", stop=length)
        distance = apply("clip", tokens[:, None] - tokens[None, :], min=-self.reach, max=self.reach)
        rows = apply("gather", self.rows, distance + self.reach)
        return Places(tokens[:, None] * self.count + rows, tokens[None, :] * self.count + rows)


def _log_bucket(distance: np.ndarray, buckets: int, max_distance: int) -> np.ndarray:
    """Distances up to half the buckets as they are, larger ones by their logarithm (f32, as the models were trained)."""
    middle = buckets // 2
    size = np.where(np.abs(distance) < middle, middle - 1, np.abs(distance)).astype(np.float32)
    scale = np.log(np.float32((max_distance - 1) / middle))
    with np.errstate(divide="ignore", invalid="ignore"):
        far = np.ceil(np.log(size / np.float32(middle)) / scale * np.float32(middle - 1)) + middle
        return np.where(size <= middle, distance, far * np.sign(distance)).astype(np.int64)


class DisentangledSelfAttention(nn.Module):
    """Attention whose scores have a term for content and position (c2p), and for position and content (p2c)."""

    def __init__(self, config: DebertaV2Config):
        size, self.heads = config.hidden_size, config.num_attention_heads
        self.query_proj, self.key_proj, self.value_proj = (nn.Linear(size, size) for _ in range(3))
        kinds = config.pos_att_type if config.relative_attention else ()
        own = not config.share_att_key
        self.pos_key_proj = nn.Linear(size, size) if own and "c2p" in kinds else None
        self.pos_query_proj = nn.Linear(size, size) if own and "p2c" in kinds else None
        self.c2p, self.p2c = "c2p" in kinds, "p2c" in kinds
        self.scale = (size // self.heads * (1 + len(set(config.pos_att_type)))) ** -0.5

    def __call__(self, x: Tensor, mask: Tensor | None, places: Places | None, table: Tensor | None,
                 weights: list[Tensor] | None) -> Tensor:
        """table: relative positions, [2 * span, H]; places: where the products with them are."""
        query, key, value = (split_heads(p(x), self.heads) for p in (self.query_proj, self.key_proj, self.value_proj))
        bias = None
        if places is not None and table is not None:
            terms = [self._term(query, self.pos_key_proj or self.key_proj, table, places.of_query)] if self.c2p else []
            terms += [self._term(key, self.pos_query_proj or self.query_proj, table, places.of_key)] if self.p2c else []
            bias = sum(terms[1:], terms[0]) if terms else None
        bias = None if bias is None else bias * self.scale
        if weights is not None:
            weights.append(nn.attention_weights(query, key, mask, bias, self.scale))
        return merge_heads(apply("attention", query, key, value, mask, bias, scale=self.scale))

    def _term(self, x: Tensor, project: nn.Linear, table: Tensor, places: Tensor) -> Tensor:
        """Products of queries or keys with the positions at their distances, [B, heads, S, S]."""
        positions = split_heads(project(table)[None], self.heads).transpose(0, 1, 3, 2)  # depends on parameters alone
        with_all = apply("matmul", x, positions)  # [B, heads, S, 2 * span]
        batch, heads, length, count = with_all.shape
        return apply("gather", with_all.reshape(batch, heads, length * count), places, axis=2)


class DebertaV2Attention(nn.Module):
    """Self-attention with its output projection, residual and normalisation."""

    def __init__(self, config: DebertaV2Config):
        self.self = DisentangledSelfAttention(config)
        self.output = BertResidual(config.hidden_size, config)

    def __call__(self, x: Tensor, *positions: Any) -> Tensor:
        return self.output(self.self(x, *positions), x)


class DebertaV2Layer(nn.Module):
    """One encoder layer."""

    def __init__(self, config: DebertaV2Config):
        self.attention = DebertaV2Attention(config)
        self.intermediate = BertIntermediate(config)
        self.output = BertResidual(config.intermediate_size, config)

    def __call__(self, x: Tensor, *positions: Any) -> Tensor:
        x = self.attention(x, *positions)
        return self.output(self.intermediate(x), x)


class Convolution(nn.Module):
    """`weight` [out, in / groups, kernel] and `bias` [out] of a convolution over tokens."""

    def __init__(self, config: DebertaV2Config):
        size, self.groups, self.kernel = config.hidden_size, config.conv_groups, config.conv_kernel_size
        self.weight, self.bias = Parameter(f32[size, size // self.groups, self.kernel]), Parameter(f32[size])

    def __call__(self, x: Tensor) -> Tensor:
        """x [B, S, H] to [B, S, H]."""
        y = conv1d(x.transpose(0, 2, 1), self.weight, self.bias, padding=(self.kernel - 1) // 2, groups=self.groups)
        return y.transpose(0, 2, 1)


class ConvolutionLayer(nn.Module):
    """What the first layer gives, plus a convolution of the embeddings, normalised."""

    def __init__(self, config: DebertaV2Config):
        self.conv = Convolution(config)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.activation = activation(config.conv_act)

    def __call__(self, embeddings: Tensor, x: Tensor, mask: Tensor | None) -> Tensor:
        near = self.conv(embeddings)
        near = near if mask is None else apply("zero_padding", near, mask)
        x = self.LayerNorm(x + self.activation(near))
        return x if mask is None else apply("zero_padding", x, mask)


class DebertaV2Encoder(nn.Module):
    """The stack of layers, with the table of relative positions that they share."""

    def __init__(self, config: DebertaV2Config):
        self.layer = [DebertaV2Layer(config) for _ in range(config.num_hidden_layers)]
        relative = config.relative_attention
        self.rel_embeddings = nn.Embedding(2 * config.span, config.hidden_size) if relative else None
        self.positions = RelativePositions(config) if relative else None
        normed = config.norm_rel_ebd == "layer_norm"
        self.LayerNorm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps) if normed else None
        self.conv = ConvolutionLayer(config) if config.conv_kernel_size > 0 else None

    def __call__(self, x: Tensor, mask: Tensor | None, weights: list[Tensor] | None) -> Tensor:
        places: Places | None = None
        table: Any = None
        if self.rel_embeddings is not None and self.positions is not None:
            places, table = self.positions(x.shape[1]), self.rel_embeddings.weight
            table = table if self.LayerNorm is None else self.LayerNorm(table)
        embeddings = x
        for number, layer in enumerate(self.layer):
            x = layer(x, mask, places, table, weights)
            if number == 0 and self.conv is not None:
                x = self.conv(embeddings, x, mask)
        return x


class DebertaV2(EncoderModel):
    """The encoder with its embeddings. What padded places give differs from Hugging Face's, where they attend to nothing."""

    def __init__(self, config: DebertaV2Config | None = None, output_attentions: bool = False):
        super().__init__(config or DebertaV2Config(), output_attentions)
        self.embeddings = DebertaV2Embeddings(self.config)
        self.encoder = DebertaV2Encoder(self.config)

    def __call__(self, input_ids: Tensor, mask: Tensor | None = None,
                 token_type_ids: Tensor | None = None) -> EncoderOutput:
        """input_ids i64 [B, S]; mask bool [B, S], True for tokens, False for padding; token_type_ids i64 [B, S]."""
        weights = self.new_list()
        return self.outputs(self.encoder(self.embeddings(input_ids, mask, token_type_ids), mask, weights), None, weights)


class LMHead(BertPredictionTransform):
    """Scores over the vocabulary: products with the table of word embeddings, which is the encoder's alone."""

    def __init__(self, config: DebertaV2Config, table: Parameter):
        super().__init__(config, table)
        self.bias = Parameter(f32[config.vocab_size], constant(0.0))

    def scores(self, x: Tensor, table: Parameter) -> Tensor:
        """x [B, S, H] and the table [vocab_size, H] to [B, S, vocab_size]."""
        return apply("linear", self(x), table, self.bias)


class LMPredictions(nn.Module):
    """The head with which the models were trained, by its name in checkpoints."""

    def __init__(self, config: DebertaV2Config, table: Parameter):
        self.lm_head = LMHead(config, table)


class DebertaV2ForMaskedLM(Head):
    """Scores [B, S, vocab_size] for the token at each position, by BERT's head; legacy=False: by that of the published models."""

    prefix, encoder = "deberta", DebertaV2

    def __init__(self, config: DebertaV2Config | None = None, **options: Any):
        super().__init__(config, **options)
        table = self._table
        if self.config.legacy:
            self.cls = BertPreTrainingHeads(self.config, table, next_sentence=False)
        elif table.shape[1] != self.config.hidden_size:
            raise model_error(f"DebertaV2ForMaskedLM(legacy=False): word embeddings must have the hidden size, "
                              f"{self.config.hidden_size}, for the head takes products with them; these have {table.shape[1]}")
        else:
            self.lm_predictions = LMPredictions(self.config, table)

    @property
    def _table(self) -> Parameter:
        table: Parameter = self.body.embeddings.word_embeddings.weight
        return table

    def __call__(self, input_ids: Tensor, mask: Tensor | None = None,
                 token_type_ids: Tensor | None = None) -> dict[str, Any]:
        output = self.encode(input_ids, mask, token_type_ids)
        if not self.config.legacy:
            return with_attentions(output, logits=self.lm_predictions.lm_head.scores(output.hidden, self._table))
        assert self.cls.predictions is not None
        return with_attentions(output, logits=self.cls.predictions(output.hidden))


class ContextPooler(nn.Module):
    """activation(dense(first token))."""

    def __init__(self, config: DebertaV2Config):
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.activation = activation(config.pooler_hidden_act)

    def __call__(self, hidden: Tensor) -> Tensor:
        return self.activation(self.dense(hidden[:, 0]))


class DebertaV2ForSequenceClassification(Head):
    """Scores [B, labels] for the whole input."""

    prefix, encoder = "deberta", DebertaV2

    def __init__(self, config: DebertaV2Config | None = None, **options: Any):
        super().__init__(config, **options)
        self.pooler = ContextPooler(self.config)
        self.classifier = nn.Linear(self.config.hidden_size, self.config.num_labels)

    def __call__(self, input_ids: Tensor, mask: Tensor | None = None,
                 token_type_ids: Tensor | None = None) -> dict[str, Any]:
        output = self.encode(input_ids, mask, token_type_ids)
        return with_attentions(output, logits=self.classifier(self.pooler(output.hidden)))


class DebertaV2ForTokenClassification(TokenClassification):
    prefix, encoder = "deberta", DebertaV2


class DebertaV2ForQuestionAnswering(QuestionAnswering):
    prefix, encoder = "deberta", DebertaV2

"""What encoders give, and the heads that look alike on all of them."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

from .. import nn
from ..current_tracer import apply
from ..ir.dims import dim
from ..ir.dtypes import bool_, f32, i64
from ..ir.types import TensorType
from ..tensor import Parameter, Tensor, constant
from ..user_code import model_error
from .config import ModelConfig


class EncoderOutput(NamedTuple):
    """The last layer's states [B, S, H]; where the model has them, the pooled first token [B, H]; where they were asked for,
    the attention weights of all layers [layers, B, heads, S, S].
    """

    hidden: Tensor
    pooled: Any = None
    attentions: Any = None


class Model(nn.Module):
    """Base of the published models: a config, and from it the inputs to trace with."""

    config: Any

    @property
    def specs(self) -> dict[str, TensorType]:
        """Inputs of any batch and length, for `tg.trace(model, **model.specs)`: token numbers, and the mask of real tokens."""
        batch, length = dim("B"), dim("S", max=self.config.max_length)
        return {"input_ids": i64[batch, length].range(0, self.config.vocab_size), "mask": bool_[batch, length]}


class EncoderModel(Model):
    """Base of the encoders. output_attentions: also give the attention weights, which are computed for that."""

    has_pooler: ClassVar[bool] = False  # whether there is an option `pooler`

    def __init__(self, config: Any, output_attentions: bool = False):
        self.config, self.output_attentions = config, output_attentions

    def outputs(self, hidden: Tensor, pooled: Tensor | None, weights: list[Tensor] | None) -> EncoderOutput:
        """The outputs, with the weights of all layers as one tensor."""
        return EncoderOutput(hidden, pooled, None if weights is None else apply("concat", *[w[None] for w in weights], axis=0))

    def new_list(self) -> list[Tensor] | None:
        """A list for the layers to put their attention weights into, if these were asked for."""
        return [] if self.output_attentions else None


class Head(Model):
    """An encoder with something on top.

    `prefix` is the name of the encoder in checkpoints, `encoder` makes it, and `segments` tells whether it takes token_type_ids.
    """

    prefix: ClassVar[str]
    encoder: ClassVar[type[EncoderModel]]
    segments: ClassVar[bool] = True

    def __init__(self, config: Any = None, pooler: bool = False, **options: Any):
        if self.encoder.has_pooler:
            options["pooler"] = pooler
        setattr(self, self.prefix, self.encoder(config, **options))
        self.config = self.body.config

    @property
    def body(self) -> Any:
        """The encoder."""
        return getattr(self, self.prefix)

    def encode(self, input_ids: Tensor, mask: Tensor | None, token_type_ids: Tensor | None) -> EncoderOutput:
        """The encoder's outputs. Raises TraceError for token_type_ids where the model has no segments."""
        if token_type_ids is not None and not self.segments:
            raise model_error(f"{type(self).__name__} has no segments, so it takes no token_type_ids")
        output: EncoderOutput = self.body(input_ids, mask, *([token_type_ids] if self.segments else []))
        return output


def with_attentions(output: EncoderOutput, **scores: Tensor) -> dict[str, Any]:
    """The scores of a head, and the encoder's attention weights if it gives them."""
    return scores if output.attentions is None else {**scores, "attentions": output.attentions}


class TokenClassification(Head):
    """Scores [B, S, labels] for every token."""

    def __init__(self, config: Any = None, labels: int | None = None, **options: Any):
        super().__init__(config, **options)
        self.classifier = nn.Linear(self.config.hidden_size, self.config.num_labels if labels is None else labels)

    def __call__(self, input_ids: Tensor, mask: Tensor | None = None,
                 token_type_ids: Tensor | None = None) -> dict[str, Any]:
        output = self.encode(input_ids, mask, token_type_ids)
        return with_attentions(output, logits=self.classifier(output.hidden))


class PooledClassification(Head):
    """Scores [B, labels] for the whole input, of the pooled first token."""

    def __init__(self, config: Any = None, labels: int | None = None, **options: Any):
        super().__init__(config, pooler=True, **options)
        self.classifier = nn.Linear(self.config.hidden_size, self.config.num_labels if labels is None else labels)

    def __call__(self, input_ids: Tensor, mask: Tensor | None = None,
                 token_type_ids: Tensor | None = None) -> dict[str, Any]:
        output = self.encode(input_ids, mask, token_type_ids)
        return with_attentions(output, logits=self.classifier(output.pooled))


class QuestionAnswering(Head):
    """Scores [B, S] for the first and for the last token of the answer."""

    def __init__(self, config: Any = None, **options: Any):
        super().__init__(config, **options)
        self.qa_outputs = nn.Linear(self.config.hidden_size, 2)

    def __call__(self, input_ids: Tensor, mask: Tensor | None = None,
                 token_type_ids: Tensor | None = None) -> dict[str, Any]:
        output = self.encode(input_ids, mask, token_type_ids)
        scores = self.qa_outputs(output.hidden)
        return with_attentions(output, start_logits=scores[..., 0], end_logits=scores[..., 1])


class ClassificationHead(nn.Module):
    """out_proj(activation(dense(first token))): RoBERTa's `classifier`."""

    def __init__(self, config: Any, activation: str = "tanh"):
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.activation = nn.get_activation(activation)
        self.out_proj = nn.Linear(config.hidden_size, config.num_labels)

    def __call__(self, hidden: Tensor) -> Tensor:
        return self.out_proj(self.activation(self.dense(hidden[:, 0])))


class FirstTokenClassification(Head):
    """Scores [B, labels] for the whole input, by a `ClassificationHead` on the first token."""

    activation: ClassVar[str] = "tanh"

    def __init__(self, config: ModelConfig | None = None, **options: Any):
        super().__init__(config, **options)
        self.classifier = ClassificationHead(self.config, self.activation)

    def __call__(self, input_ids: Tensor, mask: Tensor | None = None,
                 token_type_ids: Tensor | None = None) -> dict[str, Any]:
        output = self.encode(input_ids, mask, token_type_ids)
        return with_attentions(output, logits=self.classifier(output.hidden))


class TiedDecoder(nn.Module):
    """Scores over the vocabulary: a linear map whose weight is the table of word embeddings. bias: one that its owner has too."""

    def __init__(self, table: Parameter, bias: Parameter | None = None):
        self.weight = table
        self.bias = Parameter(f32[table.shape[0]], constant(0.0)) if bias is None else bias

    def __call__(self, x: Tensor) -> Tensor:
        return apply("linear", x, self.weight, self.bias)

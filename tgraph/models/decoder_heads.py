"""What decoders give, and the heads that look alike on all of them."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

from .. import nn
from ..current_tracer import apply
from ..ir.dims import dim
from ..ir.dtypes import bool_, i64
from ..ir.types import TensorType
from ..tensor import Tensor
from .heads import Model


class DecoderOutput(NamedTuple):
    """The last layer's states [B, S, H], normalised."""

    hidden: Tensor


class DecoderHead(Model):
    """A decoder with something on top. `prefix` is its name in checkpoints, and `decoder` makes it."""

    prefix: ClassVar[str]
    decoder: ClassVar[type[Model]]

    def __init__(self, config: Any = None):
        make: Any = self.decoder
        setattr(self, self.prefix, make(config))
        self.config = self.body.config

    @property
    def body(self) -> Any:
        """The decoder."""
        return getattr(self, self.prefix)


class CausalLM(DecoderHead):
    """A decoder that scores the next token, by its attribute `lm_head`; `past` is what it keeps for `step`."""

    lm_head: Any
    past: nn.Past

    def __call__(self, input_ids: Tensor, mask: Tensor | None = None, positions: Tensor | None = None) -> dict[str, Any]:
        return {"logits": self.lm_head(self.body(input_ids, mask, positions).hidden)}

    @property
    def step_specs(self) -> dict[str, TensorType]:
        """The inputs of `step`, for `tg.trace_program(model, step=model.step_specs)`."""
        batch, length = dim("B"), dim("T")
        return {"tokens": i64[batch, length].range(0, self.config.vocab_size), "mask": bool_[batch, length]}

    def step(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """New tokens i64 [B, T], False in mask bool [B, T] for padding, to scores [B, vocab_size] for the one after the last."""
        hidden = self.body(tokens, now=self.past.begin(tokens, mask)).hidden
        scores: Tensor = self.lm_head(hidden[:, -1])
        return scores


def scores_of_last_token(scores: Tensor, input_ids: Tensor, pad_token_id: int | None) -> Tensor:
    """Scores [B, S, labels] to those [B, labels] of the last token that is no padding (without a padding token: the last)."""
    if pad_token_id is None:
        return scores[:, -1]
    batch, length, labels = scores.shape
    place = apply("reduce_max", apply("range", stop=length) * (input_ids != pad_token_id), axes=(1,))
    return apply("take_along_axis", scores, apply("expand", place[:, None, None], shape=(batch, 1, labels)), axis=1)[:, 0]


class LastTokenClassification(DecoderHead):
    """Scores [B, labels] for the whole input, of its last token; padding is where input_ids is the config's pad_token_id."""

    def __init__(self, config: Any = None):
        super().__init__(config)
        self.score = nn.Linear(self.config.hidden_size, self.config.num_labels, bias=False)

    def __call__(self, input_ids: Tensor, mask: Tensor | None = None, positions: Tensor | None = None) -> dict[str, Any]:
        scores = self.score(self.body(input_ids, mask, positions).hidden)
        return {"logits": scores_of_last_token(scores, input_ids, self.config.pad_token_id)}

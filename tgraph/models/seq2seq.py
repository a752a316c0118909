"""Sequence to sequence by recurrent networks (arXiv:1409.3215), without or with attention (arXiv:1409.0473, 1508.04025)."""

from __future__ import annotations

from typing import Literal

from .. import nn
from ..current_tracer import apply
from ..ir.dims import Dim, dim
from ..ir.dtypes import bool_, f32
from ..tensor import Tensor
from ..user_code import model_error

States = tuple[Tensor, ...]  # of all layers, [layers, B, hidden]: h, and for LSTM c


class Seq2Seq(nn.Module):
    """An encoder that reads source tokens [B, S], and a decoder that begins in its last state and writes target tokens [B, T].

    Without attention, that state is all that the decoder knows of the source. With it, each state h_t of the decoder is a query,
    the states of the encoder are keys and values, and the next word is told by both (arXiv:1508.04025, section 3.1):

        c_t = attention(h_t, encoder states),  scores = output(tanh(combine([c_t, h_t])))

    cell: "rnn", "gru" or "lstm". bidirectional: the encoder reads in both directions, each with half of `hidden`.
    attention: None, or a score of `nn.Attention`: "dot", "scaled_dot", "multiplicative" or "additive".

    `start` and `step` are for sessions, with the source and the decoder's state in `nn.State`: `tg.generate` works with them.
    """

    def __init__(self, source_vocab: int, target_vocab: int, dim: int = 64, hidden: int = 128, layers: int = 1, *,
                 cell: Literal["rnn", "gru", "lstm"] = "gru", bidirectional: bool = True, attention: str | None = "additive"):
        kinds: dict[str, type[nn.RNN | nn.GRU | nn.LSTM]] = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
        if cell not in kinds:
            raise model_error(f"Seq2Seq(cell={cell!r}): a cell is rnn, gru or lstm")
        if bidirectional and hidden % 2:
            raise model_error(f"Seq2Seq(hidden={hidden}): two directions have half of it each, so it must be even")
        self.layers, self.bidirectional = layers, bidirectional
        self.source_embedding = nn.Embedding(source_vocab, dim)
        self.target_embedding = nn.Embedding(target_vocab, dim)
        self.encoder = kinds[cell](dim, hidden // 2 if bidirectional else hidden, layers, bidirectional=bidirectional)
        self.decoder = kinds[cell](dim, hidden, layers)
        self.attention = None if attention is None else nn.Attention(attention, hidden, hidden)
        self.combine = None if attention is None else nn.Linear(2 * hidden, hidden, bias=False)
        self.output = nn.Linear(hidden, target_vocab)
        self.state = [[nn.State(f32[_BATCH, hidden]) for _ in range(layers)] for _ in self.encoder.states]
        if self.attention is not None:
            self.memory, self.mask = nn.State(f32[_BATCH, _LENGTH, hidden]), nn.State(bool_[_BATCH, _LENGTH])
            if self.attention.key_dim is not None:  # else the keys are the memory
                self.keys = nn.State(f32[_BATCH, _LENGTH, self.attention.key_dim])

    def encode(self, source: Tensor, source_mask: Tensor | None = None) -> tuple[Tensor, States]:
        """The encoder's states [B, S, hidden], and those in which the decoder begins. Padding comes after the tokens."""
        memory, last = self.encoder(self.source_embedding(source), mask=source_mask)
        states = last if isinstance(last, tuple) else (last,)
        return memory, tuple(self._join(s) for s in states)

    def _join(self, state: Tensor) -> Tensor:
        """The last states of both directions [2 layers, B, hidden / 2] side by side, [layers, B, hidden]."""
        if not self.bidirectional:
            return state
        _, batch, half = state.shape
        pairs = state.reshape(self.layers, 2, batch, half).transpose(0, 2, 1, 3)
        return pairs.reshape(self.layers, batch, 2 * half)

    def decode(self, target: Tensor, states: States, memory: Tensor | None = None, source_mask: Tensor | None = None,
               weights: list[Tensor] | None = None, keys: Tensor | None = None) -> tuple[Tensor, States]:
        """Target tokens [B, T] after `states` to what tells each next word, [B, T, hidden], and the states after them.

        keys: what the attention projects the memory to, if that is known already.
        """
        h, last = self.decoder(self.target_embedding(target), states if len(states) > 1 else states[0])
        after = last if isinstance(last, tuple) else (last,)
        if self.attention is None or self.combine is None:
            return h, after
        assert memory is not None
        keys = self.attention.project_keys(memory) if keys is None else keys
        context = self.attention.recall(h, keys, memory, source_mask, weights)
        return apply("tanh", self.combine(apply("concat", context, h, axis=-1))), after

    def __call__(self, source: Tensor, target: Tensor, source_mask: Tensor | None = None) -> Tensor:
        """Source [B, S] and the target so far [B, T] to scores [B, T, target_vocab] for each next token."""
        memory, states = self.encode(source, source_mask)
        return self.output(self.decode(target, states, memory, source_mask)[0])

    def align(self, source: Tensor, target: Tensor, source_mask: Tensor | None = None) -> Tensor:
        """Where the decoder looks as it writes the token after each of target [B, T]: weights [B, T, S], each row sums to 1."""
        if self.attention is None:
            raise model_error("this Seq2Seq has no attention, so it has no alignment: Seq2Seq(..., attention='additive')")
        memory, states = self.encode(source, source_mask)
        weights: list[Tensor] = []
        self.decode(target, states, memory, source_mask, weights)
        return weights[0]

    def start(self, source: Tensor, source_mask: Tensor | None = None) -> None:
        """Read source tokens [B, S], for `step` to write a target from its first token on."""
        memory, states = self.encode(source, source_mask)
        self._keep(states)
        if self.attention is not None:
            self.memory.value = memory
            if self.attention.key_dim is not None:
                self.keys.value = self.attention.project_keys(memory)
            self.mask.value = apply("full", shape=source.shape, value=True, dtype=bool_) if source_mask is None else source_mask

    def step(self, target: Tensor) -> Tensor:
        """The next target tokens [B, T] to scores [B, target_vocab] for the one after the last of them."""
        states = tuple(apply("concat", *(s.value[None] for s in layers), axis=0) for layers in self.state)
        if self.attention is None:
            found, after = self.decode(target, states)
        else:
            keys = self.memory if self.attention.key_dim is None else self.keys
            found, after = self.decode(target, states, self.memory.value, self.mask.value, keys=keys.value)
        self._keep(after)
        return self.output(found[:, -1])

    def _keep(self, states: States) -> None:
        for own, given in zip(self.state, states):
            for layer, state in enumerate(own):
                state.value = given[layer]


_BATCH: Dim = dim("B")
_LENGTH: Dim = dim("S")

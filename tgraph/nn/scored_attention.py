"""Attention in general: a query, keys and values to a weighted mean of the values, with the score of one's choice."""

from __future__ import annotations

import math

import numpy as np

from ..current_tracer import apply
from ..module import Module
from ..tensor import Tensor
from ..user_code import model_error
from .attention import attention_weights
from .basic import Linear

SCORES = ("dot", "scaled_dot", "multiplicative", "additive")


class Attention(Module):
    """Attention with one head: weights = softmax over keys of score(query, key), result = mean of the values by these weights.

    | score | score(q, k) | parameters | source |
    |---|---|---|---|
    | "dot" | q . k | | arXiv:1508.04025, "dot" |
    | "scaled_dot" | q . k / sqrt(Dk) | | arXiv:1706.03762, section 3.2.1 |
    | "multiplicative" | (W q) . k | `project.weight` [Dk, Dq] | arXiv:1508.04025, "general" |
    | "additive" | v . tanh(W q + U k) | `query.weight` [A, Dq], `key.weight` [A, Dk], `v.weight` [1, A] | arXiv:1409.0473 |

    query_dim, key_dim: Dq and Dk, which scores with parameters need; hidden: A, by default Dk. All but the additive score are the
    op `attention`, one kernel that holds no matrix of weights; the pass `fuse-attention` makes it of the additive score as well.

    Who asks the same keys again and again, as a decoder does step by step, projects them once: `project_keys`, then `recall`.
    """

    score: str
    key_dim: int | None  # of projected keys; None where keys are not projected
    project: Linear
    query: Linear
    key: Linear
    v: Linear

    def __init__(self, score: str = "scaled_dot", query_dim: int | None = None, key_dim: int | None = None,
                 hidden: int | None = None):
        if score not in SCORES:
            raise model_error(f"Attention(score={score!r}): the scores are {', '.join(SCORES)}")
        learned = score in ("multiplicative", "additive")
        if learned and (query_dim is None or key_dim is None):
            raise model_error(f"Attention({score!r}) has weights, so it needs query_dim= and key_dim=")
        self.score = score
        self.key_dim = None
        if learned:
            assert query_dim is not None and key_dim is not None
            width = key_dim if hidden is None else hidden
            self.key_dim = query_dim if score == "multiplicative" else width
            if score == "multiplicative":
                self.project = Linear(query_dim, key_dim, bias=False)
            else:
                self.query, self.key = Linear(query_dim, width, bias=False), Linear(key_dim, width, bias=False)
                self.v = Linear(width, 1, bias=False)

    def __call__(self, query: Tensor, keys: Tensor, values: Tensor | None = None, mask: Tensor | None = None,
                 weights: list[Tensor] | None = None) -> Tensor:
        """query [B, Tq, Dq], keys [B, Tk, Dk], values [B, Tk, Dv] (default: the keys) to [B, Tq, Dv].

        mask: bool, True = attend, [B, Tk] or [B, Tq, Tk]; a query with no key left gives zeros. weights: a list that takes the
        weights [B, Tq, Tk], for those who want to see them.
        """
        if keys.rank != 3:
            raise model_error(f"Attention: keys must be [batch, length, size], got {keys!r}")
        return self.recall(query, self.project_keys(keys), keys if values is None else values, mask, weights)

    def project_keys(self, keys: Tensor) -> Tensor:
        """What the score makes of keys [B, Tk, Dk] alone: U k [B, Tk, A] if it is additive, k W [B, Tk, Dq] if it is
        multiplicative (q . (k W) = (W q) . k), else the keys themselves."""
        if self.score == "additive":
            return self.key(keys)
        return keys @ self.project.weight if self.score == "multiplicative" else keys

    def recall(self, query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None,
               weights: list[Tensor] | None = None) -> Tensor:
        """As a call, with keys that `project_keys` made."""
        for name, x in (("query", query), ("keys", keys), ("values", values)):
            if x.rank != 3:
                raise model_error(f"Attention: {name} must be [batch, length, size], got {x!r}")
        if mask is not None and mask.rank not in (2, 3):
            raise model_error(f"Attention: mask must be [B, Tk] or [B, Tq, Tk], got {mask!r}")
        if self.score == "additive":
            return self._additive(query, keys, values, mask, weights)
        width = keys.shape[2]
        if not isinstance(width, int):
            raise model_error(f"Attention: the size of keys {keys!r} must be a number")
        scale = 1 / math.sqrt(width) if self.score == "scaled_dot" else 1.0
        q, k, v = query[:, None], keys[:, None], values[:, None]  # one head
        if weights is not None:
            weights.append(attention_weights(q, k, mask, scale=scale, empty_row="zero")[:, 0])
        result: Tensor = apply("attention", q, k, v, mask, scale=scale)
        return result[:, 0]

    def _additive(self, query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, weights: list[Tensor] | None) -> Tensor:
        scores = self.v(apply("tanh", self.query(query)[:, :, None] + keys[:, None]))[..., 0]
        if mask is None:
            found = apply("softmax", scores, axis=-1)
        else:
            allowed = mask[:, None] if mask.rank == 2 else mask
            found = apply("softmax", apply("where", allowed, scores, -np.inf), axis=-1)
            found = apply("where", allowed, found, 0.0)  # without a key left, softmax gives NaN
        if weights is not None:
            weights.append(found)
        return found @ values

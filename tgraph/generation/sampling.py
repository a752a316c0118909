"""The choice of the next token from scores."""

from __future__ import annotations

import numpy as np


def log_softmax(scores: np.ndarray) -> np.ndarray:
    """Log-probabilities along the last axis, in f32 at least."""
    wide = scores.astype(np.promote_types(scores.dtype, np.float32), copy=False)
    shifted = wide - wide.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


def filtered(scores: np.ndarray, temperature: float, top_k: int | None, top_p: float | None) -> np.ndarray:
    """Scores [B, V] over the temperature, with -infinity for tokens that are left out.

    top_k: the k best are kept, and all that equal the worst of them; top_p: the fewest best whose probabilities sum to p
    (arXiv:1904.09751), of those that top_k has kept.
    """
    scores = scores.astype(np.float64) / temperature
    if top_k is not None and top_k < scores.shape[-1]:
        worst = np.partition(scores, -top_k, axis=-1)[:, -top_k, None]
        scores = np.where(scores < worst, -np.inf, scores)
    if top_p is not None and top_p < 1:
        order = np.argsort(-scores, axis=-1, kind="stable")
        probabilities = np.exp(log_softmax(np.take_along_axis(scores, order, axis=-1)))
        before = np.cumsum(probabilities, axis=-1) - probabilities
        dropped = np.zeros(scores.shape, bool)
        np.put_along_axis(dropped, order, before >= top_p, axis=-1)
        dropped[np.arange(len(scores)), order[:, 0]] = False
        scores = np.where(dropped, -np.inf, scores)
    return scores


def sample(scores: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """A token a row, drawn with the probabilities that the scores [B, V] give."""
    cumulative = np.cumsum(np.exp(log_softmax(scores)), axis=-1)
    drawn = generator.random(len(scores))[:, None] * cumulative[:, -1:]
    return np.asarray((cumulative <= drawn).sum(axis=-1))

"""Random documents of natural lengths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SPREAD = 0.5  # standard deviation of the logarithm of natural lengths


def natural_lengths(count: int, mean: float, longest: int, seed: int = 0) -> np.ndarray:
    """Lengths in tokens, log-normal as those of sentences and paragraphs are, from 3 to `longest`."""
    rng = np.random.default_rng(seed)
    drawn = rng.lognormal(np.log(mean) - SPREAD ** 2 / 2, SPREAD, count)
    return np.clip(np.rint(drawn), 3, longest).astype(int)


def documents(tokenizer: Tokenizer, lengths: Sequence[int] | np.ndarray, seed: int = 0) -> list[str]:
    """Texts of these lengths in tokens, those at begin and end included: words of the vocabulary, the short ones more often."""
    words = [w for w in tokenizer.get_vocab() if w.isascii() and w.isalpha() and len(w) > 1]
    words.sort(key=lambda word: (len(word), word))
    weights = 1.0 / (np.arange(len(words)) + 50.0)  # as Zipf's law has it
    rng = np.random.default_rng(seed)
    drawn = rng.choice(len(words), size=int(sum(lengths)), p=weights / weights.sum())
    texts, at = [], 0
    for length in lengths:
        texts.append(" ".join(words[i] for i in drawn[at:at + length - 2]))
        at += length
    return texts

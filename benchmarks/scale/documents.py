"""Documents of known lengths in tokens, and files of them in parts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
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


def padded(lengths: Sequence[int] | np.ndarray, window: int, batch: int = 32) -> np.ndarray:
    """The lengths with padding: of each window, documents of like length share calls, and are as long as the longest there."""
    found = []
    for first in range(0, len(lengths), window):
        ordered = np.sort(lengths[first:first + window])
        found += [np.full(len(part), part[-1]) for part in np.split(ordered, range(batch, len(ordered), batch))]
    return np.concatenate(found)


def write_parts(folder: Path, texts: Sequence[str], part: int) -> list[Path]:
    """Parquet files of `part` texts each, in the column `text`."""
    import pyarrow
    from pyarrow import parquet

    paths = []
    for first in range(0, len(texts), part):
        paths.append(folder / f"part-{first // part:05}.parquet")
        parquet.write_table(pyarrow.table({"text": list(texts[first:first + part])}), paths[-1])
    return paths


def write_vectors(path: Path, vectors: np.ndarray) -> None:
    """Vectors f32 [rows, width] as a column of lists of a fixed length, complete or not at all."""
    import pyarrow
    from pyarrow import parquet

    column = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(vectors.reshape(-1)), vectors.shape[1])
    unfinished = path.with_suffix(".unfinished")
    parquet.write_table(pyarrow.table({"vector": column}), unfinished, compression="none", use_dictionary=False)
    unfinished.replace(path)

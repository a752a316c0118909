"""Documents in calls, and files of them in parts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np


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

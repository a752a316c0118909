"""A worker of a real run: a process of one core that takes parts, embeds them and writes their vectors, until none is left.

    python -m benchmarks.scale.worker BUNDLE TOKENIZER PARTS VECTORS [CORE]

Prints as JSON the seconds and, under "cpu", the processor's seconds that went into each step.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Clock:
    """Seconds and the processor's, by what they went into."""

    def __init__(self) -> None:
        self.wall: dict[str, float] = {}
        self.cpu: dict[str, float] = {}

    @contextmanager
    def __call__(self, kind: str) -> Iterator[None]:
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.wall[kind] = self.wall.get(kind, 0.0) + time.perf_counter() - wall
        self.cpu[kind] = self.cpu.get(kind, 0.0) + time.process_time() - cpu


def take(parts: Path, vectors: Path) -> Iterator[Path]:
    """Parts that no other worker has taken; a file in the folder of vectors says so."""
    for path in sorted(parts.glob("*.parquet")):
        try:
            os.close(os.open(vectors / f"{path.stem}.taken", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            continue
        yield path


def main(bundle: str, tokenizer_file: str, parts: str, vectors: str, core: str | None = None) -> None:
    if core is not None:
        os.sched_setaffinity(0, {int(core)})
    clock = Clock()
    with clock("import"):
        import numpy as np
        from pyarrow import parquet
        from tokenizers import Tokenizer

        import tgraph as tg
        from benchmarks.scale.documents import write_vectors
        from tgraph.models.sentence import embed
    with clock("load"):
        tg.set_num_threads(1)
        exe = tg.load(bundle)
        tokenizer = Tokenizer.from_file(tokenizer_file)
    with clock("first call"):
        exe(np.full((1, 8), 1000), np.ones((1, 8), bool))
    rows = 0
    for path in take(Path(parts), Path(vectors)):
        with clock("reading"):
            texts = parquet.read_table(path)["text"].to_pylist()
        with clock("embedding"):
            found = embed(exe, tokenizer, texts)
        with clock("writing"):
            write_vectors(Path(vectors) / path.name, found)
        rows += len(texts)
    print(json.dumps({"rows": rows, "wall": clock.wall, "cpu": clock.cpu, "all_cpu": time.process_time()}))


if __name__ == "__main__":
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # a worker has one core
    main(*sys.argv[1:])

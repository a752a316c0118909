"""What one process does, measured within it: `python -m benchmarks.scale.probes KIND ...` prints JSON.

    python -m benchmarks.scale.probes speed BUNDLE THREADS LENGTH,...   # calls of a model by length
    python -m benchmarks.scale.probes start BUNDLE                      # seconds to import, to load, of the first call
    python -m benchmarks.scale.probes files FOLDER TOKENIZER            # Parquet, tokenizer, disk

Each figure is the least of several tries, in seconds and in the processor's seconds: what else runs only takes away.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

TOKENS = 1024  # of a call
TRIES = 3
LONG = 12.0  # seconds after which a length has been tried often enough
FILE = 256 << 20
DOCUMENTS, WIDTH, LENGTHS = 4000, 384, (16, 128)


def least(call: Callable[[], Any], tries: int = TRIES) -> dict[str, float]:
    """Seconds and the processor's seconds of the fastest tries."""
    wall: list[float] = []
    cpu: list[float] = []
    start = time.perf_counter()
    while not wall or (len(wall) < tries and time.perf_counter() - start < LONG):
        before = time.perf_counter(), time.process_time()
        call()
        wall.append(time.perf_counter() - before[0])
        cpu.append(time.process_time() - before[1])
    return {"seconds": min(wall), "cpu": min(cpu)}


def speed(bundle: str, threads: str, lengths: str) -> list[dict[str, float]]:
    """A call of a model at each length, of about as many tokens each."""
    import numpy as np

    import tgraph as tg

    tg.set_num_threads(int(threads))
    exe = tg.load(bundle)
    found = []
    for length in map(int, lengths.split(",")):
        rows = max(1, TOKENS // length)
        ids = np.random.default_rng(0).integers(1000, 30000, (rows, length))
        mask = np.ones((rows, length), bool)
        exe(ids, mask)
        found.append({"length": length, "rows": rows, **least(lambda: exe(ids, mask))})
    return found


def start(bundle: str) -> dict[str, float]:
    """From the interpreter's start to the first result."""
    found: dict[str, float] = {}
    begun = time.perf_counter()
    import numpy as np

    import tgraph as tg
    import tgraph.models.sentence

    found["import"] = time.perf_counter() - begun
    begun = time.perf_counter()
    tg.set_num_threads(1)
    exe = tg.load(bundle)
    found["load"] = time.perf_counter() - begun
    begun = time.perf_counter()
    exe(np.full((1, 16), 1000), np.ones((1, 16), bool))
    found["first"] = time.perf_counter() - begun
    found["cpu"] = time.process_time()
    return found


def files(folder: str, tokenizer_file: str) -> dict[str, Any]:
    """Tokenizing and Parquet by document, and the disk by byte."""
    import numpy as np
    from pyarrow import parquet
    from tokenizers import Tokenizer

    from benchmarks.documents import documents
    from benchmarks.scale.documents import write_parts, write_vectors
    from tgraph.models.sentence import encode_batch

    where = Path(folder)
    tokenizer = Tokenizer.from_file(tokenizer_file)
    tokenize, text = [], []
    for length in LENGTHS:
        texts = documents(tokenizer, [length] * DOCUMENTS)
        tokenize.append({"length": length, "rows": DOCUMENTS, **least(lambda: encode_batch(tokenizer, texts))})
        path, = write_parts(where, texts, DOCUMENTS)
        read = least(lambda: parquet.read_table(path)["text"].to_pylist())
        text.append({"length": length, "rows": DOCUMENTS, "bytes": path.stat().st_size, **read})
    vectors = np.random.default_rng(0).standard_normal((DOCUMENTS, WIDTH), np.float32)
    written = least(lambda: write_vectors(where / "vectors.parquet", vectors))
    size = (where / "vectors.parquet").stat().st_size
    one, = write_parts(where, ["one"], 1)

    def small() -> None:
        parquet.read_table(one)["text"].to_pylist()
        write_vectors(where / "one-vector.parquet", vectors[:1])

    def join() -> None:
        table = parquet.read_table(where / "vectors.parquet")
        parquet.write_table(table, where / "joined.parquet", compression="none", use_dictionary=False)

    return {"tokenize": tokenize, "text": text, "vectors": {"width": WIDTH, "rows": DOCUMENTS, "bytes": size, **written},
            "part": least(small, 20), "join": {"rows": DOCUMENTS, **least(join)}, "disk": disk(where / "bytes")}


def disk(path: Path) -> dict[str, float]:
    """Bytes a second, written with fsync, and read after they have left the system's cache."""
    data = os.urandom(1 << 20)
    begun = time.perf_counter()
    with path.open("wb") as file:
        for _ in range(FILE >> 20):
            file.write(data)
        file.flush()
        os.fsync(file.fileno())
    written = FILE / (time.perf_counter() - begun)
    forget(path)
    begun = time.perf_counter()
    with path.open("rb", buffering=0) as file:
        while file.read(1 << 22):
            pass
    read = FILE / (time.perf_counter() - begun)
    path.unlink()
    return {"write": written, "read": read}


def forget(path: Path) -> None:
    """Drop a file from the system's cache, as far as nobody has it mapped."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def main(kind: str, arguments: Sequence[str]) -> None:
    known: dict[str, Callable[..., Any]] = {"speed": speed, "start": start, "files": files}
    print(json.dumps(known[kind](*arguments)))


if __name__ == "__main__":
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # a worker has one core
    main(sys.argv[1], sys.argv[2:])

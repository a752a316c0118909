"""Many sentences through MiniLM: one process of two threads, two actors of Ray of one thread each, and a loop over ONNX Runtime.

    python -m benchmarks.batch                       # 100,000 sentences, in two rounds
    python -m benchmarks.batch --rounds 1 --sentences 10000
    python -m benchmarks.batch --flat 1000000        # the memory of a process that short rows stream through

Sentences are words of MiniLM's vocabulary, the frequent ones often; how many, is log-normal with a mean of 20. Each contender is
a process of its own in each round, and they take turns. Times are of the whole call, from a file to a file: with the start of the
actors, without imports, the start of Ray, and compiling. The loop over ONNX Runtime sorts all sentences of a round by length and
pads batches of 32, takes the faster of the graph as exported and as its own optimiser fuses it, and writes nothing. Of actors,
memory is read while they run: what is theirs alone (USS), and how much of that is the bundle.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.documents import documents, natural_lengths
from benchmarks.harness.busy import BUSY, busy_share
from benchmarks.harness.memory import resident

ROOT = Path(__file__).parents[1]
THREADS, BATCH = 2, 32
MEAN = 20  # words of a sentence
PROCESS, RAY, ONNX = "process", "ray", "onnxruntime"
NAMES = {PROCESS: "one process, 2 threads", RAY: "two actors of Ray, 1 thread each", ONNX: "a loop over ONNX Runtime, 2 threads"}


def sentences(count: int, seed: int, mean: float = MEAN) -> list[str]:
    """Random sentences of a natural distribution of lengths, which is that of `benchmarks.scale`."""
    from tgraph.models.pretrained import load_tokenizer
    from tgraph.models.sentence import minilm_folder

    lengths = natural_lengths(count, mean + 2, 202, seed)  # with the tokens at begin and end
    return documents(load_tokenizer(minilm_folder()), lengths, seed)


# Contenders, each in a process of its own

def contend(name: str, folder: Path, round: int) -> dict[str, Any]:
    """One round of one contender: seconds, and what else there is to say."""
    source = folder / f"{round}.parquet"
    if name == ONNX:
        return _onnx(folder, source)
    from tgraph import batch

    begun: list[float] = []
    options: dict[str, Any] = {"threads": THREADS} if name == PROCESS else {"ray": "local", "workers": THREADS, "threads": 1}
    found: dict[str, Any] = {}
    watch = threading.Thread(target=_watch, args=(found,), daemon=True)
    if name == RAY:
        import ray

        ray.init(address="local", num_cpus=THREADS, include_dashboard=False, log_to_driver=False)
        watch.start()
    start = time.perf_counter()
    report = batch.embed(source, folder / "model.tgc", output=folder / f"{name}-{round}.parquet", part_rows=2000,
                         progress=lambda done, total: begun.append(time.perf_counter()), **options)
    return {"seconds": time.perf_counter() - start, "first": begun[1] - start, "rows": report.rows, "memory": found}


def _onnx(folder: Path, source: Path) -> dict[str, Any]:
    import pyarrow.parquet as pq

    from benchmarks.harness.job import Job
    from benchmarks.harness.peers import peer_of
    from benchmarks.harness.runtimes import OnnxRuntime
    from tgraph.models.sentence import load_minilm

    runtime, (_, tokenizer) = OnnxRuntime(), load_minilm()
    runtime.load(Job("", str(folder), THREADS, peer=peer_of("minilm")))
    texts = pq.read_table(source).column("text").to_pylist()
    times = {name: _loop(runtime, name, tokenizer, texts[:200])[0] for name in (*runtime.variants, *runtime.variants)}
    best = min(times, key=times.__getitem__)
    seconds, vectors = _loop(runtime, best, tokenizer, texts)
    np.save(folder / f"{ONNX}-{source.stem}.npy", vectors)
    return {"seconds": seconds, "rows": len(texts), "memory": {}, "first": 0.0, "took": best}


def _loop(runtime: Any, variant: str, tokenizer: Any, texts: Sequence[str]) -> tuple[float, np.ndarray]:
    """The seconds of all texts in batches of like length, and their vectors."""
    from tgraph.models.sentence import by_length, pad_tokens, tokenize

    start = time.perf_counter()
    tokens = tokenize(tokenizer, texts)
    vectors = np.empty((len(texts), 384), np.float32)
    for rows in by_length([len(t) for t in tokens], BATCH):
        ids, mask = pad_tokens([tokens[row] for row in rows])
        vectors[rows] = runtime.variants[variant]({"input_ids": ids, "attention_mask": mask.astype(np.int64)})[0]
    return time.perf_counter() - start, vectors


def _watch(found: dict[str, Any]) -> None:
    """The memory of this process's actors, as long as they run: their own, and of that the bundle's."""
    while True:
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and b"PartWorker" in (entry / "cmdline").read_bytes():
                    found[entry.name] = {**_private(entry, ""), "bundle": _private(entry, ".tgc")["uss"]}
            except OSError:
                continue
        time.sleep(2)


def _private(process: Path, ending: str) -> dict[str, int]:
    """Bytes of a process, or of the files with such an ending that it maps: its own, and all that is in memory."""
    own = whole = 0
    here = not ending
    for line in (process / "smaps").read_text().splitlines():
        name, _, value = line.partition(":")
        if "-" in name and " " in line and not value.strip().endswith("kB"):
            here = not ending or line.endswith(ending)
        elif here and name in ("Private_Clean", "Private_Dirty"):
            own += int(value.split()[0]) * 1024
        elif here and name == "Rss":
            whole += int(value.split()[0]) * 1024
    return {"uss": own, "rss": whole}


# The run

def prepare(folder: Path, count: int, rounds: int) -> None:
    """The bundle, the weights for others, and the sentences of each round."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    import tgraph as tg
    from benchmarks.workload import save_model
    from tgraph.models.sentence import load_minilm, sentence_graph, tokenizer_files

    encoder, tokenizer = load_minilm()
    graph = sentence_graph(encoder, tokenizer)
    save_model(graph, folder)
    tg.compile(graph).save(folder / "model.tgc", files=tokenizer_files(tokenizer))
    for number in range(rounds):
        pq.write_table(pa.table({"text": sentences(count // rounds, number)}), folder / f"{number}.parquet")


def difference(folder: Path, round: int) -> float:
    """The largest one between the vectors of the contenders."""
    import pyarrow.parquet as pq

    found = []
    for name in (PROCESS, RAY):
        path = folder / f"{name}-{round}.parquet"
        if path.exists():
            column = pq.read_table(path).column("vector").combine_chunks()
            found.append(column.flatten().to_numpy().reshape(len(column), -1))
    other = folder / f"{ONNX}-{round}.npy"
    found += [np.load(other)] if other.exists() else []
    return max((float(np.abs(vectors - found[0]).max()) for vectors in found[1:]), default=0.0)


def flat(rows: int) -> Iterator[tuple[int, int]]:
    """Rows of a stream that a small encoder has embedded, and the bytes that this process then holds."""
    import tgraph as tg
    from tgraph import batch
    from tgraph.models.bert import Bert, BertConfig
    from tgraph.models.sentence import SentenceEncoder, load_minilm, sentence_graph, tokenizer_files

    bert = Bert(BertConfig(hidden_size=64, num_hidden_layers=1, num_attention_heads=2, intermediate_size=128))
    bert.pooler = None
    tokenizer = load_minilm()[1]
    exe: Any = tg.compile(sentence_graph(SentenceEncoder(bert), tokenizer))
    exe.files = tokenizer_files(tokenizer)
    short = sentences(10_000, 0, mean=4)
    done = step = 0
    for table in batch.embed(({"text": short[i % len(short)], "id": i} for i in range(rows)), exe):
        done += table.num_rows
        if done >= step:
            yield done, resident() or 0
            step = done + rows // 20


@click.command()
@click.option("--sentences", "count", default=100_000, show_default=True)
@click.option("--rounds", default=2, show_default=True, help="Pieces in which the contenders take turns.")
@click.option("--only", default=",".join(NAMES), show_default=True, help="Contenders.")
@click.option("--flat", "rows", type=int, help="Only the memory over so many short rows.")
@click.option("--contend", "contender", hidden=True, nargs=3, type=str)
def main(count: int, rounds: int, only: str, rows: int | None, contender: tuple[str, str, str] | None) -> None:
    """Time contenders in turns; the median of the rounds' ratios to the first is what counts."""
    if contender is not None:
        print(json.dumps(contend(contender[0], Path(contender[1]), int(contender[2]))))
        sys.stdout.flush()
        os._exit(0)
    if rows is not None:
        for done, held in flat(rows):
            print(f"{done:>10,} rows  {held / 1e6:7.1f} MB", flush=True)
        return
    chosen = only.split(",")
    busy = busy_share(2.0)
    load = f"; under load: others use {busy:.0%} of the machine" if busy > BUSY else ""
    print(f"{count:,} sentences in {rounds} rounds{load}")
    times: dict[str, list[float]] = {name: [] for name in chosen}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, count, rounds)
        for number in range(rounds):
            for contender_name in chosen[number % len(chosen):] + chosen[:number % len(chosen)]:
                found = _ask(contender_name, folder, number)
                times[contender_name].append(found["seconds"])
                memory = "".join(f"; actor: {m['uss'] / 1e6:.0f} MB its own, of which {m['bundle'] / 1e6:.0f} of the bundle"
                                 for m in found["memory"].values())
                print(f"round {number + 1}: {NAMES[contender_name]}: {found['rows'] / found['seconds']:,.0f} sentences a second, "
                      f"the first part after {found['first']:.1f} s{memory}", flush=True)
            print(f"round {number + 1}: largest difference of an element {difference(folder, number):.1e}", flush=True)
        size = (folder / "model.tgc").stat().st_size
    for contender_name in chosen:
        ratios = [a / b for a, b in zip(times[chosen[0]], times[contender_name])]
        print(f"{NAMES[contender_name]}: {count / sum(times[contender_name]):,.0f} sentences a second, "
              f"{statistics.median(ratios):.2f} times the first ({min(ratios):.2f} to {max(ratios):.2f})")
    print(f"the bundle: {size / 1e6:.0f} MB")


def _ask(name: str, folder: Path, number: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.batch", "--contend", name, str(folder), str(number)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])})
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()

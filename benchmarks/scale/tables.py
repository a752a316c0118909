"""What docs/scale.md says in numbers: tables in Markdown, from the figures of a machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from benchmarks.documents import natural_lengths
from benchmarks.scale.figures import Figures
from benchmarks.scale.fleet import FOREVER, Fleet, Job, Outcome, bounds, simulate
from benchmarks.scale.tensor import CASES, GPUS, HALF, WORKERS, layer_cost
from benchmarks.scale.validate import Comparison

LONGEST = 256  # where documents are cut
DOCUMENTS = 10_000_000
MEANS = {"sentences": 24, "paragraphs": 96, "pages": 256}  # tokens
CORES = (16, 64, 256, 1024)
PARTS = (1000, 3000, 10_000, 30_000, 100_000)
MANY = 300  # parts of a core
HOUR, DAY = 3600.0, 86400.0
STORAGES = {"a disk over the network, 200 MB/s": 0.2e9, "object storage, 1 GB/s": 1e9, "object storage, 10 GB/s": 10e9}
NODE = 16  # workers of a node
MODELS = {"minilm": "MiniLM-L6", "bert-base": "BERT-base"}


def usual_fleet(cores: int, **others: Any) -> Fleet:
    """The assumptions of the page: see its text."""
    chosen: dict[str, Any] = {"jitter": 0.05, "storage": 1e9, "network": 1.25e9, "latency": 0.05, "worker_mtbf": 30 * DAY,
                              "node_mtbf": 3 * DAY, **others}
    return Fleet(max(1, cores // NODE), min(cores, NODE), **chosen)


def natural(mean: float) -> np.ndarray:
    """Lengths with this mean; pages are all as long as a document may be."""
    return np.array([LONGEST]) if mean >= LONGEST else natural_lengths(20_000, mean, LONGEST)


run = lru_cache(maxsize=None)(simulate)  # tables and pictures ask for the same runs


def best_run(job: Job, fleet: Fleet) -> Outcome:
    """The run that ends first, of parts of several sizes; hundreds of parts a core are as good as thousands."""
    sizes = [part for part in PARTS if job.documents <= MANY * fleet.cores * part] or [PARTS[-1]]
    return min((run(replace(job, part=part), fleet) for part in sizes), key=lambda one: one.seconds)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """In Markdown; all but the first column to the right."""
    head = ["| " + " | ".join(columns) + " |", "|---|" + "---:|" * (len(columns) - 1)]
    return head + ["| " + " | ".join(row) + " |" for row in rows]


def load_note(figures: Figures) -> str:
    """Whether to trust what follows."""
    if not figures.under_load:
        return f"Measured on {figures.date}, on a quiet machine."
    return (f"**Measured under load** ({figures.date}): other programs used {figures.busy:.0%} of the machine, so seconds are "
            "the processor's, and what only the clock can tell is left out.")


def machine_table(figures: Figures) -> list[str]:
    m, files, disk = figures.machine, figures.files, figures.files["disk"]
    load = f"while others used {figures.busy:.0%} of it" if figures.under_load else "quiet"
    clock = "processor time" if figures.clock == "cpu" else "time by the clock"
    vectors = files["vectors"]
    rows = [("machine", f"{m.model} ({m.cpu}), {m.threads} cores, {figures.date}, {load}; {clock}")]
    if not figures.under_load:  # these are by the clock
        rows += [("peak of f32, memory read", f"{m.peak / 1e9:.0f} GFLOP/s, {m.bandwidth / 1e9:.1f} GB/s"),
                 ("disk, read and written", f"{disk['read'] / 1e6:.0f} and {disk['write'] / 1e6:.0f} MB/s")]
    for tokenized, text in zip(files["tokenize"], files["text"]):
        seconds = tokenized[figures.clock] / tokenized["rows"]
        rows.append((f"tokenizing {tokenized['length']} tokens",
                     f"{seconds * 1e6:.0f} us, {tokenized['length'] / seconds / 1e6:.2f} M tokens/s a core"))
        rows.append((f"text of {text['length']} tokens from Parquet",
                     f"{text[figures.clock] / text['rows'] * 1e6:.1f} us, {text['bytes'] / text['rows']:.0f} bytes"))
    rows.append((f"a vector of {vectors['width']} into Parquet",
                 f"{vectors[figures.clock] / vectors['rows'] * 1e6:.1f} us, {vectors['bytes'] / vectors['rows']:.0f} bytes"))
    rows.append(("opening and closing the files of a part", f"{files['part'][figures.clock] * 1e3:.1f} ms"))
    return ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]


def speed_table(figures: Figures) -> list[str]:
    rows = []
    for model, by_threads in figures.speed.items():
        for threads, points in by_threads.items():
            clock = figures.clock if threads == "1" else "seconds"
            cells = [f"{p['rows'] * p['length'] / p[clock]:,.0f}" for p in points]
            rows.append((f"{MODELS[model]}, {threads} thread{'s' * (threads != '1')}", *cells))
        lengths = [f"{p['length']} tokens" for p in points]
    return table(("tokens a second", *lengths), rows)


def start_table(figures: Figures) -> list[str]:
    if figures.under_load:  # the rest is by the clock
        cells = [(MODELS[model], f"{s['bytes'] / 1e6:.0f} MB", f"{s['cpu']:.1f} s") for model, s in figures.starts.items()]
        return table(("", "bundle", "processor time of a start, to the first result"), cells)
    rows = [(MODELS[model], f"{s['bytes'] / 1e6:.0f} MB", f"{s['import']:.2f} s", f"{s['load']:.2f} s", f"{s['cold_load']:.2f} s",
             f"{s['first'] * 1e3:.0f} ms", f"{s['process']:.1f} s", f"{s['cpu']:.1f} s") for model, s in figures.starts.items()]
    return table(("", "bundle", "imports", "load, in the cache", "load, from the disk", "first call", "from start to end",
                  "processor time"), rows)


def answer_table(figures: Figures) -> list[str]:
    rows = []
    for model in figures.speed:
        for kind, mean in MEANS.items():
            job = figures.job(model, DOCUMENTS, natural(mean))
            hours = []
            for cores in CORES:
                hours.append(show_hours(best_run(job, usual_fleet(cores)).seconds))
            rows.append((f"{MODELS[model]}, {kind} (mean {mean} tokens)", f"{HOUR / job.seconds:,.0f}",
                         f"{DOCUMENTS * job.seconds / HOUR:,.0f}", *hours))
    return table(("10 million documents", "documents an hour a core", "core-hours", *(f"{cores} cores" for cores in CORES)), rows)


def show_hours(seconds: float) -> str:
    return f"{seconds / HOUR:.1f} h" if seconds >= HOUR else f"{seconds / 60:.1f} min"


def bound_table(figures: Figures) -> list[str]:
    """With how many cores storage is as slow as the computing, and the same for a node's link."""
    rows = []
    for model in figures.speed:
        for kind, mean in MEANS.items():
            job = figures.job(model, DOCUMENTS, natural(mean))
            rate = (job.bytes_in + job.bytes_out) / job.seconds
            rows.append((f"{MODELS[model]}, {kind}", f"{job.bytes_in:.0f} + {job.bytes_out:.0f}", f"{rate / 1e3:.0f} kB/s",
                         *(f"{storage / rate:,.0f}" for storage in STORAGES.values()), f"{1.25e9 / rate:,.0f}"))
    return table(("", "bytes in + out", "a core", *STORAGES, "a link of 10 Gbit/s"), rows)


def part_table(figures: Figures, cores: int = 256) -> list[str]:
    """Time and efficiency by the size of parts, for fleets that fail more and less."""
    job = figures.job("minilm", DOCUMENTS, natural(MEANS["paragraphs"]))
    rows = []
    for part in PARTS:
        sized = replace(job, part=part)
        cells = [f"{sized.parts:,}", show_hours(part * job.seconds)]
        for fleet in part_fleets(cores).values():
            found = run(sized, fleet)
            cells.append(f"{found.seconds / 60:.1f} min ({found.efficiency:.0%})")
        rows.append((f"{part:,}", *cells))
    return table(("documents of a part", "parts", "a part takes", *part_fleets(cores)), rows)


def part_fleets(cores: int) -> dict[str, Fleet]:
    return {"nothing fails": usual_fleet(cores, worker_mtbf=FOREVER, node_mtbf=FOREVER),
            "a node is lost every 3 days": usual_fleet(cores),
            "a node is lost every 2 hours": usual_fleet(cores, node_mtbf=2 * HOUR),
            "and half of the nodes are half as fast": usual_fleet(cores, node_mtbf=2 * HOUR, speeds=(1.0, 0.5))}


def loss_table(figures: Figures) -> list[str]:
    """Where the time goes in fleets of several sizes, in the best parts."""
    job = figures.job("minilm", DOCUMENTS, natural(MEANS["paragraphs"]))
    rows = []
    for cores in CORES:
        found = best_run(job, usual_fleet(cores))
        most = max(bounds(found.job, found.fleet).items(), key=lambda item: item[1])
        lost = ", ".join(f"{kind} {share:.1%}" for kind, share in list(found.losses.items())[:3])
        rows.append((f"{cores}", f"{found.job.part:,}", f"{found.documents_per_hour / 1e6:.1f} M", f"{found.efficiency:.1%}",
                     most[0], lost))
    return table(("cores", "documents of a part", "documents an hour", "computing", "bound", "what else the cores do"), rows)


def validation_table(figures: Figures, found: Sequence[Comparison]) -> list[str]:
    rows = []
    for c in found:
        took, work = c.simulated(figures)
        load = f" (others: {c.busy:.0%} of the machine)" if c.under_load else ""
        rows.append((MODELS[c.model], f"{c.workers}", f"{c.documents:,} of mean {c.mean_length:.0f}", f"{c.wall:.1f} s{load}",
                     f"{took:.1f} s", f"{c.worked:.1f} s", f"{work:.1f} s", f"{work / c.worked - 1:+.0%}"))
    return table(("", "workers", "documents", "took", "simulated", "processor time", "simulated", "difference"), rows)


def tensor_table() -> list[str]:
    """Microseconds of a layer with one GPU, and how much sooner several are through; with them the share of all-reduces."""
    rows = [row for gpu in GPUS for row in _tensor_rows(gpu)]
    return table(("", "all-reduce", "1 GPU", *(f"{w} GPUs" for w in WORKERS[1:])), rows)


def _tensor_rows(gpu: Any) -> Iterator[tuple[str, ...]]:
    for shape, call, what in CASES:
        one = layer_cost(gpu, shape, call, 1)
        cells = []
        for workers in WORKERS[1:]:
            try:
                cost = layer_cost(gpu, shape, call, workers)
            except ValueError:
                cells.append("-")
                continue
            cells.append(f"{one.seconds / cost.seconds:.2f} x ({cost.reducing / cost.seconds:.0%})")
        yield (f"{gpu.name}: {shape.name}, {what}", show_bytes(call.tokens * shape.hidden * HALF),
               f"{one.seconds * 1e6:,.0f} us", *cells)


def show_bytes(amount: float) -> str:
    return f"{amount / 1e6:.1f} MB" if amount >= 1e6 else f"{amount / 1e3:.0f} kB"

"""The run of a whole comparison, and its tables."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.text import Text

from benchmarks.harness.busy import BUSY, busy_share
from benchmarks.harness.job import WEIGHTS, Job
from benchmarks.harness.lineup import Entry, installed, lineup
from benchmarks.harness.peers import peer_of
from benchmarks.harness.turns import Result, compare
from tgraph.cli.console import console, show_seconds, table
from tgraph.cli.models import load_graph
from tgraph.cli.options import Numbers, check_dims, merged
from tgraph.cli.peers import PEERS
from tgraph.cli.progress import prefixed, reporting
from tgraph.formats.disk import replacing
from tgraph.ir.dims import evaluate
from tgraph.ir.dtypes import bf16, f16
from tgraph.ir.graph import Graph
from tgraph.reference.inputs import choose_sizes, generate_inputs
from tgraph.reference.tolerance import QUANTIZED, TOLERANCES

AGREEMENT = 1e-3  # how far the outputs of two contenders may lie apart; more, and they do not compute the same


def measure_all(model: str, points: Sequence[Mapping[str, int]], dims: Sequence[dict[str, int]], peers: Sequence[str],
                threads: int, rounds: int, level: str, output: Path | None, numbers: Numbers,
                out: Console | None = None) -> list[dict[str, Any]]:
    """Start the contenders, take turns at each shape, print a table each. Returns all times, as the file of --output has them."""
    out = out or console()
    graph = load_graph(model)
    check_dims([graph], tuple(dims))
    peer = peer_of(model)
    present = _present(peers, peer, model, out)
    busy = busy_share()
    if busy > BUSY:
        out.print(f"other programs use {busy:.0%} of the processors: expect noise; OpenMP's threads are told not to spin",
                  style="yellow", soft_wrap=True)
    records = []
    agreement = max([AGREEMENT, numbers["tolerance"] or 0.0,
                     *(TOLERANCES[d][0] for d in (f16, bf16) if d.name in (numbers["precision"], numbers["weights"])),
                     *([QUANTIZED[0]] if numbers["weights"] == "i8" else [])])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plugins = tuple(str(path) for path in click.get_current_context().find_root().params.get("plugins", ()))
        job = Job(model, name, threads, level, peer, plugins)
        if present:
            _write_weights(graph, folder)
        ours = dataclasses.replace(job, **numbers)
        entries = [Entry("tgraph", "tgraph", ours), *(Entry(peer, peer, job) for peer in present)]

        def complain(text: str) -> None:
            out.print(text, style="red", markup=False, soft_wrap=True)

        def refuse(name: str, why: str) -> None:
            complain(f"{why}; left out")

        with reporting(out) as say, lineup(entries, folder, busy > BUSY, say, refuse) as contenders:
            for contender in contenders:
                out.print(f"{contender.name} {contender.note}", style="dim", markup=False, soft_wrap=True)
            for point in points:
                sizes = choose_sizes(graph, {**merged(tuple(dims)), **{k: v for k, v in point.items() if k in graph.symbols}})
                feeds = save_feeds(folder / "feeds.npz", real_tokens(graph, sizes))
                results = compare(contenders, {"": [feeds]}, folder, rounds, prefixed(say, _shown(sizes)), complain)
                _print(graph, sizes, results, threads, out, agreement)
                records.append({"model": model, "sizes": sizes, "threads": threads,
                                "results": [dataclasses.asdict(r) for r in results]})
    if output is not None:
        with replacing(output) as file:
            file.write((json.dumps(records, indent=1) + "\n").encode())
        out.print(f"wrote {output}", markup=False, soft_wrap=True)
    return records


def _present(peers: Sequence[str], peer: object, model: str, out: Any) -> list[str]:
    """Those peers that can run the model here; says why not of the others."""
    if peer is None:
        if peers:
            out.print(f"no other runtime is known for {model}; tgraph alone", style="yellow", markup=False)
        return []
    for name in peers:
        if not installed(name):
            out.print(f"{name} is not installed, and left out: pip install {PEERS[name]}", style="yellow", markup=False)
    return [name for name in peers if installed(name)]


def _write_weights(graph: Graph, folder: Path) -> None:
    from tgraph.formats import save_safetensors

    save_safetensors(folder / WEIGHTS, {name: graph.weights[name] for name in graph.parameters})


def save_feeds(path: Path, feeds: Mapping[str, np.ndarray]) -> Path:
    """Write inputs as contenders read them."""
    np.savez(path, **feeds)  # type: ignore[arg-type]
    return path


def real_tokens(graph: Graph, sizes: Mapping[str, int]) -> dict[str, np.ndarray]:
    """Generated inputs, with every token real: padding would be skipped by some and computed by others."""
    feeds = generate_inputs(graph, sizes)
    return {name: np.ones_like(array) if array.dtype == bool else array for name, array in feeds.items()}


def _shown(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{k}={v}" for k, v in sizes.items()) or "static sizes"


def _print(graph: Graph, sizes: Mapping[str, int], results: Sequence[Result], threads: int, out: Any,
           agreement: float = AGREEMENT) -> None:
    flops = evaluate(graph.flops, dict(sizes))
    ours = results[0]
    rows = []
    for result in results:
        low, high = result.quartiles
        if result is ours:
            ratio = Text("")
        else:
            below, middle, above = result.ratio_to(ours)
            ratio = Text(f"{middle:.2f} x ({below:.2f} .. {above:.2f})", "green" if middle >= 1 else "red")
        note = result.note if result.error <= agreement else f"WRONG: outputs differ by {result.error:.1e}"
        rows.append((result.name, show_seconds(result.median), f"{show_seconds(low)} .. {show_seconds(high)}",
                     f"{flops / result.median / 1e9:.0f}", ratio, f"{result.error:.0e}" if result is not ours else "", note))
    title = f"{graph.name} at {_shown(sizes)}: {flops / 1e9:.2f} GFLOP, {threads} threads"
    out.print("", table(title, ("runtime", ">median", ">quartiles", ">GFLOP/s", ">time to tgraph's", ">difference", ""), rows))

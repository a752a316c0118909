"""The tables that the demonstration prints."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.table import Table
from rich.text import Text

from tgraph.cli.console import show_bytes, show_count, show_seconds, table
from tgraph.ir.dims import evaluate
from tgraph.ir.graph import Graph

if TYPE_CHECKING:
    from passes import PassRecord
    from targets import Executable

Point = tuple[int, int]
SECONDS_PER_POINT, RUNS = 0.6, (7, 60)  # measuring time, and the fewest and most runs in it


def graph_summary(graph: Graph) -> Table:
    """Size, parameters, work at B=1, S=128, and ops by count."""
    types = [p.type for p in graph.parameters.values()]
    elements = sum(evaluate(t.size, {}) for t in types)
    ops = ", ".join(f"{n} {name}" for name, n in Counter(n.op.name for n in graph.nodes).most_common())
    signature = ", ".join(f"{i.name}: {i.type}" for i in graph.inputs)
    outputs = ", ".join(f"{name}: {value.type}" for name, value in graph.outputs)
    return table(f"Graph {graph.name}", ("", ""), [
        ("signature", f"({signature}) -> ({outputs})"),
        ("nodes", f"{len(graph)}: {ops}"),
        ("parameters", f"{show_count(elements)} in {len(types)} tensors, "
                       f"{show_bytes(sum(evaluate(t.nbytes, {}) for t in types))}"),
        ("work", f"{graph.flops} FLOPs; {show_count(evaluate(graph.flops, {'B': 1, 'S': 128}))}FLOP at B=1, S=128"),
    ])


def passes(records: Sequence[PassRecord]) -> Table:
    """What each pass did."""
    return table("Passes", ("pass", ">time", ">nodes", "effect"), [
        (r.name, show_seconds(r.seconds), f"{r.nodes_before} -> {r.nodes_after}",
         Text("rewrote the graph", "green") if r.changed else Text("nothing to do", "dim")) for r in records])


def kernels(exe: Executable) -> Table:
    """The functions that were compiled, how often each is called, and what it computes."""
    calls = Counter(n.attrs["function"].name for n in exe.kernels.nodes if isinstance(n.attrs.get("function"), Graph))
    rows = []
    for name, function in exe.kernels.functions.items():
        if name in calls:
            rows.append((name, str(calls[name]), " > ".join(n.op.name for n in function.nodes)))
    return table(f"Kernels: {len(rows)}, called {sum(calls.values())} times", ("function", ">calls", "what it computes"), rows)


def similarity(sentences: Sequence[str], matrix: np.ndarray) -> Table:
    """Cosine similarities, on a background from blue (unrelated) to red (the same)."""
    columns = ("sentence", *(f">{i + 1}" for i in range(len(sentences))))
    rows = [(f"{i + 1:>2} {s}", *(_cell(float(v)) for v in matrix[i])) for i, s in enumerate(sentences)]
    return table("Similarity of sentences", columns, rows)


def _cell(value: float) -> Text:
    heat = max(0.0, min(1.0, value))
    red, blue = round(40 + 180 * heat), round(120 - 80 * heat)
    return Text(f"{value:5.2f}", f"bold white on rgb({red},40,{blue})" if heat > 0.5 else f"white on rgb({red},40,{blue})")


def measure(exe: Executable, points: Sequence[Point]) -> list[tuple[Point, list[float]]]:
    """Seconds of each run at some batches and lengths, all tokens real."""
    generator = np.random.default_rng(0)
    result = []
    for batch, length in points:
        feeds = generator.integers(0, 30522, (batch, length)), np.ones((batch, length), bool)
        exe(*feeds)
        times: list[float] = []
        while len(times) < RUNS[0] or (sum(times) < SECONDS_PER_POINT and len(times) < RUNS[1]):
            start = time.perf_counter()
            exe(*feeds)
            times.append(time.perf_counter() - start)
        result.append(((batch, length), times))
    return result


def latency(rows: Sequence[tuple[Point, list[float]]], threads: int | None) -> Table:
    """Median, quartiles and sentences a second."""
    lines: list[Sequence[Any]] = []
    for (batch, length), times in rows:
        low, middle, high = statistics.quantiles(times, n=4)
        lines.append((str(batch), str(length), show_seconds(middle), f"{show_seconds(low)} .. {show_seconds(high)}",
                      f"{batch / middle:.0f}", str(len(times))))
    used = f"{threads} threads" if threads else "all cores"
    return table(f"Latency ({used})", (">batch", ">length", ">median", ">quartiles", ">sentences/s", ">runs"), lines)

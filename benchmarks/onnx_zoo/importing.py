"""Importing what the zoo exported, and what became of it: an error, the largest difference, and what fused. Needs no PyTorch."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import tgraph as tg
from tgraph.formats.onnx import import_onnx
from tgraph.ir.graph import Graph
from tgraph.ir.values import Node

TOLERANCE = 1e-4  # of max(1, max|y|)


@dataclass
class Outcome:
    """What became of one model.

    error: why it failed, by step. difference: the largest from PyTorch's outputs, relative to max(1, max|y|). nodes: of the graph
    as imported and as optimised. sizes: nodes that compute sizes after O3. masks: attentions with a boolean mask, a bias,
    neither. counts: what is fused, by kind, and what looks like it and stayed apart; misses: a line for each of these. seconds:
    what all that took.
    """

    name: str
    error: str = ""
    difference: float = 0.0
    nodes: tuple[int, int] = (0, 0)
    sizes: int = 0
    masks: dict[str, int] = field(default_factory=dict)
    counts: dict[str, tuple[int, int]] = field(default_factory=dict)
    misses: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        return not self.error and self.difference <= TOLERANCE

    def fused(self, *kinds: str) -> int:
        """How many of some kinds there are."""
        return sum(self.counts.get(kind, (0, 0))[0] for kind in kinds)


def examine(path: Path, target: str | None = "numpy") -> Outcome:
    """Import NAME.onnx, optimise, compile for a target and compare with the outputs in NAME.npz; without one, only optimise."""
    outcome = Outcome(path.stem)
    start = time.perf_counter()
    step = "import"
    try:
        with np.load(path.with_suffix(".npz")) as arrays:
            most = {k.removeprefix("most."): int(v) for k, v in arrays.items() if k.startswith("most.")}
        graph = import_onnx(path, {name: tg.dim(name, max=n) for name, n in most.items()})
        step = "optimize"
        optimized = tg.optimize(graph, "O3")
        outcome.nodes = (len(graph.nodes), len(optimized.nodes))
        outcome.sizes = sum(node.op.name == "dim_size" for node in _all_nodes(optimized))
        outcome.masks = _masks(optimized)
        fused = tg.passes.fused(optimized)
        outcome.counts = {kind.kind: (kind.count, len(kind.apart)) for kind in fused}
        outcome.misses = [line for kind in fused for line in kind.misses()]
        if target is not None:
            step = "compile"
            exe = tg.compile(graph, target=target)
            step = "run"
            with np.load(path.with_suffix(".npz")) as arrays:
                for i in range(2):
                    feeds = {k.split(".", 2)[2]: v for k, v in arrays.items() if k.startswith(f"{i}.in.")}
                    expected = [arrays[f"{i}.out.{j}"] for j in range(sum(k.startswith(f"{i}.out.") for k in arrays))]
                    found = exe.run({k: v for k, v in feeds.items() if k in {x.name for x in graph.inputs}})
                    outcome.difference = max(outcome.difference, _difference(found, expected))
    except Exception as error:  # whatever it is, it is what the table is for
        outcome.error = f"{step}: {type(error).__name__}: {error}"
    outcome.seconds = time.perf_counter() - start
    return outcome


def _difference(found: Mapping[str, np.ndarray], expected: list[np.ndarray]) -> float:
    largest = 0.0
    for y, r in zip(found.values(), expected, strict=True):
        if y.shape != r.shape:
            return float("inf")
        difference = np.abs(y.astype(np.float64) - r).max() / max(1.0, np.abs(r).max())
        largest = max(largest, float(difference) if np.isfinite(difference) else float("inf"))
    return largest


def _all_nodes(graph: Graph) -> Iterator[Node]:
    """The nodes of a graph, those of the functions that it calls in place of the calls."""
    for node in graph.nodes:
        if node.op.name == "call":
            yield from _all_nodes(node.attrs["function"])
        else:
            yield node


def _masks(graph: Graph) -> dict[str, int]:
    """How attentions leave keys out."""
    found: Counter[str] = Counter()
    for node in graph.nodes:
        if node.op.name == "attention":
            mask, bias = (node.operands[i] if i < len(node.operands) else None for i in (3, 4))
            kinds = [k for k, there in (("mask", mask), ("bias", bias), ("causal", node.attrs["causal"]),
                                         ("window", node.attrs["window"] is not None)) if there]
            found["+".join(kinds) or "none"] += 1
    return dict(found)

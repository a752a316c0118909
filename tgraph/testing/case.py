"""A program to examine: its inputs, what the reference makes of them, and what has been found of it so far."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np

import tgraph as tg
from tgraph.ir.graph import Graph
from tgraph.reference.interpreter import Interpreter
from tgraph.testing.findings import Outcome, short
from tgraph.testing.generator.feeds import TRIALS, describe, feeds_of, set_weights, sizes_of
from tgraph.testing.nearness import PRECISE
from tgraph.testing.oracle import Expectation

UNFIT = ("outside of", "does not", "reshape", "the graph needs")  # what the reference says of sizes that a program does not take


class Case:
    """One graph, with up to three sets of inputs made from the seed; `expected` has what the reference gives, by trial."""

    def __init__(self, graph: Graph, seed: int):
        self.graph, self.seed = graph, seed
        self.expected: dict[int, Expectation] = {}
        self._wide: dict[int, Expectation] = {}
        blocks = (graph, *graph.functions.values())
        cells = Counter((n.op.name, str(n.results[0].dtype)) for b in blocks for n in b.nodes if n.results)
        self.outcome = Outcome(len(graph), cells=cells)

    def refer(self) -> None:
        """Run the reference, which compilers are compared with, on all sets of inputs."""
        set_weights(self.graph)
        try:
            reference = Interpreter(self.graph, faithful=True)
            for trial in range(TRIALS):
                feeds = feeds_of(self.graph, self.seed, trial)
                try:
                    self.expected[trial] = Expectation(self.graph, feeds, reference.run(feeds))
                except tg.InputError as error:  # sizes that the program does not take, as 0 where something is looked up
                    self.outcome.skipped += 1
                    first = str(error).split("\n")[0]
                    if not any(words in first for words in UNFIT):
                        self.outcome.add("reference", "numpy", f"{error}")
        except Exception as error:
            self.outcome.add("reference", "numpy", short(error))
        self.outcome.trials = len(self.expected)

    def wide(self, trial: int) -> Expectation:
        """What the reference gives in float64 throughout, for what has roundings of its own."""
        if trial not in self._wide:
            feeds = self.expected[trial].feeds
            self._wide[trial] = Expectation(self.graph, feeds, Interpreter(self.graph).run(feeds), wide=True, allowed=PRECISE)
        return self._wide[trial]

    def sizes(self, trial: int) -> str:
        """Which set of inputs that is, for a report."""
        return f"trial {trial} ({describe(sizes_of(self.graph, self.seed, trial))})"

    def compare(self, found: Mapping[str, np.ndarray], trial: int, strict: bool) -> str | None:
        """What is wrong with results in words, if anything; counts the elements."""
        problem, elements, excused = self.expected[trial].difference(found, strict)
        self.outcome.elements += elements
        self.outcome.excused += excused
        return problem

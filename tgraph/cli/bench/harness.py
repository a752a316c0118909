"""Taking turns: in each round every contender runs a few calls while the others are idle."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tgraph.cli.bench.contender import Contender, ContenderError

PAUSE = 0.05  # seconds between turns: thread pools spin for some milliseconds after a call, and must not in another's turn
TURN = 0.15  # seconds of calls in a turn, about
MOST_CALLS = 50
PATIENCE = 1.0  # seconds after which a turn begins though another contender still computes
IDLE = 0.05  # the most processor time a second that an idle contender may use

Point = Mapping[str, int]


@dataclass
class Result:
    """One contender at one shape: the calls of each round, seconds. `error`: largest difference from tgraph's outputs."""

    name: str
    rounds: list[list[float]] = field(default_factory=list)
    note: str = ""
    error: float = 0.0

    @property
    def seconds(self) -> list[float]:
        return [s for calls in self.rounds for s in calls]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def quartiles(self) -> tuple[float, float]:
        return quartiles(self.seconds)

    def ratio_to(self, other: Result) -> tuple[float, float, float]:
        """Lower quartile, median, upper quartile of this one's time to another's, round by round: drifts cancel."""
        ratios = [statistics.median(a) / statistics.median(b) for a, b in zip(self.rounds, other.rounds)]
        low, high = quartiles(ratios)
        return low, statistics.median(ratios), high


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """Lower and upper quartile; of a single value, itself."""
    if len(values) < 2:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high


def compare(contenders: Sequence[Contender], feeds: Path, folder: Path, rounds: int,
            progress: Callable[[str], None], complain: Callable[[str], None]) -> list[Result]:
    """Time all contenders on the same feeds (an .npz file). One that fails is left out, with a complaint.

    Raises ContenderError if the first one fails, with which the others are compared.
    """
    results: dict[Contender, Result] = {}
    calls: dict[Contender, int] = {}
    first: list[np.ndarray] = []
    for contender in contenders:
        progress(f"{contender.name}: warming up")
        outputs = folder / f"{contender.name}.npz"
        try:
            reply = contender.ask(do="feed", feeds=str(feeds), outputs=str(outputs))
        except ContenderError as error:
            if contender is contenders[0]:
                raise
            complain(str(error))
            continue
        with np.load(outputs) as found:
            arrays = [found[name] for name in found]
        first = first or arrays
        results[contender] = Result(contender.name, note=reply["note"], error=difference(first, arrays))
        calls[contender] = max(1, min(MOST_CALLS, round(TURN / max(reply["seconds"], 1e-6))))
    noisy: set[str] = set()
    for number in range(rounds):
        order = list(results)
        for contender in order[number % len(order):] + order[:number % len(order)]:  # nobody always follows the same one
            progress(f"round {number + 1} of {rounds}: {contender.name}")
            wait_until_quiet([c for c in order if c is not contender])
            before = {c: c.cpu_seconds() for c in order if c is not contender}
            start = time.perf_counter()
            results[contender].rounds.append(contender.ask(do="run", calls=calls[contender])["seconds"])
            elapsed = time.perf_counter() - start
            for other, used in before.items():
                now = other.cpu_seconds()
                if used is not None and now is not None and now - used > 0.02 + IDLE * elapsed:
                    noisy.add(other.name)
    if noisy:
        complain(f"{', '.join(sorted(noisy))} kept computing in others' turns; the times of this shape are unfair")
    return list(results.values())


def wait_until_quiet(others: Sequence[Contender]) -> bool:
    """Pause, and again while one of `others` uses processor time; whether they are quiet now."""
    deadline = time.monotonic() + PATIENCE
    while True:
        before = [c.cpu_seconds() for c in others]
        time.sleep(PAUSE)
        if before == [c.cpu_seconds() for c in others]:
            return True
        if time.monotonic() > deadline:
            return False


def difference(first: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> float:
    """max|a - b| / max(1, max|a|) over all outputs; infinite if they are not the same in number and shape."""
    if [a.shape for a in first] != [b.shape for b in other]:
        return float("inf")
    return max((float(np.abs(a - b).max()) / max(1.0, float(np.abs(a).max()))
                for a, b in zip(first, other) if a.size), default=0.0)

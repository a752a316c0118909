"""Taking turns: in each round every contender runs a few calls while the others are idle."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from benchmarks.harness.contender import Contender, ContenderError

PAUSE = 0.05  # seconds between turns: thread pools spin for some milliseconds after a call, and must not in another's turn
TURN = 0.15  # seconds of calls in a turn, about
MOST_CALLS = 50
PATIENCE = 1.0  # seconds after which a turn begins though another contender still computes
IDLE = 0.05  # the most processor time a second that an idle contender may use

LONG = 0.5  # seconds of a call that needs no other before it: what the caches hold matters no more

class Computes(Protocol):
    """A process that takes turns with others."""

    def cpu_seconds(self) -> float | None:
        """Processor time used so far by all threads."""


Plans = Mapping[str, Sequence[Path]]
Arrange = Callable[[str, list[np.ndarray]], list[np.ndarray]]


@dataclass
class Result:
    """One contender at one shape: the calls of each round, seconds.

    error: largest difference from tgraph's outputs. first: seconds of the very first call. peak: bytes that its process held
    at most; added: by how much these are more than before the first call of all. restless: whether it computed in others' turns.
    """

    name: str
    rounds: list[list[float]] = field(default_factory=list)
    note: str = ""
    error: float = 0.0
    first: float = 0.0
    peak: int | None = None
    added: int | None = None
    restless: bool = False

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


def flat(plan: str, outputs: list[np.ndarray]) -> list[np.ndarray]:
    """Outputs as they are: where there is one plan only."""
    return outputs


def compare(contenders: Sequence[Contender], plans: Plans, folder: Path, rounds: int, progress: Callable[[str], None],
            complain: Callable[[str], None], arrange: Arrange = flat) -> list[Result]:
    """Time all contenders on the same inputs. One that fails is left out, with a complaint.

    plans: ways to cut the inputs into batches, by name, each a list of .npz files; a contender takes its fastest.
    arrange: brings the outputs of a plan into an order that all plans share.

    Raises ContenderError if the first one fails, with which the others are compared.
    """
    results: dict[Contender, Result] = {}
    lengths: dict[Contender, float] = {}
    first: list[np.ndarray] = []
    for contender in contenders:
        progress(f"{contender.name}: warming up")
        outputs = folder / f"{contender.name}.npz"
        try:
            reply = contender.ask(do="feed", plans={name: list(map(str, files)) for name, files in plans.items()},
                                  outputs=str(outputs))
        except ContenderError as error:
            if contender is contenders[0]:
                raise
            complain(str(error))
            continue
        with np.load(outputs) as found:
            arrays = arrange(reply["plan"], [found[name] for name in found])
        outputs.unlink()
        first = first or arrays
        results[contender] = Result(contender.name, note=reply["note"], error=difference(first, arrays), first=reply["first"])
        lengths[contender] = reply["seconds"]
    for number in range(rounds):
        order = list(results)
        for contender in order[number % len(order):] + order[:number % len(order)]:  # nobody always follows the same one
            progress(f"round {number + 1} of {rounds}: {contender.name}")
            wait_until_quiet([c for c in order if c is not contender])
            before = {c: c.cpu_seconds() for c in order if c is not contender}
            start = time.perf_counter()
            take_turn(contender, results[contender], lengths[contender])
            elapsed = time.perf_counter() - start
            for other, used in before.items():
                now = other.cpu_seconds()
                if used is not None and now is not None and now - used > 0.02 + IDLE * elapsed:
                    results[other].restless = True
    noisy = [result.name for result in results.values() if result.restless]
    if noisy:
        complain(f"{', '.join(noisy)} kept computing in others' turns; the times of this shape are unfair")
    return list(results.values())


def take_turn(contender: Contender, result: Result, seconds: float) -> None:
    """Add a round of calls, of which each takes so many seconds, to the result."""
    calls = max(1, min(MOST_CALLS, round(TURN / max(seconds, 1e-6))))
    reply = contender.ask(do="run", calls=calls, warm=seconds < LONG)
    result.rounds.append(reply["seconds"])
    result.peak, result.added = reply["peak"], reply["added"]


def wait_until_quiet(others: Iterable[Computes]) -> bool:
    """Pause, and again while one of `others` uses processor time; whether they are quiet now."""
    others = list(others)
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

"""A contender's process: reads one JSON command a line, answers with one line. `python -m benchmarks.harness.worker torch`.

    {"do": "import"}                       -> {"seconds": 1.2}
    {"do": "load", "job": {...}}           -> {"note": "2.1, ...", "seconds": 0.5}
    {"do": "feed", "plans": {"": ["x.npz"]}, "outputs": "y.npz"} -> {"note": "...", "plan": "", "seconds": 0.01, "first": 0.1}
    {"do": "run", "calls": 3, "warm": true} -> {"seconds": [0.01, 0.01, 0.01], "peak": 1e9, "added": 1e8}
    {"do": "quit"}

A plan is a list of batches, by their files, that together are one call. first: seconds of the very first call. peak: bytes
that the process held at most since `feed`; added: by how much that is more than after `load`.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.harness.job import Job
from benchmarks.harness.memory import forget_peak, peak, resident
from benchmarks.harness.runtimes import RUNTIMES, Runtime

TRIALS = 3
LONG = 0.1  # seconds of a call for which what was fastest at the shape before is taken without trials


class Worker:
    """One runtime, with the model and feeds that it was given."""

    def __init__(self, runtime: Runtime):
        self.runtime = runtime
        self.choice = ("", "")  # variant and plan
        self.batches: list[Any] = []
        self.held: int | None = None

    def answer(self, command: Mapping[str, Any]) -> dict[str, Any]:
        """Do what a command says."""
        if command["do"] == "import":
            start = time.perf_counter()
            importlib.import_module(self.runtime.module)
            return {"seconds": time.perf_counter() - start}
        if command["do"] == "load":
            note = self.runtime.load(Job(**command["job"]))
            self.held = resident()
            return {"note": note, "seconds": self.runtime.created}
        if command["do"] == "feed":
            return self.feed(command["plans"], command["outputs"])
        if command.get("warm", True):
            self.run()  # after a pause the threads sleep and the caches hold another's data
        seconds = [self.timed() for _ in range(command["calls"])]
        most = peak()
        added = None if most is None or self.held is None else max(0, most - self.held)
        return {"seconds": seconds, "peak": most, "added": added}

    def feed(self, plans: Mapping[str, Sequence[str]], outputs: str) -> dict[str, Any]:
        """Take inputs, find the fastest way, write what it gives: batch after batch."""
        made = {plan: [self.runtime.take(_arrays(file)) for file in files] for plan, files in plans.items()}
        last = self.choice
        ways = sorted(((variant, plan) for variant in self.runtime.variants for plan in made), key=lambda way: way != last)
        times: dict[tuple[str, str], float] = {}
        first = None
        for way in ways:
            self.choice, self.batches = way, made[way[1]]
            once = self.timed()
            first = once if first is None else first
            times[way] = min(self.timed() for _ in range(1 if once > LONG else TRIALS))
            if way == last and times[way] > LONG:
                break
        self.choice = min(times, key=lambda way: times[way])
        self.batches = made[self.choice[1]]
        forget_peak()
        function = self.runtime.variants[self.choice[0]]  # an output may lie where the next batch's will
        np.savez(outputs, *[np.array(output) for batch in self.batches for output in function(batch)])
        return {"note": ", ".join(filter(None, self.choice)), "plan": self.choice[1], "seconds": times[self.choice],
                "first": first}

    def run(self) -> list[np.ndarray]:
        """One call: all batches."""
        function = self.runtime.variants[self.choice[0]]
        return [output for batch in self.batches for output in function(batch)]

    def timed(self) -> float:
        """Seconds of a call."""
        start = time.perf_counter()
        self.run()
        return time.perf_counter() - start


def _arrays(file: str) -> dict[str, np.ndarray]:
    with np.load(file) as found:
        return dict(found)


def serve(worker: Worker) -> None:
    """Answer until told to quit, or until the parent is gone."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a runtime prints goes to the log
    for line in sys.stdin:
        command = json.loads(line)
        if command["do"] == "quit":
            break
        try:
            reply = worker.answer(command)
        except Exception as error:  # the parent says it, and goes on without this contender
            reply = {"error": f"{type(error).__name__}: {error}"}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


if __name__ == "__main__":
    serve(Worker(RUNTIMES[sys.argv[1]]()))

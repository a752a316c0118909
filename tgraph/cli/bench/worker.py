"""A contender's process: reads one JSON command a line, answers with one line. `python -m tgraph.cli.bench.worker torch`.

    {"do": "load", "job": {...}}           -> {"note": "2.1, ..."}
    {"do": "feed", "feeds": "x.npz", "outputs": "y.npz"} -> {"note": "...", "seconds": 0.01}
    {"do": "run", "calls": 3}              -> {"seconds": [0.01, 0.01, 0.01]}
    {"do": "quit"}
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

import numpy as np

from tgraph.cli.bench.runtimes import RUNTIMES, Job, Runtime


def serve(runtime: Runtime) -> None:
    """Answer until told to quit, or until the parent is gone."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a runtime prints goes to the log
    for line in sys.stdin:
        command = json.loads(line)
        if command["do"] == "quit":
            break
        try:
            reply = answer(runtime, command)
        except Exception as error:  # the parent says it, and goes on without this contender
            reply = {"error": f"{type(error).__name__}: {error}"}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


def answer(runtime: Runtime, command: dict[str, Any]) -> dict[str, Any]:
    """Do what a command says."""
    if command["do"] == "load":
        return {"note": runtime.load(Job(**command["job"]))}
    if command["do"] == "feed":
        with np.load(command["feeds"]) as feeds:
            note = runtime.feed(dict(feeds))
        np.savez(command["outputs"], *runtime.run())
        return {"note": note, "seconds": min(timed(runtime, 2))}
    runtime.run()  # after a pause the threads sleep and the caches hold another's data
    return {"seconds": timed(runtime, command["calls"])}


def timed(runtime: Runtime, calls: int) -> list[float]:
    """Seconds of each call."""
    times = []
    for _ in range(calls):
        start = time.perf_counter()
        runtime.run()
        times.append(time.perf_counter() - start)
    return times


if __name__ == "__main__":
    serve(RUNTIMES[sys.argv[1]]())

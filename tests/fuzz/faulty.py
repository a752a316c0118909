"""What stands in for a back end with faults, in worker processes of the tests."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Collection, Mapping

import tgraph as tg
from tgraph.testing.findings import Finding, Outcome


def faulty(programs: Mapping[int, tg.Graph], ways: Collection[str], progress: Callable[[str], None]) -> dict[int, Outcome]:
    """Crashes at a `tanh`, hangs at an `exp`, is wrong where `mul` reads a `cumsum`, and crashes at five programs of a time."""
    progress("O0 compile")
    if len(programs) == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return {seed: one(graph) for seed, graph in programs.items()}


def one(graph: tg.Graph) -> Outcome:
    ops = {n.op.name for n in graph.nodes}
    if "tanh" in ops:
        os.kill(os.getpid(), signal.SIGKILL)
    if "exp" in ops:
        deadline = time.process_time() + 60
        while time.process_time() < deadline:
            pass
    wrong = any(n.op.name == "mul" and any(getattr(v, "node", None) and v.node.op.name == "cumsum"  # type: ignore[union-attr]
                                           for v in n.inputs) for n in graph.nodes)
    return Outcome(len(graph), [Finding("wrong", "O3", "numbers")] if wrong else [], trials=1)

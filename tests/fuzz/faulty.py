"""What stands in for a back end with faults, in worker processes of the tests."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence

import tgraph as tg
from tests.fuzz.trial import Finding, Outcome


def faulty(graph: tg.Graph, seed: int, steps: Sequence[str], progress: Callable[[str], None]) -> Outcome:
    """Crashes at a `tanh`, hangs at an `exp`, and is wrong where `mul` reads a `cumsum`."""
    ops = {n.op.name for n in graph.nodes}
    progress("O0 compile")
    if "tanh" in ops:
        os.kill(os.getpid(), signal.SIGKILL)
    if "exp" in ops:
        deadline = time.process_time() + 60
        while time.process_time() < deadline:
            pass
    wrong = any(n.op.name == "mul" and any(getattr(v, "node", None) and v.node.op.name == "cumsum"  # type: ignore[union-attr]
                                           for v in n.inputs) for n in graph.nodes)
    return Outcome(len(graph), [Finding("wrong", "O3", "numbers")] if wrong else [], trials=1)

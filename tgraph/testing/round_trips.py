"""Programs written and read again: as text, as JSON, as bundles; and their states kept by a session."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

import tgraph as tg
from tgraph.formats.json import from_json, to_json
from tgraph.ir.dims import symbols
from tgraph.testing.case import Case
from tgraph.testing.generator.feeds import sizes_of

if TYPE_CHECKING:
    from targets import Executable, ProgramExecutable

CALLS = 3  # of a session, one after the other


def through_json(obj: Any) -> Any:
    """A graph or program from its own JSON, by way of characters."""
    return from_json(json.loads(json.dumps(to_json(obj), allow_nan=False)))


def lost(obj: Any, way: str) -> str | None:
    """How a graph or program differs after a round trip, in words. Raises what reading it raises."""
    text = str(obj)
    again = through_json(obj) if way == "json" else (tg.parse_program if isinstance(obj, tg.Program) else tg.parse)(text)
    if str(again) == text:  # equality and fingerprints are those of less than this text
        return None
    return f"what is read from its own {way} {'has another text' if again == obj else 'is another graph'}"


def reloaded(exe: Executable | ProgramExecutable) -> Executable | ProgramExecutable:
    """An executable from its own bundle."""
    with TemporaryDirectory(prefix="tgraph-bundle-") as folder:
        path = Path(folder) / "program.tgc"
        exe.save(path)
        return tg.load(path)


def other_bits(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> str | None:
    """The first output that has not the same bits, in words."""
    for name, r in expected.items():
        y = found[name]
        if y.shape != r.shape or y.dtype != r.dtype:
            return f"output {name} is {y.dtype}{list(y.shape)}, not {r.dtype}{list(r.shape)}"
        if y.tobytes() != r.tobytes():
            a, b = (np.frombuffer(v.tobytes(), np.uint8).reshape(v.size, -1) for v in (y, r))
            at = tuple(int(i) for i in np.argwhere((a != b).any(axis=1))[0])
            where = np.unravel_index(at[0], y.shape) if y.ndim else ()
            return f"output {name} at {[int(i) for i in where]} is {y[where]!s}, not {r[where]!s}"
    return None


def forgotten(case: Case, exe: Executable, trial: int) -> str | None:
    """How a session's calls differ from calls that are given the states that the one before gave, in words."""
    states, feeds = case.graph.states, dict(case.expected[trial].feeds)
    all_sizes = sizes_of(case.graph, case.seed, trial)
    session = exe.session(**{s.name: all_sizes[s.name] for t in states.values() for d in t.shape for s in symbols(d)})
    for name in states.keys() & feeds.keys():
        session[name] = feeds[name]
    own = {name: array for name, array in feeds.items() if name not in states}
    outputs = [name for name, _ in case.graph.outputs if name not in states]
    for call in range(CALLS):
        made = session.call(case.graph.name if case.graph.name in session.graphs else exe.graph.name, **own)
        expected = exe.run(feeds)
        found = dict(zip(outputs, made if len(outputs) > 1 else [made]))
        found |= {name: session[name] for name in states if name in expected}
        problem = other_bits(found, expected)
        if problem is not None:
            return f"call {call + 1} of a session: {problem}"
        feeds |= {name: expected[name] for name in states.keys() & expected.keys() & feeds.keys()}
    return None

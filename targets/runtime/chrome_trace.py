"""A profile in the Trace Event Format, which Perfetto and chrome://tracing open."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from targets.runtime.profile_rows import Overhead, ProfileRow, scope_path
from tgraph.formats.disk import replacing

if TYPE_CHECKING:
    from targets.runtime.profile import Profile

KERNELS, NODES = 1, 2  # tracks: scopes with the kernels in them; below, what each kernel stands for


def write_trace(profile: Profile, path: Path) -> None:
    """Write the events of a profile as one JSON object."""
    text = json.dumps({"displayTimeUnit": "ms", "traceEvents": list(trace_events(profile))}, indent=1)
    with replacing(path) as file:
        file.write(text.encode())


def trace_events(profile: Profile) -> Iterator[dict[str, Any]]:
    """One call as complete events ("ph": "X") in microseconds: the lines of the profile one after the other, by their medians.

    Kernels that follow each other in a scope share one event of the scope around them. What is between kernels comes last: when
    it happens within the call is not measured.
    """
    yield _named("process_name", 0, f"{profile.name} on {profile.target or 'its target'}")
    yield _named("thread_name", KERNELS, "scopes and kernels")
    yield _named("thread_name", NODES, "nodes (estimated)")
    before, after = profile.overheads[:1], profile.overheads[1:]
    parts: list[ProfileRow | Overhead] = [*before, *profile.rows, *after]
    ends = list(itertools.accumulate((max(p.microseconds, 0.0) for p in parts), initial=0.0))
    ends = [round(t, 3) for t in ends]  # nanoseconds: events that enclose others end exactly where these do
    paths = [scope_path(p.scope) if isinstance(p, ProfileRow) else () for p in parts]
    yield from _scopes(paths, ends)
    for part, start, end in zip(parts, ends, ends[1:]):
        if isinstance(part, Overhead):
            yield _event(part.name, "overhead", KERNELS, start, end, {"meaning": part.meaning})
            continue
        yield _event(part.kernel, "host" if part.host else "kernel", KERNELS, start, end, _about(profile, part))
        marks = [round(t, 3) for t in itertools.accumulate(((end - start) * n.share for n in part.nodes), initial=start)]
        for node, left, right in zip(part.nodes, marks, [*marks[1:-1], end]):
            yield _event(node.op, "node", NODES, left, right, {"scope": node.scope, "lines": node.where, "FLOPs": node.flops,
                                                               "bytes": node.bytes, "estimated": len(part.nodes) > 1})


def _scopes(paths: list[tuple[str, ...]], ends: list[float]) -> Iterator[dict[str, Any]]:
    """An event around each run of neighbours of one scope, outer scopes first."""
    for depth in range(1, max(map(len, paths), default=0) + 1):
        runs = itertools.groupby(range(len(paths)), key=lambda i: paths[i][:depth] if len(paths[i]) >= depth else None)
        for path, members in runs:
            if path is not None:
                indices = list(members)
                yield _event("".join(path), "scope", KERNELS, ends[indices[0]], ends[indices[-1] + 1], {})


def _about(profile: Profile, row: ProfileRow) -> dict[str, Any]:
    found: dict[str, Any] = {"scope": row.scope, "FLOPs": row.flops, "bytes": row.bytes}
    place = profile.position(row)
    if place is not None:
        found |= {"GFLOP/s": round(place.flops_per_second / 1e9, 2), "GB/s": round(place.bytes_per_second / 1e9, 2)}
        if place.of_roof is not None:
            found |= {"of roofline": round(place.of_roof, 3), "bound": place.bound, "valid yardstick": place.valid}
    return found


def _event(name: str, category: str, track: int, start: float, end: float, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "cat": category, "ph": "X", "pid": 1, "tid": track, "ts": start, "dur": round(end - start, 3),
            "args": arguments}


def _named(what: str, track: int, name: str) -> dict[str, Any]:
    return {"name": what, "ph": "M", "pid": 1, "tid": track, "args": {"name": name}}

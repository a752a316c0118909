"""Pictures of profiles: a flame graph by scope, and kernels under the roofline."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from targets.runtime.profile_rows import Group, Position, scope_path
from tgraph.ir.errors import InputError
from tgraph.plot.flame import Frame, flame
from tgraph.plot.roofline import Point
from tgraph.plot.roofline import roofline as draw_roofline

if TYPE_CHECKING:
    from targets.runtime.profile import Profile


def flame_graph(profile: Profile, path: str | Path | None) -> str:
    """The flame graph of a profile."""
    scopes: dict[tuple[str, ...], Group] = {scope_path(g.name): g for g in profile.by("scope", overheads=False) if g.depth}
    frames: dict[tuple[str, ...], Frame] = {}
    total = profile.microseconds or 1.0
    for row, node in profile.parts():
        scope = scope_path(node.scope)
        for length in range(1, len(scope) + 1):
            group = scopes[scope[:length]]
            spent = f"{_time(group.microseconds, total)}, in {group.calls} kernel calls"
            note = f"{group.name}\n{spent}{_rates(profile.position(group))}"
            frames.setdefault(scope[:length], Frame(0.0, note, "scope"))
        leaf = (*scope, f" {node.op}")  # no scope begins with a space
        known = frames.get(leaf, Frame(0.0, "", "op"))
        microseconds = known.value + row.microseconds * node.share
        sign = "estimated, " if len(row.nodes) > 1 else ""
        names = dict.fromkeys([*known.about, row.kernel])
        note = f"{node.op}  in {node.scope or '(top)'}\n{sign}{_time(microseconds, total)}\nin kernel {', '.join(names)}"
        frames[leaf] = Frame(microseconds, note, "op", tuple(names))
    for overhead in profile.overheads:
        if overhead.microseconds > 0:
            note = f"{overhead.name}\n{_time(overhead.microseconds, total)}\n{overhead.meaning}"
            frames[(f"({overhead.name})",)] = Frame(overhead.microseconds, note, "overhead")
    sizes = ", ".join(f"{name}={size}" for name, size in profile.sizes.items())
    title = f"{profile.name}{' at ' if sizes else ''}{sizes}: {profile.microseconds / 1e3:.3f} ms"
    return flame(frames, title, path)


def roofline(profile: Profile, path: str | Path | None) -> Any:
    """Kernels as points, as large as their share of the time, under the machine's roof."""
    if profile.yardstick is None:
        raise InputError(f"the profile of {profile.name} has no yardstick, so there is no roof to draw: it was taken with "
                         "yardstick=False, or its target has no probe")
    points = []
    for group in profile.by("kernel", overheads=False):
        place = profile.position(group)
        if place is not None and place.intensity:
            points.append(Point(group.name, place.intensity, place.flops_per_second, group.microseconds / profile.microseconds))
    best = profile.yardstick
    title = f"{profile.name}: kernels under the roofline ({best.threads} thread{'s' * (best.threads > 1)})"
    return draw_roofline(points, best.peak, best.bandwidth, title=title, path=path)


def _time(microseconds: float, total: float) -> str:
    return f"{microseconds:.1f} us, {microseconds / total:.1%} of the call"


def _rates(place: Position | None) -> str:
    if place is None:
        return ""
    return f"\n{place.flops_per_second / 1e9:.1f} GFLOP/s, {place.bytes_per_second / 1e9:.2f} GB/s"

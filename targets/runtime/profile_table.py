"""Profiles as tables of text."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from targets.runtime.profile_rows import Group, Position, quartiles, scope_path
from tgraph.ir.tables import html_table, text_table

if TYPE_CHECKING:
    from targets.runtime.profile import By, Profile

COLUMNS = ("calls", "us", "quartiles", "share", "GFLOP/s", "of peak", "GB/s", "of memory", "FLOP/B", "of roof")
INVALID = "! above 100 %: no valid yardstick. Caches are read faster than memory, or the machine was slower while it was probed."


def title(profile: Profile) -> str:
    """What was measured, and what the machine can do."""
    sizes = ", ".join(f"{name}={size}" for name, size in profile.sizes.items()) or "static sizes"
    text = f"{profile.name} at {sizes}: {profile.microseconds / 1e3:.3f} ms in {len(profile.rows)} calls"
    if profile.threads:
        text += f", {profile.threads} thread{'s' * (profile.threads > 1)}"
    if profile.yardstick:
        best = profile.yardstick
        narrow = "".join(f", {rate / 1e9:.0f} of {kind}" for kind, rate in best.narrow.items())
        text += f"; machine: {best.peak / 1e9:.0f} GFLOP/s{narrow}, {best.bandwidth / 1e9:.1f} GB/s"
    return text


def table(profile: Profile, by: By) -> tuple[list[str], list[list[str]]]:
    """The columns' names, and the cells of each group and, last, of the whole call."""
    groups = profile.by(by)
    scopes = by == "scope"
    columns = [by, "calls", "us", *(["own us"] if scopes else []), *COLUMNS[2:]]
    shown = columns if profile.yardstick else [c for c in columns if not c.startswith("of ")]
    rows = []
    for group in groups:
        cells = dict(zip(columns, _cells(profile, group, scopes)))
        rows.append([cells[column] for column in shown])
    low, high = quartiles(profile.wall_samples or (profile.microseconds,))
    whole = dict.fromkeys(shown, "")
    whole |= {by: "(the call)", "us": f"{profile.microseconds:.1f}", "quartiles": f"{low:.1f} .. {high:.1f}", "share": "100.0 %"}
    if scopes:
        whole["own us"] = f"{sum(g.own for g in groups):.1f}"
    return shown, [*rows, [whole[column] for column in shown]]


def _cells(profile: Profile, group: Group, scopes: bool) -> list[str]:
    total = profile.microseconds or 1.0
    name = f"({group.name})" if group.overhead else group.name
    if scopes and group.depth:  # the rest of the name stands above it
        name = "  " * group.depth + scope_path(group.name)[-1].lstrip("./")
    about = "~" if group.estimated else ""
    spread = "" if group.overhead else f"{group.low:.1f} .. {group.high:.1f}"
    own = [f"{about}{group.own:.1f}"] if scopes else []
    return [name, "" if group.overhead else str(group.calls), f"{about}{group.microseconds:.1f}", *own, spread,
            f"{group.microseconds / total * 100:.1f} %", *_rates(profile.position(group))]


def _rates(place: Position | None) -> list[str]:
    if place is None:
        return [""] * 6
    return [f"{place.flops_per_second / 1e9:.1f}", _percent(place.of_peak), f"{place.bytes_per_second / 1e9:.2f}",
            _percent(place.of_bandwidth), "" if place.intensity is None else f"{place.intensity:.3g}",
            f"{_percent(place.of_roof)} {place.bound}".strip()]


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share * 100:.0f} %" + "!" * (share > 1)


def notes(profile: Profile, by: By) -> list[str]:
    """What a reader of the table has to know."""
    found = [f"({o.name}): {o.meaning}" for o in profile.overheads]
    groups = profile.by(by)
    if any(g.estimated for g in groups):
        found.append("~ estimated: a kernel's time is split over its nodes by the least time that the roofline allows each")
    places = [place for g in groups if (place := profile.position(g)) is not None]
    if any(not place.valid or (place.of_roof or 0) > 1 for place in places):
        found.append(INVALID)
    if not profile.reconciled:
        found.append("The kernels took longer under the instrument than whole calls without it: something else was running. "
                     "Measure again.")
    return found


def as_text(profile: Profile, by: By) -> str:
    """The table for a terminal or a file."""
    return "\n".join([title(profile), text_table(*_aligned(profile, by)), *notes(profile, by)])


def as_html(profile: Profile, by: By) -> str:
    """The table for a notebook."""
    return html_table(title(profile), *_aligned(profile, by)) + "".join(f"<p>{escape(note)}</p>" for note in notes(profile, by))


def _aligned(profile: Profile, by: By) -> tuple[list[str], list[list[str]]]:
    """The table, with all columns but the first one aligned to the right."""
    columns, rows = table(profile, by)
    return [columns[0], *(f">{name}" for name in columns[1:])], rows

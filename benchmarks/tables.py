"""Tables of what was measured, for the terminal and in Markdown; and RESULTS.md, which holds those of all machines."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.machine import Machine
from benchmarks.records import Record, load, machines
from benchmarks.workload import Workload
from tgraph.cli.console import show_bytes, show_seconds

HEAD = """# Results

Times are medians of all calls, spread is from quartile to quartile; `x` columns are time over tgraph's, of the rounds of one
run, so more than 1 means that tgraph is faster. Shares are of the peak and bandwidth measured right before and after a point;
one above 100 % is invalid. [README.md](README.md) says how this is measured. Between the marks, `python -m benchmarks` has
written what is in `results/`.
"""
Cells = tuple[Sequence[str], Sequence[Sequence[str]]]  # names of columns (">" aligns to the right), and rows


def summary(records: Sequence[Record]) -> Cells:
    """One row a point: all contenders, the best peer, and how near tgraph is to what the machine can do."""
    names = list(dict.fromkeys(row.name for record in records for row in record.rows))
    rows = []
    for record in records:
        found = {row.name: row for row in record.rows}
        times = [show_seconds(found[name].median) if name in found else "" for name in names]
        best = record.best_peer
        peer = [f"{best.ratio_to(record.ours)[1]:.2f} x", best.name] if best else ["", ""]
        rate = [f"{record.flops / record.ours.median / 1e9:.0f}", percent(record.of_peak(record.ours)),
                percent(record.of_roofline(record.ours))]
        mark = " invalid" if record.ours.name in record.invalid else ""
        rows.append([record.point, *times, *peer, rate[0], *(share + mark for share in rate[1:])])
    return ("", *(f">{name}" for name in names), ">best peer", "which", ">tgraph GFLOP/s", ">of peak", ">of roofline"), rows


def memory(records: Sequence[Record]) -> Cells:
    """One row a point: how much more memory calls took than the loaded model."""
    names = list(dict.fromkeys(row.name for record in records for row in record.rows))
    rows = []
    for record in records:
        found = {row.name: row.added for row in record.rows}
        rows.append([record.point, *(show_bytes(found[n] or 0) if found.get(n) is not None else "" for n in names)])
    return ("", *(f">{name}" for name in names)), rows


def details(record: Record) -> Cells:
    """One row a contender."""
    rows = []
    for row in record.rows:
        ratio = ""
        if row is not record.ours:
            low, middle, high = row.ratio_to(record.ours)
            ratio = f"{middle:.2f} x ({low:.2f} .. {high:.2f})"
        rate = [f"{record.flops / row.median / 1e9:.0f}", percent(record.of_peak(row)),
                "" if row.reduced else percent(record.of_roofline(row))]
        rows.append([row.name, show_seconds(row.median), percent(row.spread), ratio, *rate,
                     _bytes(row.peak), _bytes(row.added), f"{row.error:.0e}", row.choice])
    return ("runtime", ">median", ">spread", ">time to tgraph's", ">GFLOP/s", ">of peak", ">of roofline",
            ">peak memory", ">in calls", ">difference", "took"), rows


def starts(record: Record) -> Cells:
    """One row a contender: how long until it has answered."""
    rows = [[row.name, show_seconds(row.median), percent(row.spread), show_seconds(row.first), _bytes(row.peak)]
            for row in record.rows]
    return ("runtime", ">ready after", ">spread", ">first call", ">peak memory"), rows


def table_of(record: Record) -> Cells:
    """The table of one point."""
    return details(record) if record.flops else starts(record)


def notes(record: Record) -> list[str]:
    """Versions and options of all contenders, and what those said who could not take part."""
    return [f"{row.name}: {row.note}" for row in record.rows] + [f"left out: {why}" for why in record.left_out.values()]


def describe(record: Record) -> str:
    """What a point is, in a line."""
    work = f": {record.flops / 1e9:.2f} GFLOP, {show_bytes(record.bytes)}" if record.flops else ""
    return f"{record.workload} {record.point}{work}"


def doubts(record: Record) -> list[str]:
    """What speaks against the figures of a point: shares of more than the machine can do, and what else ran."""
    said = [f"invalid: {name} reaches {percent(share)} of what was measured as the machine's most"
            for name, share in record.invalid.items()]
    return said + [f"disturbed: {why}" for why in record.disturbed]


def percent(share: float) -> str:
    return f"{share:.0%}"


def _bytes(count: int | None) -> str:
    return "" if count is None else show_bytes(count)


# Markdown

def markdown(cells: Cells) -> str:
    """A table; names of columns that start with ">" are aligned to the right."""
    columns, rows = cells
    lines = [[c.lstrip(">") for c in columns], ["---:" if c.startswith(">") else "---" for c in columns], *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def section(folder: Path, known: Mapping[str, Workload], plot: str | None) -> str:
    """All tables of one kind of machine."""
    found = load(folder)
    parts = [f"## {folder.name}", _machine([r.machine for records in found.values() for r in records])]
    if plot:
        parts.append(f"![Time of each peer over tgraph's]({plot})")
    for name in sorted(found, key=lambda n: list(known).index(n) if n in known else len(known)):
        parts += _workload(name, found[name], known.get(name))
    return "\n\n".join(parts)


def _workload(name: str, records: Sequence[Record], workload: Workload | None) -> list[str]:
    order = list(workload.points) if workload else []
    records = sorted(records, key=lambda r: order.index(r.point) if r.point in order else len(order))
    parts = [f"### {workload.title if workload else name}",
             f"`python -m benchmarks --only {name} --threads {records[0].machine.threads}`"]
    said = "\n".join(f"- {line}" for line in notes(records[-1]))
    if not records[0].flops:
        return [*parts, *(text for r in records for text in (f"{r.point}:", markdown(starts(r)))), said]
    parts.append(markdown(summary(records)))
    doubtful = [f"- {r.point}: {doubt}" for r in records for doubt in doubts(r)]
    apart = [r.point for r in records if not r.beside]
    if apart:
        doubtful.append(f"- {', '.join(apart)}: peak and bandwidth are the highest of other runs, not measured beside the point")
    parts += ["\n".join(doubtful)] if doubtful else []
    if workload and workload.memory:
        parts += ["Memory that calls took beside what the loaded model held:", markdown(memory(records))]
    inner = "\n\n".join(f"{describe(r)} ({r.date})\n\n{markdown(details(r))}" for r in records)
    return [*parts, f"<details><summary>All figures</summary>\n\n{inner}\n\n{said}\n\n</details>"]


def _machine(measured: Sequence[Machine]) -> str:
    """What a machine is, with the lowest and highest that was measured of it."""
    machine = measured[0]
    l1, l2, l3 = (f"{size // 1024} KB" if size < 1 << 20 else f"{size >> 20} MB" for size in machine.caches)
    kinds = dict.fromkeys(kind for m in measured for kind in m.dot_peaks)
    dots = "".join(f"of products of {kind} {_range([m.dot_peaks[kind] for m in measured if kind in m.dot_peaks])}, "
                   for kind in kinds)
    return (f"{machine.model} ({machine.cpu}: {', '.join(machine.features)}), {machine.threads} threads; L1 {l1}, L2 {l2} a "
            f"core, L3 {l3}. Measured peak of f32 multiply-adds {_range([m.peak for m in measured])} GFLOP/s, {dots}memory read "
            f"at {_range([m.bandwidth for m in measured], 1)} GB/s.")


def _range(values: Sequence[float], digits: int = 0) -> str:
    """The lowest and highest, in 1e9."""
    low, high = (f"{value / 1e9:.{digits}f}" for value in (min(values), max(values)))
    return high if low == high else f"{low} to {high}"


def write_results(path: Path, results: Path, known: Mapping[str, Workload], plots: Mapping[str, Path]) -> None:
    """Bring the marked parts of RESULTS.md up to date; what stands outside of them stays."""
    text = path.read_text(encoding="utf-8") if path.exists() else HEAD
    for folder in machines(results):
        begin, end = f"<!-- begin {folder.name} -->", f"<!-- end {folder.name} -->"
        plot = plots.get(folder.name)
        shown = plot.relative_to(path.parent).as_posix() if plot is not None else None
        part = f"{begin}\n{section(folder, known, shown)}\n{end}"
        pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
        text = pattern.sub(lambda _, part=part: part, text) if pattern.search(text) else f"{text.rstrip()}\n\n{part}\n"  # type: ignore[misc]
    path.write_text(text, encoding="utf-8")



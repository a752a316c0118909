"""`python -m benchmarks`: every workload for tgraph and every installed peer, in turns."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import plot, tables
from benchmarks.check import check
from benchmarks.harness.busy import BUSY, busy_share, cores
from benchmarks.harness.lineup import installed
from benchmarks.machine import Probe
from benchmarks.records import RESULTS, Record, machines, save
from benchmarks.workload import Setup, Workload
from benchmarks.workloads import workloads
from tgraph.cli.console import console, report_error, show_bytes, table
from tgraph.cli.peers import PEERS
from tgraph.cli.progress import lines
from tgraph.ir.errors import TGraphError

USUAL = ("onnxruntime", "openvino", "torch", "torch.compile", "ctranslate2")
QUICK_ROUNDS = 3
QUICK_PEERS = ("onnxruntime", "openvino", "torch")  # torch.compile alone takes longer than a quick run may


@click.command()
@click.option("--only", metavar="NAME,...", default="",
              help='Workloads by name, or points as in "bert-base/8x128"; with * for any text.')
@click.option("--peers", metavar="PEER,...", default=None,
              help=f"Of {', '.join(PEERS)}, or none [default: {', '.join(USUAL)}, those that are installed].")
@click.option("--rounds", type=click.IntRange(min=1), metavar="N", help="Turns of each contender [default: 3 to 10].")
@click.option("--threads", type=click.IntRange(min=1), metavar="N", help="Threads of each contender [default: all cores].")
@click.option("--quick", is_flag=True, help="A few points, three rounds, no torch.compile: under three minutes.")
@click.option("--output", metavar="FOLDER", type=click.Path(path_type=Path), default=RESULTS,
              help="Where the JSON files go [default: benchmarks/results, or nowhere if --quick].")
@click.option("--report", is_flag=True, help="Measure nothing; write RESULTS.md and the plots from the JSON files.")
@click.option("--check", "checking", is_flag=True,
              help="Time nothing; compare the outputs with the reference, and their bits at one thread and at all.")
@click.option("--list", "listed", is_flag=True, help="Show workloads and their points.")
@click.pass_context
def main(context: click.Context, only: str, peers: str | None, rounds: int | None, threads: int | None, quick: bool,
         output: Path, report: bool, checking: bool, listed: bool) -> None:
    """Time every workload for tgraph and every installed peer: same weights, inputs and threads, in alternating rounds.

    Each point is saved as soon as it is measured, in the place of an older one; a run can be cut into pieces with --only.
    """
    known = workloads()
    if listed:
        console().print(table("Workloads", ("name", "points", "what"),
                              [(w.name, " ".join(w.points), w.title) for w in known.values()]))
        return
    if checking:
        _check(known, choose(known, only, quick), threads or cores())
        return
    keep = not quick or context.get_parameter_source("output") is not click.core.ParameterSource.DEFAULT
    if not report:
        chosen = choose(known, only, quick)
        names = choose_peers(peers, QUICK_PEERS if quick else USUAL)
        _measure(known, chosen, names, rounds or (QUICK_ROUNDS if quick else None), threads or cores(), output if keep else None)
    if keep:
        _report(output, known)


def _check(known: Mapping[str, Workload], chosen: Mapping[str, Sequence[str]], threads: int) -> None:
    """Say of each point whether it is right. Exit status 1 if one is not."""
    out = console()
    with out.status("checking") as status:
        verdicts = list(check(known, chosen, threads, lambda text: status.update(f"checking {text}")))
    out.print(table(f"Against the reference, and at 1 and {threads} threads", ("workload", "point", ">error", ">allowed", "bits"),
                    [(v.workload, v.point, f"{v.error:.1e}", f"{v.allowed:.0e}", "the same" if v.same_bits else "DIFFER")
                     for v in verdicts]))
    if not all(v.ok for v in verdicts):
        sys.exit(1)


def choose(known: Mapping[str, Workload], only: str, quick: bool) -> dict[str, list[str]]:
    """The points of each workload that the patterns name. Raises UsageError for one that names none."""
    patterns = [text.strip() for text in only.split(",") if text.strip()]
    chosen: dict[str, list[str]] = {}
    used: set[str] = set()
    for name, workload in known.items():
        for point in workload.points:
            matching = {p for p in patterns if fnmatch(name, p) or fnmatch(f"{name}/{point}", p)}
            used |= matching
            if (matching or not patterns) and (not quick or point in workload.quick):
                chosen.setdefault(name, []).append(point)
    unknown = [p for p in patterns if p not in used]
    if unknown:
        raise click.UsageError(f"no workload is called {unknown[0]!r}; there are {', '.join(known)}")
    if not chosen:
        raise click.UsageError(f"a quick run has no points of {only}")
    return chosen


def choose_peers(text: str | None, usual: Sequence[str]) -> list[str]:
    """The peers to run; of the usual ones, those that are installed. Raises UsageError for one that is unknown or missing."""
    if text is None:
        return [name for name in usual if installed(name)]
    names = [] if text == "none" else [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in PEERS:
            raise click.UsageError(f"unknown peer {name!r}; known are {', '.join(PEERS)}")
        if not installed(name):
            raise click.UsageError(f"{name} is not installed: pip install {PEERS[name]}")
    return names


def _measure(known: Mapping[str, Workload], chosen: Mapping[str, Sequence[str]], peers: Sequence[str], rounds: int | None,
             threads: int, output: Path | None) -> None:
    out = console()
    busy = busy_share()
    if busy > BUSY:
        out.print(f"other programs use {busy:.0%} of the processors: expect noise; OpenMP's threads are told not to spin",
                  style="yellow", soft_wrap=True)
    columns = TextColumn("{task.description}"), BarColumn(bar_width=20), MofNCompleteColumn(), TimeElapsedColumn()
    with (Progress(*columns, console=out, transient=True, disable=not out.is_terminal) as progress, Probe(threads) as probe):
        task = progress.add_task("measuring the machine", total=sum(map(len, chosen.values())))
        machine = probe.measure()
        out.print(f"{machine.model} ({machine.cpu}), {threads} threads: peak {machine.peak / 1e9:.0f} GFLOP/s, "
                  f"memory {show_bytes(machine.bandwidth)}/s", soft_wrap=True)
        setup = Setup(machine, probe, peers, rounds, busy > BUSY,
                      (lambda text: progress.update(task, description=text)) if out.is_terminal else lines(),
                      lambda text: out.print(text, style="red", markup=False, soft_wrap=True))
        shown = ""
        for record in _records(known, chosen, setup):
            if record.workload != shown:
                out.print("", known[record.workload].title, *tables.notes(record), sep="\n", style="dim", markup=False,
                          soft_wrap=True)
            shown = record.workload
            out.print("", table(tables.describe(record), *tables.table_of(record)))
            for doubt in tables.doubts(record):
                setup.complain(doubt)
            if output is not None:
                save(record, output)
            progress.advance(task)


def _records(known: Mapping[str, Workload], chosen: Mapping[str, Sequence[str]], setup: Setup) -> Iterator[Record]:
    """All points; a workload that fails is complained of, and the others go on."""
    for name, points in chosen.items():
        try:
            yield from known[name].measure(setup, points)
        except (TGraphError, OSError, ModuleNotFoundError) as error:
            setup.complain(f"{name}: {error}")


def _report(output: Path, known: Mapping[str, Workload]) -> None:
    """Plots beside the JSON files, and the tables above their folder."""
    plots = {folder.name: made for folder in machines(output) if (made := plot.draw(folder, list(known))) is not None}
    path = output.parent / "RESULTS.md"
    tables.write_results(path, output, known, plots)
    console().print(f"wrote {path}", markup=False, soft_wrap=True)
    if not plots:
        console().print("no plot: it needs matplotlib, and times of a peer", style="yellow")


if __name__ == "__main__":
    try:
        main()
    except TGraphError as error:
        report_error(error)
        sys.exit(1)

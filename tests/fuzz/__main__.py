"""`python -m tests.fuzz`: random programs through the back end, with shrinking. See tests/fuzz/README.md."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from tests.fuzz import torch_run
from tests.fuzz.report import Failure, Tally, brief, write
from tests.fuzz.shrink import shrink
from tests.fuzz.worker import ALL_STEPS, Job, Pool
from tgraph.ir.registry import OPS, get_op


@click.command(context_settings={"max_content_width": 130})
@click.option("--programs", type=int, default=1000, show_default=True, help="How many programs.")
@click.option("--seed", type=int, default=0, show_default=True, help="The first program's seed; the next ones follow.")
@click.option("--workers", type=int, default=2, show_default=True, help="Processes.")
@click.option("--ops", default="", help="Programs of these ops only, by commas.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder for the failures, a .tg file each.")
@click.option("--limit", type=float, default=60.0, show_default=True, help="Seconds of CPU time after which a program hangs.")
@click.option("--shrink", "each", type=int, default=3, show_default=True, help="Failures to shrink of each kind and message.")
@click.option("--shrink-seconds", type=float, default=120.0, show_default=True, help="Time to shrink one failure.")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path, exists=True, dir_okay=False))
def main(programs: int, seed: int, workers: int, ops: str, out: Path | None, limit: float, each: int, shrink_seconds: float,
         files: tuple[Path, ...]) -> None:
    """Random programs: the numpy target against cpu at O0 and O3, and PyTorch in float64 where it is installed.

    With FILES (.tg, as an earlier run wrote them) those instead; --seed is then that of their inputs. Exit status 1 if
    anything fails.

    \b
    Examples:
      $ python -m tests.fuzz --programs 20000 --workers 2 --out failures
      $ python -m tests.fuzz --programs 500 --ops cast,floor_div,mod
      $ python -m tests.fuzz --seed 37 failures/wrong-O3-37.tg
    """
    console = Console() if Console().is_terminal else Console(width=180)
    chosen = tuple(filter(None, ops.split(",")))
    for name in chosen:
        get_op(name)
    jobs = [Job(seed, f.read_text()) for f in files] or [Job(seed + i, "", ALL_STEPS, chosen) for i in range(programs)]
    tally, sampled, seen = Tally(), [], Counter[object]()
    if not torch_run.AVAILABLE:
        console.print("PyTorch is not installed: programs are not compared with it", style="yellow")
    with Pool(workers, limit) as pool, bar(console) as progress:
        task = progress.add_task("programs", total=len(jobs))
        for done, (job, text, outcome) in enumerate(pool.run(jobs), 1):
            for failure in tally.add(job, text, outcome, torch_run.AVAILABLE):
                seen[failure.finding.key] += 1
                if not console.is_terminal:
                    said = f"seed {job.seed}: {failure.finding.kind} at {failure.finding.step}: {brief(failure.finding.detail)}"
                    print(said, flush=True)
                if seen[failure.finding.key] <= each * (8 if failure.finding.kind == "wrong" else 1):
                    sampled.append(failure)
            progress.update(task, advance=1, description=f"programs, {tally.failed} fail")
            if not console.is_terminal and done % 100 == 0:
                console.print(f"{done} of {len(jobs)} programs, {tally.failed} fail")
        if each:
            reduce_all(sampled, pool, shrink_seconds, progress, console)
    console.print(tally.table())
    for line in tally.lines():
        console.print(line, highlight=False)
    faults(console, sampled)
    if not chosen and not files and programs >= 500 and (missing := sorted(set(OPS) - set(tally.ops))):
        console.print(f"ops that no program had: {', '.join(missing)}", style="red")
    if out is not None:
        write(out, sampled)
        console.print(f"{len(sampled)} failures in {out}")
    raise SystemExit(bool(tally.failed))


def bar(console: Console) -> Progress:
    return Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
                    TimeRemainingColumn(), console=console, disable=not console.is_terminal)


def reduce_all(failures: list[Failure], pool: Pool, seconds: float, progress: Progress, console: Console) -> None:
    task = progress.add_task("shrinking", total=len(failures))
    for done, failure in enumerate(failures, 1):
        if failure.text:
            failure.small = shrink(failure.text, failure.job.seed, failure.finding, pool, seconds)
        progress.advance(task)
        if not console.is_terminal and done % 10 == 0:
            console.print(f"{done} of {len(failures)} failures shrunk")


def faults(console: Console, failures: list[Failure]) -> None:
    """The smallest failure of each fault."""
    groups: dict[tuple[str, ...], list[Failure]] = {}
    for failure in failures:
        groups.setdefault(failure.fault, []).append(failure)
    table = Table(title=f"{len(groups)} that look like faults of their own (of {len(failures)} failures looked at)",
                  title_justify="left")
    for column in ("kind", "at", "seed", "nodes", "ops", "what"):
        table.add_column(column)
    for group in sorted(groups.values(), key=lambda g: g[0].fault):
        best = min(group, key=lambda f: f.small.nodes if f.small else 999)
        small = best.small
        finding = small.finding if small else best.finding
        steps = "+".join(sorted({f.finding.step for f in group}))
        table.add_row(finding.kind, steps, str(best.job.seed), str(small.nodes) if small else "", ", ".join(best.fault[2:]),
                      brief(finding.detail))
    if groups:
        console.print(table)


if __name__ == "__main__":
    main()

"""`tgraph fuzz`: random programs through the compiler and all that reads programs, with shrinking."""

from __future__ import annotations

import itertools
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tgraph.cli.answers import answer, json_option
from tgraph.cli.exit_status import DIFFERS, INTERRUPTED
from tgraph.ir.registry import OPS, get_op

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from tgraph.testing.figures import Figures
    from tgraph.testing.report import Failure, Tally
    from tgraph.testing.worker import Job, Pool

PROGRAMS = 1000  # where neither a number nor a time is given
EVERY = 60.0  # seconds between two lines of what goes on, where there is no terminal
TOGETHER = 16  # graphs that are compiled as one program
OFTEN = 8  # wrong numbers of one step have many causes: so many times as many are shrunk


@click.command("fuzz")
@click.argument("files", nargs=-1, metavar="[FILE.tg]...", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), metavar="N",
              help="Begin no program after so long.")
@click.option("--programs", type=click.IntRange(min=1), metavar="N",
              help=f"How many programs [default: {PROGRAMS}, or as many as --minutes allows].")
@click.option("--seed", type=int, help="The first program's seed; the next ones follow [default: 0, or where --figures ends].")
@click.option("--ways", default="all", show_default=True, metavar="NAMES",
              help="The ways to go, by commas; `uncompiled` are those that take milliseconds.")
@click.option("--ops", default="", metavar="NAMES", help="Programs of these ops only, by commas; a plug-in's too.")
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Processes [default: one a core].")
@click.option("--out", "folder", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
              help="Write each failure there, a .tg file that this command takes, and failures.json.")
@click.option("--figures", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.json",
              help="Add what is counted to this file, and go on with the seeds after those that it has.")
@click.option("--table", "counts", is_flag=True, help="Show how many nodes of each op and element type there were.")
@click.option("--limit", type=float, default=60.0, show_default=True, metavar="SECONDS",
              help="CPU time after which a program hangs.")
@click.option("--shrink", "each", type=click.IntRange(min=0), default=3, show_default=True, metavar="N",
              help="Failures to make smaller of each kind and message.")
@click.option("--shrink-seconds", type=float, default=120.0, show_default=True, metavar="SECONDS",
              help="Time to make one failure smaller.")
@json_option({
    "programs": "integer: examined to the end", "failed": "integer: of them that something is wrong with",
    "interrupted": "boolean: whether Ctrl-C came before the end", "seconds": "number: on the clock, without the shrinking",
    "first_seed": "integer: of the first program", "nodes": "integer: of all programs",
    "trials": "integer: sets of inputs", "skipped": "integer: sets of inputs that the reference refuses as well",
    "elements": "integer: compared with the reference", "excused": "integer: of them that say nothing, ill-conditioned ones",
    "compile_seconds": "number: of CPU time, to compile",
    "ways": {"<way>": "integer: programs that went it"},
    "not_comparable": {"<way and reason>": "integer: programs that could not go it"},
    "counts": {"<op>": {"<dtype>": "integer: nodes whose first result has this element type"}},
    "failures": [{"seed": "integer: of the program, and of its inputs", "kind": "string: what kind of failure",
                  "step": "string: the way that showed it", "detail": "string: what is wrong",
                  "nodes": "integer or null: of the smallest program that fails so", "text": "string: that program"}],
})
def command(files: tuple[Path, ...], minutes: float | None, programs: int | None, seed: int | None, ways: str, ops: str,
            workers: int | None, folder: Path | None, figures: Path | None, counts: bool, limit: float, each: int,
            shrink_seconds: float, as_json: bool) -> None:
    """Make random sound programs over all ops and send each through everything that has to agree on it.

    Each is run by the NumPy reference, read back from text and JSON, rewritten by passes down to graphs of kernels, exported to
    ONNX and imported, compiled for the CPU at O0 and O3, saved and loaded as a bundle, its states kept by a session, and,
    where they are installed, computed by PyTorch in float64 and by ONNX Runtime. --ways uncompiled leaves out what has to be
    compiled. A seed is a program, the same one everywhere. Failures are made smaller. With FILEs those are examined instead;
    --seed is then that of their inputs. Exit status 1 if anything fails. docs/testing.md

    \b
    Examples:
      $ tgraph fuzz --programs 32 --workers 1
      $ tgraph fuzz --minutes 480 --out failures --table
      $ tgraph fuzz --ops cast,floor_div,mod --programs 16
      $ tgraph fuzz --ways uncompiled --minutes 480 --figures nights.json
    """
    from tgraph.cli.console import console, table
    from tgraph.testing.figures import Figures
    from tgraph.testing.report import Tally, faults, write
    from tgraph.testing.ways import ways_named
    from tgraph.testing.worker import Job, Pool

    chosen = tuple(filter(None, (name.strip() for name in ops.split(","))))
    for name in chosen:
        get_op(name)
    gone = ways_named(ways)
    sums = None if figures is None else Figures.read(figures)
    if seed is None:
        seed = (sums.next_seed if sums else None) or 0
    jobs: Iterator[Job] = iter([Job(seed, path.read_text(encoding="utf-8"), gone) for path in files]) if files else seeds(
        Job(seed, ways=gone, ops=chosen), programs if programs or minutes else PROGRAMS, minutes)
    err = console(stderr=True)
    total = len(files) or (programs if programs or minutes else PROGRAMS)
    tally, start = Tally(), time.monotonic()
    with Pool(workers or cores(), limit, setup=plugins()) as pool, bar(err) as progress:
        sampled, interrupted = follow(pool, jobs, total, tally, each, progress, err, sums)
        seconds = time.monotonic() - start
        with suppress(KeyboardInterrupt):
            reduce_all(sampled if each else [], pool, shrink_seconds, progress)
    if folder is not None:
        write(folder, sampled)
        err.print(f"{len(sampled)} failures in {folder}", markup=False)

    def show(out: Console) -> None:
        columns, rows = tally.by_kind()
        out.print(table(f"{tally.failed} of {tally.programs} programs fail", columns, rows))
        for line in tally.lines():
            out.print(line, markup=False, soft_wrap=True)
        out.print(f"{seconds:.0f} s, {seconds / max(tally.programs, 1):.2f} s a program", markup=False)
        if sampled:
            columns, rows = faults(sampled)
            title = f"{len(rows)} that look like faults of their own (of {len(sampled)} failures looked at)"
            out.print(table(title, columns, rows))
        if counts:
            out.print(table("nodes by op and element type of the first result", *tally.counts()))
        if not chosen and tally.programs >= PROGRAMS and (missing := sorted(built_in() - set(tally.ops))):
            out.print(f"ops that no program had: {', '.join(missing)}", style="red")

    answer({**tally.facts(), "interrupted": interrupted, "seconds": seconds, "first_seed": seed,
            "failures": [f.facts() for f in sampled]}, as_json, show)
    if interrupted:
        click.echo("interrupted", err=True)
    if interrupted or tally.failed:
        raise SystemExit(INTERRUPTED if interrupted else DIFFERS)


def seeds(like: Job, programs: int | None, minutes: float | None) -> Iterator[Job]:
    """Jobs of programs that are examined together, until there are enough or the time is over; the first begins with a seed."""
    deadline = None if minutes is None else time.monotonic() + 60 * minutes
    for start in itertools.count(like.seed, TOGETHER):
        left = TOGETHER if programs is None else like.seed + programs - start
        if left <= 0 or (deadline is not None and time.monotonic() >= deadline):
            return
        yield replace(like, seed=start, count=min(left, TOGETHER))


def follow(pool: Pool, jobs: Iterator[Job], total: int | None, tally: Tally, each: int, progress: Progress,
           err: Console, figures: Figures | None) -> tuple[list[Failure], bool]:
    """Count what comes of the jobs; the failures to look at, and whether Ctrl-C came."""
    sampled: list[Failure] = []
    seen: Counter[object] = Counter()
    task = progress.add_task("programs", total=total)
    said = time.monotonic() - EVERY
    first, end = sys.maxsize, 0  # of the seeds that are done

    def save() -> None:
        if figures is not None and tally.programs:
            figures.write(tally, first, end)

    try:
        for job, text, outcome in pool.run(jobs):
            first, end = min(first, job.seed), max(end, job.seed + 1)
            for failure in tally.add(job, text, outcome):
                finding = failure.finding
                seen[finding.key] += 1
                err.print(f"seed {job.seed}: {finding}", markup=False, soft_wrap=True)
                if seen[finding.key] <= max(each, 1) * (OFTEN if finding.kind == "wrong" else 1):
                    sampled.append(failure)
            progress.update(task, advance=1, description=f"programs, {tally.failed} fail")
            if not err.is_terminal and time.monotonic() - said >= EVERY:
                said = time.monotonic()
                err.print(f"{tally.programs} done, {tally.failed} fail", markup=False)
            if figures is not None and figures.due():
                save()
    except KeyboardInterrupt:
        return sampled, True
    finally:
        save()
    return sampled, False


def reduce_all(failures: list[Failure], pool: Pool, seconds: float, progress: Progress) -> None:
    """Make failures smaller."""
    from tgraph.testing.shrink import shrink

    task = progress.add_task("shrinking", total=len(failures), visible=bool(failures))
    for failure in failures:
        if failure.text and not failure.several:
            failure.small = shrink(failure.text, failure.job.seed, failure.finding, pool, seconds)
        progress.advance(task)


def bar(err: Console) -> Progress:
    """What goes on, on a terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    return Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
                    TimeRemainingColumn(), console=err, disable=not err.is_terminal)


def plugins() -> Any:
    """What makes the plug-ins of this command line known in another process."""
    files = click.get_current_context().find_root().params.get("plugins", ())
    return partial(import_all, tuple(files)) if files else None


def import_all(files: tuple[Path, ...]) -> None:
    from tgraph.cli.user_files import import_file

    for path in files:
        import_file(path)


def cores() -> int:
    from targets.base.cores import default_threads

    return default_threads()


def built_in() -> set[str]:
    """The ops of tgraph itself."""
    get_op("add")  # so that all are registered
    return {name for name, op in OPS.items() if op.infer.__module__.startswith("tgraph.ops")}

"""`tgraph tune`: parameters of kernels that are faster on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from tgraph.cli.answers import answer, json_option
from tgraph.cli.completing import complete_model
from tgraph.cli.options import (
    Dims,
    check_dims,
    dim_option,
    level_option,
    merged,
    parse_shapes,
    passes_option,
    set_threads,
    target_option,
    threads_option,
)

if TYPE_CHECKING:
    from rich.console import Console

    from targets.cpu.tuning import Progress, Tuned


@click.command("tune")
@click.argument("model", metavar="FILE|MODEL", shell_complete=complete_model)
@click.option("--shapes", default="1x128,8x128", show_default=True, metavar="BxS,...",
              help="Batches and lengths (dims B and S) to be fast at.")
@dim_option
@click.option("--trials", type=click.IntRange(min=1), metavar="N", help="Variants of each kernel at most [default: all].")
@click.option("--time", "seconds", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS",
              help="Stop after so long, about [default: when all is tried].")
@click.option("--dry-run", is_flag=True, help="Do not save what is found.")
@level_option
@passes_option
@target_option
@threads_option
@json_option({
    "target": "string: what was tuned for", "sizes": [{"<dim>": "integer: its size"}],
    "kernels": [{"kernel": "string: its name", "calls": "integer: of the model", "trials": "integer: variants tried",
                 "default": "number: seconds of a call by default, over all sizes", "best": "number: the same, at best",
                 "changes": {"<parameter>": ["integer: its default, then its best value"]},
                 "rejected": ["string: a variant that failed or gave other results, and how"]}],
    "saved": "string or null: the file that keeps what was found",
})
def command(model: str, shapes: str, dims: Dims, trials: int | None, seconds: float | None, dry_run: bool, level: str,
            pipeline: str | None, target: str, threads: int | None, as_json: bool) -> None:
    """Search the parameters of a model's kernels on this machine, and keep those that are faster than the defaults.

    Every later compilation for this CPU takes them where it meets the same kernels. They are kept in a file of the user's, or
    in the folder that the environment variable TGRAPH_TUNING names. Leave the machine alone meanwhile.

    \b
    Examples:
      $ tgraph tune bert-tiny --shapes 1x16 --time 2
      $ tgraph tune bert-base --shapes 1x128,8x128 --dry-run --trials 1 --time 1
    """
    import tgraph as tg
    from targets.base.schedules import save_schedules, schedule_file
    from targets.cpu.tuning import database_rows, tune
    from tgraph.cli.models import is_bundle, load_graph

    if is_bundle(model):
        raise click.UsageError(f"{model} is compiled already; name a graph or a model")
    set_threads(threads)
    graph = load_graph(model)
    check_dims([graph], dims)
    sizes = [{name: size for name, size in {**point, **merged(dims)}.items() if name in graph.symbols}
             for point in parse_shapes(shapes)]
    where = tg.targets.Target.parse(target)
    with _progress() as progress:
        found = tune(graph, where, sizes, level=level, passes=pipeline, trials=trials, seconds=seconds, progress=progress)
    file = None if dry_run else schedule_file(where.name)
    if file is not None:
        save_schedules(file, database_rows(found))

    def show(out: Console) -> None:
        _show(out, found, f"{graph.name} on {where} at {shapes}")
        if file is None:
            out.print("not saved (--dry-run)" if dry_run else "not saved: TGRAPH_TUNING is off")
        else:
            out.print(f"saved in {file}", markup=False, soft_wrap=True)

    kernels = [{"kernel": t.kernel, "calls": t.calls, "trials": t.trials, "default": t.default, "best": t.best,
                "changes": t.changes, "rejected": t.rejected} for t in found]
    answer({"target": str(where), "sizes": sizes, "kernels": kernels, "saved": file}, as_json, show)


@contextmanager
def _progress() -> Iterator[Progress]:
    """A bar on standard error if that is a terminal, else lines."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from tgraph.cli.console import console
    from tgraph.cli.progress import lines

    out = console(stderr=True)
    if not out.is_terminal:
        say = lines()
        say("compiling")
        yield lambda what, done, total: say(f"{what} ({done} of {total})" if what else "done")
        return
    columns = TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=out, transient=True) as bar:
        task = bar.add_task("compiling", total=None)

        def show(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total)

        yield show


def _show(out: Console, found: list[Tuned], title: str) -> None:
    from rich.text import Text

    from tgraph.cli.console import show_seconds, table

    rows = []
    for t in found:
        changes = ", ".join(f"{name} {old} -> {new}" for name, (old, new) in t.changes.items())
        faster = f"{t.default / t.best - 1:.1%}" if t.changes else ""
        rows.append((t.kernel, str(t.calls), str(t.trials), show_seconds(t.default), show_seconds(t.best), faster,
                     Text(changes, "green") if changes else Text("the default is best", "dim")))
    out.print(table(title, ("kernel", ">calls", ">trials", ">default", ">best", ">faster by", "changed"), rows))
    for t in found:
        for reason in t.rejected:
            out.print(f"{t.kernel}: {reason}", style="yellow", markup=False, soft_wrap=True)
    before, after = (sum(seconds * t.calls for t, seconds in ((t, getattr(t, which)) for t in found))
                     for which in ("default", "best"))
    if after:
        out.print(f"these kernels: {show_seconds(before)} -> {show_seconds(after)}, {before / after - 1:.1%} faster",
                  soft_wrap=True)

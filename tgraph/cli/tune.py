"""`tgraph tune`: parameters of kernels that are faster on this machine, or on another one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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

    from targets.base.target import Target
    from targets.cpu.trials import Machine
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
@click.option("--rpc", "tracker", metavar="HOST:PORT", help="Time kernels on another machine: where a tracker of TVM's RPC is.")
@click.option("--key", metavar="NAME", help="The key by which the tracker knows servers on that machine.")
@level_option
@passes_option
@target_option
@threads_option
@json_option({
    "target": "string: what was tuned for", "machine": "string or null: the server that ran the kernels, if another machine's",
    "threads": "integer: that took part", "sizes": [{"<dim>": "integer: its size"}],
    "kernels": [{"kernel": "string: its name", "calls": "integer: of the model", "trials": "integer: variants tried",
                 "default": "number: seconds of a call by default, over all sizes", "best": "number: the same, at best",
                 "changes": {"<parameter>": ["integer: its default, then its best value"]},
                 "rejected": ["string: a variant that failed or gave other results, and how"]}],
    "saved": "string or null: the file that keeps what was found",
})
def command(model: str, shapes: str, dims: Dims, trials: int | None, seconds: float | None, dry_run: bool, tracker: str | None,
            key: str | None, level: str, pipeline: str | None, target: str, threads: int | None, as_json: bool) -> None:
    """Search the parameters of a model's kernels on a machine, and keep those that are faster than the defaults.

    Every later compilation for that CPU takes them where it meets the same kernels. They are kept in a file of the user's, or
    in the folder that the environment variable TGRAPH_TUNING names, kernel by kernel as each search ends. Leave the machine alone
    meanwhile.

    The machine is this one, or with --rpc and --key another one, where a server of TVM's RPC runs (trusted networks only: whoever
    reaches it can run any code there). --target is then that machine's own CPU unless it names one, and --threads its threads.

    \b
    Examples:
      $ tgraph tune bert-tiny --shapes 1x16 --time 2
      $ tgraph tune bert-base --shapes 1x128,8x128 --dry-run --trials 1 --time 1
      $ tgraph tune bert-tiny --shapes 1x16 --time 2 --rpc 127.0.0.1:9190 --key epyc
    """
    from targets.base.schedules import save_schedules, schedule_file
    from targets.cpu.tuning import database_rows, tune
    from tgraph.cli.models import is_bundle, load_graph

    if is_bundle(model):
        raise click.UsageError(f"{model} is compiled already; name a graph or a model")
    if (tracker is None) != (key is None):
        raise click.UsageError("--rpc says where a tracker is, and --key which of its servers to take: give both")
    graph = load_graph(model)
    check_dims([graph], dims)
    sizes = [{name: size for name, size in {**point, **merged(dims)}.items() if name in graph.symbols}
             for point in parse_shapes(shapes)]
    kept: list[Tuned] = []
    with _machine(tracker, key, target, threads) as there, _progress() as progress:
        file = None if dry_run else schedule_file(there.target.name)

        def keep(found: Tuned) -> None:
            if file is not None:
                save_schedules(file, database_rows([found]))
            kept.append(found)

        try:
            found = tune(graph, there.target, sizes, level=level, passes=pipeline, trials=trials, seconds=seconds,
                         machine=there.machine, progress=progress, keep=keep)
        except BaseException:
            if kept and file is not None:
                click.echo(f"what was found for {', '.join(t.kernel for t in kept)} is saved in {file}", err=True)
            raise

    def show(out: Console) -> None:
        _show(out, found, f"{graph.name} on {there.target} at {shapes}{there.name and f', on {there.name}'}")
        if file is None:
            out.print("not saved (--dry-run)" if dry_run else "not saved: TGRAPH_TUNING is off")
        else:
            out.print(f"saved in {file}", markup=False, soft_wrap=True)

    kernels = [{"kernel": t.kernel, "calls": t.calls, "trials": t.trials, "default": t.default, "best": t.best,
                "changes": t.changes, "rejected": t.rejected} for t in found]
    answer({"target": str(there.target), "machine": there.name or None, "threads": there.threads, "sizes": sizes,
            "kernels": kernels, "saved": file}, as_json, show)


@dataclass(frozen=True)
class _Place:
    """Where kernels run, what for, and with how many threads; name: of another machine."""

    machine: Machine
    target: Target
    threads: int
    name: str = ""


@contextmanager
def _machine(tracker: str | None, key: str | None, target: str, threads: int | None) -> Iterator[_Place]:
    import tgraph as tg
    from targets.cpu.trials import ThisMachine
    from targets.runtime.runner import runner

    if tracker is None or key is None:
        set_threads(threads)
        yield _Place(ThisMachine(), tg.targets.Target.parse(target), runner().threads)
        return
    from targets.base.rpc import RpcSession
    from targets.cpu.remote import RemoteMachine

    kind, _, detail = target.partition(":")
    if kind != "cpu":
        raise click.UsageError(f"--rpc tunes for CPUs, not for {target}")
    with RpcSession(tracker, key) as session:
        machine = RemoteMachine(session)
        if threads is not None:
            machine.use_threads(threads)
        yield _Place(machine, machine.target(detail), machine.threads, session.name)


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

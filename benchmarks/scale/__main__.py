"""`python -m benchmarks.scale`: one machine measured, a fleet of them simulated."""

from __future__ import annotations

from pathlib import Path

import click

from benchmarks.scale import figures as measured
from benchmarks.scale import page, tables, validate
from benchmarks.scale.fleet import FOREVER, Fleet, bounds, simulate

DAY = 86400.0


def known() -> measured.Figures:
    """The figures of the latest machine. Raises ClickException where there are none."""
    try:
        return measured.load()
    except FileNotFoundError as error:
        raise click.ClickException(str(error)) from None


@click.group()
def main() -> None:
    """What a fleet does with many documents: figures of this machine, and a simulation of many such.

    \b
    Example:
      $ python -m benchmarks.scale measure                 # this machine; about four minutes, with nothing else running
      $ python -m benchmarks.scale validate                # the simulation beside a real run of one and of all cores
      $ python -m benchmarks.scale fleet --nodes 16 --workers 16 --documents 10000000
      $ python -m benchmarks.scale page                    # tables and pictures of docs/scale.md again
    """


@main.command("measure")
@click.option("--models", default=",".join(measured.MODELS), show_default=True)
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), default=measured.RESULTS,
              help="[default: benchmarks/scale/results]")
def measure_command(models: str, output: Path) -> None:
    """Measure what the simulation needs, into scale.json in the folder of this kind of machine."""
    unknown = sorted(set(models.split(",")) - set(measured.MODELS))
    if unknown:
        raise click.UsageError(f"no model {unknown[0]!r}; there are {', '.join(measured.MODELS)}")
    found = measured.measure(lambda text: click.echo(text, err=True), models.split(","))
    if found.under_load:
        click.echo(f"others used {found.busy:.0%} of the processors: processor time counts, not that of the clock", err=True)
    click.echo(f"wrote {found.save(output)}")
    click.echo("\n".join(tables.machine_table(found)))


@main.command("validate")
@click.option("--model", type=click.Choice(measured.MODELS), default="minilm", show_default=True)
@click.option("--documents", default=6000, show_default=True, type=click.IntRange(1))
@click.option("--mean", default=24.0, show_default=True, help="Mean length in tokens.")
@click.option("--part", default=500, show_default=True, type=click.IntRange(1), help="Documents of a part.")
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), default=measured.RESULTS,
              help="[default: benchmarks/scale/results]")
def validate_command(model: str, documents: int, mean: float, part: int, output: Path) -> None:
    """Embed documents with one worker and with one on each core, and compare with the simulation."""
    figures = known()
    found = validate.validate(model, documents, mean, part, lambda text: click.echo(text, err=True))
    click.echo(f"wrote {validate.save(found, output)}")
    click.echo("\n".join(tables.validation_table(figures, found)))


@main.command("fleet")
@click.option("--model", type=click.Choice(measured.MODELS), default="minilm", show_default=True)
@click.option("--documents", default=10_000_000, show_default=True, type=click.IntRange(1))
@click.option("--mean", default=128.0, show_default=True, help="Mean length in tokens.")
@click.option("--part", default=0, help="Documents of a part.  [default: the best of several]")
@click.option("--nodes", default=16, show_default=True, type=click.IntRange(1))
@click.option("--workers", default=16, show_default=True, type=click.IntRange(1), help="Of a node, one a core.")
@click.option("--slow", default=0.0, show_default=True, type=click.FloatRange(0, 1), help="Share of nodes of half the speed.")
@click.option("--storage", default=1e9, show_default=True, help="Bytes a second, for all.")
@click.option("--network", default=1.25e9, show_default=True, help="Bytes a second, of a node.")
@click.option("--latency", default=0.05, show_default=True, help="Seconds until storage answers.")
@click.option("--jitter", default=0.05, show_default=True, help="How much the time of a part varies.")
@click.option("--worker-mtbf", default=30.0, show_default=True, help="Days between failures of a worker; 0: none.")
@click.option("--node-mtbf", default=3.0, show_default=True, help="Days between failures of a node; 0: none.")
@click.option("--seed", default=0, show_default=True)
def fleet_command(model: str, documents: int, mean: float, part: int, nodes: int, workers: int, slow: float, storage: float,
                  network: float, latency: float, jitter: float, worker_mtbf: float, node_mtbf: float, seed: int) -> None:
    """Simulate a fleet of machines like the one that was measured."""
    figures = known()
    halves = round(slow * nodes)
    fleet = Fleet(nodes, workers, (0.5,) * halves + (1.0,) * (nodes - halves), jitter, storage, network, latency,
                  worker_mtbf * DAY or FOREVER, node_mtbf * DAY or FOREVER)
    job = figures.job(model, documents, tables.natural(mean), part or 1)
    job = job if part else tables.best_run(job, fleet).job
    run = simulate(job, fleet, seed)
    click.echo(f"{run.documents_per_hour:,.0f} documents an hour: {tables.show_hours(run.seconds)} on {fleet.cores} cores, "
               f"in parts of {job.part:,}, {run.failures} failures")
    shares = ", ".join(f"{kind} {share:.1%}" for kind, share in run.losses.items())
    click.echo(f"computing {run.efficiency:.1%} of the time; {shares}")
    least = ", ".join(f"{kind} {tables.show_hours(seconds)}" for kind, seconds in bounds(job, fleet).items())
    click.echo(f"no run is shorter than: {least}")


@main.command("tensor")
def tensor_command() -> None:
    """When several GPUs pay for one layer, by the cost model of tensor.py."""
    click.echo("\n".join(tables.tensor_table()))


@main.command("page")
@click.option("--page", "path", type=click.Path(path_type=Path, exists=True, dir_okay=False), default=page.PAGE,
              help="[default: docs/scale.md]")
def page_command(path: Path) -> None:
    """Write the tables and pictures of docs/scale.md from what was measured."""
    for written in page.write(path, known()):
        click.echo(f"wrote {written}")


if __name__ == "__main__":
    main()

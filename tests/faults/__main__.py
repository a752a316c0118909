"""`python -m tests.faults`: faults in numbers that a test suite has no time for."""

from __future__ import annotations

from collections import Counter

import click


@click.group(context_settings={"max_content_width": 120})
def main() -> None:
    """Faults by the hundred: kills, damage, signals, little memory; and soaks. Exit status 1 if one of them shows a fault."""


def show(found: Counter[str]) -> None:
    for what, times in sorted(found.items()):
        click.echo(f"{times:6,}  {what}")


@main.command()
@click.option("--times", default=200, show_default=True)
@click.option("--seed", default=0, show_default=True)
def kill(times: int, seed: int) -> None:
    """kill -9 at random points of a compilation with the cache."""
    from tests.faults.killing import kill_compilations

    show(kill_compilations(times, seed))


@main.command()
@click.option("--flips", default=2000, show_default=True, help="Changed bits, of a bundle and of an entry of the cache each.")
@click.option("--cuts", default=500, show_default=True, help="Files that are cut off.")
@click.option("--seed", default=0, show_default=True)
def damage(flips: int, cuts: int, seed: int) -> None:
    """Changed bits and cut files: found before any code is loaded?"""
    from tests.faults.damage import damage

    show(damage(flips, cuts, seed))


@main.command()
@click.option("--times", default=10, show_default=True, help="Signals for each command.")
@click.option("--seed", default=0, show_default=True)
@click.option("--signal", "name", type=click.Choice(["INT", "TERM"]), default="INT", show_default=True)
@click.argument("commands", metavar="[COMMAND]...", nargs=-1)
def interrupt(times: int, seed: int, name: str, commands: tuple[str, ...]) -> None:
    """Ctrl-C at random moments of the long commands of tgraph (by default all of them)."""
    from tests.faults.interrupting import interrupt_commands

    show(interrupt_commands(times, name, commands, seed, click.echo))


@main.command()
@click.option("--steps", default=30, show_default=True, help="Limits to try for each of: compile, load, call.")
def memory(steps: int) -> None:
    """Less and less memory (ulimit -v) for compiling, loading and calling."""
    from tests.faults.memory import little_memory

    show(little_memory(steps, click.echo))


@main.command()
@click.option("--calls", type=int, help="Calls of small executables.")
@click.option("--threads", default=1, show_default=True, help="Threads that call at once.")
@click.option("--cycles", type=int, help="Times to compile, save, load, call and drop.")
def soak(calls: int | None, threads: int, cycles: int | None) -> None:
    """Resident memory, files, threads and mappings, over many calls or compilations."""
    from tests.faults import soak

    if calls is None and cycles is None:
        raise click.UsageError("give --calls or --cycles")
    if calls is not None:
        soak.calls(calls, threads, click.echo)
    if cycles is not None:
        soak.cycles(cycles, click.echo)


if __name__ == "__main__":
    main()

"""What a command is doing at the moment: a display on a terminal, lines elsewhere; and the times of compiling's phases."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from tgraph.cli.console import console, show_seconds

PHASES = ("compile cache", "passes", "select kernels", "kernels", "machine code", "link", "prepare weights")
EVERY = 2.0  # seconds between two lines


class Steps:
    """Called with the name of each step as it begins; `seconds` has the time of each phase."""

    def __init__(self, progress: Progress, title: str):
        self.progress = progress
        self.seconds: dict[str, float] = {}
        self.kernels = 0
        self._phase = ""
        self._since = self._start = time.perf_counter()
        self._title = title
        self._task = progress.add_task(title, total=len(PHASES))

    def __call__(self, step: str) -> None:
        self.kernels += step.startswith("kernel ")
        phase = "kernels" if step.startswith("kernel ") else step
        self._end_phase()
        self._phase = phase
        self.progress.update(self._task, description=f"{self._title}: {step}",
                             completed=PHASES.index(phase) if phase in PHASES else len(self.seconds))

    def _end_phase(self) -> None:
        now = time.perf_counter()
        if self._phase:
            self.seconds[self._phase] = self.seconds.get(self._phase, 0.0) + now - self._since
        self._since, self._phase = now, ""

    def finish(self) -> None:
        """End the last phase."""
        self._end_phase()
        self.progress.update(self._task, completed=len(PHASES))

    @property
    def total(self) -> float:
        return sum(self.seconds.values())

    def __str__(self) -> str:
        parts = ", ".join(f"{phase} {show_seconds(seconds)}" for phase, seconds in self.seconds.items())
        return f"{show_seconds(self.total)} ({parts})"


@contextmanager
def compiling(title: str) -> Iterator[Steps]:
    """A display on standard error, if that is a terminal: `with compiling("...") as steps: tg.compile(..., progress=steps)`."""
    out = console(stderr=True)
    columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=20), TimeElapsedColumn()
    with Progress(*columns, console=out, transient=True, disable=not out.is_terminal) as progress:
        steps = Steps(progress, title)
        yield steps
        steps.finish()


def lines(every: float = EVERY) -> Callable[[str], None]:
    """Called with what goes on, as often as that changes: says it in lines on standard error, one in `every` seconds."""
    start = time.perf_counter()
    last = -every

    def say(text: str) -> None:
        nonlocal last
        now = time.perf_counter() - start
        if now - last >= every:
            last = now
            print(f"{now:5.0f} s  {text}", file=sys.stderr, flush=True)

    return say


@contextmanager
def reporting(out: Console) -> Iterator[Callable[[str], None]]:
    """What goes on beside what is printed on `out`: its last line if that is a terminal, else `lines`."""
    if out.is_terminal:
        with out.status("") as status:
            yield status.update
    else:
        yield lines()


def prefixed(say: Callable[[str], None], where: str) -> Callable[[str], None]:
    """`say` with where that is before every text."""
    return lambda text: say(f"{where}: {text}")

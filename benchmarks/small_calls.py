"""Where the time of a short call goes: a BERT of 2 layers of 128 at (1, 8).

    taskset -c 0 python -m benchmarks.small_calls
    taskset -c 0 python -m benchmarks.small_calls --shapes 1x8,1x32,4x8
    python -m benchmarks.small_calls --threads 2          # by the clock, so on a quiet machine

Loops in turns do ever less of a call: calls as a user makes them; runs of the engine on arrays that were checked; calls of the
library's functions on arguments that were made before; its kernels one by one. A line is the difference of two of them. On one
thread it is processor time, which does not count that of other programs (it does count what they leave of the caches). What a
peer takes: `python -m benchmarks --only bert-tiny`.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import click

CALLS = 100  # of a loop in a turn
MEANING = {
    "inputs": "Python: naming the arrays, their types and sizes",
    "engine": "Python: memory for outputs, and the arguments of the library's functions",
    "machine": "the binding, and TVM's virtual machine between kernels",
    "kernels": "the kernels, called one by one, and workers that they wake",
}
Loop = Callable[[], object]


def loops(exe: Any, feeds: dict[str, Any]) -> dict[str, Loop]:
    """What does a call, and ever less of it, in the order of MEANING."""
    from targets.runtime.runner import runner
    from tgraph.ir.binding import as_array

    engine, run = exe._engine, runner()
    given = [feeds[i.name] for i in exe.graph.inputs]
    exe(*given)
    arrays = [as_array(feeds[i.name], i) for i in exe.graph.inputs]
    sizes = dict(exe.sizes_of(arrays))
    functions, kernels = _functions(engine, arrays, sizes), _kernels(engine, arrays, sizes)
    return {"inputs": lambda: exe(*given), "engine": lambda: engine.run(arrays, sizes, {}),
            "machine": lambda: run(lambda: _call(functions)), "kernels": lambda: run(lambda: _call(kernels))}


Called = list[tuple[Any, tuple[Any, ...]]]  # functions with their arguments


def _call(functions: Called) -> None:
    for function, arguments in functions:
        function(*arguments)


def _functions(engine: Any, arrays: list[Any], sizes: dict[str, int]) -> Called:
    """The library's functions of a call, with arguments that stay in memory."""
    found: Called = []

    def kept(function: Any) -> Callable[..., None]:
        def call(*arguments: Any) -> None:
            found.append((function, arguments))
            function(*arguments)

        return call

    usual, engine._functions = engine._functions, [kept(f) for f in engine._functions]
    try:
        engine.run(arrays, sizes, {})
    finally:
        engine._functions = usual
    return found


def _kernels(engine: Any, arrays: list[Any], sizes: dict[str, int]) -> Called:
    """The kernels of a call, with their arguments."""
    found: Called = []

    def instrument(function: Any, name: str, before: bool, result: Any, *arguments: Any) -> int:
        if before and name.startswith("kernel_"):
            found.append((function, arguments))
        return 0

    engine.observe(arrays, sizes, instrument)
    return found


def measure(found: dict[str, Loop], rounds: int, clock: Callable[[], float]) -> dict[str, float]:
    """Seconds of one pass of each loop: the median of turns."""
    times: dict[str, list[float]] = {name: [] for name in found}
    for _ in range(rounds + 1):  # the first one warms up
        for name, loop in found.items():
            loop()
            start = clock()
            for _ in range(CALLS):
                loop()
            times[name].append((clock() - start) / CALLS)
    return {name: statistics.median(each[1:]) for name, each in times.items()}


@click.command()
@click.option("--model", default="bert-tiny", show_default=True, help="A built-in BERT, or a graph with dims B and S.")
@click.option("--shapes", default="1x8", show_default=True)
@click.option("--rounds", default=20, show_default=True)
@click.option("--threads", default=1, show_default=True)
def main(model: str, shapes: str, rounds: int, threads: int) -> None:
    """Show the parts of a short call."""
    import tgraph as tg
    from benchmarks.harness.report import real_tokens
    from tgraph.cli.models import load_graph
    from tgraph.cli.options import parse_shapes
    from tgraph.ir.tables import text_table
    from tgraph.reference.inputs import choose_sizes

    tg.set_num_threads(threads)
    graph = load_graph(model)
    exe = tg.compile(graph)
    for sizes in parse_shapes(shapes):
        chosen = choose_sizes(graph, sizes)
        seconds = measure(loops(exe, real_tokens(graph, chosen)), rounds, time.thread_time if threads == 1 else time.perf_counter)
        names = list(seconds)
        parts = {name: seconds[name] - (seconds[after] if after else 0.0) for name, after in zip(names, [*names[1:], ""])}
        rows = [(name, f"{1e6 * part:.1f}", f"{part / seconds['inputs']:.0%}", MEANING[name]) for name, part in parts.items()]
        click.echo(f"{model} at {', '.join(f'{n}={size}' for n, size in chosen.items())}, {len(exe.kernels)} kernels, threads: "
                   f"{threads}")
        click.echo(text_table(("", ">us", ">share", ""), [*rows, ("call", f"{1e6 * seconds['inputs']:.1f}", "", "")]))


if __name__ == "__main__":
    main()

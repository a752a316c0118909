"""`tgraph reduce`: the smallest graph on which a command still does what it does."""

from __future__ import annotations

import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tgraph.cli.answers import answer, json_option, written
from tgraph.cli.completing import complete_model
from tgraph.ir.errors import PassError

if TYPE_CHECKING:
    from tgraph.ir.graph import Graph


@click.command("reduce")
@click.argument("source", metavar="FILE|MODEL", shell_complete=complete_model)
@click.option("--test", required=True, metavar="COMMAND",
              help="Run for each candidate, whose file takes the place of {}, or comes last. No shell; name a script for more.")
@click.option("--status", type=int, default=0, show_default=True, metavar="N",
              help="The exit status of COMMAND that makes a graph interesting.")
@click.option("--timeout", type=float, default=60.0, show_default=True, metavar="SECONDS",
              help="A graph on which COMMAND takes longer is not interesting.")
@click.option("--weights/--no-weights", default=True, show_default=True, help="Write the parameters' data for COMMAND.")
@click.option("-o", "--output", metavar="FILE", type=click.Path(path_type=Path),
              help="Write a file in the format of its suffix [default: print the text form].")
@json_option({
    "nodes_before": "integer: of the graph as given", "nodes_after": "integer: of the smallest one found",
    "tried": "integer: graphs that COMMAND was run on",
    "text": "string or null: the text form of the result, unless a file was written",
    "wrote": [{"file": "string: a file that was written", "bytes": "integer: its size"}],
})
def command(source: str, test: str, status: int, timeout: float, weights: bool, output: Path | None,
            as_json: bool) -> None:
    """Find a small graph on which COMMAND still exits with the same status (0, as in llvm-reduce).

    Outputs are dropped, subgraphs cut off behind and before, nodes replaced by their operands. Every candidate is a valid
    graph. For a graph that `tgraph check` finds wrong: --test "tgraph check" --status 1.

    \b
    Examples:
      $ tgraph reduce bert-tiny --no-weights --test "grep -q gelu" -o small.tg
    """
    from passes.debug.reduction import Reducer
    from tgraph.cli.console import console, print_graph
    from tgraph.cli.dump import accepted
    from tgraph.cli.models import load_graph

    words = shlex.split(test)
    if not words:
        raise click.UsageError("--test needs a command")
    graph = load_graph(source)
    out = console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="tgraph-reduce-") as folder, out.status("reducing") as shown:

        def interesting(candidate: Graph) -> bool:
            return _run(words, candidate, Path(folder) / "candidate.tg", weights, timeout) == status

        def progress(now: Reducer) -> None:
            shown.update(f"{len(now.graph)} of {len(graph)} nodes, {now.tried} tried")

        search = Reducer(graph.copy(), interesting, progress)
        try:
            result = search.run()
        except PassError as error:
            raise PassError(f"{error}; {shlex.join(words)} must exit with {status} on it") from None
    out.print(f"{len(graph)} to {len(result)} nodes; {search.tried} graphs tried", style="green", markup=False)
    if output is not None:
        result.dump(output, **accepted(output, weights=weights))
    if as_json:
        answer({"nodes_before": len(graph), "nodes_after": len(result), "tried": search.tried,
                "text": result.text() if output is None else None, "wrote": [] if output is None else written(output)}, True)
    elif output is None:
        print_graph(result.text())


def _run(words: list[str], graph: Graph, path: Path, weights: bool, timeout: float) -> int | None:
    """The exit status of the command on a graph; None if it runs out of time. Raises OSError if it cannot be started."""
    for old in path.parent.iterdir():
        old.unlink()
    complete = weights and all(name in graph.weights for block in (*graph.functions.values(), graph) for name in block.parameters)
    graph.dump(path, weights=complete)
    found = [w.replace("{}", str(path)) for w in words] if any("{}" in w for w in words) else [*words, str(path)]
    try:
        nothing = subprocess.DEVNULL
        return subprocess.run(found, stdout=nothing, stderr=nothing, timeout=timeout, check=False).returncode
    except subprocess.TimeoutExpired:
        return None

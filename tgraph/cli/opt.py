"""`tgraph opt`: run passes on a graph and print it, in the habit of mlir-opt."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from passes import Pass, PassRecord
    from tgraph.ir.graph import Graph


@click.command("opt")
@click.argument("source", metavar="FILE|MODEL")
@click.option("-p", "--passes", "pipeline", metavar="PIPELINE",
              help='Passes with commas, options in braces: "fold-constants,fuse-qkv{at_least=3}".')
@click.option("--level", metavar="LEVEL", help="The pipeline of a level, O0 to O3 [default: O2 if there is no -p].")
@click.option("--print-after-all", is_flag=True, help="Print the graph after each pass, on standard error.")
@click.option("--print-after", "after", multiple=True, metavar="NAME", help="Print the graph after this pass. Repeatable.")
@click.option("--verify-each", is_flag=True, help="Verify the graph after each pass.")
@click.option("--timing", is_flag=True, help="Say what each pass did and how long it took, on standard error.")
@click.option("--scopes", is_flag=True, help="Show the module that each node belongs to.")
@click.option("-o", "--output", metavar="FILE", type=click.Path(path_type=Path),
              help="Write a file in the format of its suffix [default: print the text form].")
def command(source: str, pipeline: str | None, level: str | None, print_after_all: bool, after: tuple[str, ...],
            verify_each: bool, timing: bool, scopes: bool, output: Path | None) -> None:
    """Run passes on a graph and print the result.

    \b
    Examples:
      $ tgraph opt bert-tiny -p fold-constants,fuse-qkv,dce --verify-each --timing
      $ tgraph opt bert-tiny --level O3 --print-after fuse-qkv -o tiny.svg
      $ tgraph dump bert-tiny | tgraph opt - -p cse
    """
    import tgraph as tg
    from tgraph.cli.console import console, print_graph, show_seconds, table
    from tgraph.cli.dump import accepted
    from tgraph.cli.models import load_graph

    if pipeline is not None and level is not None:
        raise click.UsageError("give -p or --level, not both")
    passes = tg.passes.parse_pipeline(pipeline if pipeline is not None else level or "O2")
    names = {p.pass_name() for p in passes}
    for name in after:
        if name not in names:
            raise click.UsageError(f"--print-after {name}: no such pass in this pipeline; it has "
                                   f"{', '.join(sorted(names)) or 'none'}")

    def show(step: Pass, graph: Graph, record: PassRecord) -> None:
        if print_after_all or step.pass_name() in after:
            print(f"# after {step}{'' if record.changed else ' (no change)'}", file=sys.stderr)
            print_graph(graph.text(scopes=scopes) + "\n", stderr=True)

    graph = load_graph(source)
    result, records = tg.passes.run_pipeline(graph, passes, verify_each=verify_each, observer=show)
    if timing:
        total = sum(r.seconds for r in records)
        rows = [(r.name, show_seconds(r.seconds), f"{r.seconds / total:.0%}" if total else "",
                 f"{r.nodes_before} -> {r.nodes_after}", "changed" if r.changed else "") for r in records]
        console(stderr=True).print(table(f"{len(records)} passes in {show_seconds(total)}",
                                         ("pass", ">time", ">share", ">nodes", ""), rows))
    if output is None:
        print_graph(result.text(scopes=scopes))
    else:
        result.dump(output, **accepted(output, scopes=scopes))

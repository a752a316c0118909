"""`tgraph import`: an ONNX model to a graph of tgraph's, and what of it fuses."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tgraph.cli.answers import answer, json_option, written

if TYPE_CHECKING:
    from rich.console import Console

    from tgraph.ir.dims import DimLike

def parse_sizes(ctx: click.Context, parameter: click.Parameter, texts: tuple[str, ...]) -> dict[str, DimLike]:
    """`--size batch=8,sequence=S`: a number, or the name of a dim."""
    from tgraph.ir.errors import ParseError
    from tgraph.ir.expressions import parse_dim

    sizes: dict[str, DimLike] = {}
    for item in ",".join(texts).split(",") if texts else ():
        name, equals, size = item.strip().partition("=")
        try:
            sizes[name] = parse_dim(size)
        except ParseError:
            equals = ""
        if not equals or not name:
            raise click.BadParameter(f"expected NAME=SIZE like batch=8 or batch=B, got {item!r}", ctx, parameter)
    return sizes


@click.command("import")
@click.argument("source", metavar="FILE.onnx", type=click.Path(dir_okay=False, path_type=Path))
@click.option("-o", "--output", metavar="FILE", type=click.Path(path_type=Path),
              help="Write the graph in the format of the suffix, a .tg with its weights beside it.")
@click.option("--size", "sizes", multiple=True, metavar="NAME=SIZE", callback=parse_sizes,
              help="A size, or another name, for one that the model names. Repeatable.")
@json_option({
    "name": "string: of the graph", "nodes": "integer: its nodes",
    "inputs": {"<name>": "string: its type"}, "outputs": {"<name>": "string: its type"},
    "parameters": {"tensors": "integer: how many there are", "elements": "integer: all their elements"},
    "seconds": "number: the time to read the model", "optimized_nodes": "integer: nodes after the passes",
    "fused": [{"kind": "string: attention, layer norm, ...", "fused": "integer: how many are one op",
               "apart": ["string: one that is not: its node, and why"]}],
    "wrote": [{"file": "string: a file that was written", "bytes": "integer: its size"}],
})
def command(source: Path, output: Path | None, sizes: dict[str, DimLike], as_json: bool) -> None:
    """Read an ONNX model, and say what it is and what of it fuses.

    All other commands take FILE.onnx as well; `tgraph opt FILE.onnx --explain` tells of each rule how near it came.

    \b
    Examples:
      $ tgraph export bert-tiny -o tiny.onnx
      $ tgraph import tiny.onnx --size B=batch -o tiny.tg
      $ tgraph check tiny.onnx
    """
    import time

    import tgraph as tg
    from tgraph.cli.console import show_bytes, show_count, show_seconds
    from tgraph.cli.opt import facts_of_fused, show_fused
    from tgraph.ir.dims import evaluate

    start = time.perf_counter()
    graph = tg.import_onnx(source, sizes)
    seconds = time.perf_counter() - start
    inputs = {i.name: str(i.type) for i in graph.inputs}
    outputs = {name: str(value.type) for name, value in graph.outputs}
    elements = sum(evaluate(p.type.size, {}) for p in graph.parameters.values())
    optimized = tg.optimize(graph)
    if output is not None:
        graph.dump(output)
    files = [] if output is None else written(output)

    def show(out: Console) -> None:
        signature, results = (", ".join(f"{name}: {type}" for name, type in side.items()) for side in (inputs, outputs))
        out.print(f"{graph.name}({signature}) -> ({results})", markup=False, soft_wrap=True)
        out.print(f"{len(graph)} nodes, {show_count(elements)} parameters in {len(graph.parameters)} tensors, read in "
                  f"{show_seconds(seconds)}", markup=False, soft_wrap=True)
        show_fused(out, optimized)
        for found in files:
            out.print(f"wrote {found['file']}: {show_bytes(found['bytes'])}", markup=False, soft_wrap=True)

    answer({"name": graph.name, "nodes": len(graph), "inputs": inputs, "outputs": outputs,
            "parameters": {"tensors": len(graph.parameters), "elements": elements}, "seconds": seconds,
            "optimized_nodes": len(optimized), "fused": facts_of_fused(optimized), "wrote": files}, as_json, show)


"""`tgraph import`: an ONNX model to a graph of tgraph's, and what of it fuses."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from tgraph.ir.dims import DimLike
    from tgraph.ir.graph import Graph

# what a fused op looks like where it stayed apart
REMAINS = {"attention": ("softmax",), "layer_norm, rms_norm": ("rsqrt",), "gelu": ("erf",)}


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
def command(source: Path, output: Path | None, sizes: dict[str, DimLike]) -> None:
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
    from tgraph.cli.console import console, show_bytes, show_count, show_seconds
    from tgraph.ir.dims import evaluate

    start = time.perf_counter()
    graph = tg.import_onnx(source, sizes)
    seconds = time.perf_counter() - start
    out = console()
    signature = ", ".join(f"{i.name}: {i.type}" for i in graph.inputs)
    results = ", ".join(f"{name}: {value.type}" for name, value in graph.outputs)
    elements = sum(evaluate(p.type.size, {}) for p in graph.parameters.values())
    out.print(f"{graph.name}({signature}) -> ({results})", markup=False, soft_wrap=True)
    out.print(f"{len(graph)} nodes, {show_count(elements)} parameters in {len(graph.parameters)} tensors, read in "
              f"{show_seconds(seconds)}", markup=False, soft_wrap=True)
    out.print(fused(tg.optimize(graph)))
    if output is not None:
        graph.dump(output)
        out.print(f"wrote {output}: {show_bytes(output.stat().st_size)}", markup=False, soft_wrap=True)


def fused(graph: Graph) -> Any:
    """How many of each fused op there are after the passes, and how many places look like one that stayed apart."""
    from collections import Counter

    from tgraph.cli.console import table

    def count(graph: Graph) -> Counter[str]:
        own = Counter(n.op.name for n in graph.nodes)
        return sum((count(n.attrs["function"]) for n in graph.nodes if "function" in n.attrs), own)

    counts = count(graph)
    rows = [(names, str(sum(counts[n] for n in names.split(", "))), str(sum(counts[r] for r in remains) or ""))
            for names, remains in REMAINS.items()]
    return table(f"{len(graph)} nodes after the passes", ("fused", ">found", ">stayed apart"), rows)

"""`tgraph dump`: a graph at one of its levels, as text, drawing or data."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import click

from tgraph.cli.options import target_option
from tgraph.ir.errors import CompileError
from tgraph.ir.graph import Graph
from tgraph.ir.levels import DEFAULT_LEVEL
from tgraph.ir.program import Program, as_program

COMPILED = ("relax", "tir", "llvm", "asm", "cuda", "ptx", "sass")
LEVELS = ("traced", "optimized", "kernels", "prepare", *COMPILED)


@click.command("dump")
@click.argument("source", metavar="FILE|MODEL")
@click.option("-o", "--output", metavar="FILE", type=click.Path(path_type=Path),
              help="Write a file in the format of its suffix (.tg .json .dot .svg ...) [default: print the text form].")
@click.option("--level", "stage", type=click.Choice(LEVELS), default="traced", show_default=True,
              help="How far down: the graph as given, after the passes, as kernel calls, what is made of the weights beforehand, "
                   "or what TVM and LLVM make of it; for a GPU, also as CUDA source, PTX and machine code.")
@click.option("-p", "--passes", "pipeline", default=DEFAULT_LEVEL, show_default=True, metavar="PIPELINE",
              help="Passes for the levels below traced: O0 to O3, or names with commas.")
@click.option("--scopes", is_flag=True, help="Show the module that each node belongs to.")
@click.option("--locations", is_flag=True, help="Show the line of Python that each node comes from.")
@click.option("--weights/--no-weights", default=True, show_default=True, help="Write the parameters' data beside a .tg file.")
@target_option
def command(source: str, output: Path | None, stage: str, pipeline: str, scopes: bool, locations: bool, weights: bool,
            target: str) -> None:
    """Print or write a graph.

    \b
    Examples:
      $ tgraph dump bert-tiny --scopes
      $ tgraph dump bert-tiny -o tiny.svg
      $ tgraph dump bert-tiny -o tiny.tg --no-weights
      $ tgraph dump tiny.tg --level kernels
      $ tgraph dump bert-tiny --level asm -o tiny.s
      $ tgraph dump bert-tiny --level cuda --target cuda:sm_90 -o tiny.cu
    """
    from tgraph.cli.console import console, print_graph, show_bytes

    found = at_level(source, stage, pipeline, target)
    if output is None:
        print_graph(found if isinstance(found, str) else found.text(scopes=scopes, locations=locations))
        return
    if not isinstance(found, str):
        found.dump(output, **accepted(output, scopes=scopes, locations=locations, weights=weights))
    else:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(found + "\n", encoding="utf-8")
    console(stderr=True).print(f"wrote {output}: {show_bytes(output.stat().st_size)}", markup=False, soft_wrap=True)


def at_level(source: str, level: str, pipeline: str, target: str) -> Graph | Program | str:
    """A graph or program at one of the levels of tgraph, or the text of one of TVM's; compiles only for the latter."""
    import tgraph as tg
    from tgraph.cli.models import is_bundle, load_executable, load_model

    if is_bundle(source) or level in COMPILED:
        exe = load_executable(source, target=target, pipeline=pipeline)[0]
        traced = exe.graph if isinstance(exe, tg.Executable) else exe.program
        graphs = {"traced": traced, "optimized": exe.optimized, "kernels": exe.kernels, "prepare": exe.prepare}
        return graphs[level] if level in graphs else exe.source(level)
    graph = load_model(source)
    if level == "traced":
        return graph
    where = tg.targets.Target.parse(target)
    graph = tg.optimize(graph, pipeline)
    if level == "optimized":
        return graph
    from targets.lowering.pipeline import kernel_graph
    from targets.lowering.split_prepare import split_prepare

    prepare, kernels = split_prepare(as_program(kernel_graph(graph, where), CompileError))
    return prepare if level == "prepare" else kernels if isinstance(graph, Program) else kernels[graph.name]


def accepted(path: Path, **options: Any) -> dict[str, Any]:
    """Those options that the format of the path's suffix has; an option that was asked for and is not there stays, and raises."""
    from tgraph.formats import FORMATS

    found = [f for f in FORMATS.values() if path.name.lower().endswith(f.suffix) and f.write is not None]
    if not found or found[0].write is None:
        return {}
    known = inspect.signature(found[0].write).parameters
    return {name: value for name, value in options.items() if name in known or (value and name != "weights")}

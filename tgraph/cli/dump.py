"""`tgraph dump`: a graph, or a part of it, at one of its levels, as text, drawing or data."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import click

from tgraph.cli.answers import answer, json_option
from tgraph.cli.completing import complete_model
from tgraph.cli.options import target_option
from tgraph.ir.errors import CompileError, GraphError
from tgraph.ir.folding import Fold
from tgraph.ir.graph import Graph
from tgraph.ir.levels import DEFAULT_LEVEL
from tgraph.ir.program import Program, as_program, only_graph

COMPILED = ("relax", "tir", "llvm", "asm", "cuda", "ptx", "sass")
LEVELS = ("traced", "optimized", "kernels", "prepare", *COMPILED)


class Levels(click.ParamType):  # type: ignore[type-arg]  # which older releases of click cannot name
    """The value of --fold: a number of levels of scopes, or "auto"."""

    name = "depth"

    def convert(self, value: Any, parameter: click.Parameter | None, ctx: click.Context | None) -> Fold:
        if isinstance(value, (bool, int)):
            return value
        if value != "auto" and not value.isdecimal():
            self.fail(f"expected how many levels of scopes to open, like --fold=2, got {value!r}", parameter, ctx)
        return True if value == "auto" else int(value)


def print_graph_schema(ctx: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    """Print the JSON Schema of .json files, and end."""
    if wanted:
        from tgraph.formats.json import SCHEMA

        click.echo(SCHEMA.read_text(encoding="utf-8"), nl=False)
        ctx.exit()


@click.command("dump")
@click.argument("source", metavar="FILE|MODEL", shell_complete=complete_model)
@click.option("-o", "--output", metavar="FILE", type=click.Path(path_type=Path),
              help="Write a file in the format of its suffix (.tg .json .dot .svg .png .mmd .onnx ...) [default: print the text "
                   "form].")
@click.option("--level", "stage", type=click.Choice(LEVELS), default="traced", show_default=True,
              help="How far down: the graph as given, after the passes, as kernel calls, what is made of the weights beforehand, "
                   "or what TVM and LLVM make of it; for a GPU, also as CUDA source, PTX and machine code.")
@click.option("-p", "--passes", "pipeline", default=DEFAULT_LEVEL, show_default=True, metavar="PIPELINE",
              help="Passes for the levels below traced: O0 to O3, or names with commas.")
@click.option("--scope", metavar="SCOPE", help="Only what stands for a scope of the model, as in encoder.layer.0.attention.")
@click.option("--node", metavar="%N|OUTPUT",
              help="Only one node, by its number in the graph of that level (below kernels: in that of kernels), or an output.")
@click.option("--fold", is_flag=False, flag_value="auto", default=False, type=Levels(), metavar="[DEPTH]",
              help="Show layers that are alike once, and close scopes below a depth [default: as deep as fits a screen].")
@click.option("--scopes", is_flag=True, help="Show the module that each node belongs to.")
@click.option("--locations", is_flag=True, help="Show the line of Python that each node comes from.")
@click.option("--weights/--no-weights", default=True, show_default=True, help="Write the parameters' data beside a .tg file.")
@target_option
@click.option("--schema", is_flag=True, is_eager=True, expose_value=False, callback=print_graph_schema,
              help="Print the JSON Schema of .json files.")
@json_option({
    "level": "string: the level that was asked for",
    "graph": "any: the graph as a .json file has it (tgraph dump --schema); null for levels that are text",
    "text": "string or null: the text of the level, for those that are no graphs",
    "wrote": "string or null: the file that was written",
    "bytes": "integer or null: its size",
})
def command(source: str, output: Path | None, stage: str, pipeline: str, scope: str | None, node: str | None, fold: Fold,
            scopes: bool, locations: bool, weights: bool, target: str, as_json: bool) -> None:
    """Print or write a graph, or a part of it, at any level.

    \b
    Examples:
      $ tgraph dump bert-tiny --scopes
      $ tgraph dump bert-base --fold
      $ tgraph dump bert-tiny -o tiny.svg --fold=2
      $ tgraph dump bert-tiny -o tiny.tg --no-weights
      $ tgraph dump tiny.tg --level kernels
      $ tgraph dump bert-tiny --level asm -o tiny.s
      $ tgraph dump bert-tiny --level tir --scope encoder.layer.0.attention.output
      $ tgraph dump bert-tiny --level cuda --target cuda:sm_90 -o tiny.cu
    """
    from tgraph.cli.console import console, print_graph, show_bytes
    from tgraph.formats.disk import replacing

    if scope is not None and node is not None:
        raise click.UsageError("give --scope or --node, not both")
    found = at_level(source, stage, pipeline, target, scope, node)
    text = found if isinstance(found, str) else None
    if text is not None and fold is not False:
        raise click.UsageError(f"--fold is for graphs, and the level {stage} is text")
    if output is not None and text is not None:
        with replacing(output) as file:
            file.write((text + "\n").encode())
    elif output is not None and not isinstance(found, str):
        found.dump(output, **accepted(output, scopes=scopes, locations=locations, weights=weights, fold=fold))
    size = output.stat().st_size if output is not None else None
    if as_json:
        from tgraph.formats.json import to_json

        graph = None if isinstance(found, str) or output is not None else to_json(found)
        answer({"level": stage, "graph": graph, "text": text if output is None else None, "wrote": output, "bytes": size}, True)
    elif size is not None:
        console(stderr=True).print(f"wrote {output}: {show_bytes(size)}", markup=False, soft_wrap=True)
    else:
        print_graph(found if isinstance(found, str) else found.text(scopes=scopes, locations=locations, fold=fold))


def at_level(source: str, level: str, pipeline: str, target: str, scope: str | None = None,
             node: str | None = None) -> Graph | Program | str:
    """A graph or program at one of the levels of tgraph, or the text of one of TVM's; compiles only for the latter.

    scope, node: only that part of it.
    """
    import tgraph as tg
    from tgraph.cli.models import is_bundle, load_executable, only_executable

    if not is_bundle(source) and level not in COMPILED:
        return part_of(_lowered_to(source, level, pipeline, target), source, scope, node)
    exe = load_executable(source, target=target, pipeline=pipeline)[0]
    traced = exe.graph if isinstance(exe, tg.Executable) else exe.program
    graphs = {"traced": traced, "optimized": exe.optimized, "kernels": exe.kernels, "prepare": exe.prepare}
    if level in graphs:
        return part_of(graphs[level], source, scope, node)
    return exe.source(level, scope=scope) if node is None else only_executable(exe, source).source(level, node=node)


def part_of(model: Graph | Program, source: str, scope: str | None, node: str | None) -> Graph | Program:
    """The part of a graph or program that --scope or --node name, if one is given."""
    if node is not None:
        return only_graph(model, GraphError, f"{source}:{{name}}", quoted=False).part(node=node)
    return model if scope is None else model.part(scope)


def _lowered_to(source: str, level: str, pipeline: str, target: str) -> Graph | Program:
    import tgraph as tg
    from tgraph.cli.models import load_model

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

"""`tgraph compile`: a model to one file that loads and runs without compiling."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tgraph.cli.answers import answer, json_option, written
from tgraph.cli.completing import complete_model
from tgraph.cli.options import Numbers, level_option, passes_option, precision_options

if TYPE_CHECKING:
    from rich.console import Console


@click.command("compile")
@click.argument("source", metavar="FILE|MODEL", shell_complete=complete_model)
@click.option("-o", "--output", metavar="FILE.tgc", type=click.Path(path_type=Path), required=True, help="The bundle to write.")
@click.option("--originals", is_flag=True,
              help="Put the weights as they were loaded in as well: the bundle can then be checked and given other weights.")
@level_option
@passes_option
@precision_options
@click.option("--target", "targets", multiple=True, default=("cpu",), show_default=True, metavar="TARGET",
              help="What to compile for: cpu, cuda, cpu:NAME, cuda:sm_NN; `tgraph targets` explains. Repeatable: of several "
                   "variants in one bundle, the machine that loads it takes the one that fits it best.")
@json_option({
    "target": "string: what was compiled for, the first of several",
    "variants": [{"target": "string: what was compiled for", "calls": "integer: of kernels, in all graphs",
                  "kernels": "integer: different ones", "seconds": "number: of the compilation",
                  "cache": "string or null: how the compile cache took part",
                  "choice": "string or null: what --precision auto took, and the errors"}],
    "graphs": [{"name": "string: the graph", "nodes": "integer: of the graph as given", "calls": "integer: of kernels",
                "kernels": "integer: different ones"}],
    "seconds": {"<phase>": "number: the time of a phase of the compilation"},
    "cache": "string or null: how the compile cache took part",
    "choice": "string or null: what --precision auto took, and the errors",
    "wrote": [{"file": "string: a file that was written", "bytes": "integer: its size"}],
})
def command(source: str, output: Path, originals: bool, level: str, pipeline: str | None, targets: tuple[str, ...],
            numbers: Numbers, as_json: bool) -> None:
    """Compile a graph or model to a bundle: library, prepared weights and graphs in one file.

    \b
    Examples:
      $ tgraph compile bert-tiny -o tiny.tgc --originals
      $ tgraph compile bert-tiny -o tiny-v3.tgc --target cpu:x86-64-v3
      $ tgraph compile bert-tiny -o tiny-auto.tgc --precision auto --tolerance 5e-2
      $ tgraph compile bert-tiny -o tiny-both.tgc --target cpu:x86-64-v3 --target cpu:x86-64-v4
      $ tgraph run tiny.tgc --random --dim B=2,S=16
    """
    import time

    from tgraph.cli.console import show_bytes, show_seconds
    from tgraph.cli.models import compile_model, graphs_of, is_bundle, load_model

    if is_bundle(source):
        raise click.UsageError(f"{source} is compiled already; name a graph or a model")
    if not is_bundle(output.name):
        raise click.UsageError(f"--output {output}: the name of a bundle ends in .tgc")
    model = load_model(source)
    made: list[dict[str, Any]] = []  # what is told of each variant

    def compiled(target: str) -> Any:
        exe, steps = compile_model(model, target, level=level, pipeline=pipeline, numbers=numbers)
        graphs = [{"name": name, "nodes": len(one.graph), "calls": len(one.kernels), "kernels": len(one.kernels.functions)}
                  for name, one in graphs_of(exe).items()]
        made.append({"target": str(exe.target), "graphs": graphs, "steps": steps, "kernels": len(exe.kernels.functions),
                     "cache": exe.cache and str(exe.cache), "choice": exe.choice and str(exe.choice)})
        return exe

    exe = compiled(targets[0])
    start = time.perf_counter()
    # each variant is compiled when the one before is written: one is in memory at a time
    exe.save(output, originals=originals, variants=(compiled(t) for t in targets[1:]) if len(targets) > 1 else ())
    seconds = time.perf_counter() - start - sum(one["steps"].total for one in made[1:])

    def show(out: Console) -> None:
        for one in made:
            _show(out, one)
        out.print(f"wrote {output}: {show_bytes(output.stat().st_size)} in {show_seconds(seconds)}", markup=False, soft_wrap=True)

    first = made[0]
    answer({"target": first["target"], "seconds": first["steps"].seconds, "cache": first["cache"], "choice": first["choice"],
            "variants": [{"target": one["target"], "calls": sum(graph["calls"] for graph in one["graphs"]),
                          "kernels": one["kernels"], "seconds": one["steps"].total, "cache": one["cache"],
                          "choice": one["choice"]} for one in made],
            "graphs": first["graphs"], "wrote": written(output)}, as_json, show)


def _show(out: Console, made: Mapping[str, Any]) -> None:
    for one in made["graphs"]:
        out.print(f"{one['name']}: {one['nodes']} nodes to {one['calls']} calls of {one['kernels']} kernels for "
                  f"{made['target']}", markup=False, soft_wrap=True)
    if made["choice"] is not None:
        out.print(f"--precision auto took {made['choice']}", markup=False, soft_wrap=True)
    out.print(f"compiled in {made['steps']}", soft_wrap=True)
    if made["cache"] is not None:
        out.print(f"compile cache: {made['cache']}", markup=False, soft_wrap=True)

"""`tgraph memory`: what a call keeps in memory, and where."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from tgraph.cli.answers import answer, json_option, written
from tgraph.cli.completing import complete_model
from tgraph.cli.options import (
    Dims,
    Numbers,
    check_dims,
    dim_option,
    level_option,
    merged,
    passes_option,
    precision_options,
    target_option,
)

if TYPE_CHECKING:
    from rich.console import Console


@click.command("memory")
@click.argument("source", metavar="FILE|MODEL", shell_complete=complete_model)
@dim_option
@click.option("-o", "--output", metavar="FILE.svg", type=click.Path(dir_okay=False, path_type=Path),
              help="Draw the plan: calls from left to right, addresses upwards, a rectangle a value.")
@click.option("--color", type=click.Choice(("scope", "op")), default="scope", show_default=True,
              help="What has a colour in the picture: a layer of the model, or a kernel.")
@click.option("--all", "everything", is_flag=True, help="List all values, and not the largest alone.")
@level_option
@passes_option
@precision_options
@target_option
@json_option({
    "graphs": [{
        "name": "string: the graph", "target": "string: what it is compiled for", "sizes": {"<dim>": "integer: its size"},
        "calls": ["string: a kernel, in the order of calls"],
        "values": [{"name": "string: as the text of kernels calls it", "type": "string: its type",
                    "kernel": "string: that writes it", "scope": "string: of the model",
                    "first": "integer: the call that writes it",
                    "last": "integer: the last call that needs it", "offset": "integer: in the arena",
                    "bytes": "integer: its own", "room": "integer: with alignment",
                    "reuses": ["string: a value that had this place before"]}],
        "arena_bytes": "integer: of the arena", "slots_bytes": "integer: of it for inputs and outputs, on a GPU",
        "weights_bytes": "integer: of what kernels read", "inputs": {"<input>": "integer: bytes"},
        "outputs": {"<output>": "integer: bytes"}, "states": {"<state>": "integer: bytes"},
        "planned_bytes": "integer: for values between kernels", "lower_bound": "integer: the largest sum needed at one time",
        "alignment_bytes": "integer: what alignment adds", "fragmentation_bytes": "integer: planned beyond these",
        "unshared_bytes": "integer: with a place for each", "live": ["integer: bytes needed during a call"],
    }],
    "wrote": [{"file": "string: a file that was written", "bytes": "integer: its size"}],
})
def command(source: str, dims: Dims, output: Path | None, color: Literal["scope", "op"], everything: bool, level: str,
            pipeline: str | None, target: str, numbers: Numbers, as_json: bool) -> None:
    """Show the memory of a call at some sizes: the arena, who takes whose place in it, and what no plan could do without.

    Nothing runs: the plan follows from the graph and the sizes. Of a program with several graphs, each has its table, and the
    file its name (plan.encode.svg).

    \b
    Examples:
      $ tgraph memory bert-tiny --dim B=1,S=128
      $ tgraph memory bert-tiny --dim B=8,S=64 -o plan.svg --color op
    """
    from targets.runtime.memory import SHOWN, ProgramMemory
    from tgraph.cli.models import graphs_of, load_executable

    exe = load_executable(source, target=target, level=level, pipeline=pipeline, numbers=numbers)[0]
    graphs = graphs_of(exe)
    check_dims([one.graph for one in graphs.values()], dims)
    reports = ProgramMemory((name, one.memory(**{n: s for n, s in merged(dims).items() if n in one.graph.symbols}))
                            for name, one in graphs.items())
    files = []
    for name, report in reports.items():
        if output is not None:
            path = output if len(reports) == 1 else output.with_suffix(f".{name}{output.suffix}")
            path.parent.mkdir(parents=True, exist_ok=True)
            report.picture(path, color)
            files.append(path)

    def show(out: Console) -> None:
        for report in reports.values():
            out.print(report.text(None if everything else SHOWN), markup=False, soft_wrap=True)
        for path in files:
            out.print(f"wrote {path}", markup=False, soft_wrap=True)

    answer({"graphs": [report.to_json() for report in reports.values()], "wrote": written(*files)}, as_json, show)

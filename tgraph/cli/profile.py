"""`tgraph profile`: where the time of a call goes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

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
    seed_option,
    target_option,
    threads_option,
)

if TYPE_CHECKING:
    from rich.console import Console

    from targets.base.yardstick import Yardstick
    from targets.runtime.profile import By

GROUPS = ("kernel", "call", "op", "node", "scope", "layer")
FILE = click.Path(dir_okay=False, path_type=Path)


@click.command("profile")
@click.argument("source", metavar="FILE|MODEL", shell_complete=complete_model)
@dim_option
@click.option("--repeats", type=click.IntRange(min=1), default=10, show_default=True,
              help="Runs; each call's time is the median.")
@click.option("--by", type=click.Choice(GROUPS), default="kernel", show_default=True,
              help="Sum by kernel, op, module (scope, with all inside), layer (encoder.layer.3), or list all calls or nodes.")
@click.option("--by-layer", is_flag=True, help="The same as --by layer.")
@click.option("--trace", metavar="FILE.json", type=FILE, help="Write a trace for Perfetto (ui.perfetto.dev) or chrome://tracing.")
@click.option("--flame", metavar="FILE.svg", type=FILE, help="Write a flame graph by scope; any browser shows it.")
@click.option("--roofline", metavar="FILE.png", type=FILE, help="Plot kernels under the machine's roofline (needs matplotlib).")
@click.option("--no-probe", is_flag=True, help="Do not measure what the machine can do; saves some seconds.")
@seed_option
@level_option
@passes_option
@precision_options
@target_option
@threads_option
@json_option({
    "graphs": [{
        "graph": "string: its name", "target": "string: what it is compiled for", "sizes": {"<dim>": "integer: its size"},
        "threads": "integer: that run kernels", "microseconds": "number: of a call, the sum of rows and overheads",
        "wall_microseconds": "number: of a call by the clock, without an instrument", "wall_samples": ["number: of one run"],
        "reconciled": "boolean: whether kernels took no longer than calls", "yardstick": "any: null, or an object of peak "
        "(f32 operations a second), narrow (the same of products of bf16 or i8, by type), bandwidth (bytes a second) and threads",
        "rows": [{
            "kernel": "string: what is called", "scope": "string: the module of the model", "microseconds": "number: the median",
            "low": "number: the lower quartile", "high": "number: the upper quartile", "samples": ["number: of one run"],
            "flops": "integer: operations", "bytes": "integer: read and written", "host": "boolean: whether NumPy computes it",
            "nodes": [{"op": "string: its name", "scope": "string: its module", "where": "string: lines of code",
                       "share": "number: of the row's time", "microseconds": "number: its part", "flops": "integer: operations",
                       "bytes": "integer: that enter or leave the kernel",
                       "multiplies": "string: bf16 or i8, of a product of such",
                       "estimated": "boolean: whether the time is split"}],
        }],
        "overheads": [{"name": "string: what it is", "microseconds": "number: its time", "meaning": "string: in words"}],
    }],
    "wrote": [{"file": "string: a file that was written", "bytes": "integer: its size"}],
})
def command(source: str, dims: Dims, repeats: int, by: By, by_layer: bool, trace: Path | None, flame: Path | None,
            roofline: Path | None, no_probe: bool, seed: int, level: str, pipeline: str | None, target: str,
            threads: int | None, numbers: Numbers, as_json: bool) -> None:
    """Time a call: its kernels, what they stand for in the model, what is between them, and what the machine could do.

    The lines add up to the time of the whole call. Shares of peak and memory are of what is measured on this machine before
    and after. Times of nodes, ops and scopes are estimates where a kernel stands for several nodes. Of a program with
    several graphs, each is profiled, and the files have its name in theirs (trace.encode.json).

    \b
    Examples:
      $ tgraph profile tiny.tgc --dim B=1,S=128
      $ tgraph profile tiny.tgc --dim B=8,S=128 --by scope --no-probe
      $ tgraph profile bert-tiny --by op --trace trace.json --flame flame.svg --no-probe --repeats 3
    """
    from targets.runtime.profile import ProgramProfile
    from targets.runtime.profile_table import as_text
    from tgraph.cli.models import graphs_of, load_executable
    from tgraph.reference.inputs import generate_inputs

    if no_probe and roofline:
        raise click.UsageError("--roofline draws what --no-probe leaves out; give one of them")
    exe = load_executable(source, target=target, level=level, pipeline=pipeline, threads=threads, numbers=numbers)[0]
    graphs = graphs_of(exe)
    check_dims([one.graph for one in graphs.values()], dims)
    profiles = ProgramProfile()
    yardstick: Yardstick | bool = not no_probe
    for name, one in graphs.items():
        sizes = {dim: size for dim, size in merged(dims).items() if dim in one.graph.symbols}
        found = profiles[name] = one.profile_feeds(generate_inputs(one.graph, sizes, seed), repeats, yardstick)
        yardstick = found.yardstick or yardstick
    files = []
    for name, found in profiles.items():
        for file, write in ((trace, found.chrome_trace), (flame, found.flame_graph), (roofline, found.roofline)):
            if file is not None:
                path = file if len(profiles) == 1 else file.with_suffix(f".{name}{file.suffix}")
                path.parent.mkdir(parents=True, exist_ok=True)
                write(path)
                files.append(path)

    def show(out: Console) -> None:
        for found in profiles.values():
            out.print(as_text(found, "layer" if by_layer else by), markup=False, soft_wrap=True)
        for path in files:
            out.print(f"wrote {path}", markup=False, soft_wrap=True)

    answer({"graphs": [found.to_json() for found in profiles.values()], "wrote": written(*files)}, as_json, show)

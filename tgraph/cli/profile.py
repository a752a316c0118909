"""`tgraph profile`: where the time of a call goes."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from tgraph.cli.options import (
    Dims,
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
    from rich.table import Table

    from targets.runtime.profile import Profile, ProfileRow

GROUPS = ("kernel", "layer", "scope", "call")


@click.command("profile")
@click.argument("source", metavar="FILE|MODEL")
@dim_option
@click.option("--repeats", type=click.IntRange(min=1), default=10, show_default=True,
              help="Runs; each call's time is the median.")
@click.option("--by", type=click.Choice(GROUPS), default="kernel", show_default=True,
              help="Sum by kernel, by layer (encoder.layer.3), by module, or list every call.")
@click.option("--by-layer", is_flag=True, help="The same as --by layer.")
@seed_option
@level_option
@passes_option
@precision_options
@target_option
@threads_option
def command(source: str, dims: Dims, repeats: int, by: str, by_layer: bool, seed: int, level: str, pipeline: str | None,
            target: str, threads: int | None, precision: str, weights: str) -> None:
    """Time each kernel call, and show where it comes from in the model.

    \b
    Examples:
      $ tgraph profile tiny.tgc --dim B=1,S=128
      $ tgraph profile tiny.tgc --dim B=8,S=128 --by-layer --repeats 20
    """
    from tgraph.cli.console import console
    from tgraph.cli.models import graphs_of, load_executable
    from tgraph.reference.inputs import generate_inputs

    exe = load_executable(source, target=target, level=level, pipeline=pipeline, threads=threads, precision=precision,
                          weights=weights)[0]
    graphs = graphs_of(exe)
    check_dims([one.graph for one in graphs.values()], dims)
    for one in graphs.values():
        sizes = {name: size for name, size in merged(dims).items() if name in one.graph.symbols}
        found = one.profile(repeats=repeats, **generate_inputs(one.graph, sizes, seed))
        console().print(_table(found, "layer" if by_layer else by))


def _table(found: Profile, by: str) -> Table:
    from tgraph.cli.console import bar, show_count, table

    total = found.microseconds or 1.0
    groups = grouped(found, by)
    longest = max((us for _, _, us, _ in groups), default=1.0) or 1.0
    rows = [(name, str(calls), f"{us:.1f}", f"{us / total:.1%}", show_count(flops), f"{flops / us / 1e3:.1f}" if us else "",
             bar(us / longest)) for name, calls, us, flops in groups]
    sizes = ", ".join(f"{name}={size}" for name, size in found.sizes.items()) or "static sizes"
    made: Table = table(f"{found.name} at {sizes}: {found.microseconds / 1e3:.3f} ms in {len(found.rows)} calls",
                        (by, ">calls", ">us", ">share", ">FLOPs", ">GFLOP/s", ""), rows)
    return made


def grouped(profile: Profile, by: str) -> list[tuple[str, int, float, int]]:
    """(name, calls, microseconds, FLOPs) of each group: kernels by time, the others in the order of the model."""
    if by == "kernel":
        return profile.by_kernel()
    if by == "call":
        return [(f"{r.kernel}  {r.scope}".rstrip(), 1, r.microseconds, r.flops) for r in profile.rows]
    name: Callable[[ProfileRow], str] = layer_of if by == "layer" else lambda row: row.scope or "(top)"
    sums: dict[str, tuple[int, float, int]] = {}
    for row in profile.rows:
        calls, microseconds, flops = sums.get(name(row), (0, 0.0, 0))
        sums[name(row)] = calls + 1, microseconds + row.microseconds, flops + row.flops
    return [(key, *value) for key, value in sums.items()]


def layer_of(row: ProfileRow) -> str:
    """`encoder.layer.3.attention.self` -> `encoder.layer.3`; without a number, the first two names of the path.

    Names of ONNX's exporters have slashes: `/encoder/layer.3/attention/MatMul` -> `/encoder/layer.3`.
    """
    numbered = re.match(r"(.*?[./])?\d+(?=[./]|$)", row.scope)
    return numbered.group() if numbered else "".join(re.findall(r"[./]?[^./]+", row.scope)[:2]) or "(top)"

"""`tgraph compile`: a model to one file that loads and runs without compiling."""

from __future__ import annotations

from pathlib import Path

import click

from tgraph.cli.options import level_option, passes_option, precision_options, target_option


@click.command("compile")
@click.argument("source", metavar="FILE|MODEL")
@click.option("-o", "--output", metavar="FILE.tgc", type=click.Path(path_type=Path), required=True, help="The bundle to write.")
@click.option("--originals", is_flag=True,
              help="Put the weights as they were loaded in as well: the bundle can then be checked and given other weights.")
@level_option
@passes_option
@precision_options
@target_option
def command(source: str, output: Path, originals: bool, level: str, pipeline: str | None, target: str,
            precision: str, weights: str) -> None:
    """Compile a graph or model to a bundle: library, prepared weights and graphs in one file.

    \b
    Examples:
      $ tgraph compile bert-tiny -o tiny.tgc --originals
      $ tgraph compile bert-tiny -o tiny-v3.tgc --target cpu:x86-64-v3
      $ tgraph run tiny.tgc --random --dim B=2,S=16
    """
    import time

    from tgraph.cli.console import console, show_bytes, show_seconds
    from tgraph.cli.models import graphs_of, is_bundle, load_executable

    if is_bundle(source):
        raise click.UsageError(f"{source} is compiled already; name a graph or a model")
    if not is_bundle(output.name):
        raise click.UsageError(f"--output {output}: the name of a bundle ends in .tgc")
    exe, steps = load_executable(source, target=target, level=level, pipeline=pipeline, precision=precision, weights=weights)
    start = time.perf_counter()
    exe.save(output, originals=originals)
    out = console()
    for name, one in graphs_of(exe).items():
        out.print(f"{name}: {len(one.graph)} nodes to {len(one.kernels)} calls of {len(one.kernels.functions)} kernels for "
                  f"{one.target}", markup=False, soft_wrap=True)
    out.print(f"compiled in {steps}", soft_wrap=True)
    if exe.cache is not None:
        out.print(f"compile cache: {exe.cache}", markup=False, soft_wrap=True)
    out.print(f"wrote {output}: {show_bytes(output.stat().st_size)} in {show_seconds(time.perf_counter() - start)}", markup=False,
              soft_wrap=True)

"""`tgraph check`: the compiled model against the NumPy reference."""

from __future__ import annotations

import click

from tgraph.cli.options import (
    Dims,
    check_dims,
    dim_option,
    level_option,
    passes_option,
    precision_options,
    seed_option,
    target_option,
    threads_option,
)
from tgraph.ir.errors import CompileError


@click.command("check")
@click.argument("source", metavar="FILE|MODEL")
@dim_option
@seed_option
@click.option("--tol", type=float, metavar="ERROR",
              help="Largest allowed max|y - r| / max(1, max|r|) [default: by element type].")
@level_option
@passes_option
@precision_options
@target_option
@threads_option
def command(source: str, dims: Dims, seed: int, tol: float | None, level: str, pipeline: str | None, target: str,
            threads: int | None, precision: str, weights: str) -> None:
    """Compare with the NumPy reference in float64, on generated inputs; each --dim is a trial of its own.

    Names the first node that diverges. With reduced precision, a table says how far the results are from
    those in f32. Exit status 1 if there is a difference above the tolerance.

    \b
    Examples:
      $ tgraph check bert-tiny
      $ tgraph check tiny.tgc --dim B=1,S=1 --dim B=3,S=33
      $ tgraph check minilm --weights i8
    """
    import tgraph as tg
    from tgraph.cli.console import console, table
    from tgraph.cli.models import graphs_of, is_bundle, load_executable
    from tgraph.ir.dtypes import f32
    from tgraph.reference.checker import reduced_tolerance
    from tgraph.reference.tolerance import tolerance

    exe = load_executable(source, target=target, level=level, pipeline=pipeline, threads=threads, precision=precision,
                          weights=weights)[0]
    graphs = graphs_of(exe)
    if is_bundle(source) and (missing := [n for one in graphs.values() for n in one.graph.parameters if n not in one.weights]):
        raise CompileError(f"{source} cannot be checked: it does not hold the original weights ({missing[0]}, ...); write it "
                           "with tgraph compile --originals")
    check_dims([one.graph for one in graphs.values()], dims)
    report = tg.check(exe, sizes=dims, seed=seed, tol=tol)
    console().print(str(report), style="green" if report else "bold red", markup=False, soft_wrap=True)
    if any(reduced_tolerance(one.optimized) > tolerance(f32) for one in graphs.values()):
        found = tg.reference.accuracy(exe, sizes=dims, seed=seed)
        columns = [name if i < 2 else f">{name}" for i, name in enumerate(found.COLUMNS)]
        console().print(table(f"{found.name} against f32", columns, found.cells()))
    if not report:
        raise SystemExit(1)

"""`tgraph run`: feed arrays from files, or random ones, and summarise what comes out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from tgraph.ir.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from tgraph.ir.graph import Graph


@click.command("run")
@click.argument("source", metavar="FILE|MODEL")
@click.option("--input", "inputs", multiple=True, metavar="NAME=FILE.npy", help="An input's array. Repeatable.")
@click.option("--random", is_flag=True, help="Generate the inputs that are not given.")
@dim_option
@seed_option
@click.option("-o", "--output", metavar="FILE.npz", type=click.Path(path_type=Path), help="Write the outputs by name.")
@level_option
@passes_option
@precision_options
@target_option
@threads_option
def command(source: str, inputs: tuple[str, ...], random: bool, dims: Dims, seed: int, output: Path | None, level: str,
            pipeline: str | None, target: str, threads: int | None, precision: str, weights: str) -> None:
    """Run a bundle, or a graph or model that is compiled first, and print a summary of each output.

    Of a program with several graphs, FILE:NAME is the one to run.

    \b
    Examples:
      $ tgraph run tiny.tgc --random --dim B=2,S=7 -o outputs.npz
      $ tgraph run tiny.tgc --input input_ids=ids.npy --input mask=mask.npy
      $ tgraph run bert-tiny --input input_ids=ids.npy --random --target numpy
    """
    from tgraph.cli.console import console, show_seconds, table
    from tgraph.cli.models import load_executable, only_executable

    given = {}
    for text in inputs:
        name, equals, file = text.partition("=")
        if not equals:
            raise click.UsageError(f"--input {text}: expected NAME=FILE.npy")
        given[name] = _load(Path(file))
    exe = only_executable(load_executable(source, target=target, level=level, pipeline=pipeline, threads=threads,
                                          precision=precision, weights=weights, one=True)[0], source)
    feeds = complete_feeds(exe.graph, given, random, dims, seed)

    import time

    import numpy as np

    start = time.perf_counter()
    outputs = exe.run(feeds)
    seconds = time.perf_counter() - start
    out = console()
    out.print(table(f"{exe.graph.name} on {exe.target}: {show_seconds(seconds)}, the first call",
                    ("output", "type", ">mean", ">std", ">min", ">max", "first values"),
                    [_summary(name, array) for name, array in outputs.items()]))
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        with open(output, "wb") as stream:
            np.savez(stream, **outputs)  # type: ignore[arg-type]
        out.print(f"wrote {output}", markup=False, soft_wrap=True)


def complete_feeds(graph: Graph, given: Mapping[str, np.ndarray], random: bool, dims: Dims, seed: int) -> dict[str, Any]:
    """The given arrays, and generated ones for the other inputs, of the sizes that the given ones have.

    Raises InputError if inputs are missing and none are to be generated.
    """
    from tgraph.ir.dims import as_symbol
    from tgraph.reference.inputs import generate_inputs

    check_dims([graph], dims)
    missing = [i.name for i in graph.inputs if i.name not in given]
    if missing and not random:
        raise InputError(f"{graph.name}: no array for input {', '.join(missing)}; give --input {missing[0]}=FILE.npy, "
                         "or --random")
    if not missing:
        return dict(given)
    sizes: dict[str, int] = merged(dims)
    for declared in graph.inputs:
        if declared.name in given:
            for size, extent in zip(declared.shape, given[declared.name].shape):
                symbol = as_symbol(size)
                if symbol is not None:
                    sizes[symbol.name] = int(extent)
    return {**generate_inputs(graph, sizes, seed), **given}


def _load(path: Path) -> np.ndarray:
    import numpy as np

    try:
        array = np.load(path, allow_pickle=False)
    except ValueError as error:
        raise InputError(f"{path} is no array of NumPy: {error}") from None
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path} holds several arrays; an input is one .npy file")
    return array


def _summary(name: str, array: np.ndarray) -> list[str]:
    import numpy as np

    shown = f"{array.dtype}[{', '.join(map(str, array.shape))}]"
    if not array.size:
        return [name, shown, "", "", "", "", "empty"]
    values = array.astype(np.float64)
    first = " ".join(f"{v:.4g}" for v in values.reshape(-1)[:4]) + (" ..." if array.size > 4 else "")
    odd = int(array.size - np.isfinite(values).sum())
    return [name, shown, *(f"{float(v):.4g}" for v in (values.mean(), values.std(), values.min(), values.max())),
            first + (f"  {odd} not finite" if odd else "")]

"""`tgraph run`: feed arrays from files, or random ones, and summarise what comes out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tgraph.cli.answers import answer, json_option, plain, written
from tgraph.cli.completing import complete_model
from tgraph.cli.exit_status import DIFFERS
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
from tgraph.ir.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from rich.console import Console

    from tgraph.ir.graph import Graph
    from tgraph.reference.node_values import On, Values



NUMBERS = {
    "shape": ["integer: the size of an axis"], "low": "number: the lowest finite element", "high": "number: the highest",
    "mean": "number: of the finite ones", "std": "number: their standard deviation", "zeros": "integer: how many are 0",
    "nans": "integer: how many are NaN", "infinities": "integer: how many are infinite",
    "histogram": ["integer: finite elements in one of equal parts from low to high"],
}


@click.command("run")
@click.argument("source", metavar="FILE|MODEL", shell_complete=complete_model)
@click.option("--input", "inputs", multiple=True, metavar="NAME=FILE.npy", help="An input's array. Repeatable.")
@click.option("--random", is_flag=True, help="Generate the inputs that are not given.")
@dim_option
@seed_option
@click.option("-o", "--output", metavar="FILE.npz", type=click.Path(path_type=Path), help="Write the outputs by name.")
@click.option("--nodes", multiple=True, metavar="PATTERN",
              help="Show what is in the values of nodes: by scope, op, both (layer.0.*.softmax), value (%12), line or output. "
                   "Repeatable.")
@click.option("--dump-values", "folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path),
              help="Write the values of the nodes (of all, without --nodes) to DIR/values.npz.")
@click.option("--find-nonfinite", is_flag=True, help="Find the first node that makes a NaN or an infinity of finite numbers.")
@click.option("--reference", is_flag=True, help="Take values from NumPy and the graph as it was given, not from the target.")
@level_option
@passes_option
@precision_options
@target_option
@threads_option
@json_option({
    "graph": "string: its name", "target": "string: what ran it", "seconds": "number: of the first call",
    "outputs": [{"name": "string: of the output", "type": "string: element type and sizes", "numbers": NUMBERS}],
    "values": [{"name": "string: scope and op of the node", "value": "string: as the text calls it", "op": "string: its name",
                "scope": "string: its module", "where": "string: scopes and lines", "type": "string: element type and sizes",
                "numbers": NUMBERS}],
    "gone": [{"name": "string: a node that the passes did away with", "became": ["string: a node that came of it"]}],
    "nonfinite": "any: null without --find-nonfinite, else an object of ok, first, makers, sources and outputs",
    "wrote": [{"file": "string: a file that was written", "bytes": "integer: its size"}],
})
def command(source: str, inputs: tuple[str, ...], random: bool, dims: Dims, seed: int, output: Path | None,
            nodes: tuple[str, ...], folder: Path | None, find_nonfinite: bool, reference: bool, level: str,
            pipeline: str | None, target: str, threads: int | None, numbers: Numbers, as_json: bool) -> None:
    """Run a bundle, or a graph or model that is compiled first, and print a summary of each output.

    Of a program with several graphs, FILE:NAME is the one to run. Values of nodes are those of the graph that the passes
    made, on the target; nodes that it no longer has are named, with what has come of them. Of a bundle for several
    targets, --target takes another one than what fits this machine best. Exit status 1 if --find-nonfinite finds something.

    \b
    Examples:
      $ tgraph run tiny.tgc --random --dim B=2,S=7 -o outputs.npz
      $ tgraph run tiny.tgc --input input_ids=ids.npy --input mask=mask.npy
      $ tgraph run bert-tiny --input input_ids=ids.npy --random --target numpy
      $ tgraph run tiny.tgc --random --nodes encoder.layer.0 --dump-values values
      $ tgraph run tiny.tgc --random --find-nonfinite
    """
    import tgraph as tg
    from tgraph.cli.console import show_seconds, table
    from tgraph.cli.models import load_executable, only_executable
    from tgraph.formats.disk import replacing
    from tgraph.reference.statistics import Statistics

    given = {}
    for text in inputs:
        name, equals, file = text.partition("=")
        if not equals:
            raise click.UsageError(f"--input {text}: expected NAME=FILE.npy")
        given[name] = _load(Path(file))
    if reference and not (nodes or folder or find_nonfinite):
        raise click.UsageError("--reference goes with --nodes, --dump-values or --find-nonfinite; --target numpy runs in NumPy")
    exe = only_executable(load_executable(source, target=target, level=level, pipeline=pipeline, threads=threads,
                                          numbers=numbers, one=True)[0], source)
    feeds = complete_feeds(exe.graph, given, random, dims, seed)

    import time

    import numpy as np

    start = time.perf_counter()
    outputs = exe.run(feeds)
    seconds = time.perf_counter() - start
    files = []
    if output is not None:
        with replacing(output) as stream:
            np.savez(stream, **outputs)  # type: ignore[arg-type]
        files.append(output)
    on: On = "reference" if reference else "target"
    found = tg.values(exe, feeds, nodes=list(nodes) or "*", on=on) if nodes or folder else None
    if found is not None and folder is not None:
        files += found.save(folder)
    report = tg.trace_nonfinite(exe, feeds, on=on) if find_nonfinite else None

    def show(out: Console) -> None:
        out.print(table(f"{exe.graph.name} on {exe.target}: {show_seconds(seconds)}, the first call",
                        ("output", "type", ">mean", ">std", ">min", ">max", "first values"),
                        [_summary(name, array) for name, array in outputs.items()]))
        if found is not None and nodes:
            where = "in NumPy, as it was given" if reference else f"on {exe.target}, as the passes made it"
            out.print(f"{found}\n({where})", markup=False, soft_wrap=True)
        if report is not None:
            out.print(str(report), style="green" if report else "bold red", markup=False, soft_wrap=True)
        for path in files:
            out.print(f"wrote {path}", markup=False, soft_wrap=True)

    answer({
        "graph": exe.graph.name, "target": str(exe.target), "seconds": seconds,
        "outputs": [{"name": name, "type": _type(array), "numbers": Statistics.of(array)} for name, array in outputs.items()],
        "values": [] if found is None else _values(found),
        "gone": [] if found is None else [{"name": g.name.label, "became": [n.label for n in g.became]} for g in found.gone],
        "nonfinite": None if report is None else {**plain(report), "ok": report.ok}, "wrote": written(*files),
    }, as_json, show)
    if report is not None and not report:
        raise SystemExit(DIFFERS)


def _values(found: Values) -> list[dict[str, Any]]:
    names = ((label, found.names[label], found.arrays[label], numbers) for label, numbers in found.statistics().items())
    return [{"name": label, "value": name.value, "op": name.op, "scope": name.scope, "where": name.where, "type": _type(array),
             "numbers": numbers} for label, name, array, numbers in names]


def _type(array: np.ndarray) -> str:
    return f"{array.dtype}[{', '.join(map(str, array.shape))}]"


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
        array = np.load(path, mmap_mode="c", allow_pickle=False)  # mapped: a size that is claimed takes no memory
    except OSError:
        raise
    except Exception as error:  # of NumPy, zipfile and Python's tokenizer, for every kind of damage
        raise InputError(f"{path} is no array of NumPy: {error}") from None
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path} holds several arrays; an input is one .npy file")
    return array


def _summary(name: str, array: np.ndarray) -> list[str]:
    import numpy as np

    shown = _type(array)
    if not array.size:
        return [name, shown, "", "", "", "", "empty"]
    values = array.astype(np.float64)
    first = " ".join(f"{v:.4g}" for v in values.reshape(-1)[:4]) + (" ..." if array.size > 4 else "")
    odd = int(array.size - np.isfinite(values).sum())
    return [name, shown, *(f"{float(v):.4g}" for v in (values.mean(), values.std(), values.min(), values.max())),
            first + (f"  {odd} not finite" if odd else "")]

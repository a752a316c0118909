"""`tgraph bench`: side by side with other runtimes, each in a process of its own, in turns."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import click

from tgraph.cli.answers import answer, json_option
from tgraph.cli.completing import complete_model
from tgraph.cli.options import Dims, Numbers, dim_option, level_option, parse_shapes, precision_options
from tgraph.cli.peers import PEERS
from tgraph.ir.errors import TGraphError

USUAL = "onnxruntime,torch,openvino"  # the others compile for half a minute at each of the first shapes
SHAPES = "1x16,1x128,8x128,1x512"


@click.command("bench")
@click.argument("model", metavar="MODEL", shell_complete=complete_model)
@click.option("--shapes", default=SHAPES, show_default=True, metavar="BxS,...", help="Batches and lengths (dims B and S).")
@dim_option
@click.option("--against", default=USUAL, show_default=True, metavar="PEER,...",
              help=f'Of {", ".join(PEERS)}; "none" for none.')
@click.option("--threads", type=click.IntRange(min=1), metavar="N",
              help="Threads for each contender [default: all cores].")
@click.option("--rounds", type=click.IntRange(min=1), default=10, show_default=True, metavar="N",
              help="Turns of each contender.")
@level_option
@precision_options
@click.option("-o", "--output", metavar="FILE.json", type=click.Path(path_type=Path), help="Write all times.")
@json_option({
    "points": [{"model": "string: its name", "sizes": {"<dim>": "integer: its size"}, "threads": "integer: of each contender",
                "results": ["any: a contender's times, as the file of --output has them"]}],
})
def command(model: str, shapes: str, dims: Dims, against: str, threads: int | None, rounds: int, level: str,
            output: Path | None, numbers: Numbers, as_json: bool) -> None:
    """Time a model against other runtimes with the same weights and inputs.

    In each round every contender runs a few calls while the others are idle. Peers are known for the BERT models
    (minilm, bert-base, bert-tiny); other models are timed alone, at sizes given with --dim for dims that are not B or S.
    This command needs a clone of the project.

    \b
    Examples:
      $ tgraph bench bert-tiny --shapes 1x16,8x128 --rounds 3 --threads 2
      $ tgraph bench bert-base --against onnxruntime
      $ tgraph bench bert-base --weights i8 --against none
      $ tgraph bench transformer --dim T=16 --shapes 1x32 --rounds 3
    """
    points = parse_shapes(shapes)
    peers = [] if against == "none" else [name.strip() for name in against.split(",") if name.strip()]
    for name in peers:
        if name not in PEERS:
            raise click.UsageError(f"unknown peer {name!r}; known are {', '.join(PEERS)}")
    _import_benchmarks()
    from benchmarks.harness.busy import cores
    from benchmarks.harness.report import measure_all
    from tgraph.cli.console import console

    found = measure_all(model, points, dims, peers, threads or cores(), rounds, level, output, numbers,
                        console(stderr=as_json))
    if as_json:
        answer({"points": found}, True)


def _import_benchmarks() -> None:
    """Put the project's clone on sys.path, if it is not there yet, for the package `benchmarks`.

    Raises TGraphError where there is no clone, or where another package of that name comes first.
    """
    places = (Path(__file__).resolve().parents[2], Path.cwd())
    clone = next((folder for folder in places if (folder / "benchmarks" / "harness").is_dir()), None)
    if clone is None:
        raise TGraphError("tgraph bench needs the folder benchmarks, which only a clone of the project has: clone the project, "
                          "and run tgraph bench in its top folder")
    if str(clone) not in sys.path:
        sys.path.append(str(clone))
    found = importlib.util.find_spec("benchmarks")
    first = next(iter(found.submodule_search_locations or ()), found.origin) if found is not None else None
    if first != str(clone / "benchmarks"):
        raise TGraphError(f"tgraph bench needs the package {clone / 'benchmarks'}, but {first} comes first on sys.path")

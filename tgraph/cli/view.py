"""`tgraph view`: a page to explore a model in, with every rewrite of its passes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tgraph.cli.answers import answer, json_option
from tgraph.cli.completing import complete_model
from tgraph.cli.options import Dims, Numbers, check_dims, dim_option, merged, precision_options
from tgraph.ir.errors import TGraphError
from tgraph.ir.levels import DEFAULT_LEVEL
from tgraph.ir.program import as_program

VIEWERS = ("netron", "model-explorer")


@click.command("view")
@click.argument("source", metavar="FILE|MODEL", shell_complete=complete_model)
@click.option("-o", "--output", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path),
              help="The page to write [default: a temporary file, which opens in a browser].")
@click.option("--open/--no-open", "opened", default=None, help="Open the page in a browser.")
@click.option("-p", "--passes", "pipeline", default=DEFAULT_LEVEL, show_default=True, metavar="PIPELINE",
              help='Passes to show: O0 to O3, names with commas, or "" for none.')
@click.option("--target", metavar="TARGET", help="Show the target's own passes, too, down to its kernels [default: cpu where the "
              "options below need a target]; `tgraph targets` lists them.")
@click.option("--profile", is_flag=True, help="Compile, and lay the time of each kernel over the graph.")
@click.option("--sources", is_flag=True, help="Compile, and put the TIR and machine code of each kernel in.")
@click.option("--errors", is_flag=True, help="Compile, and lay the error of each kernel over the graph, against the reference.")
@click.option("--heads", is_flag=True, help="Compile, and show what each attention looks at, on generated inputs.")
@precision_options
@dim_option
@click.option("--with", "viewer", type=click.Choice(VIEWERS), help="Open the graph in another viewer that is installed.")
@json_option({
    "wrote": "string or null: the page; null with --with",
    "bytes": "integer or null: its size",
    "graphs": {"<graph>": {"nodes": "integer: how many nodes it has before the first pass",
                           "passes": "integer: how many passes are shown", "rewrites": "integer: how many rewrites they made"}},
})
def command(source: str, output: Path | None, opened: bool | None, pipeline: str, target: str | None, profile: bool,
            sources: bool, errors: bool, heads: bool, numbers: Numbers, dims: Dims, viewer: str | None,
            as_json: bool) -> None:
    """Write one HTML file to explore a model in: before, during and after all passes.

    It holds the graph with its modules as boxes to open, a slider over every rewrite, two stages side by side, search, costs, and
    what else is asked for. It loads nothing from anywhere, so it can be attached to a report.

    \b
    Examples:
      $ tgraph view bert-base -o bert.html
      $ tgraph view bert-tiny -o tiny.html --target cpu --dim B=1,S=128
      $ tgraph view bert-tiny -o tiny.html --profile --sources --errors --dim B=1,S=16
      $ tgraph view bert-tiny -o tiny.html -p fuse-qkv,dce
    """
    from tgraph.cli.console import console, show_bytes
    from tgraph.cli.models import is_bundle, load_model
    from tgraph.formats.html import read_page

    sizes = merged(dims)
    if viewer is not None:
        from tgraph.cli.other_viewers import open_in

        open_in(viewer, load_model(source), output)
        answer({"wrote": None, "bytes": None, "graphs": {}}, as_json, lambda out: None)
        return
    reduced = numbers["precision"] != "f32" or numbers["weights"] != "f32"
    if profile or sources or errors or heads or reduced or is_bundle(source):
        how = {} if is_bundle(source) else {"pipeline": pipeline, "target": target or "cpu", "numbers": numbers}
        path = _view_compiled(source, how, dims, heads, output, open=opened, profile=profile, sources=sources, errors=errors)
    else:
        model = load_model(source)
        check_dims(as_program(model, TGraphError).graphs.values(), dims)
        path = model.view(output, open=opened, pipeline=_passes(pipeline, target), sizes=sizes, title=_title(source))
    size = path.stat().st_size
    graphs = {g["name"]: {"nodes": len(g["first"]), "passes": len(g["stages"]),
                          "rewrites": sum(len(stage["steps"]) for stage in g["stages"])} for g in read_page(path)["graphs"]}
    answer({"wrote": str(path), "bytes": size, "graphs": graphs}, as_json, lambda out: None)
    console(stderr=True).print(f"wrote {path}: {show_bytes(size)}", markup=False, soft_wrap=True)


def _view_compiled(source: str, how: dict[str, Any], dims: Dims, heads: bool, output: Path | None, **options: Any) -> Path:
    """The page of the model, compiled as `how` says, or of a bundle."""
    import tgraph as tg
    from tgraph.cli.models import graphs_of, load_executable
    from tgraph.reference.inputs import generate_inputs

    exe = load_executable(source, **how)[0]
    check_dims([one.graph for one in graphs_of(exe).values()], dims)
    sizes = merged(dims)
    if heads:
        if not isinstance(exe, tg.Executable):
            raise TGraphError(f"--heads takes one graph, and {source} has {', '.join(exe)}: write {source}:{next(iter(exe))}")
        options["heads"] = tg.attention_weights(exe, **generate_inputs(exe.graph, sizes))
    return exe.view(output, sizes=sizes, title=_title(source), **options)


def _passes(pipeline: str, target: str | None) -> Any:
    """The passes of a pipeline, and those of the target if there is one."""
    import tgraph as tg

    if target is None:
        return pipeline
    from targets.base.registry import backend_of
    from tgraph.cli.passes import load_passes_of_targets

    load_passes_of_targets()
    where = tg.targets.Target.parse(target)
    return [*tg.passes.pipelines.passes_of(pipeline), *backend_of(where).lowering(where)]


def _title(source: str) -> str:
    """The name of a file, or of a model."""
    return Path(source).name

"""`tgraph check`: the compiled model against the NumPy reference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tgraph.cli.answers import answer, json_option
from tgraph.cli.completing import complete_model
from tgraph.cli.exit_status import DIFFERS
from tgraph.cli.options import (
    Dims,
    Numbers,
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

if TYPE_CHECKING:
    from rich.console import Console

    from tgraph.reference.checker import Report
    from tgraph.reference.tolerance import Comparison


@click.command("check")
@click.argument("source", metavar="FILE|MODEL", shell_complete=complete_model)
@dim_option
@seed_option
@click.option("--tol", type=float, metavar="ERROR",
              help="Largest allowed max|y - r| / max(1, max|r|) [default: by element type].")
@level_option
@passes_option
@precision_options
@target_option
@threads_option
@json_option({
    "ok": "boolean: whether all results are within the tolerance",
    "graphs": [{
        "name": "string: the graph", "ok": "boolean: whether its results are",
        "outputs": [{"sizes": {"<dim>": "integer: its size in this trial"}, "output": "string: its name",
                     "error": "number: max|y - r| / max(1, max|r|)", "tolerance": "number: the largest allowed error",
                     "ok": "boolean: whether it is within"}],
        "special": [{"inputs": "string: what kind of special inputs", "output": "string: its name", "error": "number: as above",
                     "tolerance": "number: as above", "ok": "boolean: whether it is within"}],
        "divergence": "any: null, or the first node that is wrong: an object of node, where, error and tolerance",
    }],
    "accuracy": [{"sizes": {"<dim>": "integer: its size"}, "output": "string: its name", "largest": "number: max|f32|",
                  "max_error": "number: largest absolute error against f32", "mean_error": "number: mean absolute error",
                  "cosine": "number: mean cosine of rows", "lowest_cosine": "number: lowest cosine of a row"}],
})
def command(source: str, dims: Dims, seed: int, tol: float | None, level: str, pipeline: str | None, target: str,
            threads: int | None, numbers: Numbers, as_json: bool) -> None:
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
    from tgraph.cli.console import table
    from tgraph.cli.models import graphs_of, is_bundle, load_executable
    from tgraph.ir.dtypes import f32
    from tgraph.reference.checker import Report, reduced_tolerance
    from tgraph.reference.tolerance import tolerance

    exe = load_executable(source, target=target, level=level, pipeline=pipeline, threads=threads, numbers=numbers)[0]
    graphs = graphs_of(exe)
    if is_bundle(source) and (missing := [n for one in graphs.values() for n in one.graph.parameters if n not in one.weights]):
        raise CompileError(f"{source} cannot be checked: it does not hold the original weights ({missing[0]}, ...); write it "
                           "with tgraph compile --originals")
    check_dims([one.graph for one in graphs.values()], dims)
    report = tg.check(exe, sizes=dims, seed=seed, tol=tol)
    reduced = any(reduced_tolerance(one.optimized) > tolerance(f32) for one in graphs.values())
    found = tg.reference.accuracy(exe, sizes=dims, seed=seed) if reduced else None

    def show(out: Console) -> None:
        out.print(str(report), style="green" if report else "bold red", markup=False, soft_wrap=True)
        if found is not None:
            out.print(table(f"{found.name} against f32", found.COLUMNS, found.cells()))

    reports = {report.name: report} if isinstance(report, Report) else report
    answer({"ok": bool(report), "graphs": [_facts(name, one) for name, one in reports.items()],
            "accuracy": found.rows if found is not None else []}, as_json, show)
    if not report:
        raise SystemExit(DIFFERS)


def _facts(name: str, report: Report) -> dict[str, Any]:
    """The report on one graph as plain data."""
    wrong = report.divergence
    return {
        "name": name, "ok": report.ok,
        "outputs": [{"sizes": sizes, "output": output, **_judged(c)} for sizes, output, c in report.outputs],
        "special": [{"inputs": label, "output": output, **_judged(c)} for label, output, c in report.special],
        "divergence": None if wrong is None else {"node": wrong.node, "where": wrong.where, **_judged(wrong.comparison)},
    }


def _judged(comparison: Comparison) -> dict[str, Any]:
    return {"error": comparison.error, "tolerance": comparison.tolerance, "ok": comparison.ok}

"""`tgraph compare`: two graphs on the same inputs."""

from __future__ import annotations

import click

from tgraph.cli.answers import answer, json_option
from tgraph.cli.completing import complete_model
from tgraph.cli.exit_status import DIFFERS
from tgraph.cli.options import Dims, check_dims, dim_option, merged, seed_option, threads_option


@click.command("compare")
@click.argument("first", metavar="FILE|MODEL", shell_complete=complete_model)
@click.argument("second", metavar="FILE|MODEL", shell_complete=complete_model)
@dim_option
@seed_option
@click.option("--tol", type=float, metavar="ERROR",
              help="Largest allowed max|y - r| / max(1, max|r|) [default: by element type].")
@click.option("--target", metavar="TARGET",
              help="Compile graphs for it: cpu, cuda, cpu:NAME, cuda:sm_NN, numpy; `tgraph targets` explains [default: none: "
                   "NumPy runs them in float64].")
@click.option("--quiet", "-q", is_flag=True, help="Print nothing; the exit status says it.")
@threads_option
@json_option({
    "ok": "boolean: whether all outputs agree", "first": "string: the first graph", "second": "string: the second graph",
    "sizes": {"<dim>": "integer: its size"},
    "outputs": [{"output": "string: its name in the first graph", "error": "number: max|y - r| / max(1, max|r|)",
                 "tolerance": "number: the largest allowed error", "ok": "boolean: whether it is within"}],
    "parting": "any: null, or the first nodes that differ: an object of first, second, first_where, second_where, comparison",
    "matched": "integer: nodes that were compared", "notes": ["string: what was taken for what"],
})
def command(first: str, second: str, dims: Dims, seed: int, tol: float | None, target: str | None, quiet: bool,
            threads: int | None, as_json: bool) -> None:
    """Run two graphs on the same generated inputs: do their outputs agree, and if not, where do they part?

    Bundles run on the target that they were compiled for, graphs of other files and models in NumPy, or on --target.
    Nodes correspond by scope, op and structure, as in `tgraph diff`; the first pair with different values is shown. Exit
    status 0 if all outputs agree within the tolerance, 1 if one does not.

    \b
    Examples:
      $ tgraph opt bert-tiny -p fuse-qkv -o fused.tg
      $ tgraph compare bert-tiny fused.tg --dim B=2,S=9
      $ tgraph compare bert-tiny bert-tiny --target cpu
    """
    import tgraph as tg
    from tgraph.cli.models import is_bundle, load_executable, load_graph, only_executable
    from tgraph.cli.options import set_threads
    from tgraph.ir.graph import Graph

    def load(text: str) -> tg.Executable | Graph:
        if is_bundle(text) or target is not None:
            return only_executable(load_executable(text, target=target or "cpu", threads=threads, one=True)[0], text)
        return load_graph(text)

    set_threads(threads)
    a, b = load(first), load(second)
    check_dims([a if isinstance(a, Graph) else a.graph], dims)
    report = tg.compare(a, b, sizes=merged(dims), seed=seed, tol=tol)
    outputs = [{"output": name, "error": c.error, "tolerance": c.tolerance, "ok": c.ok} for name, c in report.outputs.items()]
    if as_json or not quiet:
        answer({"ok": report.ok, "first": report.first, "second": report.second, "sizes": report.sizes, "outputs": outputs,
                "parting": report.parting, "matched": report.matched, "notes": report.notes}, as_json,
               lambda out: out.print(str(report), style="green" if report else "bold red", markup=False, soft_wrap=True))
    if not report:
        raise SystemExit(DIFFERS)

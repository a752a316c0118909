"""`tgraph opt`: run passes on a graph and print it, in the habit of mlir-opt."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tgraph.cli.answers import answer, json_option, written
from tgraph.cli.completing import complete_model
from tgraph.cli.exit_status import DIFFERS
from tgraph.cli.options import Dims, check_dims, dim_option, merged, seed_option
from tgraph.cli.passes import load_passes_of_targets
from tgraph.ir.levels import DEFAULT_LEVEL

if TYPE_CHECKING:
    from passes import Deltas, Explain, Pass, PassManager
    from tgraph.ir.dims import DimLike
    from tgraph.ir.graph import Graph


@click.command("opt")
@click.argument("source", metavar="FILE|MODEL", shell_complete=complete_model)
@click.option("-p", "--passes", "pipeline", metavar="PIPELINE",
              help='Passes with commas, options in braces: "fold-constants,fuse-qkv{at_least=3}".')
@click.option("--level", metavar="LEVEL", help=f"The pipeline of a level, O0 to O3 [default: {DEFAULT_LEVEL} if there is no -p].")
@click.option("--target", metavar="TARGET",
              help="Add the target's own last passes, down to the graph of kernel calls; `tgraph targets` lists them.")
@click.option("--print-before", "before", multiple=True, metavar="NAME",
              help="Print the graph before this pass, on standard error. Repeatable.")
@click.option("--print-after", "after", multiple=True, metavar="NAME", help="Print the graph after this pass. Repeatable.")
@click.option("--print-before-all", is_flag=True, help="Print the graph before each pass.")
@click.option("--print-after-all", is_flag=True, help="Print the graph after each pass.")
@click.option("--dump-dir", metavar="FOLDER", type=click.Path(file_okay=False, path_type=Path),
              help="Write the graph to a numbered .tg file after each pass.")
@click.option("--verify-each", is_flag=True, help="Verify the graph after each pass.")
@click.option("--validate", is_flag=True,
              help="Run the graph in the NumPy reference before and after each pass; a difference beyond what the pass declares "
                   "names the pass, its rules and the first node.")
@click.option("--bisect", "bisecting", is_flag=True, help="If a pass changes the result, find the single rewrite that does.")
@click.option("--timing", is_flag=True, help="Say what each pass did and how long it took, on standard error.")
@click.option("--deltas", is_flag=True, help="Show nodes, FLOPs and bytes after each pass, at --dim or in symbols.")
@click.option("--explain", is_flag=True,
              help="Say of each rule how often it fired, and its nearest miss; of attention, norms and GELUs how many were "
                   "fused, and why the others were not.")
@dim_option
@seed_option
@click.option("--scopes", is_flag=True, help="Show the module that each node belongs to.")
@click.option("-o", "--output", metavar="FILE", type=click.Path(path_type=Path),
              help="Write a file in the format of its suffix [default: print the text form].")
@json_option({
    "graphs": [{
        "name": "string: of the graph", "nodes_before": "integer: of the graph as given", "nodes_after": "integer: of the result",
        "passes": [{"name": "string: the pass with its options", "seconds": "number: its own time",
                    "nodes_before": "integer: before it", "nodes_after": "integer: after it",
                    "changed": "boolean: whether it changed the graph", "rewrites": {"<rule>": "integer: how often it fired"},
                    "flops": "dim or null: of a call after it; with --deltas",
                    "bytes": "dim or null: that a call reads and writes after it; with --deltas"}],
        "rules": [{"pass": "string: the pass", "rule": "string: its equation", "fired": "integer: how often",
                   "nearest_miss": "string or null: how far a match got, and what stopped it"}],
        "fused": [{"kind": "string: attention, layer norm, ...", "fused": "integer: how many are one op",
                   "apart": ["string: one that is not: its node, and why"]}],
        "validated": "integer: passes that --validate ran on both sides",
        "not_validated": ["string: a pass that it left out, and why"],
    }],
    "culprit": "string or null: the first rewrite that --bisect finds wrong",
    "text": "string or null: the text form of the result, unless a file was written",
    "wrote": [{"file": "string: a file that was written", "bytes": "integer: its size"}],
})
def command(source: str, pipeline: str | None, level: str | None, target: str | None, before: tuple[str, ...],
            after: tuple[str, ...], print_before_all: bool, print_after_all: bool, dump_dir: Path | None, verify_each: bool,
            validate: bool, bisecting: bool, timing: bool, deltas: bool, explain: bool, dims: Dims, seed: int, scopes: bool,
            output: Path | None, as_json: bool) -> None:
    """Run passes on a graph and print the result.

    Exit status 1 if --bisect finds a rewrite that changes the result, 2 for an error.

    \b
    Examples:
      $ tgraph opt bert-tiny -p fold-constants,fuse-qkv,dce --verify-each --timing
      $ tgraph opt bert-tiny --level O3 --print-after fuse-qkv -o tiny.svg
      $ tgraph opt bert-tiny --level O3 --validate --deltas --dim B=1,S=128 -o tiny.tg
      $ tgraph dump bert-tiny | tgraph opt - -p cse --explain
      $ tgraph opt bert-tiny --target cpu --print-after decompose-to-kernels
    """
    import tgraph as tg
    from passes.manager import rewrite_each
    from tgraph.cli.console import console, print_graph
    from tgraph.cli.dump import accepted
    from tgraph.cli.models import load_model
    from tgraph.ir.errors import PassError
    from tgraph.ir.program import Program, as_program

    if pipeline is not None and level is not None:
        raise click.UsageError("give -p or --level, not both")
    passes = _parse(pipeline if pipeline is not None else level or DEFAULT_LEVEL, target)
    for option, names in (("--print-before", before), ("--print-after", after)):
        _check_names(option, names, passes)
    model = load_model(source)
    graphs = as_program(model, PassError).graphs
    check_dims(graphs.values(), dims)
    sizes = merged(dims)
    if bisecting:
        for graph in graphs.values():
            culprit = tg.passes.bisect(graph, passes, sizes=sizes, seed=seed)
            if culprit is not None:
                if as_json:
                    answer({"graphs": [], "culprit": str(culprit), "text": None, "wrote": []}, True)
                console(stderr=True).print(str(culprit), style="bold red", markup=False, soft_wrap=True)
                raise SystemExit(DIFFERS)
        console(stderr=True).print("no rewrite changes the result", style="green")

    def show(title: str, graph: Graph) -> None:
        print(f"# {title}", file=sys.stderr)
        print_graph(graph.text(scopes=scopes) + "\n", stderr=True)

    printing = tg.passes.Print(show, None if print_before_all else before, None if print_after_all else after)
    files = [tg.passes.DumpFolder(dump_dir)] if dump_dir else []
    out = console(stderr=True)
    facts: list[dict[str, Any]] = []

    def optimized(graph: Graph) -> Graph:
        validation, costs, explanation = tg.passes.ValidateEach(sizes, seed), tg.passes.Deltas(sizes), tg.passes.Explain()
        manager = tg.passes.PassManager(passes, [
            printing, *([tg.passes.VerifyEach()] if verify_each else []), *files, *([validation] if validate else []),
            *([costs] if deltas else []), explanation])
        before_passes = len(graph)
        if len(graphs) > 1 and (timing or deltas or explain or validate):
            out.print(f"graph {graph.name}", style="bold", markup=False)
        result = manager.run(graph)
        if timing:
            out.print(_times(manager))
        if deltas:
            out.print(_costs(costs, sizes))
        if explain:
            _explain(out, explanation)
            show_fused(out, result)
        if validate:
            for line in validation.skipped:
                out.print(line, style="yellow", markup=False, soft_wrap=True)
            out.print(f"{validation.validated} passes validated against the NumPy reference (float64)", style="green")
        if as_json:
            after_each = [new for _, _, new in costs.rows] if deltas else [None] * len(manager.records)
            facts.append({
                "name": graph.name, "nodes_before": before_passes, "nodes_after": len(result),
                "passes": [{"name": r.name, "seconds": r.seconds, "nodes_before": r.nodes_before, "nodes_after": r.nodes_after,
                            "changed": r.changed, "rewrites": r.rewrites, "flops": cost and cost.flops,
                            "bytes": cost and cost.nbytes} for r, cost in zip(manager.records, after_each)],
                "rules": [{"pass": row.step, "rule": row.rule, "fired": row.fired, "nearest_miss": row.miss and str(row.miss)}
                          for row in explanation.rows],
                "fused": facts_of_fused(result), "validated": validation.validated if validate else 0,
                "not_validated": validation.skipped if validate else []})
        return result

    result = rewrite_each(model, optimized) if isinstance(model, Program) else optimized(model)
    if output is not None:
        result.dump(output, **accepted(output, scopes=scopes))
    if as_json:
        answer({"graphs": facts, "culprit": None, "text": result.text(scopes=scopes) if output is None else None,
                "wrote": [] if output is None else written(output)}, True)
    elif output is None:
        print_graph(result.text(scopes=scopes))


def _parse(pipeline: str, target: str | None) -> list[Pass]:
    """The passes of a pipeline, and a target's own after them. Those of lowering need TVM, and are loaded if they are named."""
    import tgraph as tg

    named = set(re.findall(r"[a-z][a-z0-9-]+", re.sub(r"\{.*?\}", "", pipeline)))
    if target is None and named <= tg.passes.PASSES.keys():
        return tg.passes.parse_pipeline(pipeline)
    from targets.base.registry import backend_of

    load_passes_of_targets()
    passes = tg.passes.parse_pipeline(pipeline)
    if target is not None:
        where = tg.targets.Target.parse(target)
        passes += backend_of(where).lowering(where)
    return passes


def _check_names(option: str, names: tuple[str, ...], passes: list[Pass]) -> None:
    known = {p.pass_name() for p in passes}
    for name in names:
        if name not in known:
            raise click.UsageError(f"{option} {name}: no such pass in this pipeline; it has {', '.join(sorted(known)) or 'none'}")


def _times(manager: PassManager) -> Any:
    """Time, nodes and rewrites of each pass."""
    from tgraph.cli.console import show_seconds, table

    total = sum(r.seconds for r in manager.records)
    rows = [(r.name, show_seconds(r.seconds), f"{r.seconds / total:.0%}" if total else "", f"{r.nodes_before} -> {r.nodes_after}",
             str(sum(r.rewrites.values()) or ""), "changed" if r.changed else "") for r in manager.records]
    return table(f"{len(rows)} passes in {show_seconds(total)}", ("pass", ">time", ">share", ">nodes", ">rewrites", ""), rows)


def _costs(costs: Deltas, sizes: dict[str, int]) -> Any:
    """What the graph takes after each pass, and by how much that differs from before it."""
    from tgraph.cli.console import table

    rows = []
    for name, old, new in costs.rows:
        pairs = ((old.nodes, new.nodes), (old.flops, new.flops), (old.nbytes, new.nbytes))
        rows.append((name, *[cell for a, b in pairs for cell in (_amount(b), _delta(a, b))]))
    shown = ", ".join(f"{k}={v}" for k, v in sizes.items())
    columns = ("pass", ">nodes", "change", "FLOPs", "change", "bytes", "change")
    return table(f"Costs of a call{f' at {shown}' if shown else ''}", columns, rows)


def _amount(value: DimLike) -> str:
    from tgraph.cli.console import show_count

    return show_count(value) if isinstance(value, int) else str(value)


def _delta(before: DimLike, after: DimLike) -> str:
    change = after - before
    if isinstance(change, int):
        return "" if not change else f"{'+' if change > 0 else '-'}{_amount(abs(change))}"
    text = str(change)
    return text if text.startswith("-") else f"+{text}"


def _explain(out: Any, explanation: Explain) -> None:
    """Each pass with its rules under it."""
    from rich.text import Text

    step = ""
    for row in explanation.rows:
        if row.step != step:
            step = row.step
            out.print(Text(step, "bold"))
        out.print(Text(f"  {row}", "green" if row.fired else ""), soft_wrap=True)
    if not explanation.rows:
        out.print("no rule was tried")


def facts_of_fused(graph: Graph) -> list[dict[str, Any]]:
    """What `show_fused` tells, as plain data."""
    import passes

    return [{"kind": f.kind, "fused": f.count, "apart": f.misses()} for f in passes.fused(graph)]


def show_fused(out: Any, graph: Graph) -> None:
    """What was fused of what looks like it, in one line, and a line for each that stayed apart: why."""
    from rich.text import Text

    import passes

    found = passes.fused(graph)
    out.print(Text(f"{len(graph)} nodes: {passes.summary(found)}", "bold"), soft_wrap=True)
    for line in (line for kind in found for line in kind.misses()):
        out.print(Text(f"  {line}"), soft_wrap=True)

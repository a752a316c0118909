"""`tgraph diff`: how two graphs differ in structure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from tgraph.cli.answers import answer, json_option
from tgraph.cli.completing import complete_model
from tgraph.cli.exit_status import DIFFERS

if TYPE_CHECKING:
    from rich.console import Console

    from tgraph.ir.difference import Change, Difference


@click.command("diff")
@click.argument("first", metavar="FILE|MODEL", shell_complete=complete_model)
@click.argument("second", metavar="FILE|MODEL", shell_complete=complete_model)
@click.option("--quiet", "-q", is_flag=True, help="Print nothing; the exit status says it.")
@json_option({
    "equal": "boolean: whether the graphs are equal",
    "blocks": [{"name": "string: the graph, or $NAME for a function", "same": "integer: nodes that are in both",
                "changes": [{"kind": "string: removed, added or changed",
                             "before": "string: its line in the first graph, or empty",
                             "after": "string: its line in the second graph, or empty",
                             "where": "string: scope and source line"}]}],
})
def command(first: str, second: str, quiet: bool, as_json: bool) -> None:
    """Compare the structure of two graphs: - removed, + added, ~ changed (with -> what it has become).

    Nodes are matched by what they compute, not by their number or place. Scopes, lines and weights do not count. Exit
    status 0 if the graphs are equal, 1 if they differ.

    \b
    Examples:
      $ tgraph opt bert-tiny -p fuse-qkv -o fused.tg
      $ tgraph diff fused.tg fused.tg
    """
    from tgraph.cli.models import load_graph
    from tgraph.ir.difference import difference

    found = difference(load_graph(first), load_graph(second))

    def show(out: Console) -> None:
        _show(out, found, f"graph {found.name}")
        if not found:
            out.print(f"equal: {found.same} nodes", style="green")

    if not quiet:
        answer({"equal": not found, "blocks": list(_blocks(found.name, found))}, as_json, show)
    if found:
        raise SystemExit(DIFFERS)


def _blocks(name: str, found: Difference) -> Iterator[dict[str, Any]]:
    """The changes of a graph, and then of the functions that it calls."""
    yield {"name": name, "same": found.same, "changes": [*found.signature, *found.nodes]}
    for function in found.functions:
        yield from _blocks(f"${function.name}", function)


def _show(out: Any, found: Difference, title: str) -> None:
    from rich.text import Text

    if found.signature or found.nodes:
        counts = ", ".join(f"{found.count(kind)} {kind}" for kind in ("removed", "added", "changed"))
        out.print(Text(f"{title}: {found.same} nodes the same, {counts}", "bold"), soft_wrap=True)
        for change in (*found.signature, *found.nodes):
            out.print(_line(change), soft_wrap=True)
    for function in found.functions:
        _show(out, function, f"function ${function.name}")


def _line(change: Change) -> Any:
    from rich.text import Text

    where = f"  {change.where}" if change.where else ""
    if change.kind == "changed":
        return Text.assemble((f"~ {change.before}", "yellow"), (where, "dim"), (f"\n  -> {change.after}", "yellow"))
    removed = change.kind == "removed"
    mark, text, style = ("-", change.before, "red") if removed else ("+", change.after, "green")
    return Text.assemble((f"{mark} {text}", style), (where, "dim"))

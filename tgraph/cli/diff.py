"""`tgraph diff`: how two graphs differ in structure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from tgraph.ir.difference import Change, Difference


@click.command("diff")
@click.argument("first", metavar="FILE|MODEL")
@click.argument("second", metavar="FILE|MODEL")
@click.option("--quiet", "-q", is_flag=True, help="Print nothing; the exit status says it.")
def command(first: str, second: str, quiet: bool) -> None:
    """Compare the structure of two graphs: - removed, + added, ~ changed (with -> what it has become).

    Nodes are matched by what they compute, not by their number or place. Scopes, lines and weights do not count. Exit
    status 0 if the graphs are equal, 1 if they differ.

    \b
    Examples:
      $ tgraph opt bert-tiny -p fuse-qkv -o fused.tg
      $ tgraph diff fused.tg fused.tg
    """
    from tgraph.cli.console import console
    from tgraph.cli.models import load_graph
    from tgraph.ir.difference import difference

    found = difference(load_graph(first), load_graph(second))
    if not quiet:
        out = console()
        _show(out, found, f"graph {found.name}")
        if not found:
            out.print(f"equal: {found.same} nodes", style="green")
    if found:
        raise SystemExit(1)


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

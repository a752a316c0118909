"""`tgraph passes`: what can be done to a graph."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from tgraph.cli.answers import answer, json_option

if TYPE_CHECKING:
    from rich.console import Console


@click.command("passes")
@click.argument("name", required=False)
@click.option("--markdown", is_flag=True, help="The table as a page of documentation (docs/pass-table.md is one).")
@json_option({
    "passes": [{"name": "string: as in a pipeline", "effect": "string: exact, rounds or changes-meaning",
                "options": ["string: an option with its default, as in at_least=2"],
                "doc": "string: what the pass does", "levels": ["string: a level that has it"]}],
    "levels": [{"name": "string: O0 to O3", "doc": "string: what it is for", "pipeline": "string: its passes"}],
})
def command(name: str | None, markdown: bool, as_json: bool) -> None:
    """List the passes with effect and options, and the levels; with NAME, all about one pass.

    \b
    Examples:
      $ tgraph passes
      $ tgraph passes fuse-qkv
    """
    import tgraph as tg
    from passes.base import find_pass
    from passes.pipelines import LEVEL_DOCS

    load_passes_of_targets()
    if markdown:
        from tgraph.cli.pass_table import markdown_page

        click.echo(markdown_page(options), nl=False)
        return
    pipelines = {level: tg.passes.parse_pipeline(text) for level, text in tg.passes.LEVELS.items()}
    chosen = sorted(tg.passes.PASSES.items()) if name is None else [(name, find_pass(name))]
    listed = [{"name": key, "effect": cls.effect, "options": options(cls), "doc": inspect.getdoc(cls) or "",
               "levels": [level for level, passes in pipelines.items() if any(type(p) is cls for p in passes)]}
              for key, cls in chosen]
    levels = [{"name": level, "doc": LEVEL_DOCS[level], "pipeline": text} for level, text in tg.passes.LEVELS.items()]
    answer({"passes": listed, "levels": levels}, as_json, lambda out: _show(out, listed, levels, name is None))


def _show(out: Console, listed: Sequence[Mapping[str, Any]], levels: Sequence[Mapping[str, str]], all_of_them: bool) -> None:
    from tgraph.cli.console import table

    if not all_of_them:
        (found,) = listed
        out.print(f"[bold]{found['name']}[/bold]  {found['effect']}\n")
        out.print(found["doc"], markup=False)
        out.print(f"\noptions: {', '.join(found['options']) or 'none'}", markup=False)
        out.print(f"levels: {', '.join(found['levels']) or 'none'}")
        return
    rows = [(p["name"], p["effect"], ", ".join(p["options"]), p["doc"].split("\n")[0]) for p in listed]
    out.print(table("Passes", ("name", "effect", "options", "what it does"), rows), "")
    out.print("Levels", style="bold")
    for level in levels:
        out.print(f"{level['name']}  {level['doc']}", markup=False, soft_wrap=True)
        if level["pipeline"]:
            out.print(f"    {level['pipeline']}", style="cyan", markup=False, soft_wrap=True)
    out.print()
    out.print("exact: the same numbers; rounds: the same real numbers, rounded elsewhere; changes-meaning: says how",
              style="dim", soft_wrap=True)


def load_passes_of_targets() -> None:
    """Make the passes known that belong to lowering, and to targets."""
    from targets.base.registry import KINDS, backend_of

    for kind in KINDS:
        backend_of(kind)


def options(cls: type[Any]) -> list[str]:
    """`at_least=2` for each option, with its default."""
    from passes.base import options_of

    if cls.option_help:
        return [cls.option_help]
    return [f"{f.name}={str(f.default).lower() if isinstance(f.default, bool) else f.default}" for f in options_of(cls)]

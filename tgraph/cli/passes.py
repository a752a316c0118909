"""`tgraph passes`: what can be done to a graph."""

from __future__ import annotations

import inspect
from typing import Any

import click


@click.command("passes")
@click.argument("name", required=False)
def command(name: str | None) -> None:
    """List the passes with effect and options, and the levels; with NAME, all about one pass.

    \b
    Examples:
      $ tgraph passes
      $ tgraph passes fuse-qkv
    """
    import tgraph as tg
    from passes.base import find_pass
    from passes.pipelines import LEVEL_DOCS
    from tgraph.cli.console import console, table

    load_passes_of_targets()
    out = console()
    if name is not None:
        cls = find_pass(name)
        out.print(f"[bold]{name}[/bold]  {cls.effect}\n")
        out.print(inspect.getdoc(cls) or "", markup=False)
        out.print(f"\noptions: {', '.join(options(cls)) or 'none'}", markup=False)
        used = [level for level, pipeline in tg.passes.LEVELS.items()
                if any(type(p) is cls for p in tg.passes.parse_pipeline(pipeline))]
        out.print(f"levels: {', '.join(used) or 'none'}")
        return
    rows = [(key, cls.effect, ", ".join(options(cls)), (inspect.getdoc(cls) or "").split("\n")[0])
            for key, cls in sorted(tg.passes.PASSES.items())]
    out.print(table("Passes", ("name", "effect", "options", "what it does"), rows), "")
    out.print("Levels", style="bold")
    for level, pipeline in tg.passes.LEVELS.items():
        out.print(f"{level}  {LEVEL_DOCS[level]}", markup=False, soft_wrap=True)
        if pipeline:
            out.print(f"    {pipeline}", style="cyan", markup=False, soft_wrap=True)
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

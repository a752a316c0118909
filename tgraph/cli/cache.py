"""`tgraph cache`: what earlier compilations left on disk."""

from __future__ import annotations

import click


@click.command("cache")
@click.argument("action", type=click.Choice(["list", "clear"]), default="list")
def command(action: str) -> None:
    """List what earlier compilations left for later ones, or remove it.

    The folder is the user's, or the one that the environment variable TGRAPH_CACHE names; TGRAPH_CACHE=off turns the cache off.

    \b
    Examples:
      $ tgraph cache
      $ tgraph cache clear
    """
    import time

    from targets.runtime.cache import FOLDER, LIMIT, cache_folder, entries, facts_of
    from tgraph.cli.console import console, show_bytes, table
    from tgraph.ir.errors import FormatError

    out = console()
    folder = cache_folder()
    if folder is None:
        out.print(f"the compile cache is off ({FOLDER}=off)")
        return
    found = entries(folder)
    total = show_bytes(sum(status.st_size for _, status in found))
    if action == "clear":
        for path, _ in found:
            path.unlink(missing_ok=True)
        out.print(f"removed {len(found)} entries, {total}, from {folder}", markup=False, soft_wrap=True)
        return
    rows = []
    for path, status in found:
        try:
            facts = facts_of(path)
        except (FormatError, OSError, KeyError):
            facts = {"name": "damaged"}
        rows.append((facts.get("name", ""), facts.get("target", ""), facts.get("passes", ""), show_bytes(status.st_size),
                     time.strftime("%Y-%m-%d %H:%M", time.localtime(status.st_mtime))))
    out.print(table(f"{folder}: {len(found)} entries, {total} of at most {show_bytes(LIMIT)}",
                    ("graph", "target", "passes", ">size", "last used"), rows))

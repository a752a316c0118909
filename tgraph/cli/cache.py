"""`tgraph cache`: what earlier compilations left on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tgraph.cli.answers import answer, json_option

if TYPE_CHECKING:
    from rich.console import Console


@click.command("cache")
@click.argument("action", type=click.Choice(["list", "clear"]), default="list")
@json_option({
    "folder": "string or null: where the cache is; null if it is off",
    "bytes": "integer: the size of all entries", "limit": "integer: the size that it is kept below",
    "removed": "integer: how many entries `clear` removed",
    "entries": [{"path": "string: its file", "name": "string: the graph", "target": "string: what it was compiled for",
                 "passes": "string: the pipeline", "bytes": "integer: its size", "last_used": "number: seconds since 1970"}],
})
def command(action: str, as_json: bool) -> None:
    """List what earlier compilations left for later ones, or remove it.

    The folder is the user's, or the one that the environment variable TGRAPH_CACHE names; TGRAPH_CACHE=off turns the cache off.

    \b
    Examples:
      $ tgraph cache
      $ tgraph cache clear
    """
    import time

    from targets.runtime.cache import FOLDER, LIMIT, cache_folder, entries, facts_of
    from tgraph.cli.console import show_bytes, table
    from tgraph.ir.errors import FormatError

    folder = cache_folder()
    found = [] if folder is None else entries(folder)
    listed: list[dict[str, Any]] = []
    for path, status in found:
        try:
            facts = {} if action == "clear" else facts_of(path)
        except (FormatError, OSError, KeyError):
            facts = {"name": "damaged"}
        listed.append({"path": path, "name": facts.get("name", ""), "target": facts.get("target", ""),
                       "passes": facts.get("passes", ""), "bytes": status.st_size, "last_used": status.st_mtime})
    size = sum(status.st_size for _, status in found)
    if action == "clear":
        for path, _ in found:
            path.unlink(missing_ok=True)

    def show(out: Console) -> None:
        if folder is None:
            out.print(f"the compile cache is off ({FOLDER}=off)")
        elif action == "clear":
            out.print(f"removed {len(found)} entries, {show_bytes(size)}, from {folder}", markup=False, soft_wrap=True)
        else:
            rows = [(e["name"], e["target"], e["passes"], show_bytes(e["bytes"]),
                     time.strftime("%Y-%m-%d %H:%M", time.localtime(e["last_used"]))) for e in listed]
            out.print(table(f"{folder}: {len(found)} entries, {show_bytes(size)} of at most {show_bytes(LIMIT)}",
                            ("graph", "target", "passes", ">size", "last used"), rows))

    cleared = action == "clear"
    answer({"folder": folder, "bytes": 0 if cleared else size, "limit": LIMIT, "removed": len(found) if cleared else 0,
            "entries": [] if cleared else listed}, as_json, show)

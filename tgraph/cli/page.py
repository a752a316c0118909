"""The part of docs/cli.md that is made from the commands: their usage, and what they answer with --json.

    python -m tgraph.cli.page docs/cli.md       writes it anew
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import cast

import click

from tgraph.cli import COMMANDS, main
from tgraph.cli.answers import rows_of, shape_of

MARK = "<!-- made by python -m tgraph.cli.page docs/cli.md -->\n"


def reference() -> str:
    """Markdown: a section for each command."""
    lines: list[str] = []
    for name in COMMANDS:
        context = click.Context(main)
        command = cast(click.Group, main).get_command(context, name)
        assert command is not None
        usage = " ".join(command.collect_usage_pieces(click.Context(command, context, info_name=name)))
        summary = (command.help or "").split("\n\n")[0].replace("\n", " ")
        lines += [f"### `tgraph {name} {usage}`", "", summary, ""]
        shape = shape_of(command)
        if shape is not None:
            lines += ["| --json | | |", "|---|---|---|"]
            lines += [f"| `{place}` | {kind} | {meaning} |" for place, kind, meaning in rows_of(shape)]
            lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def updated(page: str) -> str:
    """The page with that part as it is now."""
    return page[:page.index(MARK) + len(MARK)] + "\n" + reference()


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(updated(path.read_text(encoding="utf-8")), encoding="utf-8")

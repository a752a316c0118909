"""Tables of results: as text, and as HTML for notebooks. A column whose name starts with ">" is aligned to the right."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

Row = Sequence[object]


def text_table(columns: Sequence[str], rows: Iterable[Row]) -> str:
    """Lines of columns as wide as their longest cell, the names first."""
    lines = [[name.removeprefix(">") for name in columns], *([str(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines)]
    right = [name.startswith(">") for name in columns]
    padded = [[cell.rjust(w) if r else cell.ljust(w) for cell, w, r in zip(line, widths, right)] for line in lines]
    return "\n".join("  ".join(line).rstrip() for line in padded)


def html_table(title: str, columns: Sequence[str], rows: Iterable[Row], bad: Iterable[int] = ()) -> str:
    """A table with a title above, all text escaped; rows with the numbers in `bad` are red."""
    red = set(bad)

    def line(cells: Row, tag: str, style: str = "") -> str:
        sides = ("right" if name.startswith(">") else "left" for name in columns)
        return f"<tr{style}>" + "".join(f'<{tag} style="text-align:{side}">{escape(str(cell))}</{tag}>'
                                        for cell, side in zip(cells, sides)) + "</tr>"

    head = line([name.removeprefix(">") for name in columns], "th")
    body = "".join(line(row, "td", ' style="color:#b91c1c"' if i in red else "") for i, row in enumerate(rows))
    return f"<div><b>{escape(title)}</b><table><thead>{head}</thead><tbody>{body}</tbody></table></div>"


def html_sections(sections: Iterable[tuple[str, str]]) -> str:
    """Pieces of HTML one below the other, each with a name to fold it away by."""
    return "".join(f"<details open><summary>{escape(name)}</summary>{content}</details>" for name, content in sections)

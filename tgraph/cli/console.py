"""What is printed, and how: tables, colours, numbers with units, the text form highlighted."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.highlighter import RegexHighlighter
from rich.table import Table
from rich.text import Text
from rich.theme import Theme

PIPE_WIDTH = 140  # a file or pipe has no width of its own
_THEME = Theme({
    "graph.keyword": "bold magenta", "graph.op": "bold cyan", "graph.value": "green", "graph.parameter": "yellow",
    "graph.type": "blue", "graph.function": "bold yellow", "graph.scope": "dim",
})


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise BrokenPipeError  # and no SystemExit: `endings` knows what to do


class GraphHighlighter(RegexHighlighter):
    """Colours of the text form."""

    base_style = "graph."
    highlights = [
        r"(?P<keyword>^(graph|function)\b|^  (param|const|return)\b|\bwhere\b)",
        r"(?P<type>\b(f16|bf16|f32|f64|i8|u8|i32|i64|bool)\b(\[[^\]]*\])?)",
        r"(?<= )= (?P<op>[a-z]\w*)(?=[ (])", r"(?P<value>%[\w.]+)", r"(?P<parameter>@[\w.]+)", r"(?P<function>\$[\w.]+)",
        r"(?P<scope>  (in|at) .*$)",
    ]


def console(stderr: bool = False) -> Console:
    """Standard output, or standard error, as they are now."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH
    return _Console(stderr=stderr, width=width, theme=_THEME, highlight=False)


def print_graph(text: str, *, stderr: bool = False) -> None:
    """The text form: in colour on a terminal, byte for byte elsewhere."""
    out = console(stderr)
    if not out.is_terminal:
        print(text, file=sys.stderr if stderr else sys.stdout)
        return
    shown = Text()
    highlight = GraphHighlighter()
    for line in text.split("\n"):
        part = Text(line + "\n")
        highlight.highlight(part)
        shown.append_text(part)
    out.print(shown, soft_wrap=True, end="")


def report_error(error: BaseException) -> None:
    """`error: ...` in red on standard error."""
    console(stderr=True).print(Text.assemble(("error: ", "bold red"), (describe(error), "red")), soft_wrap=True)


def describe(error: BaseException) -> str:
    """The message of an error; of a file's error, the file and what is wrong with it."""
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error) or ("out of memory" if isinstance(error, MemoryError) else type(error).__name__)


LONGEST_NAME = 32  # characters that a column may ask for, however narrow the terminal is


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Table:
    """A table of strings and renderables. Columns whose name starts with ">" are right-aligned. No word of the first one is cut:
    it names what a row is about."""
    line = Text(title, no_wrap=True, overflow="ignore")  # as wide as it is, however narrow the columns are
    made = Table(title=line, title_justify="left", title_style="bold", header_style="bold", box=None, pad_edge=False,
                 padding=(0, 2, 0, 0))
    rows = list(rows)
    longest = max((len(word) for row in rows for word in str(row[0]).split()), default=0)
    for number, column in enumerate(columns):
        right = column.startswith(">")
        made.add_column(column.lstrip(">"), justify="right" if right else "left", no_wrap=right,
                        min_width=None if number else min(longest, LONGEST_NAME))
    for row in rows:
        made.add_row(*[Text(cell) if isinstance(cell, str) else cell for cell in row])
    return made


def bar(share: float, width: int = 24, style: str = "cyan") -> Text:
    """A horizontal bar of `share` (0 to 1) of `width` characters, in eighths."""
    eighths = round(max(0.0, min(1.0, share)) * width * 8)
    full, rest = divmod(eighths, 8)
    return Text("█" * full + (" ▏▎▍▌▋▊▉"[rest] if rest else ""), style)


def show_bytes(count: float) -> str:
    """`90.3 MB`: powers of ten."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.2f} GB"


def show_count(count: float) -> str:
    """`22.7 M`: thousands, millions, billions."""
    for unit in ("", " k", " M"):
        if count < 1000:
            return f"{count:.0f}" if not unit else f"{count:.1f}{unit}"
        count /= 1000
    return f"{count:.2f} G"


def show_seconds(seconds: float) -> str:
    """`17.4 ms`: the unit that fits."""
    if seconds < 1e-3:
        return f"{seconds * 1e6:.1f} us"
    return f"{seconds * 1e3:.2f} ms" if seconds < 1 else f"{seconds:.2f} s"

"""Pages of the documentation, whose blocks of code run one after the other and print what the page says.

What a page need not show stands in comments above a block, which only its source has:

    <!-- first                    code that runs before the block: small models, files
    <code>
    -->
    <!-- prints what varies -->   the output is not on the page
    <!-- needs torch -->          runs where these packages are installed
    <!-- run by tests/... -->     that test runs it
    <!-- not run: the reason -->
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).resolve().parents[1]
PAGES = [path for pattern in ("*.md", "docs/**/*.md", "benchmarks/README.md", "tests/**/README.md")
         for path in sorted(ROOT.glob(pattern)) if path.name != "CHANGELOG.md"]

_FENCE = re.compile(r"^(?P<indent> *)```(?P<kind>[^\n]*)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"<!--(?P<text>(?:(?!-->).)*)-->\s*\Z", re.DOTALL)
_REMARK = re.compile(r"(?P<kind>first|prints what varies|needs|run by|not run:)\s+(?P<text>.*)", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block. remarks: the comments above it, by the words with which they begin."""

    kind: str
    text: str
    line: int
    remarks: dict[str, str] = field(default_factory=dict)

    @property
    def missing(self) -> list[str]:
        """Packages that it needs, and that are not installed."""
        return [name for name in self.remarks.get("needs", "").split() if importlib.util.find_spec(name) is None]

    @property
    def runs(self) -> bool:
        """Whether it runs here."""
        return self.kind == "python" and not self.missing and not self.remarks.keys() & {"run by", "not run:"}


def blocks_of(page: str) -> list[Block]:
    """All fenced blocks of a page, with the remarks above them."""
    found = []
    for match in _FENCE.finditer(page):
        remarks: dict[str, str] = {}
        above = page[:match.start()]
        while comment := _COMMENT.search(above):
            remark = _REMARK.fullmatch(comment["text"].strip() + " ")
            assert remark is not None, f"a comment of no known kind above a block: {comment['text']}"
            remarks[remark["kind"]] = remark["text"].strip()
            above = above[:comment.start()]
        found.append(Block(match["kind"], dedent(match["text"]), page.count("\n", 0, match.start()) + 1, remarks))
    return found


def run_page(path: Path) -> int:
    """Run the blocks of a page, and compare what each prints with the block after it. Returns how many ran."""
    blocks = [block for block in blocks_of(path.read_text(encoding="utf-8")) if block.kind in ("python", "text")]
    names: dict[str, object] = {"__name__": "__main__"}  # as in a script; dataclasses look their module up
    printed, ran = "", 0
    for block, after in zip(blocks, [*blocks[1:], None]):
        where = f"{path.name}, line {block.line}"
        if block.kind == "text":
            assert printed == block.text, where
            printed = ""
        elif block.runs:
            first = block.remarks.get("first", "")
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(compile(first, f"{where}, the comment above it", "exec"), names)
                exec(compile(block.text, where, "exec"), names)
            ran += 1
            if "prints what varies" not in block.remarks:
                printed = out.getvalue()
                assert not printed or (after is not None and after.kind == "text"), f"{where} prints {printed}"
    return ran


if __name__ == "__main__":  # in a process of its own, for what a page registers
    run_page(Path(sys.argv[1]))

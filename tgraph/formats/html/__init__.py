"""A page to explore graphs in, as one HTML file: graphs as they are here, what passes and targets add from above.

`Document` is the data of a page (its format is in `document.py`), `write_page` makes the file. `assets/` has the page's own HTML,
CSS and JavaScript, which the file holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...ir.errors import FormatError
from ...ir.file_formats import format
from ...ir.graph import Graph
from ...ir.program import Program
from .document import Document
from .entries import GraphEntry
from .page import read_page, write_page

__all__ = ["Document", "GraphEntry", "read_page", "write_page"]


@format(".html")
class HtmlFormat:
    """A page to explore the graph in, one file for any browser; `view` writes one with all passes."""

    @staticmethod
    def write(obj: Any, path: Path, *, sizes: Mapping[str, int] | None = None) -> None:
        """Write the page of a graph or program as it is. sizes: of symbolic dims, for costs; they can be changed in the page."""
        if not isinstance(obj, (Graph, Program)):
            raise FormatError(f"expected a Graph or a Program, got {type(obj).__name__}")
        document = Document.of(obj, sizes)
        for name, graph in obj.named_graphs().items():
            document.add(graph, name).begin(graph)
        write_page(document, path)

"""The picture of a graph as PNG: the SVG, drawn by resvg. An optional extra: `pip install tgraph-compiler[png]`."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

from ..ir.errors import FormatError
from ..ir.file_formats import format
from ..ir.folding import Fold
from ..ir.graph import Graph
from .disk import replacing
from .single import single_graph
from .svg import FONTS, size_of, to_svg

ZOOM = 2.0  # pixels for one of the picture's: sharp on the screens of today
LARGEST_SIDE, LARGEST_AREA = 32_000, 200e6  # pixels; more take gigabytes to draw


@format(".png")
class PngFormat:
    """The picture as pixels, for documents and chats."""

    @staticmethod
    def write(obj: Any, path: Path, *, graph: str | None = None, parameters: bool = True, fold: Fold = False,
              zoom: float | None = None) -> None:
        """Draw one graph as .svg does. zoom: pixels for one of the picture's, by default 2, and less for a very large picture.

        Raises FormatError if the extra `png` is not installed, if there is no font, and for a picture that is too large.
        """
        data = to_png(single_graph(obj, graph), parameters=parameters, fold=fold, zoom=zoom)
        with replacing(path) as file:
            file.write(data)


def to_png(graph: Graph, *, parameters: bool = True, fold: Fold = False, zoom: float | None = None) -> bytes:
    """The picture as the bytes of a PNG file; see `PngFormat.write`."""
    _renderer()
    svg = to_svg(graph, parameters=parameters, fold=fold)
    width, height = size_of(svg)
    most = min(LARGEST_SIDE / max(width, height), (LARGEST_AREA / (width * height)) ** 0.5)
    if most < (zoom or 1.0):
        raise FormatError(f"the picture of {graph.name} is {width:.0f} x {height:.0f}, too large for pixels"
                          f"{f' at zoom={zoom}' if zoom else ''}; fold it (fold=True, --fold), or write .svg")
    if not _has_font():
        raise FormatError("no font was found for the text of the picture; install one, such as DejaVu Sans Mono "
                          "(Debian: fonts-dejavu-core), or write .svg")
    return _render(svg, zoom or min(ZOOM, most))


def _renderer() -> Any:
    try:
        import resvg_py
    except ImportError:
        raise FormatError('.png needs the extra "png": pip install "tgraph-compiler[png]" (or write .svg)') from None
    return resvg_py


def _render(svg: str, zoom: float) -> bytes:
    # matplotlib, if it is there, brings a font for machines without any
    plots = importlib.util.find_spec("matplotlib")
    fonts = [str(Path(plots.origin).parent / "mpl-data" / "fonts" / "ttf")] if plots is not None and plots.origin else []
    return bytes(_renderer().svg_to_bytes(svg_string=svg, zoom=zoom, font_dirs=fonts, monospace_family=FONTS[0]))


@cache
def _has_font() -> bool:
    """Whether text leaves any mark."""
    page = '<svg xmlns="http://www.w3.org/2000/svg" width="20" height="20"><text x="2" y="15" font-family="{}">{}</text></svg>'
    family = ", ".join((*FONTS, "monospace"))
    return _render(page.format(family, "M"), 1.0) != _render(page.format(family, ""), 1.0)

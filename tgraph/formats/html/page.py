"""The file of a page: the document, compressed, in the page's own HTML, CSS and JavaScript."""

from __future__ import annotations

import base64
import gzip
import html
import json
import re
import zlib
from functools import lru_cache
from pathlib import Path
from typing import Any

from ...ir.errors import FormatError
from ...ir.json_text import read_json
from ..disk import replacing
from .document import Document

FOLDER = Path(__file__).with_name("assets")
_LARGEST = 2**30  # bytes of a document; what a megabyte of it is compressed from may be anything
STYLES = ("theme", "page", "panels", "small")
SCRIPTS = ("document", "expressions", "history", "format", "scopes", "layers", "layout", "scene", "camera", "painter", "colors",
           "view", "minimap", "panel", "node_panel", "code", "stages", "overlays", "search", "keys", "address", "positions",
           "selection", "opening", "app")


def write_page(document: Document, path: str | Path) -> None:
    """Write the page of a document. Raises DiskError if there is no room for it."""
    with replacing(Path(path)) as file:
        file.write(to_html(document).encode())


def to_html(document: Document) -> str:
    """The page of a document: one HTML text that loads nothing from anywhere."""
    return _template().replace("{{title}}", html.escape(document.title)).replace("{{data}}", packed(document.data()))


def packed(data: Any) -> str:
    """Data as base64 of gzip of JSON; the same data gives the same text."""
    return pack_text(json.dumps(data, ensure_ascii=False, separators=(",", ":")))


def pack_text(text: str) -> str:
    """Text as base64 of gzip of UTF-8. What UTF-8 has no bytes for, half a character, becomes a question mark."""
    return base64.b64encode(gzip.compress(text.encode(errors="replace"), mtime=0)).decode()


def unpack_text(text: str) -> str:
    """The text that `pack_text` packed. Raises ValueError or zlib.error for any other."""
    unpacker = zlib.decompressobj(wbits=31)  # of gzip
    content = unpacker.decompress(base64.b64decode(text), _LARGEST)
    if not unpacker.eof:
        raise ValueError(f"it holds more than {_LARGEST} bytes" if unpacker.unconsumed_tail else "it is cut off")
    return content.decode()


def read_page(path: str | Path) -> dict[str, Any]:
    """The document of a page that `write_page` wrote. Raises FormatError for other files."""
    found = re.search(rb'<script type="application/gzip" id="data">([^<]*)</script>', Path(path).read_bytes())
    if found is None:
        raise FormatError(f"{path} is no page of the explorer: it holds no document")
    try:
        text = unpack_text(found[1].decode())
    except (ValueError, zlib.error) as error:
        raise FormatError(f"{path} is no page of the explorer: its document is damaged: {error}") from None
    data = read_json(text.encode(), path, "page of the explorer")
    if not isinstance(data, dict):
        raise FormatError(f"{path} is no page of the explorer: its document is no object")
    return data


@lru_cache(maxsize=1)
def _template() -> str:
    """The page without its title and document."""
    page = (FOLDER / "page.html").read_text(encoding="utf-8")
    styles = "\n".join(_part(f"{name}.css") for name in STYLES)
    return page.replace("{{styles}}", styles).replace("{{scripts}}", scripts())


def scripts() -> str:
    """All JavaScript of the page, in order; the files share one scope."""
    return "\n".join(['"use strict";', *(_part(f"{name}.js") for name in SCRIPTS)])


def _part(name: str) -> str:
    return f"/* {name} */\n{(FOLDER / name).read_text(encoding='utf-8')}"

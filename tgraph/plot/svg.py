"""What our own SVG pictures of numbers share: documents without scripts, colours by name, text that fits its box."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from ..formats.disk import replacing
from ..formats.xml_text import xml_text

FONT = 'font-family: "DejaVu Sans Mono", Menlo, Consolas, "Liberation Mono", monospace'
CHARACTER = 0.61  # width of a letter of such a font, in its size


def document(width: float, height: float, title: str, style: str, content: Sequence[str], path: str | Path | None) -> str:
    """One SVG document on a white background; `path`: the file to write it to."""
    text = "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" role="img">',
        f"<title>{xml_text(title)}</title>", f"<style>text {{ {FONT} }} {style}</style>",
        '<rect width="100%" height="100%" fill="#ffffff"/>', *content, "</svg>"]) + "\n"
    if path is not None:
        with replacing(Path(path)) as file:
            file.write(text.encode())
    return text


def box(x: float, y: float, width: float, height: float, fill: str, tooltip: str, label: str = "", size: float = 11.0) -> str:
    """A rectangle with a tooltip, and as much of a label as fits in it."""
    room = int((width - 6) / (CHARACTER * size))
    shown = label if len(label) <= room else f"{label[:room - 1]}\u2026" if room > 2 else ""
    text = f'<text x="{x + 3:.2f}" y="{y + height / 2 + size * 0.36:.2f}">{xml_text(shown)}</text>' if shown else ""
    return (f'<g><title>{xml_text(tooltip)}</title><rect x="{x:.2f}" y="{y:.2f}" width="{width:.2f}" height="{height:.2f}" '
            f'fill="{fill}"/>{text}</g>')


def color(name: str, low: int = 0, high: int = 360, saturation: int = 62, lightness: int = 76) -> str:
    """A light colour that a name always has; hues from `low` to `high` degrees."""
    share = hashlib.sha256(name.encode()).digest()[0] / 256
    return f"hsl({low + share * (high - low):.0f} {saturation}% {lightness}%)"

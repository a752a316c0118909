"""Heat maps by matplotlib: queries from top to bottom, keys from left to right, the darker the more weight."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..ir.errors import InputError
from .figures import kept, new_figure
from .layers import layers_of, tokens_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH = 4  # panels side by side
NEED = "heat maps need"
LABELED = 12  # more panels than these have no words on their axes, which would be too small to read


def attention(weights: Any, tokens: Sequence[str] | None = None, other: Sequence[str] | None = None, *,
              layer: int | Sequence[int] | None = None, head: int | Sequence[int] | None = None, row: int = 0,
              path: str | Path | None = None) -> Figure:
    """A heat map for each layer and head.

        tg.plot.attention(tg.attention_weights(exe, ids, mask), tokens=words, layer=4, path="attention.png")

    weights: as `tg.attention_weights` gives them, or arrays [B, H, Sq, Sk]. tokens: the words of the queries, and of the keys
    unless other= has these; padding behind them is left out. layer, head: which to draw, by default all. row: of the batch.
    path: the file to write, .png, .svg or .pdf. Returns matplotlib's Figure.

    Raises ModuleNotFoundError without matplotlib, InputError for what is no weights, and layers and heads that there are not.
    """
    named = list(layers_of(weights, row).items())
    layers = _chosen("layer", layer, len(named))
    panels: list[tuple[str, np.ndarray, list[str], list[str]]] = []
    for number in layers:
        array = named[number][1]
        queries, keys = tokens_of(array, tokens, other)
        for one in _chosen("head", head, len(array)):
            panels.append((f"layer {number}, head {one}", array[one, :len(queries), :len(keys)], queries, keys))
    words = len(panels) <= LABELED
    columns = min(WIDTH, len(panels)) if words else -(-len(panels) // len(layers))  # many panels: a line for each layer
    lines = -(-len(panels) // columns)
    height, width = (max(matrix.shape[axis] for _, matrix, *_ in panels) for axis in (0, 1))
    size = (1.2 + 0.28 * width, 1.2 + 0.28 * height) if words else (1.3, 1.4)
    figure = new_figure((columns * size[0] + 0.8, lines * size[1] + 0.3), NEED)
    axes = figure.subplots(lines, columns, squeeze=False)
    strongest = max(float(np.nanmax(matrix, initial=0)) for _, matrix, *_ in panels) or 1.0
    for place, (title, matrix, queries, keys) in zip(axes.flat, panels):
        image = _draw(place, matrix, queries if words else [], keys if words else [], strongest)
        place.set_title(title, fontsize=9 if words else 6)
    for place in axes.flat[len(panels):]:
        place.set_axis_off()
    if len(layers) == 1 and named[layers[0]][0] != f"layer {layers[0]}":
        figure.suptitle(named[layers[0]][0], fontsize=10)
    figure.colorbar(image, ax=axes, shrink=0.6, label="weight", pad=0.01)
    return kept(figure, path)


def alignment(weights: Any, source: Sequence[str], target: Sequence[str], *, path: str | Path | None = None,
              title: str | None = None) -> Figure:
    """Where a translation looked as it wrote each word (arXiv:1409.0473, figure 3).

    weights: [T, S], or with axes of size 1 before these; source, target: the words. Returns matplotlib's Figure.
    """
    matrix = np.asarray(weights)
    if matrix.ndim < 2 or matrix.size != math.prod(matrix.shape[-2:]):
        raise InputError(f"an alignment is one matrix [target, source], got {list(matrix.shape)}; choose a row and a head")
    found, = layers_of(matrix.reshape(matrix.shape[-2:])).values()
    written, read = tokens_of(found, target, source)
    figure = new_figure((1.4 + 0.3 * len(read), 1.2 + 0.3 * len(written)), NEED)
    axes = figure.subplots()
    image = _draw(axes, found[0, :len(written), :len(read)], written, read, 1.0)
    axes.xaxis.tick_top()
    axes.tick_params(axis="x", labelrotation=0 if max(map(len, read), default=0) <= 2 else 90)
    if title:
        axes.set_title(title, fontsize=10)
    figure.colorbar(image, ax=axes, shrink=0.7, label="weight")
    return kept(figure, path)


def _draw(axes: Any, matrix: np.ndarray, queries: Sequence[str], keys: Sequence[str], strongest: float) -> Any:
    image = axes.imshow(matrix, cmap="Blues", vmin=0.0, vmax=strongest, aspect="auto")
    axes.set_xticks(range(len(keys)), keys, rotation=90, fontsize=8)
    axes.set_yticks(range(len(queries)), queries, fontsize=8)
    axes.tick_params(length=0)
    return image


def _chosen(what: str, wanted: int | Sequence[int] | None, count: int) -> list[int]:
    if wanted is None:
        return list(range(count))
    numbers = [wanted] if isinstance(wanted, (int, np.integer)) else list(wanted)
    for number in numbers:
        if not -count <= number < count:
            raise InputError(f"there is no {what} {number}: {what}s are 0 .. {count - 1}")
    if not numbers:
        raise InputError(f"choose at least one {what}")
    return [int(number) % count for number in numbers]

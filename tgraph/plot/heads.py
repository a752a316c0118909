"""A page in which a person clicks through the layers and heads of a model."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..formats.disk import replacing
from .layers import layers_of, tokens_of

PAGE = Path(__file__).with_name("heads.html")
LEAST = 0.005  # what is lighter would not be seen


def heads(weights: Any, tokens: Sequence[str] | None = None, other: Sequence[str] | None = None, *, row: int = 0,
          title: str = "Attention", path: str | Path | None = None) -> str:
    """One self-contained HTML page: tokens that look on the left, those looked at on the right, and a line for each weight.

        tg.plot.heads(tg.attention_weights(exe, ids, mask), words, path="heads.html")

    One chooses a layer and heads; a word under the mouse shows its own lines alone, and what share each word has of it. The page
    loads nothing from anywhere. weights, tokens, other, row as in `tg.plot.attention`. Returns the page, and writes it to `path`.
    """
    layers = []
    for name, array in layers_of(weights, row).items():
        queries, keys = tokens_of(array, tokens, other)
        shown = np.nan_to_num(array[:, :len(queries), :len(keys)])
        rounded = np.where(shown < LEAST, 0, shown).round(3)
        layers.append({"name": name, "queries": queries, "keys": keys,
                       "heads": [[[float(f"{w:.3f}") for w in line] for line in head] for head in rounded]})
    data = json.dumps({"title": title, "layers": layers}, ensure_ascii=False, separators=(",", ":"))
    page = PAGE.read_text(encoding="utf-8").replace("{{title}}", html.escape(title))
    page = page.replace("{{data}}", data.replace("<", "\\u003c"))
    if path is not None:
        with replacing(Path(path)) as file:
            file.write(page.encode())
    return page

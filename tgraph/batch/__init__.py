"""Bulk inference: files, tables and Ray datasets through compiled models (docs/batch.md).

`embed` makes vectors of a column of text, `map` sends columns through any model; `Embedder` and `Mapper` are what they do to a
table, for loops of your own. It needs pyarrow, and Ray where it is asked for: pip install 'tgraph-compiler[ray]'.
"""

from __future__ import annotations

from .api import embed, map
from .embedder import Embedder
from .mapper import Mapper
from .report import BadRow, Report

__all__ = ["BadRow", "Embedder", "Mapper", "Report", "embed", "map"]

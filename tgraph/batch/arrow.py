"""pyarrow, whose tables everything here reads and writes, or an error that says how to get it."""

from __future__ import annotations

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ModuleNotFoundError as _error:
    raise ModuleNotFoundError("tgraph.batch needs pyarrow: pip install 'tgraph-compiler[batch]'") from _error

__all__ = ["pa", "pq"]

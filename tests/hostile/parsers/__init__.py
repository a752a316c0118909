"""Every format that tgraph reads, one parser each."""

from __future__ import annotations

from tests.hostile.parser import Parser
from tests.hostile.parsers import arrays, bundles, folders, graphs, models, rows, small

PARSERS: dict[str, Parser] = {
    **small.PARSERS, **arrays.PARSERS, **graphs.PARSERS, **folders.PARSERS, **bundles.PARSERS, **models.PARSERS,
    **rows.PARSERS,
}

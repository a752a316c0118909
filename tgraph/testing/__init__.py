"""Random programs for tests of ops, passes and targets of your own (docs/testing.md); `tgraph fuzz` is the command.

`check` sends one graph through everything that has to agree on it. `graphs` and `feeds` are strategies of hypothesis, `program`
makes the graph of a seed. `strategy` says how an op of yours is applied at random.
"""

from __future__ import annotations

from ..ir.dtypes import DTYPES as _DTYPES
from .examination import check
from .findings import Finding, Outcome
from .generator.maker import FLOATS, INTEGERS, Maker
from .generator.program import program
from .generator.written import strategy
from .hypothesis_strategies import feeds, graphs
from .ways import UNCOMPILED, WAYS

EVERY = tuple(_DTYPES.values())

__all__ = [
    "EVERY", "FLOATS", "INTEGERS", "UNCOMPILED", "WAYS", "Finding", "Maker", "Outcome", "check", "feeds", "graphs", "program",
    "strategy",
]

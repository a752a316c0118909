"""The exception that says why something is not attention."""

from __future__ import annotations

from tgraph.ir.values import Node


class MatchFailure(Exception):
    """Why something is not attention: a match that covered `matched` nodes failed at node `at`, for `reason`."""

    def __init__(self, reason: str, at: Node | None = None, matched: int = 1):
        super().__init__(reason)
        self.reason, self.at, self.matched = reason, at, matched

"""The steps of an explorer's document, replayed from its data alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

State = tuple[dict[int, list[Any]], list[Any]]


def states(entry: dict[str, Any]) -> Iterator[State]:
    """The nodes of a document's graph with what they read, and the outputs: at first, and after each step."""
    nodes, outputs = dict(zip(entry["first"], entry["reads"])), entry["outputs"]
    yield nodes, outputs
    for stage in entry["stages"]:
        for _, changes, _, _ in stage["steps"]:
            for kind, *change in changes:
                if kind == 0:
                    nodes[change[0]] = change[1]
                elif kind == 1:
                    del nodes[change[0]]
                elif kind == 2:
                    node, position, old, new = change
                    assert nodes[node][position] == old
                    nodes[node] = [*nodes[node][:position], new, *nodes[node][position + 1:]]
                else:
                    outputs, = change
            yield nodes, outputs
        assert len(nodes) == stage["after"]

"""What becomes of each op of ours in ONNX.

    @exporter("softmax", since=13)
    def softmax(node, x):
        return node.emit("Softmax", x, axis=node["axis"])

A function gets the names of the operands ("" for one that is left out) and gives those of the results. An op that has none at an
opset is decomposed, and the ops of its definition are looked for instead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Writer = Callable[..., Any]
@dataclass(frozen=True)
class Row:
    """What an op becomes from an opset on. when: whether that holds for a node (of ours). like: an op of ONNX whose first operand
    must take the element type of ours."""

    since: int
    write: Writer
    when: Callable[..., bool]
    like: str


ROWS: dict[str, list[Row]] = {}  # op -> by opset, the newest first


def exporter(*ops: str, since: int = 1, when: Callable[..., bool] = lambda node: True,
             like: str = "") -> Callable[[Writer], Writer]:
    """Register what ops become from an opset on."""

    def register(function: Writer) -> Writer:
        for op in ops:
            known = ROWS.setdefault(op, [])
            known.append(Row(since, function, when, like))
            known.sort(key=lambda row: -row.since)
        return function

    return register


def find_row(node: Any, opset: int) -> Row | None:
    """What writes a node at an opset."""
    return next((row for row in ROWS.get(node.op.name, ()) if row.since <= opset and row.when(node)), None)

"""The table of ONNX ops that can be imported, by domain, name and the opset from which a meaning holds.

    @importer("Softmax", since=13)
    def softmax(node, x):
        return tg.softmax(x, axis=node.attribute("axis", -1))

A function gets the node's operands as tensors (None for one that is left out) and gives its results as the language traces them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .node import OnnxNode, UnsupportedError

MICROSOFT = "com.microsoft"


@dataclass(frozen=True)
class Importer:
    """What one op means from one version of its opset on."""

    since: int
    function: Callable[..., Any]
    limits: str = ""  # what of the op is not taken, for the table of ops
    refused: str = ""  # why an op has no meaning in a graph, and what to do: all that its function says


IMPORTERS: dict[tuple[str, str], list[Importer]] = {}  # (domain, op) -> by version, the newest first


def importer(*ops: str, since: int = 1, domain: str = "",
             limits: str = "") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register what ops of a domain mean from an opset on. limits: what of it is refused, for the table of ops."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        for op in ops:
            known = IMPORTERS.setdefault((domain, op), [])
            known.append(Importer(since, function, limits))
            known.sort(key=lambda i: -i.since)
        return function

    return register


def refused(*ops: str, why: str, domain: str = "") -> None:
    """Register that ops have no meaning in a graph; `why` says so, and what to do."""

    def refuse(node: OnnxNode, *_: Any) -> Any:
        raise UnsupportedError(why)

    for op in ops:
        IMPORTERS.setdefault((domain, op), []).append(Importer(1, refuse, refused=why))


def find(domain: str, op: str, version: int) -> Importer | None:
    """What an op means at a version of its domain's opset."""
    return next((i for i in IMPORTERS.get((domain, op), ()) if i.since <= version), None)

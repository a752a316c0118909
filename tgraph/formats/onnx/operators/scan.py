"""Running sums and products along an axis."""

from __future__ import annotations

from typing import Any

from ..node import OnnxNode, UnsupportedError
from ..registry import importer
from .language import t


@importer("CumSum", since=11)
def running_sum(node: OnnxNode, x: Any, axis: Any) -> Any:
    at, exclusive = _axis(node, x), bool(node.attribute("exclusive", 0))
    if not node.attribute("reverse", 0):
        return t.cumsum(x, axis=at, exclusive=exclusive)
    return t.flip(t.cumsum(t.flip(x, axis=at), axis=at, exclusive=exclusive), axis=at)


@importer("CumProd", since=26, limits="along an axis of known size")
def running_product(node: OnnxNode, x: Any, axis: Any) -> Any:
    """Of n elements in log2(n) steps: each time an element is multiplied by the one that lies 1, 2, 4, ... before it (Hillis and
    Steele 1986)."""
    at = _axis(node, x)
    size = x.shape[at]
    if not isinstance(size, int):
        raise UnsupportedError(f"multiplies along axis {at} of {x.type}, whose size is known only at run time; give it a size: "
                               f'dims={{"{size}": 128}}')
    y = t.flip(x, axis=at) if node.attribute("reverse", 0) else x
    y = _delayed(y, at, 1) if node.attribute("exclusive", 0) and size else y
    distance = 1
    while distance < size:
        y = y * _delayed(y, at, distance)
        distance *= 2
    return t.flip(y, axis=at) if node.attribute("reverse", 0) else y


def _axis(node: OnnxNode, x: Any) -> int:
    at = int(node.array(1, "the axis").reshape(-1)[0])
    return at + x.rank if at < 0 else at


def _delayed(x: Any, axis: int, distance: int) -> Any:
    """Elements moved towards the end of an axis; ones come in."""
    before = tuple(distance if a == axis else 0 for a in range(x.rank))
    cut = t.slice(x, starts=(0,), stops=(x.shape[axis] - distance,), axes=(axis,))
    return t.pad(cut, before=before, after=(0,) * x.rank, fill_value=1)

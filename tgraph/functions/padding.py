"""`pad`: more elements at the ends of axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..current_tracer import apply
from ..ir.dims import Dim
from ..ir.errors import RuleError
from ..tensor import Tensor
from .calls import as_tensor, function


@function()
def pad(x: Any, pad_width: Any = None, mode: str = "constant", fill_value: Any = None, *, pad: Any = None,
        constant_values: Any = None, before: Any = None, after: Any = None) -> Tensor:
    """NumPy's pairs, one an axis, pad(x, ((0, 0), (1, 2))); or PyTorch's sizes from the last axis on, pad(x, (left, right, top,
    bottom)). One pair alone pads all axes in NumPy and the last in PyTorch: it is refused unless it says pad= or
    pad_width=... for a tensor of rank 1.

    mode: "constant", or what lies beyond the ends is taken from x[n]: "edge" (PyTorch's "replicate") the first or last element,
    "reflect" as in a mirror at the last element, "symmetric" as in one behind it, "wrap" ("circular") as if x began again.
    """
    values = [v for v in (fill_value, constant_values) if v is not None]
    if len(values) > 1:
        raise RuleError("the value is given twice")
    if mode != "constant" and mode not in BEYOND:
        raise RuleError(f"mode is constant, {', '.join(BEYOND)}, got {mode!r}")
    if mode != "constant" and values:
        raise RuleError(f"mode {mode!r} takes no value")
    if before is not None or after is not None:
        if pad_width is not None or pad is not None or before is None or after is None:
            raise RuleError("takes before= and after=, one size an axis each, or one of pad_width and pad")
    else:
        pairs = _pairs(as_tensor(x), pad_width, pad)
        before, after = tuple(b for b, _ in pairs), tuple(a for _, a in pairs)
    if mode == "constant":
        return apply("pad", x, before=before, after=after, **({"value": values[0]} if values else {}))
    x = as_tensor(x)
    for axis, (first, last) in enumerate(zip(before, after, strict=True)):
        if (first, last) != (0, 0):
            size = x.shape[axis]
            places = apply("range", start=-first, stop=size + last)
            x = apply("gather", x, BEYOND[mode](places, size), axis=axis)
    return x


def _edge(places: Tensor, size: Any) -> Tensor:
    return apply("minimum", apply("maximum", places, 0), size - 1)


def _wrap(places: Tensor, size: Any) -> Tensor:
    return apply("mod", places, size)


def _reflect(places: Tensor, size: Any) -> Tensor:
    """There and back again takes 2 (n - 1) steps; a single element is its own image."""
    steps = (size - 1) * 2
    step = apply("mod", places, max(steps, 1) if isinstance(steps, int) else apply("maximum", apply("dim_size", size=steps), 1))
    return apply("minimum", step, apply("sub", (size - 1) * 2, step))


def _symmetric(places: Tensor, size: Any) -> Tensor:
    step = apply("mod", places, size * 2)
    return apply("minimum", step, apply("sub", size * 2 - 1, step))


# mode -> the index of x, of `size` elements, at places that go beyond its ends
BEYOND: dict[str, Callable[[Tensor, Any], Tensor]] = {
    "edge": _edge, "replicate": _edge, "wrap": _wrap, "circular": _wrap, "reflect": _reflect, "symmetric": _symmetric}


def _pairs(x: Any, width: Any, pad: Any) -> list[tuple[Any, Any]]:
    given = pad if width is None else width
    if given is None or (pad is not None and width is not None):
        raise RuleError("takes before= and after=, one size an axis each, or one of pad_width and pad")
    if isinstance(given, (int, Dim)):
        return [(given, given)] * x.rank
    if not isinstance(given, (tuple, list)):
        raise RuleError(f"sizes to pad with are integers, got {given!r}")
    if all(isinstance(p, (tuple, list)) and len(p) == 2 for p in given):
        if len(given) not in (1, x.rank):
            raise RuleError(f"{x.type} has {x.rank} axes, got {len(given)} pairs")
        return [tuple(p) for p in given] * (x.rank if len(given) == 1 else 1)
    if len(given) % 2 or len(given) > 2 * x.rank or any(isinstance(p, (tuple, list)) for p in given):
        raise RuleError(f"takes a pair an axis, or PyTorch's two sizes an axis from the last on, got {given!r}")
    if len(given) == 2 and x.rank > 1 and pad is None:
        pairs = ", ".join(["(0, 0)"] * (x.rank - 1) + [str(tuple(given))])
        raise RuleError(f"{tuple(given)} pads the last axis in PyTorch and all axes in NumPy; write pad={tuple(given)} "
                        f"or ({pairs}) for the last")
    own = [(given[i], given[i + 1]) for i in range(0, len(given), 2)]
    return [(0, 0)] * (x.rank - len(own)) + own[::-1]

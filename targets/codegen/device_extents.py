"""Extents that only the device knows, because a kernel computes them: the host launches with an upper bound of each.

An expression over extents is written once, over the variables that a kernel's statements see. Where the host needs it, for a grid
or a condition around launches, `on_host` puts the upper bounds in their place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from targets.base.tvm_api import Buffer, Expr, T, int64, tvm


@dataclass(frozen=True)
class DeviceExtent:
    """One such extent: its variable inside of launches, the host's upper bound, and the buffer i64[1] that holds its value."""

    variable: Expr
    bound: Expr
    buffer: Buffer


_EXTENTS: ContextVar[Sequence[DeviceExtent]] = ContextVar("device_extents", default=())


@contextmanager
def use_extents(extents: Sequence[DeviceExtent]) -> Iterator[None]:
    """A context in which launches read these extents, and `on_host` knows their bounds."""
    token = _EXTENTS.set(extents)
    try:
        yield
    finally:
        _EXTENTS.reset(token)


def on_host(size: Expr | int) -> Expr | int:
    """A size with upper bounds in place of the extents that the host does not know."""
    extents = _EXTENTS.get()
    if not extents or isinstance(size, int):
        return size
    analyzer = tvm.sym.Analyzer()
    for extent in extents:
        analyzer.bind(extent.variable, extent.bound)
    return analyzer.simplify(size)


def read_extents() -> None:
    """Give every extent's variable its value, at the start of a launch."""
    for extent in _EXTENTS.get():
        T.bind(extent.buffer[int64(0)], var=extent.variable)

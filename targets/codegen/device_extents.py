"""Sizes that are known on the device only: a launch takes a bound of each from the host, and its value from memory.

An expression about sizes is written once, over the variable that a kernel's statements see. Where the host needs it, for a grid
or a condition around launches, `on_host` puts the bound in its place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from targets.base.tvm_api import Buffer, Expr, T, int64, tvm


@dataclass(frozen=True)
class DeviceExtent:
    """One such size: the variable inside launches, the host's bound, and the buffer i64[1] that holds it."""

    variable: Expr
    bound: Expr
    buffer: Buffer


_COUNTED: ContextVar[Sequence[DeviceExtent]] = ContextVar("counted", default=())


@contextmanager
def counted(sizes: Sequence[DeviceExtent]) -> Iterator[None]:
    """Launches that are opened meanwhile know these."""
    token = _COUNTED.set(sizes)
    try:
        yield
    finally:
        _COUNTED.reset(token)


def on_host(size: Expr | int) -> Expr | int:
    """A size as the host knows it."""
    sizes = _COUNTED.get()
    if not sizes or isinstance(size, int):
        return size
    analyzer = tvm.sym.Analyzer()
    for each in sizes:
        analyzer.bind(each.variable, each.bound)
    return analyzer.simplify(size)


def read_counts() -> None:
    """At the start of a launch: gives every such variable its value."""
    for each in _COUNTED.get():
        T.bind(each.buffer[int64(0)], var=each.variable)

"""Requests for memory that is read soon."""

from __future__ import annotations

from typing import Any

from tvm import tirx
from tvm.ir import Expr, TensorLoad
from tvm.script.ir_builder import tirx as T

FIRST_CACHE, SECOND_CACHE = 3, 2  # LLVM's names of the caches that a line may be brought to


def prefetch(value: Expr, cache: int = FIRST_CACHE) -> None:
    """Emits a request for the line that `value`, an element of a buffer or a cast of one, is in; none for other expressions.

    It does nothing where the address is not the process's.
    """
    while isinstance(value, tirx.Cast):
        value = value.value
    if isinstance(value, TensorLoad):
        read, data = tirx.const(0, "int32"), tirx.const(1, "int32")
        address: Any = tirx.address_of(value)
        T.evaluate(tirx.call_llvm_intrin("void", "llvm.prefetch", address, read, tirx.const(cache, "int32"), data))

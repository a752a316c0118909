"""Tensors by address and strides, as libraries take them, found out from what an expression reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from targets.base.tvm_api import Buffer, Expr, tirx, tvm
from targets.codegen.opaque import detached
from targets.cuda.kernels.adjacent import stored_element
from targets.cuda.kernels.launch import static


@dataclass(frozen=True)
class Strided:
    """Element (i, j, ...) lies at `first + i * distances[0] + j * distances[1] + ...` of a tensor, in elements."""

    tensor: Buffer
    first: Expr
    distances: tuple[Expr, ...]

    @property
    def address(self) -> Expr:
        """The address of the first element, on the host."""
        return tirx.address_of(self.tensor[self.first])

    @property
    def adjacent(self) -> bool:
        """Whether elements along the last axis lie beside each other."""
        return static(self.distances[-1]) == 1

    @classmethod
    def of(cls, load: Callable[..., Expr], rank: int, dtype: str) -> Strided | None:
        """The tensor of `dtype` that `load(i, j, ...)` reads; None if that computes something, or follows no distances."""
        variables = [tirx.Var(f"i{axis}", "int64") for axis in range(rank)]
        with detached():
            element = stored_element(load(*variables))
        if element is None or str(element.ty.dtype) != dtype:
            return None
        found = [tvm.sym.Analyzer().simplify(part) for part in tvm.sym.detect_linear_equation(element.indices[0], variables)]
        return cls(element.source, found[-1], tuple(found[:-1])) if found else None

"""Calling a named subgraph: how a graph says which nodes become one kernel."""

from __future__ import annotations

from ..ir.dims import DimLike, substitute
from ..ir.errors import RuleError
from ..ir.graph import Graph
from ..ir.registry import op
from ..ir.rules import at_least, same
from ..ir.types import TensorType
from ..ir.unification import bind_dims


@op(opaque=True)
def call(*xs: TensorType, function: Graph) -> TensorType | tuple[TensorType, ...]:
    """Apply a function, a graph of its own: the results are its outputs, in order.

    `call $gemm_bias(%x, @w)` means the body of `function $gemm_bias(%a: ..., %b: ...)` with %a = %x and %b = @w. The
    symbolic dims of the function stand for the sizes of the operands. The interpreter runs the body.
    """
    if not isinstance(function, Graph):
        raise RuleError(f"attribute 'function' must be a graph, got {type(function).__name__}")
    if len(xs) != len(function.inputs):
        raise RuleError(f"${function.name} takes {len(function.inputs)} operands, got {len(xs)}")
    sizes: dict[str, DimLike] = {}
    for formal, actual in zip(function.inputs, xs):
        wanted = f"${function.name} takes {formal.name}: {formal.type}, got {actual}"
        if formal.dtype != actual.dtype or formal.type.rank != actual.rank:
            raise RuleError(wanted)
        bind_dims(formal.type, actual, sizes)
    for formal, actual in zip(function.inputs, xs):
        for want, have in zip(formal.shape, actual.shape):
            same(have, substitute(want, sizes), f"${function.name} takes {formal.name}: {formal.type}, got {actual}")
    for left, right in function.constraints:
        same(substitute(left, sizes), substitute(right, sizes), f"${function.name} requires {left} == {right}")
    for left, right in function.inequalities:
        at_least(substitute(left, sizes), substitute(right, sizes), f"${function.name} requires {left} >= {right}")
    results = tuple(TensorType(v.dtype, v.type.substitute(sizes).shape) for _, v in function.outputs)
    return results[0] if len(results) == 1 else results


@call.cost
def _(operands, results, attrs):  # type: ignore[no-untyped-def]
    function: Graph = attrs["function"]
    sizes: dict[str, DimLike] = {}
    for formal, actual in zip(function.inputs, operands):
        bind_dims(formal.type, actual, sizes)
    return substitute(function.flops, sizes)

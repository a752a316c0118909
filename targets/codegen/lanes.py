"""Makes loops serial that are marked as vectors and cannot be one, before TVM's vectoriser sees them.

That pass turns single statements into loops over their lanes where it cannot make them vectors, also where they name
a value that later statements read, or share memory that each lane needs for itself: silently wrong.
"""

from __future__ import annotations

from typing import Any

from tvm.ir import Call, Op
from tvm_ffi import structural_map, structural_walk

from targets.base.tvm_api import tirx

CHOOSES = "prim.if_then_else"
ANY_LANES = ("tirx.reinterpret", "prim.reinterpret")  # calls that become vectors without saying so


def serial_where_needed(function: Any) -> Any:
    """The kernel with those of its vector loops serial that cannot be vectors."""
    return structural_map(function, [(tirx.For, _checked)])


def without_vectors(function: Any) -> Any:
    """The kernel with all its vector loops serial."""
    return structural_map(function, [(tirx.For, lambda loop: _serial(loop) if loop.kind == tirx.ForKind.VECTORIZED else loop)])


def _checked(loop: Any) -> Any:
    return loop if loop.kind != tirx.ForKind.VECTORIZED or _is_vector(loop) else _serial(loop)


def _serial(loop: Any) -> Any:
    return tirx.For(loop.loop_var, loop.min, loop.extent, tirx.ForKind.SERIAL, loop.body, None, loop.annotations)


def _is_vector(loop: Any) -> bool:
    """Whether no lane needs memory of its own, and no condition and no scalar call depends on the lane."""
    varying: list[Any] = [loop.loop_var]
    deciding: list[Any] = []
    memory: list[Any] = []
    structural_walk(loop.body, [
        (tirx.AllocBuffer, memory.append),
        (tirx.IfThenElse, lambda s: deciding.append(s.condition)),
        (tirx.Bind, lambda s: varying.append(s.var)),
        (Call, lambda c: deciding.extend(_scalar_operands(c))),
    ])
    if memory:
        return False
    found: list[Any] = []
    for expression in deciding:
        structural_walk(expression, [(tirx.Var, lambda v: found.append(v) if any(v.same_as(w) for w in varying) else None)])
    return not found


def _scalar_operands(call: Any) -> list[Any]:
    """The operands of a call that must not differ from lane to lane."""
    if not isinstance(call.op, Op):
        return list(call.args)
    if call.op.name == CHOOSES:
        return [call.args[0]]
    if call.op.name in ANY_LANES or call.op.get_attr("TVectorizable"):
        return []
    return list(call.args)

"""Which elements of a tensor an expression reads, and whether neighbours lie together, so that 16 bytes go at once."""

from __future__ import annotations

from collections.abc import Callable

from tvm.ir import Call, TensorLoad

from targets.base.tvm_api import Expr, int64, tirx, tvm
from targets.codegen.opaque import detached


def stored_element(expression: Expr) -> TensorLoad | None:
    """The element of a tensor that an expression is, widened or not; None if it is anything else."""
    while not isinstance(expression, TensorLoad):
        if isinstance(expression, tirx.Cast):
            expression = expression.value
        elif isinstance(expression, Call) and expression.op.name == "tirx.reinterpret":
            expression = expression.args[0]
        elif isinstance(expression, tirx.LShift):  # a bf16 that is held as f32
            expression = expression.a
        else:
            return None
    return expression


def consecutive(load: Callable[[Expr], Expr], count: int) -> bool:
    """Whether load(i) to load(i + count - 1), for i a multiple of `count`, are neighbours in one tensor."""
    group = tirx.Var("group", "int64")
    with detached():
        elements = [stored_element(load(group * int64(count) + int64(i))) for i in range(count)]
    return all(e is not None and _distance(elements[0], e) == i for i, e in enumerate(elements))


def adjacent(load: Callable[[Expr], Expr], count: int, dtype: str) -> bool:
    """Whether load(i) to load(i + count - 1) are `consecutive` in a tensor of `dtype`, from a multiple of `count` on."""
    with detached():
        element = stored_element(load(tirx.Var("group", "int64") * int64(count)))
    if element is None or str(element.ty.dtype) != dtype:
        return False
    return multiple(element.indices[0], count) and consecutive(load, count)


def multiple(index: Expr, count: int) -> bool:
    """Whether an integer expression is provably a multiple of `count`."""
    analyzer = tvm.sym.Analyzer()
    known = analyzer.modular_set(analyzer.simplify(index))
    return int(known.coeff) % count == 0 and int(known.base) % count == 0


def steps(first: Expr, following: Expr, by: Expr) -> bool:
    """Whether following = first + by, provably."""
    rest = tvm.sym.Analyzer().simplify(following - first - by)
    return isinstance(rest, tirx.IntImm) and int(rest.value) == 0


def _distance(first: TensorLoad | None, second: TensorLoad) -> int | None:
    """How many elements of one tensor lie between two, if that is a constant."""
    if first is None or not first.source.same_as(second.source):
        return None
    step = tvm.sym.Analyzer().simplify(second.indices[0] - first.indices[0])
    return int(step.value) if isinstance(step, tirx.IntImm) else None

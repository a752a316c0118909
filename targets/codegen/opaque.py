"""Arithmetic hidden from TVM's simplifier, and names for values that a kernel uses more than once.

TVM simplifies floats as if they were real numbers (x - x = 0, (a + b) - a = b, x == x: NaN and rounding are lost) and
integers as if they never overflowed. So before its passes see a kernel, `hide` makes calls of ops of our own of all
arithmetic on floats, and `reveal` turns them back when nothing but code generation is left. Arithmetic on tensors of
integers is written with `wrapping` from the start, which has no overflow: it is modulo 2^bits, as NumPy's.
Arithmetic on indices stays as it is.

`bind` names a value. To TVM's analysers a name stands for its expression, which they put in wherever it occurs, so that
names of names grow exponentially; a name for something opaque is just a name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import tvm_ffi
from tvm import tirx
from tvm.ir import Call, Expr, Op, TensorLoad, register_op_attr
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T
from tvm_ffi import structural_map

_ADD_TO_PARENT = tvm_ffi.get_global_func("script.ir_builder.tirx.AddToParent")
READS_STATE = 2  # TVM's CallEffectKind of a value that its analysers must not copy


def _register(name: str) -> Op:
    """Register an op with TVM that works lane by lane, and that its analysers do not look into."""
    register_op_attr(f"tgraph.{name}", "TVectorizable", True)
    register_op_attr(f"tgraph.{name}", "TCallEffectKind", READS_STATE)
    register_op_attr(f"tgraph.{name}", "TScriptPrinterName", f"tgraph.{name}")
    return Op.get(f"tgraph.{name}")


_HIDDEN = {cls: _register(name) for name, cls in {
    "add": tirx.Add, "sub": tirx.Sub, "mul": tirx.Mul, "div": tirx.Div, "remainder": tirx.Mod,
    "equal": tirx.EQ, "not_equal": tirx.NE, "less": tirx.LT,
    "less_or_equal": tirx.LE, "greater": tirx.GT, "greater_or_equal": tirx.GE}.items()}
_WRAPPING = {cls: _register(f"wrapping_{name}") for name, cls in {
    "add": tirx.Add, "sub": tirx.Sub, "mul": tirx.Mul}.items()}
_VALUE = _register("value")


def _in_type(dtype_for: Callable[[str], str]) -> Callable[[type], Callable[[Expr, Expr], Expr]]:
    """A decorator of operations on integers: computed in another type, and truncated to their own."""

    def computed(cls: type) -> Callable[[Expr, Expr], Expr]:
        def made(x: Expr, y: Expr) -> Expr:
            dtype = str(x.ty.dtype)
            other = dtype_for(dtype)
            return tirx.Cast(dtype, cls(tirx.Cast(other, x), tirx.Cast(other, y)))

        return made

    return computed


def _twice_as_wide(dtype: str) -> str:
    """int64 for int32, int128 for uint64x4. LLVM narrows it again; TVM tells LLVM that the type itself does not overflow."""
    scalar, *lanes = dtype.split("x")
    return "x".join([f"int{2 * int(scalar.lstrip('uint'))}", *lanes])


def _unsigned(dtype: str) -> str:
    """The type whose overflow C++ defines."""
    return dtype if dtype.startswith("u") else f"u{dtype}"


_PLAIN: dict[str, Callable[..., Expr]] = {**{op.name: cls for cls, op in _HIDDEN.items()}, _VALUE.name: lambda x: x}
_MODULAR = {"llvm": _in_type(_twice_as_wide), "c++": _in_type(_unsigned)}
_OPAQUE = {*_PLAIN, *(op.name for op in _WRAPPING.values())}


def _is_float(x: Expr) -> bool:
    return "float" in str(x.ty.dtype)


def _is_opaque(x: Any) -> bool:
    return isinstance(x, Call) and isinstance(x.op, Op) and x.op.name in _OPAQUE


def wrapping(cls: type, x: Expr, y: Expr) -> Expr:
    """`cls` (tirx.Add, Sub or Mul) of two integers of one type, modulo 2^bits."""
    return Call(_WRAPPING[cls], [x, y], ret_ty=x.ty)


def bind(value: Expr) -> Expr:
    """Name a value, by a statement at this place of the kernel being built; in a vectorised loop each lane has its own."""
    if isinstance(value, tirx.Var | tirx.IntImm | tirx.FloatImm):
        return value
    return T.bind(value if _is_float(value) or isinstance(value, TensorLoad) else Call(_VALUE, [value], ret_ty=value.ty))


class Detached:
    """Statements that are not part of the kernel being built until `emit` adds them; `body` is None if there are none."""

    body: Any = None

    def emit(self) -> None:
        if self.body is not None:
            _ADD_TO_PARENT(self.body)


@contextmanager
def detached() -> Iterator[Detached]:
    """A context that collects the statements emitted in it: for an expression that is not, or not yet, to be evaluated."""
    kept = Detached()
    with IRBuilder() as builder:
        with T.prim_func():
            T.func_name("detached")
            yield kept
        body = builder.get().body
    kept.body = None if isinstance(body, tirx.Evaluate) else body


def choose(condition: Expr, inside: Callable[[], Expr], outside: Callable[[], Expr], scope: str) -> Expr:
    """`inside()` where a condition holds, else `outside()`: only that one is evaluated, so that it may read memory.

    An `if_then_else` of finished expressions does not do: the statements that name their parts would stand before it.
    scope: of the memory for the result, where there are such statements.
    """
    results: list[Expr] = []
    branches: list[Detached] = []
    for branch in (inside, outside):
        with detached() as statements:
            results.append(branch())
        branches.append(statements)
    if all(statements.body is None for statements in branches):
        return tirx.if_then_else(condition, *results)
    cell, zero = T.alloc_buffer((1,), str(results[0].ty.dtype), scope=scope), tirx.const(0, "int64")
    with T.If(condition):
        for frame, statements, result in zip((T.Then, T.Else), branches, results):
            with frame():
                statements.emit()
                T.buffer_store(cell, result, [zero])
    return bind(cell[zero])


def hide(function: Any) -> Any:
    """A kernel whose arithmetic on floats is opaque to TVM's passes."""

    def hidden(e: Any) -> Expr:
        return Call(_HIDDEN[type(e)], [e.a, e.b], ret_ty=e.ty) if _is_float(e.a) else e

    def named(statement: Any) -> Any:
        value = statement.value
        if isinstance(value, TensorLoad) or _is_opaque(value) or not hasattr(value.ty, "dtype") or not _is_float(value):
            return statement
        return tirx.Bind(statement.var, Call(_VALUE, [value], ret_ty=value.ty))

    return structural_map(function, [(tuple(_HIDDEN), hidden), (tirx.Bind, named)])


def reveal(function: Any, language: str = "llvm") -> Any:
    """A kernel with plain arithmetic in place of what `hide` and `wrapping` made, for code generation in "llvm" or "c++"."""
    plain_of = {**_PLAIN, **{op.name: _MODULAR[language](cls) for cls, op in _WRAPPING.items()}}

    def revealed(call: Any) -> Expr:
        plain = plain_of.get(call.op.name) if isinstance(call.op, Op) else None
        return call if plain is None else plain(*call.args)

    return structural_map(function, [(Call, revealed)])


def in_memory(function: Any) -> Any:
    """A kernel that reads every name of something opaque from memory, where TVM's code generator does not look behind it."""

    def cell(statement: Any) -> Any:
        value = statement.value
        if not _is_opaque(value):
            return statement
        dtype = str(value.ty.dtype)
        bits = dtype.startswith("bool")  # LLVM packs those of a vector, TVM's code generator reads bytes
        if bits:
            value = tirx.Cast(dtype.replace("bool", "uint8"), value)
        buffer = tirx.decl_buffer((1,), str(value.ty.dtype), name=statement.var.name, scope="global")
        zero = [tirx.const(0, "int32")]
        read = tirx.BufferLoad(buffer, zero)
        return tirx.SeqStmt([tirx.AllocBuffer(buffer), tirx.BufferStore(buffer, value, zero),
                             tirx.Bind(statement.var, tirx.Cast(dtype, read) if bits else read)])

    return structural_map(function, [(tirx.Bind, cell)])

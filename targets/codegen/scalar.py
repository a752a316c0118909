"""One table of scalar expressions, keyed by the name of the op: what every kernel's epilogue is made of.

`SCALAR[op](*operands, **attributes)` builds a TIR expression from operand expressions, after statements that name what it uses
twice (`scalar(op, ...)` is the same with a clear error for an unknown name). f32 transcendental functions are the polynomials
of `vector_math`; f64 ones are TVM's intrinsics (libm); f16 and bf16 are computed in f32 and rounded once at the end. Floating
minimum, maximum and relu propagate NaN, as NumPy does.
TVM's simplifier takes floats for totally ordered (after "not a > b" it drops a test "a <= b"; `x != x` is false), so NaN
is told by its bits. `division` has quotients and remainders.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from tvm import tirx
from tvm.ir import Expr

from targets.codegen import division
from targets.codegen import vector_math as vm
from targets.codegen.opaque import wrapping
from targets.codegen.vector_math import constant, dtype_of, let
from tgraph.ir.dtypes import bf16
from tgraph.ir.errors import CompileError
from tgraph.ir.registry import get_op

Expression = Callable[..., Expr]
FLOATS = ("float16", "bfloat16", "float32", "float64")
HALVES = ("float16", "bfloat16")


def cast(x: Expr, dtype: str) -> Expr:
    """`x` as `dtype` (a TVM dtype name); to bool means "is not zero"."""
    source = dtype_of(x)
    if source == dtype:
        return x
    if dtype == "bool":
        return not_equal(x, constant(0, source))
    if source == "bool":
        return tirx.Select(x, constant(1, dtype), constant(0, dtype))
    if source == "bfloat16":
        widened = tirx.Cast("uint32", tirx.reinterpret("uint16", x)) << constant(16, "uint32")
        return cast(tirx.reinterpret("float32", widened), dtype)
    if dtype == "bfloat16":
        return let(cast(x, "float32"), _to_bfloat16)
    if source in FLOATS and dtype not in FLOATS:
        return _to_integer(cast(x, "float32") if source in HALVES else x, dtype)
    return tirx.Cast(dtype, x)


# How kernels hold values: bf16 as f32, rounded to bf16 after each op. TVM's legalisation of bf16 fails on vectors of
# literals and of values that all lanes share, on selections between vectors, and sometimes crashes.


def held(dtype: str) -> str:
    """The element type that expressions of `dtype` have inside of a kernel."""
    return "float32" if dtype == "bfloat16" else dtype


def hold(x: Expr, dtype: str) -> Expr:
    """Any expression as a value of `dtype`."""
    if dtype != "bfloat16":
        return cast(x, dtype)
    return let(cast(x, "float32"), lambda v: tirx.reinterpret("float32", _bfloat16_bits(v)))


def literal(value: bool | int | float, dtype: str) -> Expr:
    """A number as a value of `dtype`."""
    if dtype == "bfloat16":
        value = float(np.array(value, bf16.numpy))
    return constant(bool(value) if dtype == "bool" else value, held(dtype))


def to_store(x: Expr, dtype: str, at: Expr) -> Expr:
    """A value as it is written to element `at` of a buffer."""
    if dtype != "bfloat16":
        return x
    varying = tirx.Cast("uint16", at) & constant(0, "uint16")  # so that no two lanes are seen to share a bf16 value
    bits = tirx.Cast("uint16", tirx.reinterpret("uint32", x) >> constant(16, "uint32"))
    return tirx.reinterpret(dtype, bits | varying)


def _to_integer(x: Expr, dtype: str) -> Expr:
    """Drops the fraction; saturates at the ends of the type, NaN gives 0. The bare conversion is undefined there."""
    bits = int(dtype.lstrip("uint"))
    low, high = (0, 2**bits - 1) if dtype.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    bound = lambda value: constant(float(value), dtype_of(x))  # rounds up to a power of two where it must

    def narrow(v: Expr) -> Expr:
        """The same for 8 bits, whose ends all floats have: they are applied before the conversion, an instruction each."""
        above = tirx.Select(v > bound(low), v, bound(low))  # for NaN too
        whole = tirx.Cast(dtype, tirx.Cast("int32", tirx.Select(above < bound(high), above, bound(high))))
        return tirx.Select(is_nan(v), constant(0, dtype), whole) if low else whole

    def convert(v: Expr) -> Expr:
        inside = tirx.Select(is_nan(v), constant(0, dtype), tirx.Cast(dtype, v))
        above = tirx.Select(v >= bound(high), constant(high, dtype), inside)
        return tirx.Select(v <= bound(low), constant(low, dtype), above)

    return let(x, narrow if bits == 8 else convert)


def not_equal(x: Expr, y: Expr) -> Expr:
    """x != y, true where an operand is NaN. TVM's own NE is an *ordered* comparison, false there."""
    if dtype_of(x) not in FLOATS:
        return tirx.NE(x, y)
    return tirx.Select(tirx.EQ(x, y), constant(False, "bool"), constant(True, "bool"))


def is_nan(x: Expr) -> Expr:
    """True where x is NaN, by its bits: `x != x` is always false in TVM."""
    dtype = dtype_of(x)
    if dtype in HALVES:
        return is_nan(cast(x, "float32"))
    bits, infinity = ("int64", 0x7FF0000000000000) if dtype == "float64" else ("int32", 0x7F800000)
    magnitude = tirx.reinterpret(bits, x) & constant(_all_but_sign(bits), bits)
    return magnitude > constant(infinity, bits)


def _all_but_sign(bits: str) -> int:
    return (1 << (63 if bits == "int64" else 31)) - 1


def _to_bfloat16(x: Expr) -> Expr:
    """f32 -> bf16, to nearest even. TVM's own cast repeats its operand."""
    return tirx.reinterpret("bfloat16", tirx.Cast("uint16", _bfloat16_bits(x) >> constant(16, "uint32")))


def _bfloat16_bits(x: Expr) -> Expr:
    """The bits of a named f32 rounded to bf16, to nearest even."""
    u32 = lambda value: constant(value, "uint32")
    odd = lambda b: (b >> u32(16)) & u32(1)
    rounded = let(tirx.reinterpret("uint32", x), lambda b: (b + u32(0x7FFF) + odd(b)) & u32(0xFFFF0000))
    return tirx.Select(is_nan(x), u32(0x7FC00000), rounded)


def _floating(expression: Expression) -> Expression:
    """Computes half precisions in f32: operands up, one rounding down."""

    def wrapped(*operands: Expr, **attributes: Any) -> Expr:
        dtype = dtype_of(operands[0])
        if dtype not in HALVES:
            return expression(*operands, **attributes)
        widened = [cast(x, "float32") if dtype_of(x) == dtype else x for x in operands]
        return cast(expression(*widened, **attributes), dtype)

    return wrapped


def _by_width(f32: Expression, f64: Expression) -> Expression:
    """A polynomial for f32 (and, widened, for halves), an intrinsic for f64."""
    return _floating(lambda x, **a: f64(x, **a) if dtype_of(x) == "float64" else f32(x, **a))


def _f64(x: float) -> Expr:
    return constant(x, "float64")


def _gelu(x: Expr, approximate: str = "none") -> Expr:
    if dtype_of(x) != "float64":
        return vm.gelu_tanh(x) if approximate == "tanh" else vm.gelu(x)
    if approximate == "tanh":
        inner = lambda v: _f64(math.sqrt(2 / math.pi)) * (v + _f64(0.044715) * v * v * v)
        return let(x, lambda v: _f64(0.5) * v * (_f64(1.0) + tirx.tanh(inner(v))))
    return let(x, lambda v: _f64(0.5) * v * (_f64(1.0) + tirx.erf(v * _f64(math.sqrt(0.5)))))


def _sigmoid64(x: Expr) -> Expr:
    return _f64(1.0) / (_f64(1.0) + tirx.exp(_f64(0.0) - x))


def _tanh64(x: Expr) -> Expr:
    """tanh of an f64; near 0, where TVM's (1 - e^-2x) / (1 + e^-2x) cancels, by its series."""
    def series(v: Expr) -> Expr:
        return let(v * v, lambda z: v * (_f64(1.0) + z * vm.horner(z, [-1 / 3, 2 / 15, -17 / 315, 62 / 2835], _f64)))

    return let(x, lambda v: tirx.Select(tirx.abs(v) < _f64(2.0**-5), series(v), tirx.tanh(v)))


def _softplus64(x: Expr) -> Expr:
    return let(x, lambda v: tirx.Max(v, _f64(0.0)) + tirx.log1p(tirx.exp(_f64(0.0) - tirx.abs(v))))


def _pow(x: Expr, y: Expr) -> Expr:
    dtype = dtype_of(x)
    if isinstance(y, tirx.FloatImm | tirx.IntImm):
        simple = _constant_power(x, float(y.value))
        if simple is not None:
            return simple
    if dtype == "float32":
        return vm.pow(x, cast(y, "float32"))
    if dtype == "float64":
        return tirx.power(x, cast(y, "float64"))
    # integers: exact while the result is below 2^53
    return cast(tirx.power(cast(x, "float64"), cast(y, "float64")), dtype)


def _constant_power(x: Expr, y: float) -> Expr | None:
    """x^y for the exponents that models use, as products and roots."""
    if y == 1.0:
        return x
    if y == 2.0:
        return let(x, lambda v: v * v)
    if y == 3.0:
        return let(x, lambda v: v * v * v)
    if y == 4.0:
        return let(x, lambda v: let(v * v, lambda s: s * s))
    if dtype_of(x) in FLOATS and y == 0.5:
        infinity = constant(math.inf, dtype_of(x))  # -inf to any such power is inf, -0.0 is 0.0
        return let(x, lambda v: tirx.Select(tirx.EQ(tirx.abs(v), infinity), infinity, tirx.abs(tirx.sqrt(v))))
    if dtype_of(x) in FLOATS and y == -1.0:
        return constant(1.0, dtype_of(x)) / x
    return None


def _arithmetic(cls: type) -> Expression:
    """An operation on floats as IEEE 754 has it, on integers modulo 2^bits."""
    return lambda x, y: cls(x, y) if dtype_of(x) in FLOATS else wrapping(cls, x, y)


_add, _sub, _mul = (_arithmetic(cls) for cls in (tirx.Add, tirx.Sub, tirx.Mul))


def maximum(x: Expr, y: Expr) -> Expr:
    """The larger operand; NaN if either is NaN."""
    if dtype_of(x) not in FLOATS:
        return tirx.Max(x, y)
    pick = lambda a, b: tirx.Select(is_nan(a), a, tirx.Select(a > b, a, b))
    return let(x, lambda a: let(y, lambda b: pick(a, b)))


def minimum(x: Expr, y: Expr) -> Expr:
    """The smaller operand; NaN if either is NaN."""
    if dtype_of(x) not in FLOATS:
        return tirx.Min(x, y)
    pick = lambda a, b: tirx.Select(is_nan(a), a, tirx.Select(a < b, a, b))
    return let(x, lambda a: let(y, lambda b: pick(a, b)))


def _relu(x: Expr) -> Expr:
    zero = constant(0, dtype_of(x))
    return let(x, lambda v: tirx.Select(v < zero, zero, v))


def _abs(x: Expr) -> Expr:
    zero = constant(0, dtype_of(x))
    if dtype_of(x) in FLOATS:
        return tirx.abs(x)
    if dtype_of(x).startswith("u"):  # and TVM aborts on the test "v < 0" of an unsigned v
        return x
    return let(x, lambda v: tirx.Select(v < zero, _sub(zero, v), v))


def _neg(x: Expr) -> Expr:
    if dtype_of(x).startswith("u"):
        return _sub(constant(0, dtype_of(x)), x)
    # -1 * x and not 0 - x: the latter turns 0.0 into 0.0 instead of -0.0
    return _mul(x, constant(-1, dtype_of(x)))


def _sign(x: Expr) -> Expr:
    dtype = dtype_of(x)
    if dtype.startswith("u"):
        return tirx.Select(x > constant(0, dtype), constant(1, dtype), constant(0, dtype))
    zero, one, minus = (constant(v, dtype) for v in (0, 1, -1))
    rest = (lambda v: tirx.abs(v)) if dtype in FLOATS else lambda v: v  # NaN, and 0.0 of both zeros
    return let(x, lambda v: tirx.Select(v > zero, one, tirx.Select(v < zero, minus, rest(v))))


def _where(condition: Expr, x: Expr, y: Expr) -> Expr:
    return tirx.Select(condition, x, y)


def _clip(x: Expr, min: float | None = None, max: float | None = None) -> Expr:
    x = x if min is None else maximum(x, constant(min, dtype_of(x)))
    return x if max is None else minimum(x, constant(max, dtype_of(x)))


def _leaky_relu(x: Expr, alpha: float = 0.01) -> Expr:
    return let(x, lambda v: tirx.Select(v < constant(0, dtype_of(v)), tirx.Mul(v, constant(alpha, dtype_of(v))), v))


def _only_floats(expression: Expression) -> Expression:
    """The identity on integers (floor, ceil, round)."""
    rounded = _floating(expression)
    return lambda x: rounded(x) if dtype_of(x) in FLOATS else x


def _xor(x: Expr, y: Expr) -> Expr:
    return tirx.NE(cast(x, "int32"), cast(y, "int32"))


def _compared(expression: Expression) -> Expression:
    """Booleans compare as the numbers 0 and 1: TVM has no code for comparing bits."""
    return lambda x, y: expression(*(cast(v, "int32") if dtype_of(v) == "bool" else v for v in (x, y)))


def _is_inf(x: Expr) -> Expr:
    return tirx.EQ(tirx.abs(x), constant(math.inf, dtype_of(x)))


SCALAR: dict[str, Expression] = {
    # arithmetic
    "add": _floating(_add),
    "sub": _floating(_sub),
    "mul": _floating(_mul),
    "div": _floating(division.divide),
    "floor_div": _floating(division.floor_divide),
    "mod": _floating(division.modulo),
    "pow": _floating(_pow),
    "neg": _floating(_neg),
    "abs": _floating(_abs),
    "sign": _floating(_sign),
    "reciprocal": _floating(lambda x: constant(1.0, dtype_of(x)) / x),
    "sqrt": _floating(lambda x: tirx.sqrt(x)),
    "rsqrt": _floating(lambda x: constant(1.0, dtype_of(x)) / tirx.sqrt(x)),
    "square": _floating(lambda x: let(x, lambda v: _mul(v, v))),
    "minimum": _floating(minimum),
    "maximum": _floating(maximum),
    "clip": _floating(_clip),
    "floor": _only_floats(lambda x: tirx.floor(x)),
    "ceil": _only_floats(lambda x: tirx.ceil(x)),
    "round": _only_floats(lambda x: tirx.nearbyint(x)),
    # transcendental
    "exp": _by_width(vm.exp, tirx.exp),
    "log": _by_width(vm.log, tirx.log),
    "erf": _by_width(vm.erf, tirx.erf),
    "sin": _by_width(vm.sin, tirx.sin),
    "cos": _by_width(vm.cos, tirx.cos),
    # activations
    "tanh": _by_width(vm.tanh, _tanh64),
    "sigmoid": _by_width(vm.sigmoid, _sigmoid64),
    "softplus": _by_width(vm.softplus, _softplus64),
    "relu": _floating(_relu),
    "leaky_relu": _floating(_leaky_relu),
    "gelu": _floating(_gelu),
    "silu": _by_width(vm.silu, lambda x: let(x, lambda v: v * _sigmoid64(v))),
    "quick_gelu": _by_width(vm.quick_gelu, lambda x: let(x, lambda v: v * _sigmoid64(v * _f64(1.702)))),
    # comparison and logic
    "equal": _compared(lambda x, y: tirx.EQ(x, y)),
    "not_equal": _compared(not_equal),
    "less": _compared(lambda x, y: tirx.LT(x, y)),
    "less_or_equal": _compared(lambda x, y: tirx.LE(x, y)),
    "greater": _compared(lambda x, y: tirx.GT(x, y)),
    "greater_or_equal": _compared(lambda x, y: tirx.GE(x, y)),
    "logical_and": lambda x, y: tirx.And(x, y),
    "logical_or": lambda x, y: tirx.Or(x, y),
    "logical_xor": _xor,
    "logical_not": lambda x: tirx.Not(x),
    "isnan": is_nan,
    "isinf": lambda x: _is_inf(cast(x, "float32") if dtype_of(x) in HALVES else x),
    "where": _where,
    "cast": lambda x, dtype: cast(x, str(getattr(dtype, "numpy_name", dtype))),  # a DType, or TVM's name of one
}


def scalar(op: str, *operands: Expr, **attributes: Any) -> Expr:
    """The expression of elementwise op `op`; CompileError if the table has no such op."""
    if op not in SCALAR:
        raise CompileError(f"{op}: no scalar expression; an elementwise kernel cannot contain it")
    return SCALAR[op](*operands, **attributes)


def scalar_kernel(op: str) -> Callable[[Expression], Expression]:
    """Register the expression of an elementwise op: `f(*operand expressions, **attributes)`, in TIR.

    Raises RuleError for an unknown op.
    """
    get_op(op)

    def register(expression: Expression) -> Expression:
        SCALAR[op] = expression
        return expression

    return register

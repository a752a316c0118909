"""f32 transcendental functions as polynomials in TIR, such that `T.vectorized` turns them into vector code.

TVM lowers `exp`, `erf` and the rest to scalar libm calls, which also keep LLVM from vectorising the loop around them.
The functions here take and give a scalar f32 expression and use nothing but +, *, /, comparisons, `Select` and bit shifts.
What is used twice is named by `let`, a statement where the kernel is being built: without it nested calls would grow
exponentially.

Coefficients are minimax fits (Lawson's reweighted least squares) made for this file. The errors given are the
largest found against f64 over the whole f32 range by `tests/targets/codegen/test_scalar.py`; they hold with and without
fused multiply-add. Results of `exp` below 1.7e-38 are flushed to zero.

A GPU has its own: `by_cuda`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps

from tvm import tirx
from tvm.ir import Expr

from targets.codegen.opaque import bind


def dtype_of(x: Expr) -> str:
    """The element type of an expression, as TVM names it ("float32", "bool")."""
    return str(x.ty.dtype)


def constant(value: float | int | bool, dtype: str) -> Expr:
    """A literal of the given element type."""
    return tirx.const(value, dtype)


def f32(value: float) -> Expr:
    """An f32 literal."""
    return tirx.const(value, "float32")


_BY_CUDA: ContextVar[bool] = ContextVar("by_cuda", default=False)


@contextmanager
def by_cuda() -> Iterator[None]:
    """A context in which exp, log, erf, tanh and quotients of them are CUDA's functions of one f32, with errors of up to 2 ulp.

    They take a third of the instructions: no branches, no IEEE division (CUDA C++ Programming Guide, appendix on mathematical
    functions).
    """
    token = _BY_CUDA.set(True)
    try:
        yield
    finally:
        _BY_CUDA.reset(token)


def _or_cuda(function: Callable[[Expr], Expr]) -> Callable[[Callable[[Expr], Expr]], Callable[[Expr], Expr]]:
    """A decorator: within `by_cuda`, `function` takes the polynomial's place."""

    def decorate(polynomial: Callable[[Expr], Expr]) -> Callable[[Expr], Expr]:
        return wraps(polynomial)(lambda x: function(x) if _BY_CUDA.get() else polynomial(x))

    return decorate


def _quotient(x: Expr, y: Expr) -> Expr:
    """x / y, where y is at least 1."""
    return tirx.call_pure_extern("float32", "__fdividef", x, y) if _BY_CUDA.get() else x / y


def let(value: Expr, body: Callable[[Expr], Expr]) -> Expr:
    """`body(value)` with `value` evaluated once, by a statement before the one that is being built."""
    return body(bind(value))


def horner(x: Expr, coefficients: Sequence[float], literal: Callable[[float], Expr] = f32) -> Expr:
    """The polynomial c[0] + c[1] x + c[2] x^2 + ..."""
    result = literal(coefficients[-1])
    for c in reversed(coefficients[:-1]):
        result = result * x + literal(c)
    return result


def _bits(x: Expr, dtype: str = "int32") -> Expr:
    return tirx.reinterpret(dtype, x)


# --- exp ------------------------------------------------------------------------------------------------------------

# 2 * e^r on |r| <= ln(2)/2, and 2 * 2^r on |r| <= 1/2. The 2 lets the exponent field hold n - 1, so that n = 128 (just below
# overflow) fits.
_EXP = [2.0, 2.0, 0.99999988, 0.33333042, 0.083336778, 0.016737491, 0.0027629079]
_POWER = [2.0, 1.3862944, 0.48045295, 0.11100665, 0.019236874, 0.002679775, 0.00030706724]
_LOG2E = 1.4426950408889634
_LN2_HIGH, _LN2_LOW = 0.693359375, -2.12194440e-4  # the high part has 10 bits: n * high is exact
_LOWEST = -126.0  # of n: the exponent field is 0 there, and with it the result
_ROUND = 12582912.0 + 126.0  # 1.5 * 2^23: adding it rounds to an integer, left in the low bits with the exponent's bias


@_or_cuda(tirx.exp)
def exp(x: Expr) -> Expr:
    """e^x in f32: relative error 1.2e-7; -inf gives 0, +inf and overflow inf, NaN NaN; zero below x = -87."""
    def rest(c: Expr, n: Expr) -> Expr:
        return let(n, lambda n: c - n * f32(_LN2_HIGH) - n * f32(_LN2_LOW))

    within = let(x, lambda v: _at_most(_at_least(v, _LOWEST / _LOG2E), 89.0))
    return let(within, lambda c: _power(c * f32(_LOG2E), lambda n: rest(c, n), _EXP))


@_or_cuda(tirx.exp)
def exp_nonpositive(x: Expr) -> Expr:
    """`exp` for x <= 0 (or -inf, NaN), as softmax has it: relative error 1.2e-7 + 7.5e-8 |x|; zero below x = -87.

    What rounding x log2(e) adds, small results alone have: it is lost in a sum with those near 1.
    """
    within = let(x * f32(_LOG2E), lambda v: _at_least(v, _LOWEST))
    return let(within, lambda c: _power(c, lambda n: c - n, _POWER))


def _power(y: Expr, rest: Callable[[Expr], Expr], coefficients: Sequence[float]) -> Expr:
    """2^n p(rest(n)), where n is y rounded to an integer from _LOWEST on, and 2 p the polynomial."""
    def scaled(t: Expr) -> Expr:
        power = _bits(_bits(t) << tirx.const(23, "int32"), "float32")  # 2^(n - 1)
        return let(rest(t - f32(_ROUND)), lambda r: horner(r, coefficients)) * power

    return let(y + f32(_ROUND), scaled)


def _at_least(x: Expr, bound: float) -> Expr:
    return tirx.Select(x < f32(bound), f32(bound), x)  # this order of operands lets NaN through


def _at_most(x: Expr, bound: float) -> Expr:
    return tirx.Select(x > f32(bound), f32(bound), x)  # and this one


# --- log ------------------------------------------------------------------------------------------------------------

# (log(1 + f) - f) / f^2 on sqrt(1/2) - 1 <= f <= sqrt(2) - 1
_LOG = [-0.49999988, 0.33333325, -0.25001583, 0.20001976, -0.16609078, 0.14181779, -0.13242976, 0.12904692, -0.0762211]


@_or_cuda(tirx.log)
def log(x: Expr) -> Expr:
    """Natural logarithm in f32: error 2e-7 relative to max(|log x|, 1); 0 gives -inf, negative NaN, subnormals exact."""

    def special(v: Expr) -> Expr:
        tiny = v < f32(1.17549435e-38)
        # a subnormal is brought into the normal range by 2^23, which the exponent then pays back
        scaled = tirx.Select(tiny, v * f32(8388608.0), v)
        finite = let(_bits(scaled), lambda b: _log_bits(b, tirx.Select(tiny, f32(-23.0), f32(0.0))))
        nan, inf = f32(float("nan")), f32(float("inf"))
        result = tirx.Select(v < inf, finite, v)  # +inf and NaN are their own logarithm
        return tirx.Select(v > f32(0.0), result, tirx.Select(v == f32(0.0), f32(-math.inf), tirx.Select(v < f32(0.0), nan, v)))

    return let(x, special)


def _log_bits(b: Expr, shift: Expr) -> Expr:
    i32 = lambda value: tirx.const(value, "int32")
    exponent = (b - i32(0x3F3504F3)) >> i32(23)  # 0x3F3504F3 is sqrt(1/2): mantissas lie in [sqrt(1/2), sqrt(2))

    def with_exponent(e: Expr) -> Expr:
        f = _bits(b - (e << i32(23)), "float32") - f32(1.0)
        k = tirx.Cast("float32", e) + shift
        combine = lambda f, k: k * f32(_LN2_HIGH) + (f + (f * f * horner(f, _LOG) + k * f32(_LN2_LOW)))
        return let(f, lambda f: let(k, lambda k: combine(f, k)))

    return let(exponent, with_exponent)


# --- erf, tanh and what is made of them -----------------------------------------------------------------------------

# erf(x) / x as P(x^2) / Q(x^2) on |x| <= 4, tanh(x) / x on |x| <= 9; beyond, both are 1 to within half an ulp
_ERF_P = [1.1283791393137774, 0.19354555246956312, 0.05310181680071132, 0.003883367361487783, 0.0002845668336403015,
          1.98678358073147e-06]  # fmt: skip
_ERF_Q = [1.0, 0.504857835346165, 0.11535020849760536, 0.015207296688842303, 0.0011855776201968363, 3.742023718216521e-05]
_TANH_P = [0.9999999794608999, 0.133810267537335, 0.0034955894349255443, 2.0609102987453677e-05, 1.3354688258985427e-08]
_TANH_Q = [1.0, 0.4671434234762612, 0.025876987217174803, 0.0003285636922567179, 7.77656966574858e-07]


def _saturating(x: Expr, p: Sequence[float], q: Sequence[float], end: float) -> Expr:
    """x P(x^2)/Q(x^2) within (-end, end), exactly +-1 outside, NaN for NaN (both comparisons are then false)."""

    def body(v: Expr) -> Expr:
        inside = let(v * v, lambda z: v * horner(z, p) / horner(z, q))
        return tirx.Select(v >= f32(end), f32(1.0), tirx.Select(v <= f32(-end), f32(-1.0), inside))

    return let(x, body)


@_or_cuda(tirx.erf)
def erf(x: Expr) -> Expr:
    """Error function in f32: error 3e-7 absolute and relative."""
    return _saturating(x, _ERF_P, _ERF_Q, 4.0)


@_or_cuda(tirx.tanh)
def tanh(x: Expr) -> Expr:
    """Hyperbolic tangent in f32: error 4e-7 absolute and relative."""
    return _saturating(x, _TANH_P, _TANH_Q, 9.0)


def sigmoid(x: Expr) -> Expr:
    """1 / (1 + e^-x) in f32: relative error 3e-7."""
    return _quotient(f32(1.0), f32(1.0) + exp(f32(0.0) - x))


def gelu(x: Expr) -> Expr:
    """x/2 (1 + erf(x / sqrt 2)), exact GELU (arXiv:1606.08415), in f32: absolute error 1e-6 (relative above 4)."""
    return let(x, lambda v: f32(0.5) * v * (f32(1.0) + erf(v * f32(math.sqrt(0.5)))))


def gelu_tanh(x: Expr) -> Expr:
    """GELU's tanh form x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))), as the equal x sigmoid(2 ...)."""
    a = -2.0 * math.sqrt(2.0 / math.pi)
    return let(x, lambda v: _quotient(v, f32(1.0) + exp(v * (v * v * f32(a * 0.044715) + f32(a)))))


def silu(x: Expr) -> Expr:
    """x sigmoid(x), also called swish."""
    return let(x, lambda v: _quotient(v, f32(1.0) + exp(f32(0.0) - v)))


def quick_gelu(x: Expr) -> Expr:
    """x sigmoid(1.702 x), the approximation that CLIP uses."""
    return let(x, lambda v: _quotient(v, f32(1.0) + exp(v * f32(-1.702))))


def softplus(x: Expr) -> Expr:
    """log(1 + e^x) as max(x, 0) + log(1 + e^-|x|), which cannot overflow."""
    positive = lambda v: tirx.Select(v < f32(0.0), f32(0.0), v)
    magnitude = lambda v: tirx.Select(v < f32(0.0), v, f32(0.0) - v)
    return let(x, lambda v: positive(v) + _log1p_unit(exp(magnitude(v))))


def _log1p_unit(x: Expr) -> Expr:
    """log(1 + x) for 0 <= x <= 1, accurate for small x: what rounding 1 + x lost is added back to first order."""
    one = f32(1.0)
    return let(x, lambda v: let(one + v, lambda u: log(u) + _quotient(v - (u - one), u)))


# --- sin, cos -------------------------------------------------------------------------------------------------------

_SIN = [-0.16666655242443085, 0.00833215843886137, -0.00019514957966748625]
_COS = [0.04166664555668831, -0.0013887364184483886, 2.443809171381872e-05]

_TWO_OVER_PI = 0xA2F9836E4E441529FC2757D1F534DDC0DB6295993C  # in units of 2^-168
# From |x| = start on, the bits of 2 / pi before that of 2^weight make whole turns. (start, weight)
_BANDS = [(0.0, -1), (2.0**51, -27), (2.0**77, -53), (2.0**103, -79)]


def _two_over_pi(weight: int) -> list[float]:
    """87 bits of 2 / pi, from that of 2^weight on, as three numbers of 29 bits."""
    lowest = [weight - 28 - 29 * piece for piece in range(3)]
    return [math.ldexp(_TWO_OVER_PI >> (168 + low) & (1 << 29) - 1, low) for low in lowest]


def sin(x: Expr) -> Expr:
    """Sine in f32: absolute error 1.2e-7 for every finite x, NaN for infinities."""
    return let(x, lambda v: _sin_quadrant(v, 0))


def cos(x: Expr) -> Expr:
    """Cosine in f32: absolute error 1.2e-7 for every finite x, NaN for infinities."""
    return let(x, lambda v: _sin_quadrant(v, 1))


def _sin_quadrant(x: Expr, quadrant: int) -> Expr:
    """sin(x + quadrant pi/2) for a name x, which is brought to quarter turns, x 2/pi, in f64.

    After Payne and Hanek (doi:10.1145/1057600.1057602): only those bits of 2 / pi take part that matter at the size of x, as
    three pieces, whose products with the 24 bits of x are exact. What is left out is below 2^-36 quarter turns.
    """
    magic = _f64(6755399441055744.0)  # 1.5 * 2^52: adding it rounds to an integer, left in the low bits
    high, middle, low = (_f64(c) for c in _two_over_pi(_BANDS[0][1]))
    for start, weight in _BANDS[1:]:
        below = tirx.abs(x) < f32(start)
        high, middle, low = (
            tirx.Select(below, old, _f64(new)) for old, new in zip((high, middle, low), _two_over_pi(weight))
        )

    def fraction(x: Expr, t: Expr) -> Expr:
        """What x is above the nearest whole number, where t is x + magic."""
        return let(t - magic, lambda n: x - n)

    def first(w: Expr, product: Expr) -> Expr:
        return let(product + magic, lambda t: let(fraction(product, t) + w * middle, lambda left: second(w, t, left)))

    def second(w: Expr, whole: Expr, left: Expr) -> Expr:
        return let(left + magic, lambda t: third(w, whole, t, fraction(left, t)))

    def third(w: Expr, whole: Expr, more: Expr, left: Expr) -> Expr:
        r = tirx.Cast("float32", (left + w * low) * _f64(math.pi / 2))
        turns = lambda t: tirx.Cast("int32", _bits(t, "int64") & _i64(3))
        turn = turns(whole) + turns(more) + tirx.const(quadrant, "int32")
        return let(r, lambda r: let(turn, lambda q: select(r, q)))

    def select(r: Expr, q: Expr) -> Expr:
        sine = let(r * r, lambda z: tirx.Select(tirx.EQ(z, f32(0.0)), r, r + r * z * horner(z, _SIN)))  # -0.0 + 0.0 is 0.0
        cosine = let(r * r, lambda z: f32(1.0) - z * f32(0.5) + z * z * horner(z, _COS))
        i32 = lambda value: tirx.const(value, "int32")
        magnitude = tirx.Select((q & i32(1)) == i32(0), sine, cosine)
        return let(magnitude, lambda m: tirx.Select((q & i32(2)) == i32(0), m, f32(0.0) - m))

    return let(tirx.Cast("float64", x), lambda w: let(w * high, lambda product: first(w, product)))


# --- pow ------------------------------------------------------------------------------------------------------------

# (e^r - 1 - r) / r^2, and (2 atanh(s) - 2 s) / s^3 in s^2, where log m = 2 atanh((m - 1) / (m + 1)); both in f64
_EXP64 = [0.49999999999663064, 0.1666666666726626, 0.04166666696302601, 0.008333333094836425, 0.0013888811010014362,
          0.00019841539152618448, 2.4880877841264326e-05, 2.749315281913692e-06]  # fmt: skip
_LOG64 = [0.6666666666659982, 0.40000000046510126, 0.2857141796420702, 0.2222331810249342, 0.1812523030368371,
          0.16802095632255754]  # fmt: skip


def _f64(value: float) -> Expr:
    return tirx.const(value, "float64")


def _i64(value: int) -> Expr:
    return tirx.const(value, "int64")


def _log64(x: Expr) -> Expr:
    """log of a positive, finite f64, error below 1e-15 relative to max(|log x|, 1). Something finite for all others."""
    bits = _bits(x, "int64")
    exponent = (bits - _i64(0x3FE6A09E667F3BCD)) >> _i64(52)
    mantissa = _bits(bits - (exponent << _i64(52)), "float64")

    def series(s: Expr) -> Expr:
        square = s * s
        tail = s * square * horner(square, _LOG64, _f64)
        return tirx.Cast("float64", tirx.Cast("int32", exponent)) * _f64(math.log(2.0)) + (s + s + tail)

    return let((mantissa - _f64(1.0)) / (mantissa + _f64(1.0)), series)


def _exp64(x: Expr) -> Expr:
    """e^x in f64 for a name x with |x| <= 200; relative error 1e-13."""
    magic = 6755399441055744.0 + 1023.0

    def scaled(t: Expr) -> Expr:
        power = _bits(_bits(t, "int64") << _i64(52), "float64")
        r = x - (t - _f64(magic)) * _f64(math.log(2.0))
        return (_f64(1.0) + r + r * r * horner(r, _EXP64, _f64)) * power

    return let(x * _f64(_LOG2E) + _f64(magic), scaled)  # t is a name: TVM takes x + c - c for x


def pow(x: Expr, y: Expr) -> Expr:
    """x^y in f32: relative error 1.2e-7, with IEEE 754's special cases; computed in f64 vectors."""
    return let(x, lambda x: let(y, lambda y: _pow(x, y)))


def _pow(x: Expr, y: Expr) -> Expr:
    """Few names within names and no large branches: TVM's simplifier visits both several times a level, minutes in all."""
    inf, zero, one = f32(math.inf), f32(0.0), f32(1.0)
    magnitude = tirx.Select(x < zero, zero - x, x)
    # added to something finite: the logarithm of 0 is -inf, +inf and NaN are their own
    special = tirx.Select(tirx.EQ(magnitude, zero), f32(-math.inf), tirx.Select(magnitude < inf, zero, magnitude))
    logarithm = _log64(tirx.Cast("float64", magnitude)) + tirx.Cast("float64", special)
    low, high = _f64(-200.0), _f64(200.0)  # far outside what f32 holds: the final cast gives 0 or inf
    clamped = lambda p: tirx.Select(p > high, high, tirx.Select(p < low, low, p))
    power = let(tirx.Cast("float64", y) * logarithm, lambda p: let(clamped(p), _exp64))
    # 1^y and x^0 are 1 even where the other operand is NaN or infinite (then the power is NaN)
    to_one = tirx.any(tirx.EQ(magnitude, one), tirx.EQ(y, zero))
    half = y * f32(0.5)
    parity = tirx.Select(tirx.EQ(tirx.floor(half), half), one, f32(-1.0))
    of_number = tirx.Select(tirx.EQ(magnitude, zero), one, f32(math.nan))
    fractional = tirx.Select(magnitude < inf, of_number, one)  # only -0 and -inf have such a power
    negative = _bits(x) < tirx.const(0, "int32")  # -0 as well
    sign = tirx.Select(negative, tirx.Select(tirx.EQ(tirx.floor(y), y), parity, fractional), one)
    return tirx.Select(to_one, one, tirx.Cast("float32", power)) * sign

"""Samples of the ops that work element by element."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import tgraph as tg
from tests.ops.sample import EVERY, FLOATS, INTEGERS, NUMBERS, Sample, integers, uniform, values

B, S, T = tg.dims("B S T")
SIGNED = (*FLOATS, tg.i8, tg.i32, tg.i64)
erfc = np.vectorize(math.erfc, otypes=[np.float64])


def logistic(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(x / 2))


def gelu_tanh(x: np.ndarray) -> np.ndarray:
    return x * logistic(2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))


SPECIAL = values(-math.inf, -2.5, -1.5, -0.5, -0.0, 0.0, 0.5, 1.5, 2.5, 50.0, math.inf, math.nan)
POSITIVE = uniform(0.05, 9)
WIDE = uniform(-30, 30)
# op: (element types, formula, ordinary feeds, whether the formula holds at infinities and NaN too)
UNARY: dict[str, tuple[Any, Any, Any, bool]] = {
    "neg": (SIGNED, lambda x: 0 - x, None, True),
    "abs": (NUMBERS, lambda x: np.where(x < 0, 0 - x, x), None, True),
    "sign": (NUMBERS, lambda x: np.where(np.isnan(x), x, np.heaviside(x, 0.5) * 2.0 - 1), None, True),
    "square": (NUMBERS, lambda x: x**2, None, True),
    "exp": (FLOATS, lambda x: np.exp2(x / math.log(2)), uniform(-8, 5), True),
    "log": (FLOATS, lambda x: np.log2(x) * math.log(2), POSITIVE, True),
    "sqrt": (FLOATS, lambda x: np.where(x < 0, np.nan, np.abs(x) ** 0.5), POSITIVE, True),
    "rsqrt": (FLOATS, lambda x: np.where(x < 0, np.nan, np.abs(x) ** -0.5), POSITIVE, False),
    "reciprocal": (FLOATS, lambda x: x**-1.0, POSITIVE, True),
    "sin": (FLOATS, lambda x: np.exp(1j * x).imag, WIDE, False),
    "cos": (FLOATS, lambda x: np.exp(1j * x).real, WIDE, False),
    "erf": (FLOATS, lambda x: 1 - erfc(x), None, True),
    "tanh": (FLOATS, lambda x: 2 * logistic(2 * x) - 1, None, False),
    "floor": (FLOATS, lambda x: -np.ceil(-x), uniform(-9, 9), True),
    "ceil": (FLOATS, lambda x: -np.floor(-x), uniform(-9, 9), True),
    "round": (FLOATS, np.rint, uniform(-9, 9), True),
    "relu": (FLOATS, lambda x: np.where(x < 0, 0, x), None, True),
    "leaky_relu": (FLOATS, lambda x: np.maximum(x, 0.01 * x), None, False),
    "sigmoid": (FLOATS, logistic, WIDE, True),
    "silu": (FLOATS, lambda x: x * logistic(x), WIDE, False),
    "gelu": (FLOATS, lambda x: x / 2 * erfc(-x / math.sqrt(2)), None, False),
    "quick_gelu": (FLOATS, lambda x: x * logistic(1.702 * x), None, False),
    "softplus": (FLOATS, lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))), WIDE, False),
}


def shapes(dtype: tg.DType) -> tg.TensorType:
    """f32 with symbolic sizes; the others with sizes that leave a tail after whole vectors."""
    return dtype[B, S, 7] if dtype is tg.f32 else dtype[3, 7]


def unary() -> list[Sample]:
    found = []
    for name, (dtypes, formula, feed, everywhere) in UNARY.items():
        function = getattr(tg, name)
        for dtype in dtypes:
            make = {"x": feed} if feed is not None else {}
            found.append(Sample(name, dtype.name, function, {"x": shapes(dtype)}, formula, make))
        if everywhere:
            found.append(Sample(name, "special", function, {"x": tg.f32[24]}, formula, {"x": SPECIAL}))
    return found


def truncated(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.trunc(np.true_divide(x, y)) if x.dtype.kind in "iu" else x * (1 / y)


def apart(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(x) | np.isnan(y), np.nan, 0.0) if x.dtype.kind == "f" else np.zeros_like(x)


BINARY: dict[str, tuple[Any, Any]] = {
    "add": (NUMBERS, lambda x, y: x - (0 - y)),
    "sub": (NUMBERS, lambda x, y: x + (0 - y)),
    "mul": (NUMBERS, lambda x, y: np.einsum("...,...->...", x, y)),
    "div": (NUMBERS, truncated),
    "floor_div": (NUMBERS, lambda x, y: np.floor(np.true_divide(x, y))),
    "mod": (NUMBERS, lambda x, y: x - y * np.floor(np.true_divide(x, y))),
    "maximum": (NUMBERS, lambda x, y: np.where(x > y, x, y) + apart(x, y)),
    "minimum": (NUMBERS, lambda x, y: np.where(x > y, y, x) + apart(x, y)),
    "equal": (EVERY, lambda x, y: ~np.not_equal(x, y)),
    "not_equal": (EVERY, lambda x, y: ~np.equal(x, y)),
    "less": (EVERY, lambda x, y: np.greater(y, x)),
    "less_or_equal": (EVERY, lambda x, y: np.equal(np.minimum(x, y), x)),
    "greater": (EVERY, lambda x, y: np.less(y, x)),
    "greater_or_equal": (EVERY, lambda x, y: np.equal(np.maximum(x, y), x)),
    "logical_and": ((tg.bool_,), lambda x, y: np.minimum(x, y)),
    "logical_or": ((tg.bool_,), lambda x, y: np.maximum(x, y)),
    "logical_xor": ((tg.bool_,), lambda x, y: x != y),
}


def divisor(dtype: tg.DType) -> Any:
    """Numbers that are not 0, of both signs where there are any, and that divide without rounding."""
    return values(*(1, 2, 3, 5, 7) if dtype.kind == "uint" else (1, -2, 4, -3, 7, -1, 8))


def binary() -> list[Sample]:
    found = []
    for name, (dtypes, formula) in BINARY.items():
        for dtype in dtypes:
            make: dict[str, Any] = {}
            if name in ("div", "floor_div", "mod"):
                make = {"x": integers(0 if dtype.kind == "uint" else -60, 60), "y": divisor(dtype)}
            elif dtype.is_float or dtype is tg.u8:
                make = dict.fromkeys("xy", integers(10, 15)) if dtype is tg.u8 else dict.fromkeys("xy", values(
                    *np.random.default_rng(1).integers(-3, 4, 29) / 2))
            if name == "sub" and dtype is tg.u8:
                make = {"x": integers(100, 200), "y": integers(0, 100)}
            found.append(Sample(name, dtype.name, getattr(tg, name), {"x": shapes(dtype), "y": shapes(dtype)}, formula, make))
        if tg.f32 in dtypes:
            special = {"x": values(math.nan, 1.0, math.inf, -math.inf, -2.0), "y": values(1.0, math.nan, 2.0, 3.0, 0.0, 5.0)}
            found.append(Sample(name, "special", getattr(tg, name), {"x": tg.f32[30], "y": tg.f32[30]},
                                special_formula(name, formula), special))
    return found


def special_formula(name: str, formula: Any) -> Any:
    """Where the formula says too little about NaN, infinities and division by 0, IEEE 754 and NumPy do."""
    names = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.true_divide, "floor_div": np.floor_divide,
             "mod": np.mod, "less_or_equal": np.less_equal, "greater_or_equal": np.greater_equal}
    return names.get(name, formula)


def broadcasts() -> list[Sample]:
    """Every way in which two shapes meet."""
    pairs = {
        "row": (tg.f32[B, S, 8], tg.f32[8]), "column": (tg.f32[B, S, 8], tg.f32[S, 1]), "number": (tg.f32[B, S], tg.f32[()]),
        "left_number": (tg.f32[()], tg.f32[S]), "cross": (tg.f32[B, 1, 3], tg.f32[S, 1]), "one": (tg.f32[1, 1], tg.f32[B, S]),
        "middle": (tg.f32[B, 1, S, 1], tg.f32[B, T, 1, 4]), "outer": (tg.f32[33, 1], tg.f32[1, 17]),
        "rank0": (tg.f32[()], tg.f32[()]),
        "size0": (tg.f32[B, 0, 3], tg.f32[1, 3]), "size1": (tg.f32[1], tg.f32[1]), "large": (tg.f32[300, 130], tg.f32[130]),
        "leading": (tg.f32[B, S, 4], tg.f32[1, S, 4]),
    }
    found = [Sample("add", f"broadcast_{k}", tg.add, {"x": x, "y": y}, lambda x, y: np.subtract(x, np.negative(y)))
             for k, (x, y) in pairs.items()]
    for d in FLOATS:  # one value for all lanes of a vector, and literals, in every precision
        found += [
            Sample("mul", f"column_{d.name}", tg.mul, {"x": d[3, 20], "y": d[3, 1]}, lambda x,
                   y: np.einsum("ij,i->ij", x, y[:, 0])),
            Sample("mul", f"number_{d.name}", lambda x: (x * 2.0 - 0.5) * 4.0, {"x": d[3, 20]}, lambda x: 8 * x - 2),
            Sample("where", f"number_{d.name}", lambda x: tg.where(x > 0.0, x, 0.5) * 2.0, {"x": d[3, 20]},
                   lambda x: 2 * np.select([x > 0], [x], 0.5)),
        ]
    found.append(Sample("mul", "same_twice", lambda x: tg.mul(x, x), {"x": tg.f32[B, S]}, np.square))
    found.append(Sample("sub", "empty_batch", tg.sub, {"x": tg.f32[B, S], "y": tg.f32[B, S]}, np.subtract,
                        sizes={"B": 0, "S": 3}))
    found.append(Sample("add", "wrap_i8", tg.add, {"x": tg.i8[4], "y": tg.i8[4]}, lambda x,
                        y: np.array([-128, 127, -2, 0], np.int8),
                        {"x": values(127, -128, 127, 0), "y": values(1, -1, 127, 0)}))
    return found


def powers() -> list[Sample]:
    found = [Sample("pow", dtype.name, tg.pow, {"x": shapes(dtype), "y": shapes(dtype)}, lambda x, y: np.exp(y * np.log(x)),
                    {"x": uniform(0.2, 3), "y": uniform(-2, 3)}) for dtype in FLOATS]
    for exponent in (2, 3, 4, 0.5, -1, 2.5, 1, 0):
        found.append(Sample("pow", f"to_{exponent}", lambda x, e=exponent: tg.pow(x, float(e)), {"x": tg.f32[B, S]},
                            lambda x, e=exponent: np.float_power(x, e), {"x": POSITIVE}))
    found += [Sample("pow", f"roots_{dtype.name}", lambda x: 1.0 / tg.pow(x, 0.5), {"x": dtype[8]},
                     lambda x: np.array([math.inf, math.inf, 0, 0, math.nan, 0.5, math.nan, 2]),
                     {"x": values(-0.0, 0, -math.inf, math.inf, -1, 4, math.nan, 0.25)}) for dtype in FLOATS]
    found.append(Sample("pow", "negative_base", tg.pow, {"x": tg.f32[8], "y": tg.f32[8]},
                        lambda x, y: np.array([4, -8, 0.25, np.nan, 1, 0, np.inf, 1]),
                        {"x": values(-2, -2, -2, -2, -2, 0, 0, math.nan), "y": values(2, 3, -2, 0.5, 0, 2, -1, 0)}))
    return found


def clips() -> list[Sample]:
    bounds = {"both": (-1, 1.5), "low": (0.25, None), "high": (None, -0.5), "none": (None, None), "point": (1, 1)}
    found = [Sample("clip", k, lambda x, a=a, b=b: tg.clip(x, min=a, max=b), {"x": tg.f32[B, 9]},
                    lambda x, a=a, b=b: np.where(x < (-np.inf if a is None else a), a,
                                                 np.where(x > (np.inf if b is None else b), b, x))
                    .astype(float), {"x": SPECIAL}) for k, (a, b) in bounds.items()]
    return found + [Sample("clip", d.name, lambda x: tg.clip(x, min=2, max=6), {"x": d[3, 7]},
                           lambda x: np.minimum(np.maximum(x, 2), 6)) for d in NUMBERS]


def selections() -> list[Sample]:
    pick = lambda c, x, y: np.choose(c, [y, x])
    found = [Sample("where", d.name, tg.where, {"c": tg.bool_[3, 7], "x": d[3, 7], "y": d[3, 7]}, pick) for d in EVERY]
    three = {"c": tg.bool_[B, 1, S], "x": tg.f32[T, 1], "y": tg.f32[()]}
    found.append(Sample("where", "broadcast", tg.where, three, pick))
    found.append(Sample("where", "number", lambda c, x: tg.where(c, x, -math.inf), {"c": tg.bool_[S], "x": tg.f32[B, S]},
                        lambda c, x: np.select([c], [x], -np.inf)))
    found.append(Sample("logical_not", "bool", tg.logical_not, {"x": tg.bool_[B, S]}, lambda x: x ^ True))
    for d in FLOATS:
        found.append(Sample("isnan", d.name, tg.isnan, {"x": d[24]}, lambda x: ~(x <= np.inf), {"x": SPECIAL}))
        found.append(Sample("isinf", d.name, tg.isinf, {"x": d[24]}, lambda x: np.abs(x) > 1e300, {"x": SPECIAL}))
    found.append(Sample("gelu", "tanh", lambda x: tg.gelu(x, approximate="tanh"), {"x": tg.f32[B, 7]}, gelu_tanh))
    found.append(Sample("gelu", "tanh_f64", lambda x: tg.gelu(x, approximate="tanh"), {"x": tg.f64[7]}, gelu_tanh))
    found.append(Sample("leaky_relu", "alpha", lambda x: tg.leaky_relu(x, alpha=0.3), {"x": tg.f32[B, 7]},
                        lambda x: np.maximum(x, 0.3 * x)))
    for name in ("silu", "quick_gelu", "gelu", "softplus", "tanh", "leaky_relu"):
        found.append(Sample(name, "far", getattr(tg, name), {"x": tg.f32[8]}, UNARY[name][1],
                            {"x": values(-1000.0, -90.0, -20.0, -1e-30, 1e-30, 20.0, 90.0, 1000.0)}))
    return found


def whole(value: float, low: int, high: int) -> int:
    """A float as an integer: the fraction dropped, the ends of the type kept, 0 for NaN."""
    if math.isnan(value):
        return 0
    return low if value <= low else high if value >= high else math.trunc(value)


def convert(x: np.ndarray, dtype: tg.DType) -> np.ndarray:
    """A cast by Python's own integers; between floats nothing is rounded."""
    if dtype.is_bool:
        return np.array([bool(v != 0) for v in x.tolist()], bool).reshape(x.shape)
    if dtype.is_float:
        return x.astype(np.float64)
    info = np.iinfo(dtype.numpy)
    low, high = int(info.min), int(info.max)
    wrap = lambda v: (int(v) - low) % (high - low + 1) + low
    one = (lambda v: whole(v, low, high)) if x.dtype.kind == "f" else wrap
    return np.array([one(v) for v in x.tolist()], dtype.numpy).reshape(x.shape)


def casts() -> list[Sample]:
    found = []
    for source in EVERY:
        feed = values(0, 1, 3, 100, 127) if source.is_bool else values(0, 5, 127, 128, 255) if source is tg.u8 else values(
            0, -1, 1, -128, 127, 5) if source is tg.i8 else values(0, -1, 127, 128, 300, -129, 255, 256, -2000) if (
                source.is_integer) else values(0.0, -0.0, 0.5, -0.5, 1.75, -2.5, 126.9, 129.0, 300.0, -1000.0, -math.inf,
                                               math.inf, math.nan)
        found.append(Sample("cast", f"from_{source.name}", lambda x: tuple(x.astype(d) for d in EVERY), {"x": source[18]},
                            lambda x: tuple(convert(x, d) for d in EVERY), {"x": feed}))
    for source in (tg.f32, tg.f64):
        found.append(Sample("cast", f"saturate_{source.name}", lambda x: tuple(x.astype(d) for d in INTEGERS), {"x": source[8]},
                            lambda x: tuple(convert(x, d) for d in INTEGERS),
                            {"x": values(1e30, -1e30, 2.0**31, -(2.0**31), 2.0**63, -(2.0**63), 2.0**24 + 2, 65504.0)}))
    found.append(Sample("cast", "wrap_i64", lambda x: tuple(x.astype(d) for d in INTEGERS), {"x": tg.i64[4]},
                        lambda x: tuple(convert(x, d) for d in INTEGERS),
                        {"x": values(2**40 + 5, -(2**40) - 7, 2**31, 2**62 + 1)}))
    return found


POINTWISE = [*unary(), *binary(), *broadcasts(), *powers(), *clips(), *selections(), *casts()]

"""A graph that grows by one random op or idiom at a time, and the values that those may read."""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

from tgraph.ir.builder import Builder
from tgraph.ir.dims import DimLike, as_symbol, compare, dim, symbols
from tgraph.ir.dtypes import DTYPES, DType, bf16, f16, f32, f64, i8, i32, i64, u8
from tgraph.ir.errors import RuleError
from tgraph.ir.graph import Graph
from tgraph.ir.rules import collect_constraints
from tgraph.ir.types import TensorType
from tgraph.ir.values import Value

FLOATS = (f16, bf16, f32, f64)
INTEGERS = (i8, u8, i32, i64)
NUMBERS, EVERY = (*FLOATS, *INTEGERS), tuple(DTYPES.values())
STATIC = (1, 1, 2, 3, 4, 5, 7, 8, 16, 17, 33)
LARGEST = 33  # of any dim in any trial: what bounds the elements of a value
ELEMENTS = 40_000
FILLS = {d.name: (-np.inf, -1e4, *((-1e9, -3.4e38) if d is not f16 else ())) for d in FLOATS}


class Skip(RuleError):
    """What was to be added does not fit here."""


class Maker:
    """The graph so far. `values` are what later ops read; all choices come from one generator.

    dtypes: the element types that values may have, at least one.
    """

    def __init__(self, generator: random.Random, dtypes: Collection[DType] = EVERY):
        self.random = generator
        self.graph = Graph("program")
        self.b = Builder(self.graph)
        self.values: list[Value] = []
        self.written: dict[str, Value] = {}  # what states are to hold after the call
        self.counts = 0  # dims that only a run knows
        self.model: Any = None
        self.favourite: Any = None  # a value that is read more often than others
        self.dtypes = tuple(d for d in EVERY if d in dtypes)
        floats = {d: w for d, w in zip(FLOATS, (12, 14, 60, 14)) if d in dtypes}
        self.float = generator.choices(*zip(*floats.items()))[0] if floats else generator.choice(self.dtypes)  # of most values
        dims: list[DimLike] = [dim("B"), dim("S", min=1, max=64), dim("L", min=4, max=9)]
        static = [0 if generator.random() < 0.03 else generator.choice(STATIC) for _ in range(3)]
        self.axes: list[DimLike] = [*generator.sample(dims, generator.choice((0, 1, 1, 2, 2, 3))), *static]

    # Choices

    def chance(self, share: float) -> bool:
        """True so often."""
        return self.random.random() < share

    def choice(self, items: Sequence[object]) -> object:
        """One of the items, of which there may be none."""
        if not items:
            raise Skip("nothing to choose from")
        return self.random.choice(items)

    def dtype(self, among: Sequence[DType] = EVERY) -> DType:
        """Mostly the program's own floating type, if it is among those asked for."""
        if self.float in among and self.chance(0.6):
            return self.float
        return self.random.choice(self.allowed(among))

    def allowed(self, among: Sequence[DType]) -> list[DType]:
        """Those of some element types that values may have."""
        found = [d for d in among if d in self.dtypes]
        if not found:
            raise Skip("no such element type")
        return found

    def shape(self, least: int = 0) -> tuple[DimLike, ...]:
        """A shape of the program's sizes, of so many axes at least."""
        rank = max(least, self.random.choices(range(5), (5, 15, 40, 30, 10))[0])
        for _ in range(8):
            made = tuple(1 if self.chance(0.12) else self.random.choice(self.axes) for _ in range(rank))
            if elements(made) <= ELEMENTS:
                return made
        raise Skip("too large")

    # Values

    def leaf(self, type: TensorType) -> Value:
        """A new input, parameter or constant."""
        if elements(type.shape) > ELEMENTS:
            raise Skip("too large")
        self.allowed([type.dtype])
        if any(s.name.startswith("N") for d in type.shape for s in symbols(d)):
            raise Skip("a size that only a run knows")
        static = all(isinstance(d, int) for d in type.shape)
        kind = self.random.random()
        if static and type.dtype.is_float and type.value_range is None and kind < 0.25:
            return self.graph.parameter(f"w{len(self.graph.parameters)}", type)
        if static and type.value_range is None and kind < 0.4 and elements(type.shape) <= 16:
            return self.graph.constant(self.literals(type), type.dtype)
        return self.graph.input(f"x{len(self.graph.inputs)}", type)

    def state(self, type: TensorType, name: str = "") -> Value:
        """Memory that outlives a call, as it is when the call begins; `written[name]` is what it then holds."""
        if elements(type.shape) > ELEMENTS:
            raise Skip("too large")
        self.allowed([type.dtype])
        name = name or f"s{len(self.graph.states)}"
        self.graph.state(name, type)
        return self.graph.input(name, type)

    def literals(self, type: TensorType) -> np.ndarray:
        """Numbers as they are written in programs, and some that are hard."""
        items = [0, 1, 2, 3, 5, 1, 2, 127]
        if type.dtype.kind != "uint" and not type.dtype.is_bool:
            items += [-1, -2, -3]
        if type.dtype.is_float:
            items += [0.5, -0.5, 0.1, 1.5, -0.0, 1e-3, 1e4]  # type: ignore[list-item]
        shape = type.evaluate({})
        picked = [self.random.choice(items) for _ in range(math.prod(shape))]
        return np.array(picked, np.float64).astype(type.dtype.numpy).reshape(shape)

    def pick(self, among: Sequence[DType] = EVERY, least: int = 0, accept: Callable[[Value], bool] = lambda v: True) -> Value:
        """A value that is there, the later ones more often; or a new leaf."""
        found = [v for v in self.values if v.dtype in among and v.type.rank >= least and accept(v)]
        if self.chance(0.1) and self.values:
            self.favourite = self.random.choice(self.values)
        if self.favourite in found and self.chance(0.25):
            return self.favourite
        if found and self.chance(0.85):
            return self.random.choice(found[-4:] if self.chance(0.5) else found)
        return self.new(self.leaf(TensorType(self.dtype(among), self.shape(least))), accept)

    def new(self, value: Value, accept: Callable[[Value], bool] = lambda v: True) -> Value:
        """A value that later ops may read."""
        if not accept(value):
            raise Skip("no such value")
        self.values.append(value)
        return value

    def beside(self, x: Value, dtype: DType | None = None) -> Value:
        """An operand that broadcasts with x: x itself, another value, a part of its shape, a number."""
        dtype = dtype or x.dtype
        kind = self.random.random()
        if kind < 0.1 and dtype == x.dtype:
            return x
        found = [v for v in self.values if v.dtype == dtype and broadcasts(x.shape, v.shape)]
        if found and kind < 0.6:
            return self.random.choice(found)
        if kind < 0.75:
            return self.graph.constant(self.literals(TensorType(dtype)), dtype)
        return self.new(self.leaf(TensorType(dtype, self.part(x.shape))))

    def part(self, shape: tuple[DimLike, ...]) -> tuple[DimLike, ...]:
        """A shape that broadcasts to the given one."""
        kept = shape[self.random.randint(0, len(shape)):] if self.chance(0.4) else shape
        return tuple(1 if self.chance(0.25) else d for d in kept)

    def like(self, x: Value, dtype: DType | None = None) -> Value:
        """A value of the same shape."""
        dtype = dtype or x.dtype
        found = [v for v in self.values if v.dtype == dtype and equal(v.shape, x.shape)]
        return self.random.choice(found) if found and self.chance(0.7) else self.leaf(TensorType(dtype, x.shape))

    def index(self, size: DimLike, shape: tuple[DimLike, ...] | None = None) -> Value:
        """Integers 0 .. size-1, by one of the ways in which programs keep them there."""
        if size == 0:
            raise Skip("nothing to index")
        b, kind = self.b, self.random.random()
        if shape is None and kind < 0.15:
            return b.range(stop=size, dtype=self.random.choice((i32, i64)))
        if isinstance(size, int) and kind < 0.4:
            type = TensorType(self.random.choice((i32, i64)), self.shape() if shape is None else shape, (0, size))
            return self.leaf(type)
        x = self.pick(INTEGERS) if shape is None else self.leaf(TensorType(self.random.choice(INTEGERS), shape))
        if isinstance(size, int) and kind < 0.65:
            return b.clip(x, min=0, max=size - 1)
        if isinstance(size, int) and size > np.iinfo(x.dtype.numpy).max:
            x = b.cast(x, dtype=i64)
        return b.mod(x, self.graph.constant(size, x.dtype) if isinstance(size, int) else b.dim_size(size=size, dtype=x.dtype))

    def axis(self, x: Value) -> int:
        """An axis of x, the last one more often."""
        if not x.type.rank:
            raise Skip("no axis")
        return -1 if self.chance(0.5) else self.random.randrange(-x.type.rank, x.type.rank)

    def parameter(self, dtype: DType, *shape: int) -> Value:
        """A new parameter."""
        return self.graph.parameter(f"w{len(self.graph.parameters)}", TensorType(dtype, shape))

    def keep(self, made: object) -> None:
        """Results that later ops may read: those that are not too large."""
        for value in made if isinstance(made, (tuple, list)) else (made,):
            if isinstance(value, Value) and elements(value.shape) <= ELEMENTS:
                self.values.append(value)


def elements(shape: Sequence[DimLike]) -> int:
    """The most elements that a trial gives a value of that shape."""
    total = 1
    for size in shape:
        total *= size if isinstance(size, int) else largest(size)
    return total


def largest(size: DimLike) -> int:
    from tgraph.ir.dims import evaluate

    return max(abs(evaluate(size, {s.name: min(LARGEST, s.max or LARGEST) for s in symbols(size)})), 1)


def equal(a: Sequence[DimLike], b: Sequence[DimLike]) -> bool:
    return len(a) == len(b) and all(compare(x, y) == "equal" for x, y in zip(a, b))


def broadcasts(a: Sequence[DimLike], b: Sequence[DimLike]) -> bool:
    """Whether two shapes broadcast without an assumption, to something that is not too large."""
    wide: list[DimLike] = []
    for i in range(1, max(len(a), len(b)) + 1):
        x, y = a[-i] if i <= len(a) else 1, b[-i] if i <= len(b) else 1
        if x != 1 and y != 1 and compare(x, y) != "equal":
            return False
        wide.append(y if x == 1 else x)
    return elements(wide) <= ELEMENTS


@functools.cache
def accepted(infer: Callable[..., object], operands: int) -> tuple[DType, ...]:
    """The element types that a type rule takes for all its operands."""
    found = []
    for dtype in EVERY:
        try:
            with collect_constraints():
                infer(*[dtype[2]] * operands)
        except RuleError:
            continue
        found.append(dtype)
    return tuple(found)


def is_static(value: Value) -> bool:
    return all(isinstance(d, int) for d in value.shape)


def is_bounded(size: DimLike, least: int) -> bool:
    """Whether a size is known to be at least so much."""
    symbol = as_symbol(size)
    return size >= least if isinstance(size, int) else symbol is not None and symbol.min >= least

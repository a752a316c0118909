"""One use of an op: how it is traced, what it is fed, and what NumPy says that it means."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import tgraph as tg
from tgraph.ir.dims import dim, evaluate, symbols
from tgraph.ir.dtypes import dtype_of

Make = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
FLOATS = (tg.f16, tg.bf16, tg.f32, tg.f64)
INTEGERS = (tg.i8, tg.u8, tg.i32, tg.i64)
NUMBERS = (*FLOATS, *INTEGERS)
EVERY = (*NUMBERS, tg.bool_)
SIZES = {"B": 2, "S": 5, "T": 3}


@dataclass(frozen=True)
class Sample:
    """`build` makes outputs from traced tensors, `expect` the same from arrays (floats as float64, integers as they are).

    `make` overrides, by name of the input, what it is fed; `build` takes symbolic sizes from the shapes of its
    tensors, so that `renamed` can give a sample dims of its own. `loss` is the condition of the problem: how many times
    an error of rounding an operand grows.
    """

    op: str
    variant: str
    build: Callable[..., Any]
    specs: Mapping[str, tg.TensorType]
    expect: Callable[..., Any]
    make: Mapping[str, Make] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=lambda: SIZES)
    loss: float = 1.0

    @property
    def name(self) -> str:
        return f"{self.op}_{self.variant}"

    def graph(self) -> tg.Graph:
        """The sample as a graph of its own; outputs are output0, output1, ..."""
        return tg.trace(lambda **tensors: as_tuple(self.build(*tensors.values())), name="sample", **self.specs)

    def feeds(self) -> dict[str, np.ndarray]:
        """Arrays for the inputs, the same ones each time."""
        generator = np.random.default_rng(zlib.crc32(self.name.encode()))
        return {name: np.asarray(self.make.get(name, self._default(type))(generator, self._shape(type)), type.dtype.numpy)
                for name, type in self.specs.items()}

    def expected(self) -> list[np.ndarray]:
        """What the formula gives for `feeds`."""
        wide = [a.astype(np.float64) if dtype_of(a).is_float else a for a in self.feeds().values()]
        with np.errstate(all="ignore"):
            return [np.asarray(r) for r in as_tuple(self.expect(*wide))]

    def renamed(self, suffix: str) -> dict[str, tg.TensorType]:
        """The specs under other names, of inputs and of dims, so that samples can share a graph."""
        mapping = {s.name: dim(s.name + suffix, min=s.min, max=s.max)
                   for t in self.specs.values() for d in t.shape for s in symbols(d)}
        return {name + suffix: type.substitute(mapping) for name, type in self.specs.items()}

    def _shape(self, type: tg.TensorType) -> tuple[int, ...]:
        return tuple(evaluate(d, self.sizes) for d in type.shape)

    @staticmethod
    def _default(type: tg.TensorType) -> Make:
        if type.dtype.is_float:
            return lambda g, shape: g.standard_normal(shape)
        if type.dtype.is_bool:
            return lambda g, shape: g.random(shape) < 0.6
        return lambda g, shape: g.integers(0 if type.dtype.kind == "uint" else -9, 10, shape)


def as_tuple(outputs: Any) -> tuple[Any, ...]:
    """One output or several, as a tuple."""
    return outputs if isinstance(outputs, tuple) else (outputs,)


def values(*items: Any) -> Make:
    """Feeds that repeat the given values, in order."""
    return lambda _, shape: np.resize(np.array(items), shape)


def uniform(low: float, high: float) -> Make:
    """Floats of an interval."""
    return lambda g, shape: g.uniform(low, high, shape)


def integers(low: int, high: int) -> Make:
    """Integers low .. high-1."""
    return lambda g, shape: g.integers(low, high, shape)

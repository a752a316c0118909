"""Sizes, inputs and weights of a program by rule: calm numbers in the first trial, the hard ones in the others.

An input's data depend on its name, its type, the seed and the trial alone, so that they stay when a program is shrunk.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import numpy as np

from tgraph.ir.dims import as_symbol, evaluate, symbols
from tgraph.ir.dtypes import DType
from tgraph.ir.graph import Graph
from tgraph.ir.types import TensorType

TRIALS = 3
SIZES = ((2, 3, 5, 7, 9), (1, 1, 2, 4), (0, 1, 6, 16, 17, 33))  # of symbolic dims, by trial
LARGEST = 64  # to which a size may grow that has to be larger than another
HARD = (np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 0.5, 2.5, -1e9, 1e8, 1e-30, -1e30, 1e-41, -1e-41, 88.0, -104.0, 1e4)


def generator_of(*key: object) -> np.random.Generator:
    """A generator that depends on the text of the key alone."""
    return np.random.default_rng(zlib.crc32(" ".join(map(str, key)).encode()))


def sizes_of(graph: Graph, seed: int, trial: int) -> dict[str, int]:
    """A size for each symbolic dim of the inputs, within its bounds; dims that must be equal are, and large enough those that
    must be larger than others."""
    leader: dict[str, str] = {}
    fixed: dict[str, int] = {}
    for left, right in graph.constraints:
        a, b = as_symbol(left), as_symbol(right)
        if a is not None and b is not None:
            leader[b.name] = leader.get(a.name, a.name)
        fixed.update({s.name: n for s, n in ((a, right), (b, left)) if s is not None and isinstance(n, int)})
    sizes = {}
    for symbol in sorted({s for i in graph.inputs for d in i.shape for s in symbols(d)}, key=lambda s: s.name):
        name = leader.get(symbol.name, symbol.name)
        size = int(generator_of(name, seed, trial).choice(SIZES[trial % len(SIZES)]))
        sizes[symbol.name] = fixed.get(name, max(symbol.min, size if symbol.max is None else min(size, symbol.max)))
    bounds = {s.name: s.max or LARGEST for s in graph.symbols.values()}
    for left, right in graph.inequalities:
        for name in dict.fromkeys(s.name for s in symbols(left) if s.name in sizes):
            equal = [n for n in sizes if leader.get(n, n) == leader.get(name, name)]
            most = min(LARGEST, *(fixed.get(n, bounds.get(n, LARGEST)) for n in (*equal, leader.get(name, name))))
            while sizes[name] < most and evaluate(left, sizes) < evaluate(right, sizes):
                sizes.update(dict.fromkeys(equal, sizes[name] + 1))
    return sizes


def feeds_of(graph: Graph, seed: int, trial: int) -> dict[str, np.ndarray]:
    """Arrays for the inputs."""
    sizes = sizes_of(graph, seed, trial)
    return {i.name: array_of(i.type, tuple(evaluate(d, sizes) for d in i.shape), generator_of(i.name, seed, trial), trial)
            for i in graph.inputs}


def set_weights(graph: Graph) -> None:
    """Data for those parameters of a graph and its functions that have none: normal numbers and a few round ones.

    They depend on name and type alone, so that graphs of one program can share them.
    """
    for block in (graph, *graph.functions.values()):
        for name, parameter in block.parameters.items():
            if name not in block.weights:
                shape = tuple(evaluate(d, {}) for d in parameter.shape)
                block.weights.set(name, array_of(parameter.type, shape, generator_of(name, parameter.type), 0))


def array_of(type: TensorType, shape: tuple[int, ...], generator: np.random.Generator, trial: int) -> np.ndarray:
    """One array, of a kind that the generator chooses."""
    dtype = type.dtype
    if type.value_range is not None:
        return generator.integers(*type.value_range, shape).astype(dtype.numpy)
    make = _booleans if dtype.is_bool else _floats if dtype.is_float else _integers
    with np.errstate(all="ignore"):
        return make(dtype, shape, generator, trial).astype(dtype.numpy)


def _booleans(dtype: DType, shape: tuple[int, ...], generator: np.random.Generator, trial: int) -> np.ndarray:
    """Padded rows, any mixture, all and none (a query without keys)."""
    if shape and generator.random() < 0.3:
        return np.arange(shape[-1]) < generator.integers(0, shape[-1] + 1, (*shape[:-1], 1))
    return generator.random(shape) < generator.choice((0.5, 0.8, 0.95, 1.0, *((0.0,) if trial else ())))


def _floats(dtype: DType, shape: tuple[int, ...], generator: np.random.Generator, trial: int) -> np.ndarray:
    kinds = ("normal", "ties") if not trial else ("normal", "ties", "hard", "fills", "large", "zeros")
    kind = generator.choice(kinds, p=(0.75, 0.25) if not trial else (0.3, 0.15, 0.25, 0.15, 0.1, 0.05))
    x = generator.standard_normal(shape)
    some = generator.random(shape) < generator.choice((0.05, 0.3))
    if kind == "ties":
        return generator.integers(-4, 5, shape) / 2
    if kind == "hard":
        return np.where(some, generator.choice((*HARD, *_ends(dtype)), shape), x)
    if kind == "fills":
        return np.where(some, generator.choice((-np.inf, _ends(dtype)[0], -1e9, -1e4)), x)
    if kind == "large":
        return x * generator.choice((10.0, 1e3, 1e6))
    return x if kind == "normal" else x * 0


def _ends(dtype: DType) -> tuple[float, float]:
    import ml_dtypes

    info = ml_dtypes.finfo(dtype.numpy)
    return float(info.min), float(info.max)


def _integers(dtype: DType, shape: tuple[int, ...], generator: np.random.Generator, trial: int) -> np.ndarray:
    info = np.iinfo(dtype.numpy)
    low = 0 if dtype.kind == "uint" else -9
    x = generator.integers(low, 10, shape).astype(dtype.numpy)
    kind = generator.choice(("small", "ends", "whole"), p=(1, 0, 0) if not trial else (0.35, 0.5, 0.15))
    if kind == "small":
        return x
    if kind == "whole":
        return generator.integers(info.min, int(info.max) + 1, shape, dtype=dtype.numpy)
    ends = np.array([info.min, info.max, 0, 1, info.max - 1, *((-1, info.min + 1) if low else ())], dtype.numpy)
    return np.where(generator.random(shape) < 0.4, generator.choice(ends, shape), x)


def describe(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{name}={size}" for name, size in sizes.items()) or "static sizes"

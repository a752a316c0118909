"""The functions of the language are what NumPy says, in the reference and compiled, at several sizes, symbolic and known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

import tgraph as tg
from tests.functions.samples import FAMILIES, SAMPLES
from tests.ops.sample import Sample, as_tuple
from tgraph.functions import FUNCTIONS
from tgraph.reference.tolerance import compare

SIZES = {"usual": {"B": 2, "S": 5, "T": 3}, "one": {"B": 1, "S": 1, "T": 1}, "empty": {"B": 2, "S": 0, "T": 3},
         "none": {"B": 0, "S": 5, "T": 0}}
TOLERANCE = {"f64": 1e-12, "f32": 1e-5, "f16": 2e-3, "bf16": 1.6e-2}


def joint(samples: Sequence[Sample], known: Mapping[str, int] | None = None) -> tg.Graph:
    """All samples in one graph, each with dims of its own; `known` makes sizes of them."""
    specs: dict[str, tg.TensorType] = {}
    for number, s in enumerate(samples):
        specs |= s.renamed(f"_{number}") if known is None else {f"{n}_{number}": t.substitute(known) for n, t in s.specs.items()}

    def build(**tensors: tg.Tensor) -> dict[str, tg.Tensor]:
        given = iter(tensors.values())
        return {f"s{number}_{place}": y for number, s in enumerate(samples)
                for place, y in enumerate(as_tuple(s.build(*[next(given) for _ in s.specs])))}

    return tg.trace(build, name="samples", **specs)


def wrong(samples: Sequence[Sample], exe: tg.Executable, graph: tg.Graph, sizes: Mapping[str, int]) -> list[str]:
    """What differs from NumPy, one line a result."""
    here = [replace(s, sizes=sizes) for s in samples]
    results = exe.run({f"{name}_{number}": a for number, s in enumerate(here) for name, a in s.feeds().items()})
    types, found = {name: value.dtype for name, value in graph.outputs}, []
    for number, s in enumerate(here):
        floats = [t.dtype.name for t in s.specs.values() if t.dtype.is_float]
        for place, expected in enumerate(s.expected()):
            name = f"s{number}_{place}"
            allowed = max([TOLERANCE[d] for d in floats] or [1e-6]) if types[name].is_float else 0.0
            y = results[name]
            if y.dtype != types[name].numpy or y.shape != expected.shape or not compare(y, expected, allowed).ok:
                found.append(f"{s.name}: {y.dtype} {list(y.shape)}, expected {list(expected.shape)}\n{y}\nexpected\n{expected}")
    return found


def fitting(samples: Sequence[Sample], sizes: Mapping[str, int]) -> list[Sample]:
    """Samples that NumPy has a result for at these sizes."""
    found = []
    for s in samples:
        try:
            replace(s, sizes=sizes).expected()
        except ValueError:  # the largest of nothing
            continue
        found.append(s)
    return found


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("target", "level"), [("numpy", "O0"), ("cpu", "O0"), ("cpu", "O3")])
def test_symbolic_sizes(family: str, target: str, level: str) -> None:
    samples = FAMILIES[family]
    graph = joint(samples)
    exe = tg.compile(graph, target, level=level)
    for sizes in SIZES.values():
        assert wrong(samples, exe, graph, sizes) == []


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("family", FAMILIES)
def test_known_sizes(family: str, sizes: str) -> None:
    samples = fitting(FAMILIES[family], SIZES[sizes])
    graph = joint(samples, SIZES[sizes])
    assert wrong(samples, tg.compile(graph, "numpy"), graph, SIZES[sizes]) == []
    if sizes == "usual":
        assert wrong(samples, tg.compile(graph, "cpu"), graph, SIZES[sizes]) == []


def test_every_function_has_a_sample() -> None:
    bodies = {f for name in (s.op for s in SAMPLES) if (f := FUNCTIONS.get(name)) is not None}
    assert [name for name, f in FUNCTIONS.items() if f not in bodies] == []


def test_functions_are_listed_and_documented() -> None:
    for name, function in FUNCTIONS.items():
        assert name in dir(tg) and getattr(tg, name) is function
        assert function.__doc__ and function.__doc__.split("\n")[0].endswith((".", ":", ")")), name


def test_the_largest_of_nothing_is_the_lowest_number() -> None:
    """NumPy has none; the reductions have."""
    y = tg.compile(tg.trace(lambda x: (x.max(-1), x.argmin(-1)), x=tg.f32[2, 0]), "numpy")(np.zeros((2, 0), np.float32))
    assert (y[0] == -np.inf).all() and (y[1] == 0).all()

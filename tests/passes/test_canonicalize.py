"""The parts of the canonical form: views, the order of operands, which casts keep every number."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest

import tgraph as tg
from passes import optimize, parse_pipeline
from passes.algebra.scalars import as_written, float_result, representable
from passes.algebra.views import reshaping
from passes.rewriting import RewriteReport, reporting
from passes.transforms.simplify import exactly
from tgraph.ir.dtypes import DTYPES, DType
from tgraph.reference import run

B, S = tg.dims("B S")


@pytest.mark.parametrize(("shape", "target", "how"), [
    ((2, 3), (2, 3), None),
    ((2, 3), (2, 1, 3), ("unsqueeze", (-2,))),
    ((B, S), (B, 1, 1, S), ("unsqueeze", (-3, -2))),
    ((2, 1, 3), (2, 1, 1, 3), ("unsqueeze", (-3,))),
    ((1,), (1, 1), ("unsqueeze", (-2,))),
    ((), (1, 1), ("unsqueeze", (-2, -1))),
    ((2, 1, 3, 1), (2, 3), ("squeeze", (-3, -1))),
    ((2, 1, 3), (2, 3, 1), ("reshape", None)),
    ((B, S, 8), (B * S, 8), ("reshape", None)),
    ((1, 2, 3), (3, 2), ("reshape", None)),
])
def test_views_have_one_canonical_form(shape: tuple[object, ...], target: tuple[object, ...],
                                       how: tuple[str, tuple[int, ...] | None] | None) -> None:
    found = reshaping(shape, target)  # type: ignore[arg-type]
    assert (found if found is None else (found[0], found[1].get("axes"))) == how


def test_order_does_not_depend_on_how_it_was_written() -> None:
    def one(x: tg.Tensor, z: tg.Tensor) -> tg.Tensor:
        return (tg.exp(x) * tg.tanh(z)) + (x + z) * 2.0

    def other(x: tg.Tensor, z: tg.Tensor) -> tg.Tensor:
        return 2.0 * (z + x) + tg.tanh(z) * tg.exp(x)

    first, second = (optimize(tg.trace(f, tg.f32[B], tg.f32[B], name="g"), "canonicalize") for f in (one, other))
    assert first == second


def test_equal_products_in_other_orders_are_one_after_cse() -> None:
    graph = tg.trace(lambda x, z: (x * z, z * x), tg.f32[B], tg.f32[B])
    assert len(optimize(graph, "canonicalize,cse")) == 1


def test_the_left_names_of_dims_stay() -> None:
    T = tg.dim("T")
    graph = tg.trace(lambda x, z: {"y": tg.exp(z) + x}, x=tg.f32[B], z=tg.f32[T])
    after = optimize(graph, "canonicalize", verify_each=True)
    assert [v.type for _, v in after.outputs] == [v.type for _, v in graph.outputs]


@pytest.mark.parametrize("value", [0.0, -0.0, math.inf, -math.inf, math.nan, 1e-45, 3.4e38])
def test_exact_rules_keep_special_values(value: float) -> None:
    """All that is done to x here keeps its bits; only x + 0.0 may turn -0.0 into 0.0."""
    graph = tg.trace(lambda x: {"y": tg.neg(tg.neg((x * 1.0 - 0.0) / 1.0)), "z": x / 4.0, "w": x - 2.0, "v": x * -1.0},
                     x=tg.f32[1])
    after = optimize(graph, "canonicalize", verify_each=True)
    feeds = {"x": np.array([value], np.float32)}
    before, found = run(graph, feeds, faithful=True), run(after, feeds, faithful=True)
    for name in before:
        nan = bool(np.isnan(before[name]).all() and np.isnan(found[name]).all())  # of whatever sign
        assert nan or before[name].tobytes() == found[name].tobytes()


def _numbers(dtype: DType) -> np.ndarray:
    """All numbers of a small type; of a large one those around powers of two."""
    if dtype.is_bool:
        return np.array([False, True])
    if dtype.bits <= 16:
        bits = np.arange(2**dtype.bits, dtype=f"u{dtype.itemsize}")
        return bits.view(dtype.numpy)
    powers = [2**p + d for p in range(dtype.bits) for d in (-1, 0, 1)]
    if dtype.is_integer:
        info = np.iinfo(dtype.numpy)
        return np.array([s * p for p in powers for s in (1, -1) if info.min <= s * p <= info.max], dtype.numpy)
    fine = 1 + 2.0 ** -(23 if dtype.bits == 32 else 52)
    return np.array([0, np.inf, *(2.0**p * fine for p in range(-60, 60))], dtype.numpy)


@pytest.mark.parametrize("narrow", DTYPES.values(), ids=str)
@pytest.mark.parametrize("wide", DTYPES.values(), ids=str)
def test_exact_casts_come_back(narrow: DType, wide: DType) -> None:
    numbers = _numbers(narrow)
    with np.errstate(all="ignore"):
        there = numbers.astype(wide.numpy)
        back = there.astype(narrow.numpy)
        kept = (back == numbers) | (numbers != numbers)
        # an integer that wraps comes back too: its sign tells
        kept &= ((there < 0) == (numbers < 0)) if not narrow.is_bool and not wide.is_bool else True
    assert bool(kept.all()) == exactly(narrow, wide)


def test_ops_of_constants_with_sizes_stay() -> None:
    graph = tg.trace(lambda x: (tg.one_hot(np.zeros(0, np.int64), depth=x.shape[0]), tg.full((2,), 3.0) + x.shape[0]), tg.f32[B])
    folded = optimize(graph, "fold-constants", verify_each=True)
    assert [n.op.name for n in folded.nodes] == [n.op.name for n in graph.nodes]


def test_numbers_of_types() -> None:
    assert representable(127, tg.i8) is None and representable(-1, tg.u8) and representable(0.5, tg.i32)
    assert float_result(1e-5, tg.f16) and float_result(1e-5, tg.f32) is None and float_result(math.inf, tg.f64)
    assert float(ml_dtypes.finfo(tg.bf16.numpy).max) > 1e38 and float_result(1e38, tg.bf16) is None
    assert as_written(float(np.float32(1e-12)), tg.f32) == 1e-12 and as_written(None, tg.f16) == 0.0


def test_attempts_a_node_do_not_grow() -> None:
    def chain(length: int) -> tg.Graph:
        def f(x: tg.Tensor) -> tg.Tensor:
            for _ in range(length):
                c = x - x.mean(axis=-1, keepdims=True)
                x = c / tg.sqrt((c * c).mean(axis=-1, keepdims=True) + 1e-5) * 2.0 / 3.0
                x = x.transpose(1, 0).transpose(1, 0)
            return x
        return tg.trace(f, tg.f32[B, 8])

    rates = []
    for length in (4, 40):
        graph = chain(length)
        with reporting(report := RewriteReport()):
            for step in parse_pipeline("canonicalize,simplify,fuse-layer-norm,eliminate-transposes"):
                step.apply(copy := graph.copy())
                tg.verify(copy)
        rates.append((report.attempts / len(graph), report.total / len(graph)))
    assert rates[1][0] <= rates[0][0] * 1.1 and rates[1][1] <= rates[0][1] * 1.1, rates

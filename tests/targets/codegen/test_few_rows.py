"""Products of few rows with weights of 2 and 4 bits in words, on each kind of CPU, and of many rows with the same weights."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pytest

tvm = pytest.importorskip("tvm")

from tvm.script.ir_builder import IRBuilder  # noqa: E402
from tvm.script.ir_builder import tirx as T  # noqa: E402

from targets.base.target import Target  # noqa: E402
from targets.cpu.emitters.linear import has_dots, tile_for  # noqa: E402
from targets.cpu.kernels.dots import run  # noqa: E402
from targets.cpu.kernels.gemm import gemm  # noqa: E402
from targets.cpu.kernels.words import BYTES, Words, padded  # noqa: E402
from tests.targets.codegen.test_gemm import innermost_loops, run_with  # noqa: E402
from tests.targets.feature_sets import FEATURE_SETS, each_feature_set, run_only_here  # noqa: E402
from tgraph.ops.packing import pack_panels  # noqa: E402
from tgraph.ops.quantization import dequantize  # noqa: E402

ROWS = [0, *range(1, 10), 13, 40]
# columns, depth, block, bits, zero points: tails of panels, blocks and words; one block; zero points known and not
CASES = {"whole": (96, 128, 32, 4, 8), "tails": (71, 100, 32, 4, None), "odd": (33, 37, 16, 4, 8), "short": (5, 3, 32, 4, 7),
         "one block": (40, 90, 128, 4, None), "long blocks": (40, 300, 128, 4, 8), "longest block": (40, 900, 1024, 4, 8),
         "2 bits": (70, 70, 32, 2, None), "no zero": (64, 64, 64, 4, 0)}


def weights_of(case: tuple[int, int, int, int, int | None], seed: int = 0) -> dict[str, np.ndarray]:
    """The operands of `dequantize`."""
    n, k, block, bits, zero = case
    numbers, blocks = np.random.default_rng(seed), -(-k // block)
    return {"packed": numbers.integers(0, 256, (n, -(-k * bits // 8))).astype(np.uint8),
            "scale": numbers.standard_normal((n, blocks)).astype(np.float32),
            "zero": numbers.integers(0, 2**bits, (n, blocks)).astype(np.float32) if zero is None else np.float32(zero)}


def wide(case: tuple[int, int, int, int, int | None], held: dict[str, np.ndarray]) -> np.ndarray:
    parts = {name: a.astype(np.float64) if a.dtype == np.float32 else a for name, a in held.items()}
    return dequantize.numpy(parts["packed"], parts["scale"], parts["zero"], depth=case[1], block=case[2], bits=case[3])


def panels(case: tuple[int, int, int, int, int | None], held: dict[str, np.ndarray], width: int) -> list[np.ndarray]:
    """The same as `PackWeights` lays them out."""
    _, k, block, bits, zero = case
    size = padded(k, block, bits) * bits // 8
    packed = np.pad(held["packed"], ((0, 0), (0, size - held["packed"].shape[1])))
    return [pack_panels.numpy(packed, width=width, group=BYTES).reshape(-1),
            *(pack_panels.numpy(held[name], width=width, group=1).reshape(-1)
              for name in ("scale", "zero")[:2 if zero is None else 1])]


def product(case: tuple[int, int, int, int, int | None], cpu: str) -> Any:
    n, k, block, bits, zero = case
    target = Target.parse(cpu)
    tile = tile_for(target, "float32")
    sizes = [len(a) for a in panels(case, weights_of(case), tile.columns)]
    with IRBuilder() as builder, T.prim_func():
        T.func_name("main")
        m = T.int64()
        a = T.arg("a", T.buffer((m, k), "float32"))
        packed, *factors = (T.arg(f"w{i}", T.buffer((size,), "float32" if i else "uint8")) for i, size in enumerate(sizes))
        c = T.arg("c", T.buffer((m, n), "float32"))
        T.func_attr({"tirx.noalias": True})
        scale, *shift = [lambda at, f=f: run(f, at, tile.lanes) for f in factors]
        weights = Words(packed, scale, shift[0] if shift else None, zero or 0, k, tile.columns, block, bits,
                        look_up=target.has("avx512f") and tile.lanes == 16, dots=has_dots(target, tile.lanes))
        gemm(m=m, n=n, load=lambda i, kk: a[i, kk], weights=weights, tile=tile,
             store=lambda i, j, value: T.buffer_store(c, value, [i, j]))
    return builder.get()


def products(build: Any, cpu: str, names: Iterable[str]) -> Iterator[tuple[str, np.ndarray, Callable[[np.ndarray], np.ndarray]]]:
    """Of each case its widened weights, and the compiled product with them; on a machine that lacks the CPU's features a skip."""
    kernels = build({name: product(CASES[name], cpu) for name in names}, cpu)
    run_only_here(cpu)
    width = tile_for(Target.parse(cpu), "float32").columns
    for name in names:
        case = CASES[name]
        held = weights_of(case)
        packed = panels(case, held, width)
        yield name, wide(case, held), lambda x, name=name, case=case, packed=packed: kernels(
            name, x, *packed, out=((len(x), case[0]), "float32"))


@each_feature_set
def test_products_are_those_of_the_widened_weights(build: Any, cpu: str) -> None:
    names = CASES if FEATURE_SETS[next(reversed(FEATURE_SETS))] == cpu else ("tails", "odd", "long blocks")
    for name, w, multiply in products(build, cpu, names):
        for m in ROWS:
            x = np.random.default_rng(m).standard_normal((m, w.shape[1])).astype(np.float32) * 10.0 ** (m % 7 - 3)
            found = multiply(x)
            terms = np.abs(x).astype(np.float64) @ np.abs(w).T + 1e-30
            assert (np.abs(found - x.astype(np.float64) @ w.T) <= 2e-6 * terms).all(), (name, m)


@each_feature_set
def test_nan_and_infinities_stay_in_their_rows(build: Any, cpu: str) -> None:
    for name, w, multiply in products(build, cpu, ("whole", "tails", "2 bits", "no zero")):
        x = np.random.default_rng(0).standard_normal((4, w.shape[1])).astype(np.float32)
        x[1, 7], x[2, 50] = np.nan, np.inf
        found = multiply(x)
        with np.errstate(invalid="ignore"):
            expected = x.astype(np.float64) @ w.T
        assert np.array_equal(np.isnan(found), np.isnan(expected)), name
        assert np.isnan(found[1]).all() and np.isfinite(found[::3]).all(), name
        assert np.array_equal(found[np.isinf(expected)], expected[np.isinf(expected)]), name
        np.testing.assert_allclose(found[::3], expected[::3], atol=1e-4)


def test_bits_do_not_depend_on_workers(build: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    case = (300, 100, 32, 4, 8)
    held = weights_of(case)
    kernels, width = build({"main": product(case, "cpu")}), tile_for(Target.parse("cpu"), "float32").columns
    for m in (1, 3, 8, 40):
        x = np.random.default_rng(m).standard_normal((m, 100)).astype(np.float32)
        one, two = (run_with(threads, lambda x=x: kernels("main", x, *panels(case, held, width), out=((len(x), 300), "float32")),
                             monkeypatch) for threads in (1, 2))
        assert one.tobytes() == two.tobytes()


INNER = {"x86-64-v3": r"\tvcvtdq2ps\s.*%ymm", "x86-64-v4": r"\tvpermps\s.*%zmm", "znver4": r"\tvpdpbusd\s.*%zmm",
         "alderlake": r"\tvpdpbusd\s.*%ymm"}


@pytest.mark.skipif(len(FEATURE_SETS) == 1, reason="another architecture")
@pytest.mark.parametrize("cpu", INNER)
def test_the_inner_loop_takes_words_apart_in_registers(build: Any, cpu: str) -> None:
    """In the loop for one row: no number of a weight goes through memory."""
    assembly = build({"main": product((96, 768, 32, 4, 8), f"cpu:{cpu}")}, f"cpu:{cpu}").assembly()
    loops = [body for body in innermost_loops(assembly) if any(re.search(INNER[cpu], line) for line in body)]
    assert loops
    for body in loops:
        assert not [line for line in body if re.search(r"\t(call|vpinsr|vpextr)\w*\s", line)], "\n".join(body)

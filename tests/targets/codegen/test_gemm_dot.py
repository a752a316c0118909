"""Products by dot instructions: the code for every kind of CPU, and what it computes, on those CPUs that this one can stand for.

The layout of operands is that of an instruction's group; the same TIR with the dot written out runs anywhere.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

tvm = pytest.importorskip("tvm")

from tvm.script.ir_builder import IRBuilder  # noqa: E402
from tvm.script.ir_builder import tirx as T  # noqa: E402

import tgraph as tg  # noqa: E402
from targets.base.target import Target  # noqa: E402
from targets.cpu.build import PIPELINE  # noqa: E402
from targets.cpu.emitters.linear import panels_for  # noqa: E402
from targets.cpu.kernels.dots import Dot, bf16_dot, integer_dot  # noqa: E402
from targets.cpu.kernels.gemm_dot import DotTile, gemm_dot  # noqa: E402
from tests.targets.codegen.test_gemm import innermost_loops  # noqa: E402
from tests.targets.feature_sets import each_feature_set, run_only_here  # noqa: E402
from tgraph.ops.packing import pack_panels  # noqa: E402

ROWS = [0, 1, 3, 5, 12, 13, 100]
SIZES = [(70, 96), (33, 37), (7, 5), (48, 0)]  # columns and depth: tails of panels, of groups, of lines; no depth
PLAIN = {
    "i8 in pairs": Dot("plain", 2, "int16", "int32", 8),
    "u8 in fours": Dot("plain", 4, "uint8", "int32", 16, unsigned=True),  # the layout of vpdpbusd
}


def tile_of(dot: Dot, registers: int = 16) -> DotTile:
    return DotTile.for_target(dot, registers, 1 << 17)


def product(tile: DotTile, n: int, k: int) -> Any:
    dot = tile.dot
    with IRBuilder() as builder, T.prim_func():
        T.func_name("main")
        m = T.int64()
        a = T.arg("a", T.buffer((m, k), "uint8" if dot.unsigned else "int8"))
        size = -(-n // tile.columns) * tile.columns * -(-k // dot.group) * dot.group
        w = T.arg("w", T.buffer((size,), "int8"))
        c = T.arg("c", T.buffer((m, n), "int32"))
        T.func_attr({"tirx.noalias": True})
        gemm_dot(m=m, n=n, k=k, load=lambda i, kk: a[i, kk], panels=w, tile=tile,
                 store=lambda i, j, value: T.buffer_store(c, value, [i, j]))
    return builder.get()


@pytest.fixture(scope="module")
def plain(build):
    return build({f"{name} {n}": product(tile_of(dot), n, k) for name, dot in PLAIN.items() for n, k in SIZES})


@pytest.mark.parametrize("m", ROWS)
@pytest.mark.parametrize("name", PLAIN)
def test_integer_products_are_exact(plain, name, m):
    check_products(plain, name, PLAIN[name], m)


@each_feature_set
def test_integer_products_are_exact_on_each_cpu(build, cpu):
    target = Target.parse(cpu)
    dot = integer_dot(target.has, target.vector_bits)
    kernels = build({f"{dot.name} {n}": product(tile_of(dot), n, k) for n, k in SIZES}, cpu)
    run_only_here(cpu)
    for m in ROWS:
        check_products(kernels, dot.name, dot, m)


def check_products(kernels, name, dot, m):
    generator = np.random.default_rng(m)
    for n, k in SIZES:
        x = generator.integers(0 if dot.unsigned else -127, 256 if dot.unsigned else 128, (m, k))
        w = generator.integers(-127, 128, (n, k))
        if m > 1:  # the largest sums that there can be
            x[0], w[0] = 255 if dot.unsigned else 127, -127
        panels = pack_panels.numpy(w.astype("i1"), width=tile_of(dot).columns, group=dot.group).reshape(-1)
        c = kernels(f"{name} {n}", x.astype("u1" if dot.unsigned else "i1"), panels, out=((m, n), "int32"))
        assert np.array_equal(c, x @ w.T), (n, k)


MACHINES = [("sapphirerapids", "vpdpbusd", "zmm"), ("znver4", "vpdpbusd", "zmm"), ("alderlake", "vpdpbusd", "ymm"),
            ("skylake-avx512", "vpmaddwd", "zmm"), ("haswell", "vpmaddwd", "ymm")]


@pytest.mark.parametrize(("cpu", "instruction", "register"), MACHINES)
def test_the_inner_loop_is_dots_in_registers(cpu, instruction, register):
    target = Target.parse(f"cpu:{cpu}")
    dot = integer_dot(target.has, target.vector_bits)
    tile = tile_of(dot, target.vector_registers)
    function = product(tile, 4 * tile.columns, 1024).with_attr("global_symbol", "main")
    assembly = tvm.compile(tvm.IRModule({"main": function}), target=tvm.target.Target({"kind": "llvm", "mcpu": cpu}),
                           tir_pipeline=PIPELINE).mod.inspect_source("asm")
    loop = max(innermost_loops(assembly), key=lambda body: sum(instruction in line for line in body))
    assert len([line for line in loop if instruction in line and register in line]) >= 2 * tile.rows
    assert not [line for line in loop if re.search(r"\tvmov\w+\s+%[yz]mm\d+,.*\(", line)], "a spill"
    assert not [line for line in loop if re.search(r"\t(call|vpinsr|vpextr)\w*\s", line)]


def bf16_product(tile: DotTile, n: int, k: int) -> Any:
    with IRBuilder() as builder, T.prim_func():
        T.func_name("main")
        m = T.int64()
        a = T.arg("a", T.buffer((m, k), "float32"))  # numbers that bf16 has
        size = -(-n // tile.columns) * tile.columns * -(-k // tile.dot.group) * tile.dot.group
        w = T.arg("w", T.buffer((size,), "bfloat16"))
        c = T.arg("c", T.buffer((m, n), "float32"))
        T.func_attr({"tirx.noalias": True})
        gemm_dot(m=m, n=n, k=k, load=lambda i, kk: a[i, kk], panels=w, tile=tile,
                 store=lambda i, j, value: T.buffer_store(c, value, [i, j]))
    return builder.get()


@pytest.mark.parametrize("m", [1, 5, 13])
def test_pairs_of_bf16(build, m):
    """The layout of vdpbf16ps, with the dot written out."""
    tile = tile_of(Dot("plain bf16", 2, "uint16", "float32", 16))
    check_bf16_products(build, "cpu", tile, m)


@each_feature_set
def test_pairs_of_bf16_on_each_cpu(build, cpu):
    dot = bf16_dot(Target.parse(cpu).has)
    if dot is None:
        tile = panels_for(Target.parse(cpu), tg.bf16)
        assert tile == panels_for(Target.parse(cpu), tg.f32)  # products of what is widened to f32
        return
    build({"main": bf16_product(tile_of(dot), 70, 96)}, cpu)
    run_only_here(cpu)
    for m in (1, 5, 13):
        check_bf16_products(build, cpu, tile_of(dot), m)


def check_bf16_products(build, cpu, tile, m):
    generator = np.random.default_rng(m)
    for n, k in ((70, 96), (33, 37)):
        library = build({"main": bf16_product(tile, n, k)}, cpu).library
        x, w = (generator.standard_normal(shape).astype(tg.bf16.numpy) for shape in ((m, k), (n, k)))
        panels = pack_panels.numpy(w, width=tile.columns, group=2).reshape(-1)
        tensor = tvm.runtime.empty(panels.shape, "bfloat16")
        tensor.copyfrom(panels.view(tensor.numpy().dtype))
        c = tvm.runtime.tensor(np.zeros((m, n), "float32"))
        library["main"](tvm.runtime.tensor(x.astype("float32")), tensor, c)
        np.testing.assert_allclose(c.numpy(), x.astype("f8") @ w.astype("f8").T, rtol=0, atol=k * 3e-7)


@pytest.mark.parametrize("cpu", ["sapphirerapids", "znver4"])
def test_bf16_dots_in_whole_models(cpu):
    """Several kernels of one library use the instruction, and nothing is left of the function that brings it in."""
    graph = tg.trace(lambda x: tg.gelu(tg.linear(tg.linear(x, WIDE), WIDE.T.copy())), x=tg.f32[tg.dim("B"), 64])
    exe = tg.compile(graph, f"cpu:{cpu}", precision="bf16")
    assert [v.shape for _, v in exe.prepare.outputs if v.dtype == tg.bf16] == [(3, 32, 32, 2), (2, 48, 32, 2)]
    assembly = exe.source("asm")
    assert not re.search(r"call\w*\s.*dpbf16", assembly)
    loops = [sum("vdpbf16ps" in line and "zmm" in line for line in body) for body in innermost_loops(assembly)]
    assert len([count for count in loops if count >= 24]) >= 2


WIDE = np.random.default_rng(0).standard_normal((96, 64)).astype(np.float32)

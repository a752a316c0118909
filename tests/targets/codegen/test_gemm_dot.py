"""Products by dot instructions: the code for every kind of CPU, and what it computes, on those CPUs that this one can stand for.

The layout of operands is that of an instruction's group; the same TIR with the dot written out runs anywhere.
"""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest

tvm = pytest.importorskip("tvm")

from tvm.script.ir_builder import IRBuilder  # noqa: E402
from tvm.script.ir_builder import tirx as T  # noqa: E402

import tgraph as tg  # noqa: E402
from targets.base.target import Target  # noqa: E402
from targets.base.tvm_api import llvm_target  # noqa: E402
from targets.cpu.build import PIPELINE  # noqa: E402
from targets.cpu.emitters.linear import panels_for  # noqa: E402
from targets.cpu.kernels import byte_dot  # noqa: E402
from targets.cpu.kernels.byte_dot import LIMIT, ByteDot  # noqa: E402
from targets.cpu.kernels.dot_choice import bf16_dot, integer_dot  # noqa: E402
from targets.cpu.kernels.dots import Dot  # noqa: E402
from targets.cpu.kernels.gemm_dot import DotTile, gemm_dot  # noqa: E402
from targets.cpu.kernels.tiles import TileDot  # noqa: E402
from tests.targets.codegen.test_gemm import innermost_loops, run_with  # noqa: E402
from tests.targets.feature_sets import FEATURE_SETS, each_feature_set, run_only_here  # noqa: E402
from tgraph.ops.packing import pack_panels  # noqa: E402

ROWS = [0, 1, 3, 5, 12, 13, 33, 100, 330]  # the last one in several blocks, and enough to group panels
SIZES = [(70, 96), (33, 37), (7, 5), (48, 0), (300, 64),
         (1600, 40)]  # columns and depth: tails of panels, of k; no depth; many panels; several pieces for each worker
PLAIN = {
    "i8 in pairs": Dot("plain", 2, "int16", "int32", 8),
    "u8 in fours": Dot("plain", 4, "uint8", "int32", 16, unsigned=True),  # the layout of vpdpbusd
    "tiles of i8": TileDot("plain", 4, "int8", "int32", 16),
    "tiles of u8": TileDot("plain", 4, "uint8", "int32", 16),
}
PLAIN_BF16 = {"pairs": Dot("plain bf16", 2, "uint16", "float32", 16), "tiles": TileDot("plain", 2, "uint16", "float32", 16)}


def tile_of(dot: Dot, registers: int = 16) -> DotTile:
    return DotTile.for_target(dot, registers, 1 << 17)


def x_type(dot: Dot) -> str:
    """The type that x has to have, or may."""
    return "uint8" if dot.packed == "uint8" else "int8"


def packed(w: np.ndarray, tile: DotTile) -> np.ndarray:
    """Weights as `PackWeights` lays them out."""
    deep = np.pad(w, ((0, 0), (0, -w.shape[1] % tile.depth)))
    if tile.dot.sums_stored:
        deep = np.concatenate([deep, w.sum(axis=1, keepdims=True, dtype="<i4").view("i1")], axis=1)
    return pack_panels.numpy(deep, width=tile.columns, group=tile.dot.group).reshape(-1)


def product(tile: DotTile, n: int, k: int, x_type: str = "int8") -> Any:
    with IRBuilder() as builder, T.prim_func():
        T.func_name("main")
        m = T.int64()
        a = T.arg("a", T.buffer((m, k), x_type))
        w = T.arg("w", T.buffer((math.prod(tile.panels(n, k)),), "int8"))
        c = T.arg("c", T.buffer((m, n), "int32"))
        T.func_attr({"tirx.noalias": True})
        gemm_dot(m=m, n=n, k=k, load=lambda i, kk: a[i, kk], panels=w, tile=tile,
                 store=lambda i, j, value: T.buffer_store(c, value, [i, j]))
    return builder.get()


@pytest.fixture(scope="module")
def plain(build):
    return build({f"{name} {n}": product(tile_of(dot), n, k, x_type(dot)) for name, dot in PLAIN.items() for n, k in SIZES})


@pytest.mark.parametrize("m", ROWS)
@pytest.mark.parametrize("name", PLAIN)
def test_integer_products_are_exact(plain, name, m):
    check_products(plain, name, tile_of(PLAIN[name]), m, x_type(PLAIN[name]))


@each_feature_set
@pytest.mark.parametrize("unsigned", [False, True], ids=["i8", "u8"])
def test_integer_products_are_exact_on_each_cpu(build, cpu, unsigned):
    target = Target.parse(cpu)
    tile = tile_of(integer_dot(target.has, target.vector_bits, unsigned=unsigned), target.vector_registers)
    given = "uint8" if unsigned else x_type(tile.dot)
    kernels = build({f"{tile.dot.name} {n}": product(tile, n, k, given) for n, k in SIZES}, cpu)
    run_only_here(cpu)
    for m in ROWS:
        check_products(kernels, tile.dot.name, tile, m, given)


def check_products(kernels, name, tile, m, x_type):
    generator = np.random.default_rng(m)
    for n, k in SIZES:
        least, most = (0, 255) if x_type == "uint8" else (-128, 127)
        x = generator.integers(least, most + 1, (m, k))
        w = generator.integers(-128, 128, (n, k))
        x[::3] //= 4  # for sums of bytes in 16 bits: rows of which all sums of four have room, or
        x[1::3] //= 2  # all sums of two and some of four
        if m > 1:  # the largest sums that there can be
            x[0], x[m - 1], w[0] = most, least, -128
        panels = packed(w.astype("i1"), tile)
        c = kernels(f"{name} {n}", x.astype(x_type), panels, out=((m, n), "int32"))
        assert np.array_equal(c, x @ w.T), (n, k)


X86 = pytest.mark.skipif(len(FEATURE_SETS) == 1, reason="another architecture")


@X86
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("unsigned", [False, True], ids=["i8", "u8"])
@pytest.mark.parametrize("cpu", ["x86-64-v3", "skylake-avx512"])
def test_bytes_do_not_saturate(build, monkeypatch, cpu, unsigned, threads):
    target = Target.parse(f"cpu:{cpu}")
    dot = integer_dot(target.has, target.vector_bits, unsigned=unsigned)
    assert isinstance(dot, ByteDot) and dot.lanes == target.vector_bits // 32
    check = byte_products(build, f"cpu:{cpu}", dot, target.vector_registers)
    run_only_here(f"cpu:{cpu}")
    run_with(threads, check, monkeypatch)


@X86
@pytest.mark.parametrize("unsigned", [False, True], ids=["i8", "u8"])
def test_bytes_do_not_saturate_in_vectors_of_512_bits(build, monkeypatch, unsigned):
    """Both halves of a vector by the instructions for 256 bits, which more CPUs have."""
    pairs, fours = byte_dot.in_pairs, byte_dot.in_fours

    def by_halves(function: Any, given: str, result: str, *vectors: Any) -> Any:
        count = {"int8": 32, "int16": 16}[given]  # in 256 bits
        low, high = ([half(f"{given}x{count}", v) for v in vectors] for half in (T.vectorlow, T.vectorhigh))
        return T.vectorcombine(f"{result}x{count}", function(*low, count), function(*high, count))

    monkeypatch.setattr(byte_dot, "in_pairs", lambda u, s, count: by_halves(pairs, "int8", "int16", u, s))
    monkeypatch.setattr(byte_dot, "in_fours", lambda x, count: by_halves(fours, "int16", "int32", x))
    skylake = Target.parse("cpu:skylake-avx512")
    check = byte_products(build, "cpu:haswell", integer_dot(skylake.has, 512, unsigned=unsigned), skylake.vector_registers)
    run_only_here("cpu:haswell")
    check()


def byte_products(build, cpu, dot, registers):
    """What checks products of x that add up to what still fits into 16 bits beside weights of 127, and to one more; seldom in a
    row, and everywhere."""
    tile = DotTile.for_target(dot, registers, 1 << 12)  # several blocks of rows for each worker
    n, k = 40, 192
    given = "uint8" if dot.unsigned else "int8"
    kernels = build({"main": product(tile, n, k, given)}, cpu)
    rows = [np.full(k, value, "i4") for value in (0, 127, -128, 1)]  # the most rests that a row can have, in a tile of few
    rows += [np.resize(values, k) for values in ([127, -128], [-128] * 9 + [127], [127] * 9 + [-128])]  # far from their mean, too
    for total in (LIMIT - 1, LIMIT, LIMIT + 1, 2 * LIMIT - 2):
        for places in ([0, 1], [2, 3], [4, 5], [6, 7], [0, 5], [1, 4], [3, 6], [0, 1, 4, 5], [2, 3, 6, 7]):
            group = np.zeros(8, "i4")
            group[places] = total // len(places)
            group[places[0]] += total % len(places)
            for row in (group, -group):
                seldom = np.zeros(k, "i4")
                seldom[8:16] = row
                rows += [seldom, np.tile(row, k // 8)]
    w = np.full((n, k), 127, "i4")
    w[1::2] = -128

    def check() -> None:
        for order in (range(len(rows)), range(0, len(rows), 2), range(1, len(rows), 2)):  # mixed in a tile, and apart
            x = np.stack([rows[i] for i in order]) + 128 * dot.unsigned
            c = kernels("main", x.astype(given), packed(w.astype("i1"), tile), out=((len(x), n), "int32"))
            assert np.array_equal(c, x @ w.T)

    return check


MACHINES = [("sapphirerapids,-amx-tile", "vpdpbusd", "zmm"), ("znver4", "vpdpbusd", "zmm"), ("alderlake", "vpdpbusd", "ymm"),
            ("skylake-avx512", "vpmaddubsw", "zmm"), ("haswell", "vpmaddubsw", "ymm")]


@pytest.mark.parametrize(("cpu", "instruction", "register"), MACHINES)
def test_the_inner_loop_is_dots_in_registers(cpu, instruction, register):
    target = Target.parse(f"cpu:{cpu}")
    dot = integer_dot(target.has, target.vector_bits)
    tile = tile_of(dot, target.vector_registers)
    function = product(tile, 4 * tile.columns, 1024, x_type(dot)).with_attr("global_symbol", "main")
    assembly = tvm.compile(tvm.IRModule({"main": function}), target=llvm_target(target.mcpu, target.changes),
                           tir_pipeline=PIPELINE).mod.inspect_source("asm")
    loops = [body for body in innermost_loops(assembly) if any(instruction in line and register in line for line in body)]
    assert not [line for body in loops for line in body if re.search(r"\tvmov\w+\s+%[yz]mm\d+,.*\(", line)], "a spill"
    loop = max(loops, key=lambda body: sum(instruction in line for line in body))
    assert len([line for line in loop if instruction in line and register in line]) >= 2 * tile.rows * dot.deep
    if dot.deep > 1:  # sums of 16 bits are added before they are widened
        count = {name: sum(name in line for line in loop) for name in ("vpmaddubsw", "vpmaddwd")}
        assert count["vpmaddubsw"] == dot.deep * count["vpmaddwd"]
    assert not [line for line in loop if re.search(r"\t(call|vpinsr|vpextr)\w*\s", line)]


def bf16_product(tile: DotTile, n: int, k: int) -> Any:
    with IRBuilder() as builder, T.prim_func():
        T.func_name("main")
        m = T.int64()
        a = T.arg("a", T.buffer((m, k), "float32"))  # numbers that bf16 has
        w = T.arg("w", T.buffer((math.prod(tile.panels(n, k)),), "bfloat16"))
        c = T.arg("c", T.buffer((m, n), "float32"))
        T.func_attr({"tirx.noalias": True})
        gemm_dot(m=m, n=n, k=k, load=lambda i, kk: a[i, kk], panels=w, tile=tile,
                 store=lambda i, j, value: T.buffer_store(c, value, [i, j]))
    return builder.get()


@pytest.mark.parametrize("layout", PLAIN_BF16)
def test_products_of_bf16(build, layout):
    """The layouts of vdpbf16ps and of tiles, with the dot written out."""
    check_bf16_products(build, "cpu", tile_of(PLAIN_BF16[layout]))


@each_feature_set
def test_pairs_of_bf16_on_each_cpu(build, cpu):
    dot = bf16_dot(Target.parse(cpu).has)
    if dot is None:
        tile = panels_for(Target.parse(cpu), tg.bf16)
        assert tile == panels_for(Target.parse(cpu), tg.f32)  # products of what is widened to f32
        return
    build({"main": bf16_product(tile_of(dot), 70, 96)}, cpu)
    run_only_here(cpu)
    check_bf16_products(build, cpu, tile_of(dot))


def check_bf16_products(build, cpu, tile):
    generator = np.random.default_rng(0)
    for n, k in ((70, 96), (33, 37)):
        library = build({"main": bf16_product(tile, n, k)}, cpu).library
        for m in (1, 5, 13, 50):
            x, w = (generator.standard_normal(shape).astype(tg.bf16.numpy) for shape in ((m, k), (n, k)))
            exact = x.astype("f8") @ w.astype("f8").T
            np.testing.assert_allclose(bf16_products(library, tile, x, w), exact, rtol=0, atol=k * 3e-7)


def bf16_products(library, tile, x, w):
    panels = packed(w, tile)
    tensor = tvm.runtime.empty(panels.shape, "bfloat16")
    tensor.copyfrom(panels.view(tensor.numpy().dtype))
    c = tvm.runtime.tensor(np.zeros((len(x), len(w)), "float32"))
    library["main"](tvm.runtime.tensor(x.astype("float32")), tensor, c)
    return c.numpy()


AMX = FEATURE_SETS.get("AMX", "cpu")


def test_tiles_of_bf16_have_the_bits_of_the_plain_ones(build):
    dot = bf16_dot(Target.parse(AMX).has)
    run_only_here(AMX)
    generator = np.random.default_rng(0)
    x, w = ((generator.standard_normal(shape) * 2.0 ** generator.integers(-20, 20, shape)).astype(tg.bf16.numpy)
            for shape in ((40, 333), (70, 333)))
    found, plain = (bf16_products(build({"main": bf16_product(tile_of(d), 70, 333)}, AMX).library, tile_of(d), x, w)
                    for d in (dot, PLAIN_BF16["tiles"]))
    assert np.array_equal(found, plain) and found.std() > 1e6


def test_tiles_take_denormals_for_0_and_keep_nan_and_infinities(build):
    dot = bf16_dot(Target.parse(AMX).has)
    run_only_here(AMX)
    x = np.full((3, 64), 1e-39, "f4").astype(tg.bf16.numpy)
    x[1, 5], x[2, 7] = np.nan, np.inf
    library = build({"main": bf16_product(tile_of(dot), 33, 64)}, AMX).library
    found = bf16_products(library, tile_of(dot), x, np.full((33, 64), 1e30, "f4").astype(tg.bf16.numpy))
    assert (found[0] == 0).all() and np.isnan(found[1]).all() and np.isposinf(found[2]).all()


def test_bits_depend_on_neither_workers_nor_other_rows(build, monkeypatch):
    """Of tiles: the plain ones anywhere, the processor's where it has them."""
    target = Target.parse("cpu")
    dots = {PLAIN_BF16["tiles"], *({bf16_dot(target.has)} if target.has("amx-bf16") else ())}
    generator = np.random.default_rng(0)
    x, w = (generator.standard_normal(shape).astype(tg.bf16.numpy) for shape in ((100, 100), (300, 100)))
    for tile in map(tile_of, dots):
        library = build({"main": bf16_product(tile, 300, 100)}).library
        every, one = (run_with(threads, lambda: bf16_products(library, tile, x, w), monkeypatch) for threads in (2, 1))
        assert every.tobytes() == one.tobytes()
        for m in (1, 16, 17, 40):
            assert bf16_products(library, tile, x[:m], w).tobytes() == every[:m].tobytes()


TILES = {"tdpbf16ps": lambda has: bf16_dot(has), "tdpbssd": lambda has: integer_dot(has, 512),
         "tdpbusd": lambda has: integer_dot(has, 512, unsigned=True)}


@pytest.mark.skipif(len(FEATURE_SETS) == 1, reason="another architecture")
@pytest.mark.parametrize("cpu", ["sapphirerapids", "graniterapids"])
@pytest.mark.parametrize("instruction", TILES)
def test_the_inner_loop_is_products_of_tiles(build, cpu, instruction):
    tile = tile_of(TILES[instruction](Target.parse(f"cpu:{cpu}").has))
    made = bf16_product(tile, 128, 1024) if instruction == "tdpbf16ps" else product(tile, 128, 1024, x_type(tile.dot))
    assembly = build({"main": made}, f"cpu:{cpu}").assembly()
    blocks = [block.splitlines() for block in re.split(r"^\S+:", assembly, flags=re.MULTILINE)]  # straight-line code
    step = max(blocks, key=lambda block: sum(instruction in line for line in block))
    products = [re.sub(r"\s+", " ", line).strip() for line in step if instruction in line]
    assert {line.rpartition(" ")[2] for line in products} == {"%tmm0", "%tmm1", "%tmm2", "%tmm3"}
    assert sum("tileloadd" in line for line in step) == len(products)  # no operand is read twice
    assert not any(re.search(r"\t(tilestored|tilezero|call|vmov)", line) for line in step)
    assert assembly.count("ldtilecfg") == assembly.count("tilerelease") == 1


@pytest.mark.filterwarnings("ignore:precision=.* is no faster")
@pytest.mark.parametrize("cpu", ["sapphirerapids,-amx-tile", "znver4"])
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

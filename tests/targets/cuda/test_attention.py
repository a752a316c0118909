"""What attention becomes on a GPU: tensor-core products, asynchronous copies, no register that spills. Needs no GPU."""

from __future__ import annotations

import functools
import re
from typing import Any

import pytest

import tgraph as tg
from targets.cuda import build, compilers
from targets.cuda.kernels.attention import tiles
from tgraph.ir.errors import CompileError

B, S, N, M = tg.dims("B S N M")


def heads_of(x: tg.Tensor, heads: int) -> tg.Tensor:
    return x.reshape(x.shape[0], x.shape[1], heads, x.shape[2] // heads).transpose(0, 2, 1, 3)


def projected(heads: int = 12, dim: int = 64, *, dtype: tg.DType = tg.f16, mask: str = "", bias: bool = False, length: Any = S,
              **attrs: Any) -> tg.Graph:
    """Attention over one projection's q, k and v, and back to [B, S, width]."""
    specs: dict[str, tg.TensorType] = {"x": dtype[B, length, 3 * heads * dim]}
    if mask:
        specs["mask"] = tg.bool_[(B, length) if mask == "keys" else (B, length, length)]
    if bias:
        specs["bias"] = dtype[heads, length, length]

    def build(x: tg.Tensor, **others: tg.Tensor) -> tg.Tensor:
        q, k, v = (heads_of(part, heads) for part in tg.split(x, sizes=3, axis=-1))
        y = tg.attention(q, k, v, **others, **attrs)
        return y.transpose(0, 2, 1, 3).reshape(x.shape[0], x.shape[1], heads * dim)

    return tg.trace(build, name="projected", **specs)


def turned() -> tg.Graph:
    """Attention of rotary q and k, grouped heads."""
    q, k, table = tg.bf16[B, 8, S, 64], tg.bf16[B, 2, S, 64], tg.bf16[S, 32]
    return tg.trace(lambda q, k, v, cos, sin: tg.attention(tg.rotary(q, cos, sin), tg.rotary(k, cos, sin), v, causal=True),
                    name="turned", q=q, k=k, v=k, cos=table, sin=table)


def ragged() -> tg.Graph:
    x = tg.f16[N, 12, 64]
    return tg.trace(tg.ragged_attention, name="ragged", q=x, k=x, v=x, offsets=tg.i64[M], mask=tg.bool_[N])


GRAPHS = {
    "bert": projected(mask="keys"),
    "fixed": projected(length=512),
    "causal128": projected(8, 128, dtype=tg.bf16, causal=True),
    "d32": projected(4, 32),
    "d80": projected(4, 80),
    "d96": projected(4, 96),
    "pairs": projected(mask="pairs", empty_row="uniform"),
    "bias128": projected(8, 128, bias=True, mask="pairs", causal=True),
    "f32": projected(dtype=tg.f32, mask="keys"),
    "capped": projected(8, 128, dtype=tg.bf16, mask="keys", causal=True, softcap=50.0),
    "window": projected(8, 128, dtype=tg.bf16, mask="keys", window=(512, 0), softcap=50.0),
    "capped_pairs": projected(mask="pairs", bias=True, softcap=50.0),
    "turned": turned(),
    "ragged": ragged(),
}
ONE_TILE = {"window", "capped", "capped_pairs", "causal128", "d80", "d96", "pairs", "bias128", "f32"}


@functools.cache
def compiled(name: str, arch: str) -> tuple[str, str]:
    """CUDA source and the assembler's words."""
    made = []

    def keep(source: str, arch: str) -> compilers.MachineCode:
        made.append((source, compilers.compile_source(source, arch)))
        return made[-1][1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "compile_source", keep)
        exe = tg.compile(GRAPHS[name], f"cuda:{arch}", passes="", cache=False)
    assert [n.op.name for n in exe.kernels.nodes] == ["call"], "views, rotary and the way back are part of the kernel"
    ((source, code),) = made
    return source, code.log


def kernels(log: str) -> list[dict[str, int]]:
    """What ptxas says of each kernel."""
    patterns = {"registers": r"Used (\d+) registers", "spilled": r"(\d+) bytes spill stores",
                "stack": r"(\d+) bytes stack frame"}
    return [{name: int(re.search(pattern, part)[1]) for name, pattern in patterns.items()}  # type: ignore[index]
            for part in log.split("Compiling entry function")[1:]]


every = pytest.mark.parametrize("name", GRAPHS)


@every
@pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
def test_no_register_spills(name: str, arch: str) -> None:
    found = [k for k in kernels(compiled(name, arch)[1]) if k["registers"] > 40]  # others only check offsets
    assert len(found) == (1 if name in ONE_TILE else 2)
    assert [k for k in found if k["spilled"] or k["stack"]] == []


@every
def test_products_are_those_of_tensor_cores(name: str) -> None:
    text, _ = compiled(name, "sm_90")
    kind = {tg.f16: "f16", tg.bf16: "bf16"}.get(next(iter(GRAPHS[name].inputs)).dtype)
    assert ("mma.sync" in text) == (kind is not None)
    if kind is not None:
        assert f"mma.sync.aligned.m16n8k16.row.col.f32.{kind}.{kind}.f32" in text and "ldmatrix" in text


@every
def test_plain_operands_and_results_go_16_bytes_at_a_time(name: str) -> None:
    text, _ = compiled(name, "sm_90")
    body = text[text.index('extern "C" __global__'):]
    assert body.count("tg_cp_async_16(") >= (16 if name not in ("turned",) else 8)
    assert "tg_copy_16(" in body


def test_tiles_fit_shared_memory() -> None:
    large, small = tiles("float16", 64, 64, reads_pairs=False)
    assert (large.queries, small.queries, small.keys) == (128, 64, 64)
    assert tiles("float16", 64, 64, reads_pairs=True)[0].queries == 64
    for dtype in ("float16", "float32"):
        for dim in (8, 64, 128, 256, 512):
            assert all(t.stages * t.keys >= 16 for t in tiles(dtype, dim, dim, reads_pairs=False))
    with pytest.raises(CompileError, match="do not fit"):
        tiles("float16", 5000, 64, reads_pairs=False)

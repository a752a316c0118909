"""What products become on a GPU: registers without spills, tensor cores, wide accesses. It takes a compiler, and no GPU."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

import tgraph as tg
from targets.base.target import Target
from targets.base.tvm_api import tvm
from targets.codegen import kernel_builder
from targets.cuda import compilers
from targets.cuda.build import CALLBACK, PIPELINE
from targets.cuda.compilers import COMPILERS, compile_source
from targets.cuda.emitters import linear, matmul
from targets.cuda.kernels.device import each
from targets.cuda.runtime import load_runtime
from targets.cuda.tvm_api import replaced

pytestmark = pytest.mark.skipif(not any(find() for find in COMPILERS.values()), reason="neither NVRTC nor nvcc is here")
B, M = tg.dims("B M")
WIDE, NARROW = 3072, 768  # of BERT-base


def source(models: dict[str, tuple[Callable[..., Any], dict[str, tg.TensorType]]], arch: str) -> str:
    """The CUDA source of functions that are one product each and what follows it."""
    module = {}
    for name, (model, types) in models.items():
        graph = tg.trace(model, name=name, **types)
        emit = linear.emit if any(n.op.name == "linear" for n in graph.nodes) else matmul.emit
        module[name] = kernel_builder.build(graph, name, partial(emit, target=Target("cuda", arch=arch)), each)
    load_runtime()
    seen: list[str] = []

    def keep(text: str) -> bytes:
        seen.append(text)
        return b"\x7fELF"

    target = tvm.target.Target({"kind": "cuda", "arch": arch, "max_shared_memory_per_block": 48 * 1024,
                                "max_threads_per_block": 1024, "host": "llvm"})
    with target, replaced(CALLBACK, keep):
        tvm.compile(tvm.IRModule(module), target=target, tir_pipeline=PIPELINE)
    return seen[0]


def layers(dtype: Any) -> dict[str, tuple[Callable[..., Any], dict[str, tg.TensorType]]]:
    """The two products of a Transformer's feed-forward part, with what follows them."""
    def up(x: tg.Tensor, w: tg.Tensor, b: tg.Tensor) -> tg.Tensor:
        return tg.gelu(tg.linear(x, w, b))

    def down(x: tg.Tensor, w: tg.Tensor, b: tg.Tensor, r: tg.Tensor) -> tg.Tensor:
        return tg.linear(x, w, b) + r

    return {"up": (up, {"x": dtype[M, NARROW], "w": dtype[WIDE, NARROW], "b": dtype[WIDE]}),
            "down": (down, {"x": dtype[M, WIDE], "w": dtype[NARROW, WIDE], "b": dtype[NARROW], "r": dtype[M, NARROW]})}


def resources(log: str) -> dict[str, tuple[int, int, int]]:
    """Registers, bytes of stack and bytes of spills of each kernel, as ptxas reports them."""
    found, patterns = {}, (r"Used (\d+) registers", r"(\d+) bytes stack", r"(\d+) bytes spill stores")
    for part in re.split(r"Compiling entry function '", log)[1:]:
        numbers = [re.search(pattern, part) for pattern in patterns]
        found[part.split("'")[0]] = tuple(int(n.group(1)) if n else -1 for n in numbers)
    return found  # type: ignore[return-value]


def entries(ptx: str) -> dict[str, str]:
    """The text of each kernel."""
    parts = re.split(r"\.entry (\w+)\(", ptx)[1:]
    return dict(zip(parts[::2], parts[1::2]))


@pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
@pytest.mark.parametrize("dtype", [tg.f16, tg.bf16, tg.f32], ids=str)
def test_no_kernel_spills(dtype: Any, arch: str) -> None:
    found = resources(compile_source(source(layers(dtype), arch), arch).log)
    assert len(found) == 9  # few rows, and three tiles, of both; and GELU after a product of cuBLASLt
    for name, (registers, stack, spills) in found.items():
        assert (stack, spills) == (0, 0), name
        assert 0 < registers < 240, name


@pytest.mark.parametrize("dtype", [tg.f16, tg.bf16], ids=str)
def test_tensor_cores_and_asynchronous_copies(dtype: Any) -> None:
    models = layers(dtype) | {
        "scores": (lambda x, y: tg.matmul(x, y.transpose(0, 2, 1)), {"x": dtype[B, M, 64], "y": dtype[B, 128, 64]}),
        "values": (lambda x, y: tg.matmul(x, y), {"x": dtype[B, M, 64], "y": dtype[B, 64, 128]})}
    found = entries(compilers.ptx(source(models, "sm_80"), "sm_80"))
    kind = "bf16" if dtype == tg.bf16 else "f16"
    instruction = f"mma.sync.aligned.m16n8k16.row.col.f32.{kind}.{kind}.f32"
    for name in models:
        kernels = [text for entry, text in found.items() if entry.startswith(name)]
        products = [text for text in kernels if instruction in text]
        others = {"up": 2, "values": 0}.get(name, 1)  # for few rows, and GELU after a product of cuBLASLt
        assert len(products) == 3 and len(kernels) - len(products) == others, name
        for text in products:
            assert "cp.async.cg.shared.global" in text and "ldmatrix" in text
            assert ("ldmatrix.sync.aligned.m8n8.x4.trans" in text) == (name == "values")


def test_neighbouring_columns_are_stored_at_once() -> None:
    text = source(layers(tg.f16), "sm_90")
    assert text.count("tg_copy_8((&(output") == 7  # of each tile, and after cuBLASLt
    assert text.count("tg_copy_8((&(neighbours") == 9  # its bias, and a residual in half of them

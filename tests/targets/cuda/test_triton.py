"""Triton's kernels, where it is installed: numbers in its interpreter, machine code for GPUs, libraries that need no Triton."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tgraph as tg
from targets.cuda import levels
from targets.cuda.compilers import COMPILERS
from targets.cuda.triton.binary import HALVES, SWITCH, Binary, state

triton = pytest.importorskip("triton")
pytestmark = pytest.mark.skipif(not any(find() for find in COMPILERS.values()), reason="neither NVRTC nor nvcc is here")
ROOT = Path(__file__).parents[3]
B, S = tg.dims("B S")


@pytest.mark.skipif(tuple(map(int, np.__version__.split(".")[:2])) >= (2, 4), reason="Triton's interpreter needs NumPy < 2.4")
def test_numbers_in_the_interpreter() -> None:
    done = subprocess.run([sys.executable, str(Path(__file__).with_name("triton_interpreter.py"))], cwd=ROOT, capture_output=True,
                          text=True, env={**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stdout + done.stderr


def attention(dim: int, causal: bool, mask: bool, bias: bool, dtype: Any = tg.f16) -> tg.Graph:
    """Of two heads in one tensor, as models have it."""
    def build(x: tg.Tensor, **more: tg.Tensor) -> tg.Tensor:
        parts = [tg.slice(x, starts=(2 * dim * i,), stops=(2 * dim * (i + 1),), axes=(-1,)) for i in range(3)]
        q, k, v = (part.reshape(B, S, 2, dim).transpose(0, 2, 1, 3) for part in parts)
        y = tg.attention(q, k, v, more.get("mask"), more.get("bias"), causal=causal)
        return y.transpose(0, 2, 1, 3).reshape(B, S, 2 * dim)

    return tg.trace(build, x=dtype[B, S, 6 * dim], **({"mask": tg.bool_[B, S]} if mask else {}),
                    **({"bias": dtype[2, S, S]} if bias else {}))


def compiled(graph: tg.Graph, arch: str, monkeypatch: pytest.MonkeyPatch) -> tuple[tg.Executable, Binary]:
    """A graph with one kernel by Triton."""
    from targets.cuda.triton import binary

    monkeypatch.setenv(SWITCH, "on")
    monkeypatch.setattr(binary, "_BINARIES", {})
    exe = tg.compile(graph, f"cuda:{arch}", passes="", cache=False)
    (made,) = binary._BINARIES.values()
    return exe, made


def check(made: Binary, arch: str, folder: Path) -> None:
    """Tensor cores, and no register in memory."""
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    (folder / "a.cubin").write_bytes(made.cubin)
    about = subprocess.run([tool, "-res-usage", folder / "a.cubin"], capture_output=True, text=True, check=True).stdout
    assert re.search(rf"Function {made.name}:\s+REG:\d+ STACK:0 .*LOCAL:0", about), about
    assert ("wgmma.mma_async" in made.ptx) == (arch == "sm_90") and ("mma.sync" in made.ptx) == (arch == "sm_80")


@pytest.mark.parametrize("arch", ["sm_90", "sm_80"])
@pytest.mark.parametrize("dim", [32, 64, 128])
def test_attention(dim: int, arch: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for causal, mask, bias in [*product((False, True), (False, True), (False,)), *([(True, True, True)] if dim <= 64 else [])]:
        check(compiled(attention(dim, causal, mask, bias), arch, monkeypatch)[1], arch, tmp_path)


@pytest.mark.parametrize("arch", ["sm_90", "sm_80"])
def test_linear(arch: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    specs = {"x": tg.bf16[B, 768], "w": tg.bf16[3072, 768], "b": tg.bf16[3072], "r": tg.bf16[B, 3072]}
    for build in (lambda x, w, b, r: tg.gelu(tg.linear(x, w, b)), lambda x, w, b, r: tg.linear(x, w, b) + r):
        exe, made = compiled(tg.trace(build, **specs), arch, monkeypatch)
        check(made, arch, tmp_path)
        first = "Triton's kernel" if "gelu" in exe.source() else "cuBLASLt"  # which has no exact GELU
        assert exe.explain()[0].chosen.startswith(first)


@pytest.mark.parametrize("dtype", HALVES)
def test_a_library_holds_the_code_and_needs_no_triton(dtype: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    graph = attention(64, False, True, False, {"float16": tg.f16, "bfloat16": tg.bf16}[dtype])
    exe, made = compiled(graph, "sm_90", monkeypatch)
    assert "Triton's kernel, which has wgmma" in exe.explain()[0].chosen and state().startswith("3.")
    assert exe.resources() is not None and made.name not in exe.source("cuda")
    exe.save(tmp_path / "a.tgc")
    image = exe._compiled.library.link()  # type: ignore[attr-defined]
    assert made.cubin in list(levels._cubins(image))
    program = textwrap.dedent(f"""
        import sys
        sys.modules["triton"] = None
        import tgraph as tg
        from targets.cuda.runtime import load_runtime
        load_runtime()
        module = tg.load(sys.argv[1])._engine.library.module
        pending, found = [module], False
        while pending:
            module = pending.pop()
            found |= bool(module.kind == "cuda" and module.implements_function("{made.name}"))
            pending += list(module.imports)
        print(found)
    """)
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "a.tgc")], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "True", done.stderr


def test_off_and_the_compile_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TGRAPH_CACHE", str(tmp_path))
    graph = attention(32, False, False, False)
    monkeypatch.setenv(SWITCH, "off")
    exe = tg.compile(graph, "cuda:sm_90", passes="")
    assert "Triton" not in exe.explain()[0].chosen and "off" in state()
    monkeypatch.delenv(SWITCH)
    assert "Triton's kernel" in tg.compile(graph, "cuda:sm_90", passes="").explain()[0].chosen
    assert "Triton" not in tg.compile(graph, "cuda:sm_80", passes="").explain()[0].chosen

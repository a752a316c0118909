"""Compiling for GPUs on any machine: machine code by each compiler that is here, what errors say, bundles, what is missing."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tgraph as tg
from targets.base.linker import find_compiler
from targets.cuda import compilers, libraries, runtime
from targets.cuda.compilers import CHOICE, COMPILERS, compile_source
from targets.cuda.resources import read_resources, resident_blocks
from tgraph.ir.errors import CompileError, TargetError

SOURCE = """
#include <cuda_fp16.h>
extern "C" __global__ void __launch_bounds__(64) first(float* x);
extern "C" __global__ void __launch_bounds__(64) first(float* x) {
  x[threadIdx.x] = 1;
}
extern "C" __global__ void __launch_bounds__(32) second(half* x) {
  x[threadIdx.x] = __float2half(WORD);
}
"""
AVAILABLE = [name for name, find in COMPILERS.items() if find() is not None]
needs_compiler = pytest.mark.skipif(not AVAILABLE, reason="neither NVRTC nor nvcc is here")
no_gpu = pytest.mark.skipif(bool(runtime.host_arch()), reason="this machine has a GPU")


@pytest.fixture(params=AVAILABLE or ["none"])
def compiler(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv(CHOICE, request.param)
    compile_source.cache_clear()
    yield request.param
    compile_source.cache_clear()


def machine(elf: bytes) -> int:
    return int.from_bytes(elf[18:20], "little")


@needs_compiler
@pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
def test_machine_code(compiler: str, arch: str) -> None:
    made = compile_source(SOURCE.replace("WORD", "2"), arch)
    assert made.cubin[:4] == b"\x7fELF" and machine(made.cubin) == 190 and compiler in made.compiler.lower()
    assert b"second" in made.cubin and "Used" in made.log
    assert f".target {arch}" in compilers.ptx(SOURCE.replace("WORD", "2"), arch)


@needs_compiler
def test_errors_name_the_kernel(compiler: str) -> None:
    with pytest.raises(CompileError, match=r'(?s)could not compile kernel second for sm_80:\n.*"WORD" is undefined'):
        compile_source(SOURCE, "sm_80")
    with pytest.raises(CompileError, match=r"could not compile the kernels for sm_55:\n.*arch"):
        compile_source(SOURCE.replace("WORD", "2"), "sm_55")


def test_missing_compilers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COMPILERS, "nvrtc", lambda: None)
    monkeypatch.setitem(COMPILERS, "nvcc", lambda: None)
    compile_source.cache_clear()
    with pytest.raises(CompileError, match=r"needs NVRTC or nvcc, which was not found: pip install"):
        compile_source(SOURCE, "sm_80")
    with pytest.raises(CompileError, match=r"^(?!.*cannot be compiled for target).*needs NVRTC or nvcc"):  # no node is to blame
        tg.compile(tg.trace(tg.relu, tg.f32[tg.dim("B"), 8]), "cuda:sm_80", cache=False)
    monkeypatch.setenv(CHOICE, "clang")
    with pytest.raises(CompileError, match="is 'clang'; it may be nvrtc or nvcc"):
        compile_source(SOURCE, "sm_80")


@pytest.fixture
def graph() -> tg.Graph:
    return tg.trace(lambda x: tg.softmax(tg.relu(x)), x=tg.f32[tg.dim("B"), 64])


@needs_compiler
def test_a_library_holds_machine_code(graph: tg.Graph, tmp_path: Path) -> None:
    exe = tg.compile(graph, target="cuda:sm_80")
    exe.save(tmp_path / "a.tgc")
    content = (tmp_path / "a.tgc").read_bytes()
    assert b"__global__" not in content and b"__launch_bounds__" not in content
    start = content.find(b"\x7fELF", content.find(b"\x7fELF") + 4)
    assert machine(content[start:start + 20]) == 190
    assert str(tg.load(tmp_path / "a.tgc").target) == "cuda:sm_80"


@needs_compiler
def test_levels_of_source_and_resources(graph: tg.Graph, tmp_path: Path) -> None:
    exe = tg.compile(graph, target="cuda:sm_80")
    assert "__global__" in exe.source("cuda") and ".target sm_80" in exe.source("ptx") and "define" in exe.source("llvm")
    table = exe.resources()
    assert [r.kernel for r in table] == ["kernel_relu_softmax_kernel"] and table[0].threads == 128
    assert 8 <= table[0].registers <= 64 and table[0].spilled == table[0].stack == 0 and table[0].occupancy == 1
    assert "kernel_relu_softmax_kernel" in str(table) and "100%" in str(table)
    exe.save(tmp_path / "a.tgc")
    loaded = tg.load(tmp_path / "a.tgc")
    for one in (exe, loaded):
        if libraries.find_tool("nvdisasm"):
            assert "EXIT" in one.source("sass")
        else:
            with pytest.raises(TargetError, match="needs nvdisasm: pip install nvidia-cuda-nvdisasm"):
                one.source("sass")
    with pytest.raises(TargetError, match=r"source 'cuda' .* \(a loaded bundle keeps the library"):
        loaded.source("cuda")
    on_cpu = tg.compile(graph)
    for wanted in (lambda: on_cpu.source("ptx"), on_cpu.resources):
        with pytest.raises(TargetError, match=r"no source 'ptx'; there is traced|no table of resources"):
            wanted()


@needs_compiler
@pytest.mark.parametrize("op", [tg.exp, tg.log, tg.erf, tg.tanh, tg.sigmoid, tg.gelu, tg.silu, tg.softplus])
def test_functions_without_ieee_division(op: Any) -> None:
    """It is a subroutine of a hundred instructions, beside products the larger part of a kernel."""
    ptx = tg.compile(tg.trace(op, x=tg.f16[tg.dim("B"), 64]), "cuda:sm_90", cache=False).source("ptx")
    assert "div.rn" not in ptx and "div.full" not in ptx and ".f32" in ptx


@needs_compiler
@pytest.mark.parametrize("epsilon", [1e-5, 1e-12, 0.0])
def test_norms_have_no_literal_that_f32_cannot_hold(compiler: str, epsilon: float) -> None:
    """Compilers refuse one, such as epsilon 2^-192 of a row that is measured again."""
    from tgraph import nn

    rows = tg.dim("B")
    for norm in (nn.RMSNorm(64, epsilon), nn.LayerNorm(64, epsilon)):
        assert tg.compile(tg.trace(norm, x=tg.f32[rows, 64]), "cuda:sm_90").source("ptx")


def test_resources_from_a_log() -> None:
    log = """
ptxas info    : Compiling entry function 'a' for 'sm_90'
ptxas info    : Function properties for a
    24 bytes stack builder, 16 bytes spill stores, 8 bytes spill loads
ptxas info    : Used 168 registers, used 1 barriers, 24 bytes cumulative stack size, 1024 bytes smem
ptxas info    : Compiling entry function 'b' for 'sm_90'
ptxas info    : Function properties for b
    0 bytes stack builder, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 32 registers, used 0 barriers
"""
    source = 'extern "C" __global__ void __launch_bounds__(256) a(\nextern "C" __global__ void __launch_bounds__(64) b('
    a, b = read_resources(log, source, {"a": 99 * 1024}, "sm_90")
    assert (a.threads, a.registers, a.spilled, a.stack, a.static_shared, a.dynamic_shared) == (256, 168, 16, 24, 1024, 99 * 1024)
    assert (a.blocks, a.occupancy) == (1, 8 / 64)  # 65536 / (168 * 256) by registers
    assert (b.threads, b.registers, b.spilled, b.blocks, b.occupancy) == (64, 32, 0, 32, 1.0)


@pytest.mark.parametrize("arch, threads, registers, shared, blocks", [
    ("sm_90", 128, 255, 0, 2), ("sm_90", 128, 128, 0, 4), ("sm_80", 256, 64, 40 * 1024, 4), ("sm_86", 256, 64, 40 * 1024, 2),
    ("sm_90", 32, 16, 0, 32), ("sm_86", 32, 16, 0, 16), ("sm_90", 1024, 32, 0, 2), ("sm_90", 1024, 33, 0, 1),
])
def test_resident_blocks(arch: str, threads: int, registers: int, shared: int, blocks: int) -> None:
    assert resident_blocks(arch, threads, registers, shared) == blocks


def test_shared_memory_of_launches() -> None:
    from targets.base.tvm_api import IRBuilder, T, tirx
    from targets.cuda.build import dynamic_shared
    from targets.cuda.kernels import device

    with IRBuilder() as builder, T.prim_func():
        T.func_name("kernel")
        x = T.arg("x", T.buffer((64,), "float32"))
        T.func_attr({"tirx.noalias": True, "tirx.is_scheduled": True, "global_symbol": "kernel"})
        with device.grid(64, tirx.const(1, "int64")) as (_, _, _, thread):
            numbers = device.shared("numbers", (20000,), "float32", dynamic=True)
            T.buffer_store(numbers, x[thread], [thread])
            device.barrier()
            T.buffer_store(x, numbers[63 - thread], [thread])
    assert dynamic_shared([builder.get()], tg.targets.Target.parse("cuda:sm_80")) == {"kernel_kernel": 80000}


@needs_compiler
def test_the_compile_cache(graph: tg.Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TGRAPH_CACHE", str(tmp_path))
    assert str(tg.compile(graph, target="cuda:sm_80").cache).startswith("miss")
    assert str(tg.compile(graph, target="cuda:sm_80").cache).startswith("hit")
    assert "target (cuda:sm_90; there cuda:sm_80)" in str(tg.compile(graph, target="cuda:sm_90").cache)


@needs_compiler
def test_tvm_runtime_alone_loads_the_library(graph: tg.Graph, tmp_path: Path) -> None:
    """Without TVM's compiler, and with a stand-in for the driver where there is none."""
    tg.compile(graph, target="cuda:sm_80").save(tmp_path / "a.tgc")
    with zipfile.ZipFile(tmp_path / "a.tgc") as archive:
        (tmp_path / "library.so").write_bytes(archive.read("0/library.so"))
    (tmp_path / "stub.c").write_text(runtime.STUB)
    options = ["-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-o", "libcuda.so.1"]
    subprocess.run([str(find_compiler()), "-x", "c", "stub.c", *options], cwd=tmp_path, check=True)
    cudart = libraries.find_library(libraries.CUDART)
    script = f"""
import ctypes
for name in ("libcuda.so.1", "./libcuda.so.1"):
    try:
        ctypes.CDLL(name, ctypes.RTLD_GLOBAL)
        break
    except OSError:
        pass
ctypes.CDLL("{cudart and cudart._name}", ctypes.RTLD_GLOBAL)
import pathlib, tvm, tvm.base
assert tvm.base._RUNTIME_ONLY
for name in ("extra", "cuda"):
    ctypes.CDLL(str(pathlib.Path(tvm.__file__).parent / f"lib/libtvm_runtime_{{name}}.so"), ctypes.RTLD_GLOBAL)
library = tvm.runtime.load_module("library.so")
pending, kinds = [library], []
while pending:
    module = pending.pop()
    kinds.append(module.kind)
    pending += list(module.imports)
print(*kinds)
"""
    made = subprocess.run([sys.executable, "-c", script], env={**os.environ, "TVM_USE_RUNTIME_LIB": "1"}, cwd=tmp_path,
                          capture_output=True, text=True)
    assert "cuda" in made.stdout.split(), made.stderr


@needs_compiler
@no_gpu
def test_running_without_a_gpu(graph: tg.Graph, tmp_path: Path) -> None:
    exe = tg.compile(graph, target="cuda:sm_90")
    exe.save(tmp_path / "a.tgc")
    for one in (exe, tg.load(tmp_path / "a.tgc")):
        with pytest.raises(TargetError, match="this machine cannot run CUDA: "):
            one(np.zeros((2, 64), "f"))
    with pytest.raises(TargetError, match=r"target 'cuda': .*; to compile for another machine, name its GPU's architecture"):
        tg.compile(graph, target="cuda")


def test_what_is_missing_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each library in its turn."""
    monkeypatch.setattr(runtime, "find_library", lambda name: None)
    assert "libcudart.so.13) was not found: pip install" in str(runtime.problem.__wrapped__())
    monkeypatch.setattr(runtime, "find_library", lambda name: None if "libcuda.so" in name else object())
    assert "there is no NVIDIA driver" in str(runtime.problem.__wrapped__())
    for error, words in ((35, "driver is too old: it is of CUDA 12.4, and CUDA 13.0 is needed"), (100, "there is no NVIDIA GPU")):
        library = type("Library", (), {"cudaGetDeviceCount": lambda _, count, error=error: error})()
        monkeypatch.setattr(runtime, "find_library", lambda name, library=library: library)
        monkeypatch.setattr(runtime, "driver_version", lambda error=error: 12040 if error == 35 else 0)
        assert words in str(runtime.problem.__wrapped__())


def test_code_runs_on_the_same_major_version_that_is_not_older() -> None:
    assert runtime.runs("sm_80", "sm_80") and runtime.runs("sm_80", "sm_86")
    assert not runtime.runs("sm_86", "sm_80") and not runtime.runs("sm_80", "sm_90")


def test_pip_packages_are_found(tmp_path: Path) -> None:
    """A process of its own, whose path has the packages' folders."""
    package = tmp_path / "nvidia/cu13"
    (package / "include").mkdir(parents=True)
    (package / "bin").mkdir()
    (package / "include/cuda_fp16.h").touch()
    (package / "bin/nvdisasm").touch(mode=0o755)
    script = "from targets.cuda import libraries as c; print(c.include_folder(), c.find_tool('nvdisasm'))"
    root = Path(libraries.__file__).parents[2]
    made = subprocess.run([sys.executable, "-c", script], env={"PYTHONPATH": f"{tmp_path}:{root}", "PATH": ""}, cwd=tmp_path,
                          capture_output=True, text=True)
    assert made.stdout.split() == [str(package / "include"), str(package / "bin/nvdisasm")], made.stderr

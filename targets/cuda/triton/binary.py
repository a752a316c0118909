"""Triton's kernels as machine code inside of a library of TVM's: made here without a GPU, run without Triton.

Triton is an optional package. Where it can be imported when a graph is compiled, kernels may use it.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from targets.base.target import Target
from targets.base.tvm_api import Expr, T, int64, tirx, tvm_ffi, tvm_version
from targets.codegen.kernel_builder import KernelBuilder
from targets.cuda.kernels.strided import Strided
from targets.cuda.machine import capability
from tgraph.ir.errors import CompileError

SWITCH = "TGRAPH_TRITON"  # environment variable: "off"; "on" for GPUs too for which our own kernels are the usual choice
USUAL = 90  # compute capability for which Triton has an instruction (wgmma) that our own kernels lack
KNOWN = (80, 86, 89, 90)
HALVES = ("float16", "bfloat16")
TYPES = {"float16": "*fp16", "bfloat16": "*bf16", "float32": "*fp32", "bool": "*i8", "int64": "*i64"}
HOST_TYPES = {"i32": "int32", "i64": "int64", "fp32": "float32"}
ALIGNED = ":16"  # after a type: the address in bytes, or the number, is a multiple of 16
LAUNCH = ["threadIdx.x", "blockIdx.x", "tirx.use_dyn_shared_memory"]
HIDDEN = 2  # pointers to scratch memory, of none here, that Triton adds to a kernel's parameters

_BINARIES: dict[str, Binary] = {}


@dataclass(frozen=True)
class Binary:
    """A kernel's machine code. `name`: of its function; `parameters`: their types as the host passes them."""

    name: str
    cubin: bytes
    ptx: str
    parameters: tuple[str, ...]
    threads: int
    shared_bytes: int

    def launch(self, builder: KernelBuilder, blocks: Expr, parameters: Parameters) -> None:
        """Emits a launch, in host code; the builder's function then needs this binary."""
        builder.binaries.append(self.name)
        given = [*parameters.values, *[int64(0)] * HIDDEN, tirx.const(self.threads, "int32"), tirx.Cast("int32", blocks),
                 tirx.const(self.shared_bytes, "int32")]
        with T.If(blocks > int64(0)), T.Then():
            T.evaluate(tirx.call_packed(self.name, *given))

    def module(self) -> Any:
        """The kernel as a module of TVM's."""
        types = [*self.parameters, *["int64"] * HIDDEN]
        about = {self.name: {"name": "", "arg_types": types, "launch_param_tags": LAUNCH}}
        functions = tvm_ffi.get_global_func("runtime.LoadMetaDataFromJSON")(
            json.dumps({"tvm_version": tvm_version(), "func_info": about}))
        return tvm_ffi.get_global_func("ffi.Module.create.cuda")(self.cubin, "cubin", functions, {"ptx": self.ptx})


@dataclass
class Parameters:
    """The arguments of a kernel, in order: types in Triton's notation by name, and host code for the values."""

    types: dict[str, str] = field(default_factory=dict)
    values: list[Expr] = field(default_factory=list)

    def pointer(self, name: str, tensor: Strided | None, dtype: str, aligned: bool = False) -> None:
        """The address of a tensor, or null."""
        self.types[name] = TYPES[dtype] + (ALIGNED if aligned else "")
        self.values.append(tirx.reinterpret("handle", tirx.const(0, "uint64")) if tensor is None else tensor.address)

    def number(self, name: str, type: str, value: Expr) -> None:
        self.types[name] = type
        self.values.append(tirx.Cast(HOST_TYPES[type.removesuffix(ALIGNED)], value))


def modules(names: Collection[str]) -> list[Any]:
    """The modules of kernels that were made in this process."""
    return [_BINARIES[name].module() for name in dict.fromkeys(names)]


def state() -> str:
    """Whether Triton makes kernels here: its version, or why not."""
    if os.environ.get(SWITCH) == "off":
        return f"off ({SWITCH})"
    if importlib.util.find_spec("triton") is None:
        return "not found (pip install triton==3.6.0)"
    from importlib.metadata import version

    return version("triton")


def available(target: Target) -> bool:
    """Whether kernels for a target may be Triton's."""
    number = capability(target.arch)
    usual = number == USUAL or (os.environ.get(SWITCH) == "on" and number in KNOWN)
    return usual and state()[0].isdigit()


def compile_kernel(function: str, arch: str, parameters: Mapping[str, str], constants: Mapping[str, Any], warps: int,
                   stages: int) -> Binary:
    """The machine code of a function in the module of its name in `device`. Raises CompileError with Triton's words.

    parameters: the types of `Parameters`; constants: the rest of what the function takes.
    """
    types = {key: type.removesuffix(ALIGNED) for key, type in parameters.items()}
    aligned = [position for position, type in enumerate(parameters.values()) if type.endswith(ALIGNED)]
    described = json.dumps([arch, dict(parameters), dict(constants), warps, stages])
    wanted = f"triton_{function}_{hashlib.sha256(described.encode()).hexdigest()[:12]}"
    name, cubin, ptx, threads, shared = _compile(function, wanted, arch, types, aligned, constants, warps, stages)
    host = tuple("handle" if type.startswith("*") else HOST_TYPES[type] for type in types.values())
    return _BINARIES.setdefault(name, Binary(name, cubin, ptx, host, threads, shared))


def _compile(function: str, name: str, arch: str, types: Mapping[str, str], aligned: Collection[int],
             constants: Mapping[str, Any], warps: int, stages: int) -> tuple[str, bytes, str, int, int]:
    """The name of a kernel (that which is wanted, or of the same one in Triton's own cache), its machine code and PTX, threads of
    a block and bytes of shared memory."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    written = getattr(importlib.import_module(f"targets.cuda.triton.device.{function}"), function)
    source = ASTSource(triton.jit(written.fn, repr=lambda _: name), {**types, **dict.fromkeys(constants, "constexpr")},
                       dict(constants), {(position,): [["tt.divisibility", 16]] for position in aligned})
    try:
        made = triton.compile(source, target=GPUTarget("cuda", capability(arch), 32),
                              options={"num_warps": warps, "num_stages": stages})
    except Exception as error:  # Triton's own errors have many classes
        raise CompileError(f"Triton {state()} could not compile {function} for {arch}: {str(error)[-500:]}") from error
    about = made.metadata
    if about.global_scratch_size or about.profile_scratch_size:
        raise CompileError(f"Triton {state()} wants scratch memory for {function} for {arch}, which there is none of")
    return str(about.name), bytes(made.asm["cubin"]), str(made.asm["ptx"]), about.num_warps * 32, about.shared

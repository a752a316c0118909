"""NVIDIA's library of products, cuBLASLt, where it is found at run time. Kernels ask for it from their host code, through TVM.

Matrices are by rows: out [m, n] = x [m, k] w [n, k]^T (+ bias [n]) (+ residual [m, n]), summed in f32, never in TF32. The
library has them by columns, so it is told of the transposes: out^T = w x^T.

Names and numbers: cublasLt.h and cublas_api.h of CUDA 13, library_types.h.
"""

from __future__ import annotations

import ctypes
import functools
import os
import warnings
from collections import OrderedDict
from ctypes import byref, c_float, c_int, c_int32, c_int64, c_size_t, c_uint32, c_uint64, c_void_p
from dataclasses import dataclass
from typing import Any

from targets.cuda.device import CudaDevice, cuda_device
from targets.cuda.libraries import find_library
from tgraph.ir.errors import TargetError

LIBRARY = "libcublasLt.so.13"
SWITCH = "TGRAPH_CUBLASLT"  # environment variable: "off" for our own kernels always
LINEAR = "tgraph.cublaslt.linear"  # TVM's name of `linear`
ALIGNED = 16  # bytes: of addresses and rows, as kernels with tensor cores want them
WORKSPACE = 32 * 2**20  # bytes, what NVIDIA advises for an H100
REMEMBERED = 256  # plans

COMPUTE_32F, R_32F = 68, 0
TYPES = {"float32": R_32F, "float16": 2, "bfloat16": 14}
DESC_TRANSA, DESC_EPILOGUE, DESC_BIAS_POINTER = 3, 7, 8
OP_T, EPILOGUE_BIAS = 1, 4
PREF_WORKSPACE, PREF_REDUCTIONS, PREF_ALIGNMENTS = 1, 3, (5, 6, 7, 8)
NO_REDUCTION = 0  # sums are not cut into parts, so that results have the same bits each time
INTERNAL = {1: "not initialised", 3: "out of memory", 7: "invalid value", 8: "wrong architecture", 11: "mapping error",
            13: "execution failed", 14: "internal error", 15: "not supported", 16: "license error"}


class HeuristicResult(ctypes.Structure):
    """cublasLtMatmulHeuristicResult_t."""

    _fields_ = [("algorithm", c_uint64 * 8), ("workspace", c_size_t), ("state", c_int), ("waves", c_float),
                ("reserved", c_int * 4)]


@dataclass(frozen=True)
class GemmProblem:
    """What a plan is made for: m, n, k; `x`, `w`, `residual`: elements from one row to the next (0: no residual); types; bias."""

    m: int
    n: int
    k: int
    x: int
    w: int
    residual: int
    bias: bool
    dtype: str
    result: str


@dataclass(frozen=True)
class GemmPlan:
    """Descriptors of an operation and of its matrices, and the algorithm that was chosen."""

    operation: c_void_p
    layouts: tuple[c_void_p, ...]  # of w, x, residual, out
    found: HeuristicResult


class CublasLt:
    """The library on one device. Not for two threads at once."""

    def __init__(self, library: ctypes.CDLL, device: CudaDevice):
        library.cublasLtMatmul.argtypes = [c_void_p] * 13 + [c_void_p, c_size_t, c_void_p]
        self._library, self._handle = library, c_void_p()
        self.name = f"cuBLASLt {version(library)}"
        self._call("cublasLtCreate", byref(self._handle))
        try:
            self._memory, self._bytes = device.empty(WORKSPACE), WORKSPACE
        except TargetError:  # it has algorithms without
            self._memory, self._bytes = device.empty(0), 0
        self._plans: OrderedDict[GemmProblem, GemmPlan | None] = OrderedDict()

    def linear(self, problem: GemmProblem, x: c_void_p, w: c_void_p, bias: c_void_p | None, residual: c_void_p | None,
               out: c_void_p, stream: int) -> bool:
        """Begin a product on a stream; False if the library cannot do it."""
        if any(a.value and a.value % ALIGNED for a in (x, w, bias, residual, out) if a is not None):
            return False
        plan = self._plan(problem)
        if plan is None:
            return False
        if bias is not None:
            self._set("MatmulDesc", plan.operation, DESC_BIAS_POINTER, bias)
        one, beta = c_float(1), c_float(0 if residual is None else 1)
        a, b, c, d = plan.layouts
        try:
            self._call("cublasLtMatmul", self._handle, plan.operation, byref(one), w, a, x, b, byref(beta),
                       out if residual is None else residual, c, out, d, byref(plan.found.algorithm),
                       int(self._memory.data_ptr()), self._bytes, stream)
        except TargetError as error:
            self._give_up(problem, str(error))
            return False
        return True

    def _plan(self, problem: GemmProblem) -> GemmPlan | None:
        """The plan for a problem, made once; None if the library cannot compute it."""
        if problem not in self._plans:
            try:
                self._plans[problem] = self._make(problem)
            except TargetError as error:
                self._give_up(problem, str(error))
            if len(self._plans) > REMEMBERED:
                self._forget(self._plans.popitem(last=False)[1])
        self._plans.move_to_end(problem)
        return self._plans[problem]

    def _give_up(self, problem: GemmProblem, reason: str) -> None:
        self._plans[problem] = None
        m, n, k = problem.m, problem.n, problem.k
        product = f"{m}x{k} and {k}x{n} in {problem.dtype}"
        warnings.warn(f"{reason}; tgraph's own kernel computes the product of {product}", stacklevel=2)

    def _make(self, problem: GemmProblem) -> GemmPlan | None:
        m, n, k, dtype, result = problem.m, problem.n, problem.k, problem.dtype, problem.result
        sizes = {"float32": 4, "float16": 2, "bfloat16": 2}
        operand_bytes, result_bytes = sizes[dtype], sizes[result]
        if any(row * size % ALIGNED for row, size in (
                (problem.x, operand_bytes), (problem.w, operand_bytes), (problem.residual, result_bytes), (n, result_bytes))):
            return None
        operation = self._new("MatmulDesc", COMPUTE_32F, R_32F)
        self._set("MatmulDesc", operation, DESC_TRANSA, c_int32(OP_T))
        if problem.bias:
            self._set("MatmulDesc", operation, DESC_EPILOGUE, c_uint32(EPILOGUE_BIAS))
            self._set("MatmulDesc", operation, DESC_BIAS_POINTER, c_void_p(ALIGNED))  # of which only the alignment counts
        layouts = tuple(self._new("MatrixLayout", TYPES[type], c_uint64(rows), c_uint64(columns), c_int64(distance))
                        for type, rows, columns, distance in (
                            (dtype, k, n, problem.w), (dtype, k, m, problem.x),
                            (result, n, m, problem.residual or n), (result, n, m, n)))
        wanted = self._new("MatmulPreference")
        self._set("MatmulPreference", wanted, PREF_WORKSPACE, c_uint64(self._bytes))
        self._set("MatmulPreference", wanted, PREF_REDUCTIONS, c_uint32(NO_REDUCTION))
        for number in PREF_ALIGNMENTS:
            self._set("MatmulPreference", wanted, number, c_uint32(ALIGNED))
        found, count = HeuristicResult(), c_int()
        self._call("cublasLtMatmulAlgoGetHeuristic", self._handle, operation, *layouts, wanted, 1, byref(found), byref(count))
        self._call("cublasLtMatmulPreferenceDestroy", wanted)
        if count.value == 0:
            raise TargetError(f"{self.name} has no algorithm for it")
        return GemmPlan(operation, layouts, found)

    def _forget(self, plan: GemmPlan | None) -> None:
        if plan is not None:
            self._call("cublasLtMatmulDescDestroy", plan.operation)
            for layout in plan.layouts:
                self._call("cublasLtMatrixLayoutDestroy", layout)

    def _new(self, kind: str, *arguments: Any) -> c_void_p:
        made = c_void_p()
        self._call(f"cublasLt{kind}Create", byref(made), *arguments)
        return made

    def _set(self, kind: str, made: c_void_p, attribute: int, value: Any) -> None:
        self._call(f"cublasLt{kind}SetAttribute", made, attribute, byref(value), c_size_t(ctypes.sizeof(value)))

    def _call(self, name: str, *arguments: Any) -> None:
        """A function of the library. Raises TargetError if it fails."""
        status = getattr(self._library, name)(*arguments)
        if status:
            raise TargetError(f"{name} of {self.name} failed: {INTERNAL.get(status, status)}")


@functools.cache
def cublaslt() -> CublasLt | None:
    """The library on this process's GPU; None if it is off, not found, or does not work, which warns."""
    found = None if os.environ.get(SWITCH) == "off" else find_library(LIBRARY)
    try:
        return None if found is None else CublasLt(found, cuda_device())
    except TargetError as error:
        warnings.warn(f"{error}; tgraph's own kernels compute all products", stacklevel=2)
        return None


def state() -> str:
    """The version of cuBLASLt that products may go to on this machine, or why there is none. Needs no GPU."""
    if os.environ.get(SWITCH) == "off":
        return f"off ({SWITCH})"
    found = find_library(LIBRARY)
    if found is None:
        return f"not found ({LIBRARY}: pip install nvidia-cublas)"
    return version(found)


def version(library: ctypes.CDLL) -> str:
    """`13.0.2`."""
    library.cublasLtGetVersion.restype = c_size_t
    number = library.cublasLtGetVersion()
    return f"{number // 10000}.{number // 100 % 100}.{number % 100}"


def linear(x: c_void_p, w: c_void_p, bias: c_void_p | None, residual: c_void_p | None, out: c_void_p, *problem: Any) -> int:
    """Begin a product on TVM's current stream, and return 1; or return 0, and nothing has happened.

    problem: the fields of a `GemmProblem`.
    Its first call with a problem must not be in a capture of a CUDA graph.
    """
    from targets.cuda.tvm_api import current_stream

    library = cublaslt()
    return int(library is not None and library.linear(GemmProblem(*problem), x, w, bias, residual, out, current_stream()))


@functools.cache
def register() -> None:
    """Let kernels find `linear`."""
    from targets.base.tvm_api import tvm

    tvm.register_global_func(LINEAR, linear, override=True)

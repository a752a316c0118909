"""What tgraph knows of cuBLASLt by number, beside NVIDIA's header and library where they are; neither needs a GPU."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path

import pytest

from targets.cuda import blas
from targets.cuda.libraries import _places, find_library

NUMBERS = {
    "CUBLAS_COMPUTE_32F": blas.COMPUTE_32F, "CUBLASLT_MATMUL_DESC_TRANSA": blas.DESC_TRANSA,
    "CUBLASLT_MATMUL_DESC_EPILOGUE": blas.DESC_EPILOGUE, "CUBLASLT_MATMUL_DESC_BIAS_POINTER": blas.DESC_BIAS_POINTER,
    "CUBLAS_OP_T": blas.OP_T, "CUBLASLT_EPILOGUE_BIAS": blas.EPILOGUE_BIAS,
    "CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES": blas.PREF_WORKSPACE,
    "CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK": blas.PREF_REDUCTIONS,
    **{f"CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_{m}_BYTES": n for m, n in zip("ABCD", blas.PREF_ALIGNMENTS)},
    "CUBLASLT_REDUCTION_SCHEME_NONE": blas.NO_REDUCTION, "CUDA_R_32F": blas.R_32F,
    "CUDA_R_16F": blas.TYPES["float16"], "CUDA_R_16BF": blas.TYPES["bfloat16"],
    "CUBLAS_STATUS_EXECUTION_FAILED": 13, "CUBLAS_STATUS_NOT_SUPPORTED": 15,
}


def headers() -> list[Path]:
    found = [next(_places("include", name=name), None) for name in ("cublasLt.h", "cublas_api.h", "library_types.h")]
    return [path for path in found if path is not None]


@pytest.mark.skipif(len(headers()) < 3, reason="the headers of cuBLASLt are not here")
def test_numbers_are_those_of_the_headers() -> None:
    text = "\n".join(path.read_text() for path in headers())
    for name, number in NUMBERS.items():
        found = re.search(rf"\b{name}\s*=\s*(\w+)", text)
        assert found is not None and int(found.group(1), 0) == number, name
    structure = re.search(r"typedef struct \{([^}]*)\} cublasLtMatmulHeuristicResult_t;", text)
    assert structure is not None
    members = re.findall(r"^  (\w+) (\w+)(?:\[4\])?;", structure.group(1), re.M)
    assert members == [("cublasLtMatmulAlgo_t", "algo"), ("size_t", "workspaceSize"), ("cublasStatus_t", "state"),
                       ("float", "wavesCount"), ("int", "reserved")]
    assert ctypes.sizeof(blas.HeuristicResult) == 96


@pytest.mark.skipif(find_library(blas.LIBRARY) is None, reason="cuBLASLt is not here")
def test_descriptors_of_the_real_library() -> None:
    """It makes descriptors without a GPU, and checks the sizes of attributes."""

    class WithoutDevice(blas.CublasLt):
        def __init__(self) -> None:
            library = find_library(blas.LIBRARY)
            assert library is not None
            self._library, self._handle, self.name = library, ctypes.c_void_p(), "cuBLASLt"

        def _call(self, name: str, *arguments: object) -> None:
            if name == "cublasLtMatmulAlgoGetHeuristic":  # which looks at the device
                arguments[-1]._obj.value = 1  # type: ignore[attr-defined]
            else:
                super()._call(name, *arguments)

    library = WithoutDevice()
    library._bytes = blas.WORKSPACE
    plan = library._make(blas.GemmProblem(128, 768, 256, 256, 256, 768, True, "float16", "float32"))
    assert plan is not None
    library._set("MatmulDesc", plan.operation, blas.DESC_BIAS_POINTER, ctypes.c_void_p(4096))
    library._forget(plan)

"""Compiling a handful of kernels and calling them on NumPy arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from targets.base.target import Target
from targets.base.tvm_api import llvm_target, tvm  # sets how many workers there may be, before there are any
from targets.cpu.build import PIPELINE


class Kernels:
    """Compiled PrimFuncs; `kernels("name", x, y, out=(shape, dtype))` calls one and returns its output(s)."""

    def __init__(self, functions: dict[str, Any], cpu: str = "cpu") -> None:
        where = Target.parse(cpu)
        target = llvm_target(where.mcpu, where.changes)
        named = {name: function.with_attr("global_symbol", name) for name, function in functions.items()}
        self.library = tvm.compile(tvm.IRModule(named), target=target, tir_pipeline=PIPELINE)

    def __call__(self, name: str, *inputs: np.ndarray, out: Any) -> Any:
        outs = out if isinstance(out, list) else [out]
        # outputs start as a pattern that no test expects, so that an element never written is seen
        results = [tvm.runtime.tensor(np.full(shape, 77).astype(dtype)) for shape, dtype in outs]
        self.library[name](*[tvm.runtime.tensor(np.ascontiguousarray(x)) for x in inputs], *results)
        arrays = [r.numpy() for r in results]
        return arrays if isinstance(out, list) else arrays[0]

    def assembly(self) -> str:
        return self.library.mod.inspect_source("asm")


@pytest.fixture(scope="session")
def build() -> Callable[..., Kernels]:
    """`build({name: function})` for this machine, or `build(functions, "cpu:x86-64-v3")`."""
    return Kernels

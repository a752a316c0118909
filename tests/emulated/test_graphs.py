"""Streams, events, CUDA graphs, and the list of functions that the emulated driver has."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from emulator.build import Builder
from emulator.launch import ARCH

from targets.base.tvm_api import relax, tvm
from targets.cuda import device


def machine(*, graph: bool) -> Any:
    """main(x): softmax along the rows, four times."""
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((4, 64), "float32"))
    with builder.function("main", [x], attrs={"num_input": 1}):
        with builder.dataflow():
            y = x
            for _ in range(4):
                y = builder.emit(relax.op.nn.softmax(y))
            y = builder.emit_output(y)
        builder.emit_func_output(y)
    target = tvm.target.Target(ARCH)
    with target, tvm.transform.PassContext(config={"relax.backend.use_cuda_graph": graph}):
        built = tvm.compile(builder.get(), target=target)
    return relax.VirtualMachine(built, tvm.cuda(0)), built


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


@pytest.mark.parametrize("graph", [False, True])
def test_graphs_are_captured_and_replayed(graph: bool) -> None:
    run, built = machine(graph=graph)
    assert ("cuda_graph.run_or_capture" in built.as_text()) == graph
    for seed in range(4):  # the first call captures, the others replay
        x = np.random.default_rng(seed).standard_normal((4, 64)) * 9
        y = run["main"](tvm.runtime.tensor(x.astype(np.float32), tvm.cuda(0)))
        np.testing.assert_allclose(y.numpy(), softmax(softmax(softmax(softmax(x)))), rtol=1e-5)


def test_timer_of_device_events() -> None:
    run, _ = machine(graph=False)
    x = tvm.runtime.tensor(np.zeros((4, 64), np.float32), tvm.cuda(0))
    assert 0 < run.time_evaluator("main", tvm.cuda(0), number=3)(x).mean < 10


def test_the_functions_that_tvm_and_the_engine_call_and_no_others() -> None:
    def symbols(path: Path, *options: str) -> set[str]:
        lines = subprocess.run(["nm", "-D", *options, str(path)], capture_output=True, text=True, check=True).stdout.splitlines()
        return {line.split()[-1] for line in lines}

    runtime = next(Path(tvm.__file__).parent.rglob("libtvm_runtime_cuda.so"))
    needed = {name for name in symbols(runtime, "-u") if name.startswith("cu")}
    driver, cudart = Builder().libraries()
    versioned = {name.replace("@@", "@") for name in symbols(cudart, "--defined-only") if name.startswith("cuda")}
    of_tvm = {name for name in needed if "@libcudart.so.13" in name}
    assert versioned == of_tvm | {f"{name}@libcudart.so.13" for name in device._SIGNATURES}
    assert {name for name in symbols(driver, "--defined-only") if name.startswith("cu")} == needed - of_tvm

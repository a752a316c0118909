"""The nodes of a kernel that cannot be built get a kernel each; one of a single node is an error with the user's line."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import targets
import tgraph as tg
from targets.base.target import Target
from targets.base.tvm_api import tirx
from targets.codegen.kernel_builder import KernelBuilder
from targets.codegen.scalar import SCALAR
from targets.cpu.emitters import FAMILIES, pointwise
from tgraph.ir.registry import OPS
from tgraph.ir.traits import Traits
from tgraph.ir.types import TensorType

B = tg.dim("B")
X = np.random.default_rng(0).standard_normal((3, 8)).astype("f4")


@pytest.fixture
def halve() -> Iterator[tg.Op]:
    """An op with an emitter and a scalar expression, both of which a test may give it."""

    @tg.op(name="halve")
    def rule(x: TensorType) -> TensorType:
        """x / 2."""
        return x

    rule.reference(lambda x: x / 2)
    yield rule
    for table in (OPS, FAMILIES, SCALAR):
        table.pop("halve", None)


def test_a_kernel_that_cannot_be_built_is_taken_apart(halve: tg.Op) -> None:
    SCALAR["halve"] = lambda x: tirx.Mul(x, tirx.const(0.5, "float32"))

    @targets.kernel("halve")
    def emit(builder: KernelBuilder, target: Target) -> None:
        if len(builder.function.nodes) > 1:
            raise RuntimeError("an emitter that fails on what follows its op")
        halve.traits = Traits(elementwise=True)  # its kernel alone is a loop over elements
        pointwise.emit(builder, target)

    graph = tg.trace(lambda x: tg.tanh(tg.relu(tg.halve(tg.exp(x)))), x=tg.f32[B, 8])
    exe = tg.compile(graph, cache=False)
    assert np.abs(exe(X) - np.tanh(np.exp(X) / 2)).max() < 1e-6
    failed = [e for e in exe.explain() if e.calls == 0]
    assert len(failed) == 1 and "fails on what follows" in failed[0].chosen and "halve" in failed[0].ops
    assert ("halve",) in [e.ops for e in exe.explain()]


def test_a_node_that_cannot_be_built_is_an_error_with_its_line(halve: tg.Op) -> None:
    halve.traits = Traits(elementwise=True)
    SCALAR["halve"] = lambda x: tirx.call_pure_extern("float32", "no_such_function_anywhere", x, tirx.Var("unbound", "float32"))
    graph = tg.trace(lambda x: tg.relu(tg.halve(x) + 1), x=tg.f32[B, 8])
    with pytest.raises(tg.CompileError, match=r"(?s)halve\(f32\[B, 8\]\) cannot be compiled.*test_rebuild\.py"):
        tg.compile(graph, cache=False)

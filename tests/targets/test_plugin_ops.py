"""A user's views have no kernel and need none: kernels read through them by their axis maps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import targets
import tgraph as tg
from tests.plugin_ops import plugin_ops
from tgraph import nn

B, S = tg.dims("B S")


@pytest.fixture(autouse=True)
def ops() -> Iterator[None]:
    with plugin_ops():
        yield


def test_views_of_a_user_are_read_and_written_through() -> None:
    class Heads(nn.Module):
        def __init__(self) -> None:
            self.query, self.key, self.value = (nn.Linear(8, 8) for _ in range(3))

        def __call__(self, x: Any, mask: Any) -> Any:
            q, k, v = (tg.heads_first(tg.split_columns(f(x), parts=2)) for f in (self.query, self.key, self.value))
            return tg.heads_first(tg.attention(q, k, v, mask))

    graph = tg.trace(Heads(), x=tg.f32[B, S, 8], mask=tg.bool_[B, S])
    exe = tg.compile(graph, "cpu", passes="")
    kernels = exe.source("kernels")
    calls = [line for line in kernels[kernels.rindex("graph "):].splitlines() if "= call " in line]
    assert len(calls) == 4 and "split_columns" in kernels  # three products, and attention with all views around it
    assert tg.check(exe)


def test_other_ops_of_a_user_are_compiled_by_their_decompositions() -> None:
    graph = tg.trace(lambda x: tg.cut_first(tg.centre(tg.third_power(x)), size=3), x=tg.f32[B * 3, 8])
    assert tg.check(tg.compile(graph, "cpu"))


def test_an_op_may_be_defined_again() -> None:
    """As a cell of a notebook does that is run again."""
    for value in (2.0, 3.0):
        again = tg.op(name="mystery", elementwise=True)(lambda x: x)
        again.decomposition(lambda b, x, value=value: b.mul(x, value))
        graph = tg.trace(lambda x: tg.mystery(x), x=tg.f32[B])
        assert tg.mystery is tg.mystery and str(value) in str(tg.optimize(graph, "decompose"))


def test_an_op_without_a_kernel_says_how_to_give_it_one() -> None:
    for elementwise, decorator in ((True, "scalar_kernel"), (False, "kernel")):
        tg.op(name="mystery", elementwise=elementwise)(lambda x: x)
        graph = tg.trace(lambda x: tg.mystery(x), x=tg.f32[B, 8])
        with pytest.raises(tg.PassError, match=rf'give it one with @targets.{decorator}\("mystery"\) or @mystery.decomposition'):
            tg.compile(graph)
    for register in (targets.kernel, targets.scalar_kernel):
        with pytest.raises(tg.RuleError, match="unknown op 'mistery'; did you mean mystery"):
            register("mistery")


@pytest.mark.parametrize("decomposition, message", [
    (lambda b, x: b.nonesuch(x), "unknown op 'nonesuch'"),
    (lambda b, x: b.clip(x, 0.0, 1.0), "clip takes 1 operands, got 3; attributes are given by name: min, max"),
    (lambda b, x: x * 0.5, "TypeError: unsupported operand"),
    (lambda b, x: tg.mul(x, 0.5), "builds a graph"),
    (lambda b, x: None, "must give 1 value.* not NoneType"),
])
def test_a_wrong_decomposition_is_named(decomposition: Any, message: str) -> None:
    mystery = tg.op(name="mystery", elementwise=True)(lambda x: x)
    mystery.decomposition(decomposition)
    graph = tg.trace(lambda x: tg.mystery(x), x=tg.f32[B, 8])
    for run in (tg.compile, lambda graph: tg.optimize(graph, "decompose")):
        with pytest.raises(tg.PassError, match=f"the decomposition of mystery .*{message}"):
            run(graph)


def test_a_cpu_without_a_name_is_refused() -> None:
    """LLVM would write a line of complaint for each kernel, and take any CPU."""
    graph = tg.trace(lambda x: tg.exp(x), x=tg.f32[B, 8])
    with pytest.raises(tg.CompileError, match="target cpu names no CPU for LLVM"):
        tg.compile(graph, targets.Target("cpu"))


def test_an_explanation_prints_as_a_table() -> None:
    kernels = tg.compile(tg.trace(lambda x: tg.softmax(tg.exp(x)), x=tg.f32[B, 8])).explain()
    header, line = str(kernels).splitlines()
    assert header.split() == ["kernel", "calls", "about", "chosen", "ops"]
    assert line.split() == ["exp_softmax", "1", "softmax", "exp", "softmax"] and len(kernels) == 1

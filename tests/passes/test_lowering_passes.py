"""The passes of lowering on whole models: valid and of one meaning after each, and the calls that `compile` runs at the end."""

from __future__ import annotations

from typing import Any

import pytest

import tgraph as tg
from targets.base.registry import backend_of
from targets.base.target import Target
from targets.lowering.split_prepare import split_prepare
from tgraph import nn
from tgraph.ir.program import as_program

B, S = tg.dims("B S")


def packed(x: Any, mask: Any) -> Any:
    """Rows of a size that only a run knows."""
    rows, offsets = tg.unpack(mask)
    heads = tg.reshape(tg.gather(tg.reshape(x, shape=(B * S, 16)), rows), shape=(-1, 2, 8))
    return tg.ragged_attention(heads, heads, heads, offsets)


MODELS = {
    "encoder": lambda: tg.trace(nn.EncoderLayer(16, heads=2, hidden=32), x=tg.f32[B, S, 16], mask=tg.bool_[B, S]),
    "packed": lambda: tg.trace(packed, x=tg.f32[B, S, 16], mask=tg.bool_[B, S]),
    "double": lambda: tg.trace(lambda q, k: tg.attention(q, k, k, causal=True), **dict.fromkeys("qk", tg.f64[B, 2, S, 4])),
}


@pytest.mark.parametrize("target", ["cpu:x86-64-v3", "cpu:x86-64-v4", "cuda:sm_90"])
@pytest.mark.parametrize("name", list(MODELS))
def test_lowering(name: str, target: str) -> None:
    where = Target.parse(target)
    graph = tg.optimize(MODELS[name](), "O3")
    lowering = backend_of(where).lowering(where)
    validation = tg.passes.ValidateEach({"B": 2, "S": 5}, 0)
    manager = tg.passes.PassManager(lowering, [tg.passes.VerifyEach(), validation])
    kernels = manager.run(graph)
    assert validation.validated == sum(r.changed for r in manager.records) >= 2 and not validation.skipped
    text = ",".join(map(str, lowering))
    assert str(tg.optimize(graph, text)) == str(kernels)
    compiled = tg.compile(graph, where, passes="", cache=False)
    assert str(split_prepare(as_program(kernels, tg.CompileError))[1]) == str(compiled.kernels)
    assert [r.name for r in compiled.records] == [str(p) for p in lowering]

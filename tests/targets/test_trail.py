"""The way from a user's line to kernels and back."""

from __future__ import annotations

import inspect
import re
from functools import cache
from pathlib import Path

import onnx
import pytest

import tgraph as tg
from tgraph import nn

B, S = tg.dims("B S")


class Layer(nn.Module):
    def __init__(self) -> None:
        self.attention = nn.MultiHeadAttention(64, 4)
        self.norm = nn.LayerNorm(64)

    def __call__(self, x, mask=None):
        return self.norm(x + self.attention(x, mask=mask))


class Pair(nn.Module):
    def __init__(self) -> None:
        self.layers = [Layer(), Layer()]

    def __call__(self, x, mask=None):
        return self.layers[1](self.layers[0](x, mask=mask), mask=mask)


@cache
def compiled() -> tg.Executable:
    return tg.compile(tg.trace(Pair(), x=tg.f32[B, S, 64], mask=tg.bool_[B, S]))


def test_a_scope_leads_to_its_kernels_and_they_back_to_it() -> None:
    exe = compiled()
    there = exe.trail("layers.1.attention")
    assert {"fuse-qkv", "select-kernels"} <= {r.passed for r in there.rewritings}
    kernels = [call.kernel for call in there.calls]
    assert kernels[:2] == ["linear", "attention"] and len(there.calls) == len({c.value for c in there.calls})
    assert all(scope.startswith("layers.1") for call in there.calls for scope in call.scopes)
    back = exe.trail(kernel="linear")
    assert {"layers.0.attention.query", "layers.1.attention.value"} <= {o.scope for o in back.origins}
    assert len(back.calls) == 2  # one kernel for both layers


def test_the_user_s_line_leads_to_kernels_and_they_back_to_it() -> None:
    line = inspect.getsourcelines(Layer.__call__)[1] + 1
    here = f"test_trail.py:{line}"
    there = compiled().trail(here)
    assert "layer_norm" in {c.kernel for c in there.calls}
    assert all(here in origin.lines for origin in there.origins)
    for call in there.calls:
        assert here in call.lines
        assert here in {at for origin in compiled().trail(kernel=call.kernel).origins for at in origin.lines}


def test_it_prints_each_part() -> None:
    text = str(compiled().trail("layers.0.attention.query, layers.0.attention.key"))
    assert text.startswith("layers.0.attention.query, layers.0.attention.key of pair: ")
    assert "fuse-qkv: x W1^T, ..., x Wn^T = split(x concat(W1, ..., Wn)^T)" in text
    assert "%0 = $linear: " in text
    assert "computed once, when weights are loaded: concat x 2, pack_panels" in text


def test_what_stayed_apart_is_said_with_its_reason() -> None:
    def almost(x):
        return tg.softmax(x @ tg.transpose(x, perm=(0, 2, 1)), axis=1) @ x  # over the queries

    exe = tg.compile(tg.trace(almost, x=tg.f32[B, S, 64]))
    assert any("attention apart" in line for line in exe.trail("softmax").apart)


def test_what_is_not_there() -> None:
    with pytest.raises(tg.GraphError, match=r"calls no kernel 'gemm'; it calls linear"):
        compiled().trail(kernel="gemm")
    with pytest.raises(tg.GraphError, match="no value, scope, source line, op or output"):
        compiled().trail("layers.7")
    with pytest.raises(tg.TargetError, match="one of the two"):
        compiled().trail()


def test_numbers_of_calls_are_those_of_the_kernel_graph() -> None:
    exe = compiled()
    calls = [call for name in dict.fromkeys(e.kernel for e in exe.explain()) for call in exe.trail(kernel=name).calls]
    text = exe.source("kernels")
    assert calls and all(f"{call.value} = call ${call.kernel}(" in text for call in calls)


@pytest.mark.parametrize(("scope", "kernel"), [("layers.1.attention.query", "linear"), ("layers.1.attention", "attention")])
def test_from_a_scope_down_to_machine_code_and_back(scope: str, kernel: str) -> None:
    """A projection, which is a part of one product now, and a fused attention."""
    exe = compiled()
    call = next(c for c in exe.trail(scope).calls if c.kernel == kernel)
    code = exe.source("asm", node=call.value)  # of its kernel alone
    symbols = set(re.findall(r"^(kernel_\w+?)(?:_compute_)?:", code, re.MULTILINE))
    assert symbols and {name.removeprefix("kernel_") for name in symbols} == {kernel}
    back = exe.trail(kernel=kernel)
    assert call in back.calls and any(origin.scope.startswith(scope) for origin in back.origins)


def test_the_nodes_of_an_onnx_file_by_the_exporter_s_names(tmp_path: Path) -> None:
    tg.trace(Pair(), x=tg.f32[B, S, 64], mask=tg.bool_[B, S]).dump(tmp_path / "pair.onnx")
    model = onnx.load(tmp_path / "pair.onnx")
    for node in model.graph.node:
        node.name = f"/encoder/{node.name or node.op_type}"
    product = next(n for n in model.graph.node if n.op_type in ("MatMul", "Gemm"))
    product.name = "/encoder/layer.0/query/MatMul"
    onnx.save(model, tmp_path / "named.onnx")
    exe = tg.compile(tg.read(tmp_path / "named.onnx"))
    there = exe.trail("/encoder/layer.0/query/MatMul")
    assert there.calls and there.origins == exe.trail("/encoder/layer.0").origins
    assert "/encoder/layer.0/query/MatMul" in {o.scope for o in exe.trail(kernel=there.calls[0].kernel).origins}

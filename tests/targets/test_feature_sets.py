"""A small model for every kind of CPU: the code uses what that one has and nothing else, and computes what the graph says."""

from __future__ import annotations

import re

import numpy as np
import pytest

import tgraph as tg
from targets.base.target import Target
from tests.targets.feature_sets import FEATURE_SETS, each_feature_set, registers, run_only_here, widest

B, S = tg.dims("B S")
CHOICES = [("f32", "f32"), ("bf16", "f32"), ("f32", "i8")]
# what no other instruction set has, by LLVM's name of the one that does
OWN = {"avx512vnni": r"vpdpbusd\s.*%zmm", "avxvnni": r"vpdpbusd\s.*%ymm", "avx512bf16": "vdpbf16ps", "fma": "vfmadd"}


@pytest.fixture(scope="module")
def graph() -> tg.Graph:
    weight = np.random.default_rng(0).standard_normal((80, 48)).astype("f")

    def layer(x: tg.Tensor, mask: tg.Tensor) -> tg.Tensor:
        heads = x.reshape(B, S, 3, 16).transpose(0, 2, 1, 3)
        mixed = tg.attention(heads, heads, heads, mask).transpose(0, 2, 1, 3).reshape(B, S, 48)
        return tg.gelu(tg.linear(mixed, weight))

    return tg.trace(layer, x=tg.f32[B, S, 48], mask=tg.bool_[B, S], name="layer")


@pytest.mark.filterwarnings("ignore:precision=.* is no faster")
@pytest.mark.parametrize(("precision", "weights"), CHOICES)
@each_feature_set
def test_a_layer(graph: tg.Graph, cpu: str, precision: str, weights: str) -> None:
    exe = tg.compile(graph, cpu, precision=precision, weights=weights)
    check_notes(" ".join(e.chosen for e in exe.explain()), exe.target, precision, weights)
    if len(FEATURE_SETS) > 1:
        check_code(exe.source("asm"), exe.target, precision, weights)
    run_only_here(cpu)
    report = tg.check(exe)
    assert report, str(report)


def check_notes(notes: str, target: Target, precision: str, weights: str) -> None:
    """Kernels say what was chosen, and what is missed."""
    instruction = {"f32": "", "bf16": "avx512bf16"}[precision]
    if weights == "i8":
        names = {n: any(map(target.has, f)) for n, f in (("vpdpbusd", ("avx512vnni", "avxvnni")), ("vpmaddwd", ("avx2",)))}
        assert next((name for name, there in names.items() if there), "plain") + ": sums of" in notes
    elif instruction and target.has(instruction):
        assert "vdpbf16ps: sums of 2 products" in notes
    else:
        assert f"accumulators {min(12, (target.vector_registers - 4) // 2)}x{2 * target.vector_bits // 32}" in notes
        assert ("bf16 is widened to f32" in notes) == (precision == "bf16")


def check_code(assembly: str, target: Target, precision: str, weights: str) -> None:
    """Registers and instructions are those of the target: the widest, the ones made for the purpose, and none of others."""
    found = registers(assembly)
    assert widest(target) in found and "zmm" not in found - {widest(target)}
    wanted = {"fma"} & target.features
    if weights == "i8" and target.features & {"avx512vnni", "avxvnni"}:
        wanted |= {"avx512vnni" if target.has("avx512vnni") else "avxvnni"}
    if precision == "bf16":
        wanted |= {"avx512bf16"} & target.features
    for feature, instruction in OWN.items():
        used = re.search(instruction, assembly) is not None
        assert used or feature not in wanted, f"{feature} is not used"
        assert not used or target.has(feature), f"{feature} is used"


def test_a_precision_is_known_to_be_slow_by_model() -> None:
    from targets.cpu.precision import not_faster

    for target in map(Target.parse, FEATURE_SETS.values()):
        assert not_faster(target, "f32") == "" and not_faster(target, "f16")
    if len(FEATURE_SETS) > 1:
        assert not_faster(Target.parse("cpu:znver4"), "bf16") == ""
        assert "no more in a second" in not_faster(Target.parse("cpu:emeraldrapids"), "bf16")
        assert "no instruction" in not_faster(Target.parse("cpu:emeraldrapids,-avx512bf16"), "bf16")


def test_a_slow_precision_warns_once_compiled(graph: tg.Graph) -> None:
    words = r'precision="f16" is no faster than "f32" on cpu:.*; weights="f16" alone halves'
    with pytest.warns(UserWarning, match=words) as found:
        tg.compile(graph, precision="f16")
    assert [w.filename for w in found] == [__file__]  # the caller's line

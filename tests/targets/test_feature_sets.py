"""A small model for every kind of CPU: the code uses what that one has and nothing else, and computes what the graph says."""

from __future__ import annotations

import re

import numpy as np
import pytest

import tgraph as tg
from targets.base.target import Target
from tests.targets.feature_sets import FEATURE_SETS, each_feature_set, registers, run_only_here, widest

B, S = tg.dims("B S")
CHOICES = [("f32", "f32"), ("bf16", "f32"), ("f32", "i8"), ("f32", "i4")]
# what no other instruction set has, by LLVM's name of the one that does
OWN = {"avx512vnni": r"vpdpbusd\s.*%zmm", "avxvnni": r"vpdpbusd\s.*%ymm", "avx512bf16": "vdpbf16ps", "fma": "vfmadd",
       "amx-bf16": r"\ttdpbf16ps", "amx-int8": r"\ttdpbssd"}
# what each precision is computed with, the best first: (LLVM's name of the instruction set, instruction)
BF16 = [("amx-bf16", "tdpbf16ps"), ("avx512bf16", "vdpbf16ps")]
VNNI = [("avx512vnni", "vpdpbusd"), ("avxvnni", "vpdpbusd")]
INTEGERS = [("amx-int8", "tdpbssd"), *VNNI, ("avx2", "vpmaddubsw")]


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
    dots = best(target, precision, weights)
    if weights == "i8":
        assert (dots[1] if dots else "plain") + ": sums of" in notes
    elif weights == "i4":
        assert "weights of 4 bits, in blocks of 32" in notes and (f"by {dots[1]}" in notes if dots else "vpdpbusd" not in notes)
    elif dots:
        assert f"{dots[1]}: sums of 2 products" in notes
    else:
        assert f"accumulators {min(12, (target.vector_registers - 4) // 2)}x{2 * target.vector_bits // 32}" in notes
        assert ("bf16 is widened to f32" in notes) == (precision == "bf16")


def best(target: Target, precision: str, weights: str) -> tuple[str, str] | None:
    """The instruction set and the instruction that products should be made of, if there is one for them."""
    choices = {"i8": INTEGERS, "i4": VNNI}.get(weights, BF16 if precision == "bf16" else [])
    return next(((feature, name) for feature, name in choices if target.has(feature)), None)


def check_code(assembly: str, target: Target, precision: str, weights: str) -> None:
    """Registers and instructions are those of the target: the widest, the ones made for the purpose, and none of others."""
    found = registers(assembly)
    assert widest(target) in found and "zmm" not in found - {widest(target)}
    wanted = {"fma"} & target.features
    dots = best(target, precision, weights)
    wanted |= {dots[0]} & set(OWN) if dots else set()
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
        assert not_faster(Target.parse("cpu:emeraldrapids"), "bf16") == ""
        assert "no more in a second" in not_faster(Target.parse("cpu:emeraldrapids,-amx-tile"), "bf16")
        assert "no instruction" in not_faster(Target.parse("cpu:emeraldrapids,-amx-tile,-avx512bf16"), "bf16")


def test_a_slow_precision_warns_once_compiled(graph: tg.Graph) -> None:
    words = r'precision="f16" is no faster than "f32" on cpu:.*; weights="f16" alone halves'
    with pytest.warns(UserWarning, match=words) as found:
        tg.compile(graph, precision="f16")
    assert [w.filename for w in found] == [__file__]  # the caller's line

"""What a CPU has: read from it, said in the text of its target, followed by LLVM, and asked for before code runs."""

from __future__ import annotations

import json
import platform
import zipfile
from pathlib import Path

import numpy as np
import pytest

import tgraph as tg
from targets.base.schedules import schedule_file
from targets.base.target import Target
from targets.base.tvm_api import host_features
from targets.cpu import instruction_sets
from targets.cpu.instruction_sets import arm_features, changes_from, features_of, known_features
from tests.targets.feature_sets import FEATURE_SETS, foreign_cpu, registers

B = tg.dim("B")
x86 = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="x86 has other instruction sets than this machine")
# Linux's names where they are not LLVM's with or without a line
LINUX = {"sse3": "pni", "lzcnt": "abm", "bmi": "bmi1", "pclmul": "pclmulqdq", "sha": "sha_ni", "cx16": "cx16", "crc32": "sse4_2"}


def graph() -> tg.Graph:
    weight = np.random.default_rng(0).standard_normal((64, 64)).astype("f")
    return tg.trace(lambda x: tg.gelu(tg.linear(x, weight)), x=tg.f32[B, 64], name="product")


def read(model: str, without: str = "") -> dict[str, bool]:
    """What is read from a CPU of a model where everything that begins so is hidden."""
    return {name: not (without and name.startswith(without)) for name in features_of(model)}


@x86
@pytest.mark.parametrize(("model", "hidden", "text", "bits"), [
    ("emeraldrapids", "amx", "cpu:emeraldrapids,-amx-tile", 512),
    ("skylake-avx512", "avx512", "cpu:skylake-avx512,-avx512f", 256),
    ("znver3", "", "cpu:znver3", 256),
    ("skylake", "avx", "cpu:skylake,-avx", 128),  # sold as Pentium
])
def test_what_is_hidden_is_not_there(monkeypatch: pytest.MonkeyPatch, model: str, hidden: str, text: str, bits: int) -> None:
    changes = changes_from(model, read(model, hidden))
    target = Target.parse(",".join([f"cpu:{model}", *changes]))
    assert str(target) == text and target.vector_bits == bits
    assert target.features == {name for name, present in read(model, hidden).items() if present} & target.features
    assert not hidden or not any(name.startswith(hidden) for name in target.features)
    assert {f"%{r}" for r in registers(tg.compile(graph(), target).source("asm"))} == {f"%{r}" for r in ("xmm", *wider(bits))}


def wider(bits: int) -> tuple[str, ...]:
    return {128: (), 256: ("ymm",), 512: ("ymm", "zmm")}[bits]


@x86
def test_a_cpu_that_llvm_does_not_know() -> None:
    changes = changes_from("x86-64", read("znver3"))
    assert features_of("x86-64", changes) == features_of("znver3") and "+avx2" not in changes  # +vaes brings it
    assert Target.parse(",".join(["cpu:x86-64", *changes])).vector_bits == 256


@x86
def test_a_name_for_many_features_is_none_itself() -> None:
    assert changes_from("rocketlake", {**read("rocketlake"), "avx10.1": True, "avx512bf16": True}) == ("+avx512bf16",)
    assert "avx10.1" not in features_of("rocketlake", ("+avx10.1",)) and "avx512fp16" in features_of("rocketlake", ("+avx10.1",))


CPUINFO = """\
processor\t: 0
BogoMIPS\t: 243.75
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU part\t: 0xd0c

processor\t: 1
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm
"""


def test_what_linux_says_of_an_arm() -> None:
    found = arm_features(CPUINFO)
    assert {name for name, present in found.items() if present} == {"fullfp16", "rdm"}  # what both cores have
    assert not found["dotprod"] and not found["bf16"]
    assert arm_features("flags\t\t: fpu sse sse2 avx\n") == {} == arm_features("")


@x86
@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="what is read is held against Linux's /proc/cpuinfo")
def test_nothing_is_claimed_that_the_system_does_not_list() -> None:
    flags = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")).split()
    plain = {flag.replace("_", "").replace(".", "") for flag in flags}
    for name in filter(instruction_sets.computes, (n for n, present in host_features().items() if present)):
        linux = LINUX.get(name, name)
        assert linux in flags or linux.replace("-", "").replace(".", "") in plain, name
    assert Target.parse("cpu").features <= {n for n, present in host_features().items() if present} | {"sse-unaligned-mem"}


@pytest.mark.parametrize("cpu", FEATURE_SETS.values())
def test_text_of_targets(cpu: str) -> None:
    target = Target.parse(cpu)
    assert Target.parse(str(target)) == target and str(Target.parse(str(target))) == str(target)


@x86
def test_texts_that_mean_the_same() -> None:
    assert str(Target.parse("cpu:znver4, -avx512bw, -avx512f, -amx-tile")) == "cpu:znver4,-avx512f"
    assert str(Target.parse("cpu:x86-64-v4,+avx512vnni,+avx512bf16")) == "cpu:x86-64-v4,+avx512bf16,+avx512vnni"
    less = Target.parse("cpu:-sse4.1")
    assert less.is_host and not less.features & {"sse4.1", "avx"} and less.mcpu == Target.parse("cpu").mcpu


@x86
@pytest.mark.parametrize(("text", "words"), [
    ("cpu:znver33", "knows no CPU of that name; did you mean znver3"),
    ("cpu:commodore", "knows no CPU of that name; `tgraph targets --cpus` lists them"),
    ("cpu:cortex-a72", r"a CPU of another architecture \(aarch64\) than this machine's"),
    ("cpu:znver4,-avx513f", "'-avx513f' is no change to a CPU.*did you mean -avx512f"),
    ("cpu:znver4,avx512f", "'avx512f' is no change to a CPU, which is . or - and LLVM's name of an instruction set"),
])
def test_texts_that_mean_nothing(text: str, words: str) -> None:
    with pytest.raises(tg.TargetError, match=words):
        Target.parse(text)


def test_code_for_another_cpu_is_not_called(tmp_path: Path) -> None:
    foreign = Target.parse(foreign_cpu())
    [missing] = foreign.missing & {foreign_cpu().rpartition("+")[2]}
    exe = tg.compile(graph(), foreign)
    refused = rf"graph product was compiled for {foreign.mcpu}.*this machine \(cpu:.*\) lacks .*{missing}"
    refused = refused.replace(f"for {foreign.mcpu}", f"for cpu:{foreign.mcpu}")
    for call in (lambda: exe(np.zeros((2, 64), "f")), lambda: exe.profile(np.zeros((2, 64), "f")), lambda: tg.check(exe)):
        with pytest.raises(tg.TargetError, match=refused):
            call()
    exe.save(tmp_path / "foreign.tgc")
    with pytest.raises(tg.TargetError, match=rf"foreign\.tgc was compiled for cpu:.* lacks .*{missing}"):
        tg.load(tmp_path / "foreign.tgc")
    with zipfile.ZipFile(tmp_path / "foreign.tgc") as bundle:
        assert missing in json.loads(bundle.read("manifest.json"))["variants"][0]["features"]


def test_instruction_sets_tell_compilations_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TGRAPH_CACHE", str(tmp_path))
    monkeypatch.setenv("TGRAPH_TUNING", str(tmp_path))
    here = Target.parse("cpu")
    less = Target.parse(f"{here},-{min(here.features & {'avx512f', 'avx2', 'sse3', 'neon'})}")
    assert less.mcpu == here.mcpu and schedule_file(less.name) != schedule_file(here.name)
    results = [str(tg.compile(graph(), target).cache).partition(":")[0] for target in (here, less, here, less)]
    assert results == ["miss", "miss", "hit", "hit"]


def test_names_of_instruction_sets() -> None:
    assert Target.parse("cpu").features <= known_features()
    assert not {"fast-gather", "prefer-256-bit", "64bit-mode", "pku", "xsave"} & known_features()

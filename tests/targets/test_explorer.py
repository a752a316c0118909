"""The explorer's page of an executable: times, code, errors and attention weights belong to the right nodes."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tgraph as tg
from targets.runtime.profile import Profile
from tgraph import nn
from tgraph.formats.html import read_page
from tgraph.formats.html.page import unpack_text

B, S = tg.dims("B S")


class Layer(nn.Module):
    def __init__(self) -> None:
        self.attention = nn.MultiHeadAttention(32, 2)
        self.first = nn.Linear(32, 64)
        self.second = nn.Linear(64, 32)

    def __call__(self, x, mask=None):
        x = x + self.attention(x, mask=mask)
        return x + self.second(tg.gelu(self.first(x)))


@pytest.fixture(scope="module")
def exe() -> Any:
    return tg.compile(tg.trace(Layer(), x=tg.f32[B, S, 32], mask=tg.bool_[B, S]))


def called(data: dict[str, Any], entry: dict[str, Any], node: int) -> str:
    """The name of the function that a node calls."""
    return data["functions"][entry["nodes"][node][8]]["name"]


def test_times_are_those_of_the_profile(exe: Any, tmp_path: Path) -> None:
    profile: Profile = exe.profile(repeats=2)
    data = read_page(exe.view(tmp_path / "layer.html", profile=profile))
    entry = data["graphs"][0]
    found = [(called(data, entry, node), us) for node, us in entry["overlays"]["time"]["values"]]
    assert sorted(found) == sorted((row.kernel, float(f"{row.microseconds:.6g}")) for row in profile.rows)
    nodes = [node for node, _ in entry["overlays"]["time"]["values"]]
    scopes = {called(data, entry, node): data["strings"][entry["nodes"][node][3]] for node in nodes}
    assert scopes == {row.kernel: row.scope for row in profile.rows}
    assert data["sizes"] == profile.sizes and str(exe.target) in entry["overlays"]["time"]["note"]
    assert [s["name"] for s in entry["stages"]] == [r.name for r in exe.records]


def test_a_profile_is_made_at_the_sizes_of_the_page(exe: Any, tmp_path: Path) -> None:
    data = read_page(exe.view(tmp_path / "layer.html", profile=True, sizes={"B": 3, "S": 5}))
    assert data["sizes"] == {"B": 3, "S": 5} and "measured at B=3, S=5" in data["graphs"][0]["overlays"]["time"]["note"]


def test_each_kernel_has_its_own_code(exe: Any, tmp_path: Path) -> None:
    data = read_page(exe.view(tmp_path / "layer.html", sources=("tir", "llvm", "asm")))
    kernels = {f["name"]: f for f in data["functions"] if "kernel" in f}
    assert set(kernels) == set(exe.kernels.functions)
    for name, function in kernels.items():
        tir, llvm, asm = (unpack_text(function["code"][level]) for level in ("tir", "llvm", "asm"))
        assert f"def kernel_{name}(" in tir and tir.count("\ndef ") == 1
        assert f"kernel_{name}" in llvm and "define " in llvm and f"kernel_{name}" in asm and ".cfi_" not in asm
        others = [o for o in kernels if o not in name and name not in o]
        assert not any(f"kernel_{other}(" in tir for other in others)
    explained = {e.kernel: e for e in exe.explain()}
    assert kernels["linear_gelu"]["kernel"] == {"family": "linear", "chosen": explained["linear_gelu"].chosen, "calls": 1}


@pytest.mark.thorough
def test_code_of_a_gpu_is_cuda(tmp_path: Path) -> None:
    gpu = tg.compile(tg.trace(lambda x, w: tg.gelu(x @ w), x=tg.f32[B, 32], w=tg.f32[32, 16]), "cuda:sm_90")
    data = read_page(gpu.view(tmp_path / "gpu.html", sources=("cuda",)))
    code = {f["name"]: unpack_text(f["code"]["cuda"]) for f in data["functions"] if "code" in f}
    assert set(code) == set(gpu.kernels.functions) and all("__global__" in text for text in code.values())
    with pytest.raises(tg.TargetError, match="no source 'machine'"):
        gpu.view(tmp_path / "gpu.html", sources=("machine",))


@pytest.mark.thorough
def test_errors_and_statistics_of_each_kernel(exe: Any, tmp_path: Path) -> None:
    data = read_page(exe.view(tmp_path / "layer.html", errors=True, sizes={"B": 2, "S": 4}))
    entry = data["graphs"][0]
    errors = {called(data, entry, node): error for node, error in entry["overlays"]["error"]["values"]}
    statistics = {called(data, entry, node): numbers for node, numbers in entry["statistics"]}
    assert set(statistics) == set(errors) == set(exe.kernels.functions) and 0 < max(errors.values()) < 1e-5
    assert statistics["linear_gelu"]["shape"] == "2 x 4 x 64" and -0.2 < statistics["linear_gelu"]["smallest"] < 0
    small = tg.compile(tg.trace(nn.Linear(32, 16), x=tg.f32[B, 32]), weights="bf16")
    ((_, error),) = read_page(small.view(tmp_path / "small.html", errors=True))["graphs"][0]["overlays"]["error"]["values"]
    assert 1e-5 < error < 0.1  # what bf16 costs


def test_attention_weights_come_in_255_steps(exe: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    weights = tg.attention_weights(exe, rng.standard_normal((2, 5, 32), np.float32), np.ones((2, 5), bool))
    (head,) = read_page(exe.view(tmp_path / "layer.html", heads=weights))["graphs"][0]["heads"]
    levels = np.frombuffer(base64.b64decode(head["weights"]), np.uint8).reshape(head["shape"])
    (wanted,) = weights.values()
    assert head["scope"] == next(iter(weights)) and np.abs(levels / 255 - wanted[0]).max() <= 0.5 / 255 + 1e-6
    with pytest.raises(tg.InputError, match=r"heads= takes what tg\.attention_weights gives"):
        exe.view(tmp_path / "no.html", heads={"a": np.ones(3)})


def test_a_bundle_shows_its_kernels(exe: Any, tmp_path: Path) -> None:
    exe.save(tmp_path / "layer.tgc")
    loaded = tg.load(tmp_path / "layer.tgc")
    data = read_page(loaded.view(tmp_path / "layer.html", profile=True))
    entry = data["graphs"][0]
    assert not entry["stages"] and len(entry["first"]) == len(loaded.kernels)
    assert len(entry["overlays"]["time"]["values"]) == len(loaded.profile(repeats=1).rows)
    with pytest.raises(tg.TargetError, match="compile it to see its history"):
        loaded.view(tmp_path / "layer.html", errors=True)
    with pytest.raises(tg.TargetError, match="has none"):
        loaded.view(tmp_path / "layer.html", sources=True)


@pytest.mark.thorough
def test_a_program_has_the_times_of_all_graphs(tmp_path: Path) -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            self.first, self.second = nn.Linear(16, 16), nn.Linear(16, 8)

        def encode(self, x):
            return tg.gelu(self.first(x))

        def decode(self, y):
            return self.second(tg.gelu(self.first(y)))

    exe = tg.compile(tg.trace_program(Model(), encode={"x": tg.f32[B, 16]}, decode={"y": tg.f32[B, 16]}))
    data = read_page(exe.view(tmp_path / "program.html", profile=True, sources=True))
    assert [g["name"] for g in data["graphs"]] == ["encode", "decode"]
    for name, entry in zip(exe, data["graphs"]):
        times = entry["overlays"]["time"]["values"]
        assert len(times) == len(exe[name].kernels)
        assert all("code" in data["functions"][entry["nodes"][node][8]] for node, _ in times)

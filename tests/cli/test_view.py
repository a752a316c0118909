"""`tgraph view`: which page it writes, and other viewers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import tgraph as tg
from tgraph import nn
from tgraph.cli import main, other_viewers
from tgraph.formats.html import read_page

LAYER = """
graph layer(%x: f32[B, 8], %mask: bool[B, 8]) -> (y: f32[B, 4]) {
  param @a.weight: f32[4, 8]
  %0 = sigmoid(%x) : f32[B, 8]  in a.gate
  %1 = mul(%x, %0) : f32[B, 8]  in a.gate
  %2 = where(%mask, %1, f32(0.0)) : f32[B, 8]  in a
  %3 = linear(%2, @a.weight) : f32[B, 4]  in a
  return (y: %3)
}
"""


@pytest.fixture
def layer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("layer.tg").write_text(LAYER)
    tg.trace(nn.FeedForward(8, 16), x=tg.f32[tg.dim("B"), 8]).dump("ffn.tg")  # with its weights
    return tmp_path


def view(*words: str) -> Any:
    return CliRunner().invoke(main, ["view", *words])


def test_the_page_has_the_passes_that_were_asked_for(layer: Path) -> None:
    result = view("layer.tg", "-o", "layer.html", "-p", "fuse-silu,dce", "--dim", "B=7")
    assert result.exit_code == 0 and "wrote layer.html" in result.output
    data = read_page("layer.html")
    assert data["title"] == "layer.tg" and data["sizes"] == {"B": 7}
    assert [s["name"] for s in data["graphs"][0]["stages"]] == ["fuse-silu", "dce"]
    assert view("layer.tg", "-o", "layer.html", "-p", "").exit_code == 0
    assert read_page("layer.html")["graphs"][0]["stages"] == []


def test_a_target_adds_its_own_passes(layer: Path) -> None:
    assert view("layer.tg", "-o", "layer.html", "--target", "cuda:sm_90").exit_code == 0
    stages = [s["name"] for s in read_page("layer.html")["graphs"][0]["stages"]]
    assert stages[0] == "dce" and stages[-1].startswith("select-kernels{target=")


def test_what_needs_a_program_compiles(layer: Path) -> None:
    assert view("ffn.tg", "-o", "ffn.html", "--profile", "--dim", "B=3").exit_code == 0
    data = read_page("ffn.html")
    assert data["graphs"][0]["overlays"]["time"]["values"] and data["sizes"] == {"B": 3}
    assert CliRunner().invoke(main, ["compile", "ffn.tg", "-o", "ffn.tgc"]).exit_code == 0
    assert view("ffn.tgc", "-o", "bundle.html").exit_code == 0
    assert read_page("bundle.html")["graphs"][0]["stages"] == []


def test_without_a_file_a_browser_opens(layer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    assert view("layer.tg", "-o", "layer.html").exit_code == 0 and opened == []
    assert view("layer.tg").exit_code == 0 and len(opened) == 1
    assert view("layer.tg", "-o", "layer.html", "--open").exit_code == 0 and opened[1] == (layer / "layer.html").as_uri()


def test_errors(layer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "the graph has no dim 'Q'; its dims: B" in view("layer.tg", "-o", "a.html", "--dim", "Q=1").output
    assert "unknown pass" in view("layer.tg", "-o", "a.html", "-p", "fuse-all").output
    monkeypatch.setattr(other_viewers.shutil, "which", lambda name: None)
    monkeypatch.setattr(other_viewers, "find_spec", lambda name: None)
    for viewer, package in (("netron", "netron"), ("model-explorer", "ai-edge-model-explorer")):
        result = view("layer.tg", "--with", viewer)
        assert result.exit_code == 2 and f"{viewer} is not installed: pip install {package}" in result.output


def test_another_viewer_gets_the_graph(layer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(other_viewers.shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(other_viewers.subprocess, "run", lambda command, check: started.append(command))
    assert view("ffn.tg", "--with", "netron", "-o", "ffn.onnx").exit_code == 0
    assert view("layer.tg", "--with", "model-explorer", "-o", "layer.model-explorer.json").exit_code == 0
    assert started == [["/bin/netron", "ffn.onnx"], ["/bin/model-explorer", "layer.model-explorer.json"]]
    assert len(tg.read("ffn.onnx").nodes) > 0 and json.loads(Path("layer.model-explorer.json").read_text())["label"] == "layer"

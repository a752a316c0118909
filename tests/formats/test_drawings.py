"""Formats that other programs draw: Mermaid, Graphviz, Model Explorer, and pixels."""

from __future__ import annotations

import builtins
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from random_graphs import graphs

import tgraph as tg
from tgraph.cli.models import bert
from tgraph.formats import mermaid, png
from tgraph.formats.dot import to_dot
from tgraph.formats.mermaid import to_mermaid
from tgraph.formats.model_explorer import to_model_explorer
from tgraph.ir.errors import FormatError
from tgraph.ir.graph import Graph
from tgraph.ir.parser import parse

SMALL = parse("""graph main(%x: f32[B, 4]) -> (y: f32[B, 4]) {
  param @layer.w: f32[4, 4]
  %0 = linear(%x, @layer.w) : f32[B, 4]  in layer
  %1 = softmax(%0) : f32[B, 4]
  return (y: %1)
}""")
TEXT = r'"[^"\n]+"'  # Mermaid takes no empty one
LINE = re.compile(rf"""(\ \ )+(
    [inop]\d+(\(\[{TEXT}\]\)|\({TEXT}\)|\[\[{TEXT}\]\]|\[/{TEXT}/\])(:::\w+)? |
    subgraph\ s\d+\[{TEXT}\] | end | [inop]\d+\ -->(\|{TEXT}\|)?\ [no]\d+ | classDef\ .*)""", re.VERBOSE)


def test_mermaid() -> None:
    assert to_mermaid(SMALL, parameters=True) == """\
---
title: "main"
---
flowchart TB
  i0(["x: f32[B, 4]"]):::input
  subgraph s0["layer"]
    n1("linear<br/>f32[B, 4]")
  end
  n2("softmax<br/>f32[B, 4]")
  o0(["y"]):::output
  i0 --> n1
  p3[/"layer.w: f32[4, 4]"/]:::parameter
  p3 --> n1
  n1 -->|"f32[B, 4]"| n2
  n2 -->|"f32[B, 4]"| o0
  classDef input fill:#dbeafe,stroke:#2563eb
  classDef output fill:#dcfce7,stroke:#16a34a
  classDef parameter fill:#fef3c7,stroke:#d97706
  classDef closed fill:#e2e8f0,stroke:#475569
"""


@given(graphs())
def test_mermaid_of_any_graph_is_a_flowchart(graph: Graph) -> None:
    lines = to_mermaid(graph, parameters=True).splitlines()
    assert lines[0] == lines[2] == "---" and lines[3] == "flowchart TB"
    assert all(LINE.fullmatch(line) for line in lines[4:]), [line for line in lines[4:] if not LINE.fullmatch(line)]
    assert sum(bool(re.match(r" *n\d+\(", line)) for line in lines) == len(graph)
    known = {m[1] for line in lines if (m := re.match(r" *([inop]\d+)[(\[]", line))}
    ends = {end for line in lines if (m := re.match(r" *(\w+) -->(?:\|.*\|)? (\w+)", line)) for end in m.groups()}
    assert ends <= known


def test_mermaid_folds_what_it_would_not_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = bert("bert-tiny")
    assert "\u00d7 2" not in to_mermaid(graph)
    monkeypatch.setattr(mermaid, "MOST_EDGES", 60)
    assert "#215; 2" in to_mermaid(graph) and "#215; 2" not in to_mermaid(graph, fold=False)


@pytest.mark.parametrize("how", [False, True, 1])
def test_dot_draws_what_the_view_shows(how: bool | int) -> None:
    shown = to_dot(bert("bert-tiny"), fold=how)
    assert shown.count("{") == shown.count("}") and shown.count(" -> o") == 2
    ids = set(re.findall(r"^ *([inpo]\d+) \[", shown, re.MULTILINE))
    ends = set(re.findall(r"^  (\w+) -> (\w+)", shown, re.MULTILINE))
    assert {end for pair in ends for end in pair} <= ids
    assert ("\u00d7 2" in shown) == (how is not False)


def check_model_explorer(data: dict[str, Any], graph: Graph) -> None:
    """The fields of model_explorer.graph_builder's dataclasses, and that ids lead somewhere."""
    assert set(data) == {"label", "graphs"}
    names = {g["id"] for g in data["graphs"]}
    assert len(names) == len(data["graphs"])
    for found in data["graphs"]:
        assert set(found) == {"id", "nodes", "groupNodeAttributes"}
        nodes = {node["id"]: node for node in found["nodes"]}
        assert len(nodes) == len(found["nodes"])
        for node in nodes.values():
            assert set(node) <= {"id", "label", "namespace", "subgraphIds", "attrs", "incomingEdges", "inputsMetadata",
                                 "outputsMetadata"}
            assert isinstance(node["label"], str) and not node["namespace"].startswith("/")
            assert set(node.get("subgraphIds", ())) <= names
            for pair in node["attrs"]:
                assert set(pair) == {"key", "value"} and isinstance(pair["value"], str)
            for edge in node["incomingEdges"]:
                outputs = [m["id"] for m in nodes[edge["sourceNodeId"]]["outputsMetadata"]]
                assert edge["sourceNodeOutputId"] in outputs and edge["targetNodeInputId"].isdecimal()
    first = data["graphs"][0]["nodes"]
    assert sum(n["id"].startswith("%") for n in first) == len(graph)
    edges = sum(len(n["incomingEdges"]) for n in first)
    assert edges == sum(v is not None for n in graph.nodes for v in n.operands) + len(graph.outputs)


@given(graphs())
def test_model_explorer(graph: Graph) -> None:
    check_model_explorer(to_model_explorer(graph), graph)


def test_model_explorer_has_scopes_lines_and_functions(tmp_path: Path) -> None:
    graph = tg.optimize(bert("bert-tiny"))
    data = to_model_explorer(graph)
    check_model_explorer(data, graph)
    nodes = data["graphs"][0]["nodes"]
    call = next(n for n in nodes if n["label"] == "$linear_gelu")
    assert call["namespace"] == "encoder/layer/0/intermediate" and call["subgraphIds"] == ["$linear_gelu"]
    attributes = {pair["key"]: pair["value"] for pair in call["attrs"]}
    assert "bert.py:" in attributes["source"] and attributes["scopes"].startswith("encoder.layer.0.intermediate.dense, ")
    assert call["outputsMetadata"][0]["attrs"][0] == {"key": "tensor_shape", "value": "f32[BxSx512]"}
    weight = next(n for n in nodes if n["id"] == "parameter encoder.layer.0.output.dense.bias")
    assert (weight["label"], weight["namespace"]) == ("bias", "encoder/layer/0/output/dense")
    graph.dump(tmp_path / "m.model-explorer.json")
    with pytest.raises(FormatError, match="expected format tgraph"):
        tg.read(tmp_path / "m.model-explorer.json")  # only .json files are graphs to read
    SMALL.dump(tmp_path / "m.json")
    assert tg.read(tmp_path / "m.json") == SMALL


def test_pixels(tmp_path: Path) -> None:
    pytest.importorskip("resvg_py")
    SMALL.dump(tmp_path / "small.png")
    first = (tmp_path / "small.png").read_bytes()
    assert first.startswith(b"\x89PNG")
    SMALL.dump(tmp_path / "large.png", zoom=4.0)
    width = [int.from_bytes(data[16:20], "big") for data in (first, (tmp_path / "large.png").read_bytes())]
    assert abs(width[1] - 2 * width[0]) <= 2
    with pytest.raises(FormatError, match=r"too large for pixels at zoom=1000\.0; fold it"):
        SMALL.dump(tmp_path / "huge.png", zoom=1000.0)
    with pytest.raises(FormatError, match="has no option 'scopes'"):
        SMALL.dump(tmp_path / "small.png", scopes=True)


def test_pixels_need_a_font(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resvg = pytest.importorskip("resvg_py")
    monkeypatch.setattr(png, "_render", lambda svg, zoom: bytes(resvg.svg_to_bytes(svg_string=svg, skip_system_fonts=True)))
    png._has_font.cache_clear()
    try:
        with pytest.raises(FormatError, match="no font was found"):
            SMALL.dump(tmp_path / "small.png")
    finally:
        png._has_font.cache_clear()


def test_pixels_say_which_extra_they_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any) -> Any:
        if name == "resvg_py":
            raise ImportError(name)
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(FormatError, match=r'the extra "png": pip install "tgraph-compiler\[png\]"'):
        SMALL.dump(tmp_path / "small.png")
    assert not (tmp_path / "small.png").exists()

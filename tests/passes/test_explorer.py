"""The explorer's document: its steps, replayed from its data alone, lead to the graph that the pipeline makes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from explorer.steps import State, states

import tgraph as tg
from passes.debug.explorer import document_of
from passes.debug.history import record
from tgraph.formats.html import read_page
from tgraph.ir.graph import Graph

sys.path.insert(0, str(Path(__file__).parent))

from golden import Case, cases


def replayed(entry: dict[str, Any]) -> State:
    """The state after all steps of a document's graph."""
    *_, last = states(entry)
    return last


def content(data: dict[str, Any], entry: dict[str, Any], nodes: dict[int, list[Any]], outputs: list[Any], types: bool) -> Any:
    """What the outputs are, as nested tuples: op, attributes, types if they are asked for, and operands."""
    strings, ops, known = data["strings"], data["ops"], {}

    def value(v: Any) -> Any:
        if v is None:
            return None
        node, index = v if isinstance(v, list) else (v, 0)
        if node < 0:
            kind, name, type, detail = entry["leaves"][-1 - node]
            return kind, strings[name], strings[type] if types else "", strings[detail]
        if node not in known:
            op, attributes, results, *_, called = entry["nodes"][node]
            shown = [strings[t] for t in results if types]
            known[node] = (ops[op][0], strings[attributes], shown, called >= 0, *map(value, nodes[node]))
        return index, known[node]

    return [(name, value(v)) for name, v in outputs]


@pytest.mark.parametrize("case", cases(), ids=lambda c: f"{c.path.parent.name}/{c.path.stem}")
def test_the_document_leads_to_the_last_graph(case: Case) -> None:
    graph = tg.parse(case.before)
    assert isinstance(graph, Graph)
    data = document_of(graph, case.pipeline).data()
    entry, = data["graphs"]
    last = record(graph, case.pipeline).last
    assert last is not None
    wanted = document_of(last, "").data()
    plain, = wanted["graphs"]
    nodes, outputs = replayed(entry)
    assert len(nodes) == len(last)
    types = "specialize-shapes" not in case.pipeline  # which gives values other types where they are
    assert content(data, entry, nodes, outputs, types) == content(wanted, plain, *replayed(plain), types)


def test_a_step_has_its_rule_and_what_became_of_nodes() -> None:
    graph = tg.trace(lambda x: x * tg.sigmoid(x), x=tg.f32[tg.dim("B"), 8])
    data = document_of(graph, "fuse-silu,dce").data()
    entry = data["graphs"][0]
    stage, dce = entry["stages"]
    (rule, changes, old, new), = stage["steps"]
    name = [data["ops"][row[0]][0] for row in entry["nodes"]]
    assert data["strings"][rule] == "x sigmoid(x) = silu(x)" and [name[n] for n in new] == ["silu"]
    assert sorted(name[n] for n in old) == ["mul", "sigmoid"] and {c[0] for c in changes} == {0, 1, 3}
    assert stage["effect"] == "rounds" and (stage["before"], stage["after"], dce["changed"]) == (2, 1, False)
    assert stage["about"].startswith("x sigmoid(x) = ")


def test_near_misses_and_what_stayed_apart_are_told() -> None:
    graph = tg.trace(lambda q, k, v: tg.softmax(q @ k.transpose(0, 2, 1), axis=1) @ v, *[tg.f32[tg.dim("B"), 8, 8]] * 3)
    data = document_of(graph, "fuse-attention,fuse-silu").data()
    entry = data["graphs"][0]
    rule, root, matched, at, reason = entry["stages"][0]["misses"][0]
    assert data["ops"][entry["nodes"][root][0]][0] == "softmax" and matched > 0 and at in entry["first"]
    assert "attention" in data["strings"][rule] and data["strings"][reason]
    assert entry["apart"][0] == "attention 0 of 1" and "nearest miss" in entry["apart"][1]


def test_view_writes_a_page_with_passes_and_says_where(tmp_path: Path) -> None:
    graph = tg.trace(lambda x: x * tg.sigmoid(x), x=tg.f32[tg.dim("B"), 8])
    path = graph.view(tmp_path / "folder" / "silu.html", sizes={"B": 4})
    assert path == tmp_path / "folder" / "silu.html"
    data = read_page(path)
    assert data["sizes"] == {"B": 4} and "fuse-silu" in [s["name"] for s in data["graphs"][0]["stages"]]
    with pytest.raises(tg.PassError, match="unknown pass"):
        graph.view(tmp_path / "no.html", pipeline="no-such-pass")
    assert not (tmp_path / "no.html").exists()


def test_own_numbers_are_laid_over_the_first_graph(tmp_path: Path) -> None:
    graph = tg.trace(lambda x: tg.exp(x * tg.sigmoid(x)), x=tg.f32[tg.dim("B"), 8])
    numbers = {node: float(i) for i, node in enumerate(graph.nodes)}
    data = read_page(graph.view(tmp_path / "a.html", overlays={"risk": numbers}))
    entry = data["graphs"][0]
    overlay = entry["overlays"]["risk"]
    named = {data["ops"][entry["nodes"][node][0]][0]: number for node, number in overlay["values"]}
    assert named == {node.op.name: number for node, number in numbers.items()} and overlay["at"] == "first"
    other = next(n for n in tg.optimize(graph, "fuse-silu").nodes if n.op.name == "silu")
    with pytest.raises(tg.GraphError, match=r"overlay 'risk' has a number for silu .* is no node of"):
        graph.view(tmp_path / "a.html", overlays={"risk": {other: 1.0}})


def test_view_without_a_path_opens_a_browser(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    graph = tg.trace(lambda x: x + 1, x=tg.f32[4])
    graph.view(tmp_path / "kept.html")
    assert opened == []
    path = graph.view()
    assert opened == [path.as_uri()] and path.is_relative_to(tmp_path)

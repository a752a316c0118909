"""The explorer's page of a graph as it is: one file that loads nothing, and a document that says what the graph says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import tgraph as tg
from tgraph import nn
from tgraph.formats.html import Document, read_page
from tgraph.formats.html.document import typical_sizes
from tgraph.formats.html.entries import shown_path
from tgraph.formats.html.page import FOLDER, SCRIPTS, STYLES

B, S = tg.dim("B"), tg.dim("S", max=64)


def two_layers() -> tg.Graph:
    class Layer(nn.Module):
        def __init__(self) -> None:
            self.attention = nn.MultiHeadAttention(16, 2)
            self.norm = nn.LayerNorm(16)

        def __call__(self, x, mask=None):
            return self.norm(x + self.attention(x, mask=mask))

    class Model(nn.Module):
        def __init__(self) -> None:
            self.layers = [Layer(), Layer()]

        def __call__(self, x, mask=None):
            for layer in self.layers:
                x = layer(x, mask)
            return x * 0.5

    return tg.trace(Model(), x=tg.f32[B, S, 16], mask=tg.bool_[B, S])


def text_of(data: dict[str, Any], entry: dict[str, Any]) -> list[str]:
    """The nodes of a document's graph as lines, as far as the document tells."""
    strings, ops = data["strings"], data["ops"]

    def value(v: Any) -> str:
        if isinstance(v, list):
            return f"%{entry['first'].index(v[0])}.{v[1]}"
        if v is None or v >= 0:
            return "none" if v is None else f"%{entry['first'].index(v)}"
        kind, name, _, detail = entry["leaves"][-1 - v]
        return {"parameter": "@", "constant": strings[detail]}.get(kind, "%") + strings[name]

    lines = []
    for node, reads in zip(entry["first"], entry["reads"]):
        op, attributes, types, path, *_ = entry["nodes"][node]
        inside = ", ".join([*map(value, reads), *filter(None, [strings[attributes]])])
        lines.append(f"{ops[op][0]}({inside}) : {', '.join(strings[t] for t in types)}  in {strings[path]}")
    return lines


def test_a_page_says_what_the_graph_says(tmp_path: Path) -> None:
    graph = two_layers()
    graph.dump(tmp_path / "model.html")
    data = read_page(tmp_path / "model.html")
    assert (data["format"], data["version"]) == ("tgraph-explorer", 1)
    lines = [re.sub(r"\s+in $", "", line).replace(", none", "") for line in text_of(data, data["graphs"][0])]
    wanted = [line.split(" = ", 1)[1] for line in graph.text(scopes=True).splitlines() if line.startswith("  %")]
    assert lines == [line.replace("f32(0.5)", "0.5") for line in wanted]
    assert data["sizes"] == {"B": 1, "S": 64}
    linear = next(n for n in data["graphs"][0]["nodes"] if data["ops"][n[0]][0] == "linear")
    file, line, code = linear[5][0]
    assert data["strings"][file].endswith("test_html.py") and line > 0
    assert data["strings"][code] == "return self.norm(x + self.attention(x, mask=mask))"
    assert data["strings"][linear[6]] == "528*B*S"


def test_the_same_graph_gives_the_same_file(tmp_path: Path) -> None:
    two_layers().dump(tmp_path / "a.html")
    two_layers().dump(tmp_path / "b.html")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_the_page_loads_nothing(tmp_path: Path) -> None:
    two_layers().dump(tmp_path / "model.html")
    page = (tmp_path / "model.html").read_text(encoding="utf-8")
    assert not re.search(r"https?://|@import|\bsrc=|url\(|fetch\(|XMLHttpRequest|import\(", page)
    assert re.findall(r"<link[^>]*>", page) == ['<link rel="icon" href="data:,">']
    assert "{{" not in re.sub(r"`[^`]*`", "", page.split("<script>")[0])


def test_titles_are_escaped_and_names_are_not_markup(tmp_path: Path) -> None:
    graph = tg.trace(lambda x: {"</script><b>": x + 1}, x=tg.f32[B])
    graph.view(tmp_path / "odd.html", pipeline="", title="a < b & c")
    page = (tmp_path / "odd.html").read_text(encoding="utf-8")
    assert "<title>a &lt; b &amp; c</title>" in page and "</script><b>" not in page
    assert read_page(tmp_path / "odd.html")["graphs"][0]["outputs"][0][0] == "</script><b>"


def test_every_file_of_the_page_is_in_it() -> None:
    assert sorted(f.stem for f in FOLDER.glob("*.js")) == sorted(SCRIPTS)
    assert sorted(f.stem for f in FOLDER.glob("*.css")) == sorted(STYLES)
    for file in FOLDER.iterdir():
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            assert len(line) <= 130, f"{file.name}:{number}"


def test_a_program_has_all_its_graphs(tmp_path: Path) -> None:
    program = tg.parse_program("graph a(%x: f32[B]) -> (y: f32[B]) {\n  %0 = exp(%x) : f32[B]\n  return (y: %0)\n}\n"
                               "graph b(%x: f32[T]) -> (y: f32[T]) {\n  %0 = tanh(%x) : f32[T]\n  return (y: %0)\n}\n")
    program.dump(tmp_path / "program.html", sizes={"T": 5})
    data = read_page(tmp_path / "program.html")
    assert [g["name"] for g in data["graphs"]] == ["a", "b"] and data["sizes"] == {"B": 1, "T": 5}


def test_a_page_does_not_tell_where_its_author_lives() -> None:
    assert shown_path(str(Path.cwd() / "models" / "mine.py")) == "models/mine.py"
    assert shown_path("/home/someone/secret/models/mine.py") == "models/mine.py"


def test_sizes_keep_within_bounds() -> None:
    n, k, m = tg.dim("N", min=3), tg.dim("K", max=9), tg.dim("M")
    graph = tg.trace(lambda x, y: x @ y, x=tg.f32[n, k], y=tg.f32[k, m])
    assert typical_sizes(graph) == {"N": 3, "K": 9, "M": 128}
    assert Document.of(graph, {"M": 7}).sizes == {"N": 3, "K": 9, "M": 7}


def test_errors(tmp_path: Path) -> None:
    (tmp_path / "other.html").write_text("<p>", encoding="utf-8")
    with pytest.raises(tg.FormatError, match="no page of the explorer"):
        read_page(tmp_path / "other.html")
    with pytest.raises(tg.FormatError, match=r"\.html has no option 'colour' to write with; known: sizes"):
        two_layers().dump(tmp_path / "model.html", colour="red")

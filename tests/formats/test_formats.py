"""The table of formats, what all of them promise, and DOT."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from random_graphs import graphs

from tgraph.formats import FORMATS, format, read, write
from tgraph.formats.dot import to_dot
from tgraph.ir.errors import FormatError
from tgraph.ir.graph import Graph
from tgraph.ir.program import Program


def test_suffixes_and_options(tmp_path: Path, model: Graph) -> None:
    assert {".tg", ".json", ".dot", ".svg"} <= FORMATS.keys() and all(f.summary for f in FORMATS.values())
    for name, message in (("model.xyz", r"no format for this suffix; known: .*\.json"),
                          ("model", "no format for this suffix")):
        with pytest.raises(FormatError, match=message):
            write(model, tmp_path / name)
    with pytest.raises(FormatError, match=r"cannot read .*model.dot"):
        read(tmp_path / "model.dot")
    with pytest.raises(FormatError, match=r"\.dot has no option 'colour' to write with; known: graph, parameters, fold"):
        model.dump(tmp_path / "model.dot", colour="red")
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "missing.tg")
    model.dump(tmp_path / "new" / "folder" / "MODEL.TG")
    assert read(tmp_path / "new" / "folder" / "MODEL.TG") == model


def test_a_format_of_ones_own(tmp_path: Path, model: Graph) -> None:
    @format(".count.txt")
    class CountFormat:
        """How many nodes."""

        @staticmethod
        def write(obj: Graph, path: Path) -> None:
            path.write_text(str(len(obj)))

    try:
        model.dump(tmp_path / "model.count.txt")
        assert (tmp_path / "model.count.txt").read_text() == str(len(model))
        assert FORMATS[".count.txt"].summary == "How many nodes." and FORMATS[".count.txt"].read is None
    finally:
        del FORMATS[".count.txt"]


@pytest.mark.parametrize("suffix", [".json", ".tg", ".dot", ".svg"])
def test_a_failed_write_leaves_the_file_as_it_was(suffix: str, tmp_path: Path, model: Graph) -> None:
    file = tmp_path / f"model{suffix}"
    model.dump(file)
    before = file.read_bytes()
    with pytest.raises(FormatError, match="expected a Graph or a Program, got int"):
        write(3, file)
    assert file.read_bytes() == before
    assert {f.name for f in tmp_path.iterdir()} <= {file.name, "model.safetensors"}
    if os.name == "posix":
        assert file.stat().st_mode & 0o400


def test_dot(model: Graph) -> None:
    text = to_dot(model)
    assert text.startswith('digraph "model" {') and text.endswith("}\n") and text.count("{") == text.count("}")
    for part in ('label="x: f32[B, 4]"', 'label="w: f32[4, 4]"', '"cluster_head"', '$scale', r"softmax\naxis=-2",
                 'label="y"'):
        assert part in text, part
    bare = to_dot(model, parameters=False)
    assert 'label="w: f32[4, 4]"' not in bare and len(bare) < len(text)


@given(graphs())
def test_dot_is_well_formed(graph: Graph) -> None:
    text = to_dot(graph)
    assert not any(ord(c) < 32 and c != "\n" for c in text)
    for line in text.split("\n"):
        rest = line.replace("\\\\", "").replace('\\"', "")
        assert rest.count('"') % 2 == 0, line
    edges = [line for line in text.split("\n") if " -> " in line.split("[")[0]]
    shown = [v for n in graph.nodes for v in n.inputs if not (type(v).__name__ == "Constant" and not v.type.rank)]
    assert len(edges) >= len(shown)


def test_programs_are_drawn_one_graph_at_a_time(tmp_path: Path, two_graphs: Program) -> None:
    program = two_graphs
    for suffix in (".dot", ".svg"):
        with pytest.raises(FormatError, match='has the graphs encode, step, and this takes one: write graph="encode" for encode'):
            program.dump(tmp_path / f"p{suffix}")
        program.dump(tmp_path / f"p{suffix}", graph="step")
        assert "step" in (tmp_path / f"p{suffix}").read_text()
        with pytest.raises(FormatError, match="no graph 'decode'"):
            program.dump(tmp_path / f"p{suffix}", graph="decode")

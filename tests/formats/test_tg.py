"""The text form in files, and the data beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tgraph.formats import load_safetensors, read, save_safetensors
from tgraph.ir.dtypes import f32
from tgraph.ir.errors import FormatError, ParseError, WeightsError
from tgraph.ir.graph import Graph
from tgraph.ir.parser import parse
from tgraph.ir.program import Program


def test_text_files_keep_everything(tmp_path: Path, model: Graph, two_graphs: Program) -> None:
    file = tmp_path / "model.tg"
    model.dump(file, locations=True)
    again = read(file)
    assert again == model and again.text(scopes=True, locations=True) == model.text(scopes=True, locations=True)
    assert file.read_text() == model.text(scopes=True, locations=True) + "\n"
    for name in ("w", "gain"):
        assert np.array_equal(again.weights[name], model.weights[name])
    assert np.shares_memory(again.weights["tied.w"], again.weights["w"])
    table = next(c for c in again.constants.values() if c.type == f32[20, 4])
    assert np.array_equal(table.data, np.arange(80, dtype=np.float32).reshape(20, 4))
    again.dump(file)
    assert read(file) == model
    bare = read(file, weights=False)
    assert bare == model and "w" not in bare.weights
    two_graphs.dump(tmp_path / "program.tg")
    assert read(tmp_path / "program.tg") == two_graphs and not (tmp_path / "program.safetensors").exists()


def test_text_files_and_their_data(tmp_path: Path, model: Graph) -> None:
    file, data = tmp_path / "model.tg", tmp_path / "model.safetensors"
    model.dump(file, weights=False)
    assert list(load_safetensors(data)) == [f"sha256:{c.digest}" for c in model.constants.values() if c.type.rank == 2]
    model.dump(file)
    parse("graph small(%x: f32) -> (x: f32) {\n  return (x: %x)\n}").dump(file)  # nothing to write beside it
    assert not data.exists()
    save_safetensors(data, {"w": np.zeros(3)})
    with pytest.raises(FormatError, match="was not written by tgraph; choose another name"):
        model.dump(file)
    with pytest.raises(WeightsError, match="unexpected: w"):
        read(file)
    model.weights._entries.pop("gain")
    with pytest.raises(FormatError, match=r"some parameters have no data: gain \(write with weights=False\)"):
        model.dump(tmp_path / "other.tg")


def test_damaged_text_files(tmp_path: Path, model: Graph) -> None:
    file, data = tmp_path / "model.tg", tmp_path / "model.safetensors"
    model.dump(file)
    good = data.read_bytes()
    place = good.rindex(np.float32(79).tobytes())  # the last element of the table
    data.write_bytes(good[:place] + b"\xff" + good[place + 1:])
    with pytest.raises(FormatError, match=r"the data of constant sha256:.* is damaged"):
        read(file)
    tensors = {k: v for k, v in load_safetensors(data).items() if not k.startswith("sha256:")}
    save_safetensors(tmp_path / "copy.safetensors", tensors)
    (tmp_path / "copy.safetensors").replace(data)
    with pytest.raises(FormatError, match="has no data for constant sha256:"):
        read(file)
    for content, error, message in ((b"graph", ParseError, r"model\.tg:1:6: expected the graph's name"),
                                    (b"\xff\xfe", FormatError, r"model\.tg is no text")):
        file.write_bytes(content)
        with pytest.raises(error, match=message):
            read(file)

"""Archives: entries of any length come back mapped and aligned, and every flipped byte is found and its entry named."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

import tgraph as tg
from targets import archive
from targets.archive import Archive, write_archive

PIECE = 256


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "PIECE", PIECE)


@pytest.mark.parametrize("limit", [archive.LARGE, 100])  # above it, the 64-bit form of zip
@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE])
def test_round_trip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, limit: int) -> None:
    monkeypatch.setattr(archive, "LARGE", limit)
    data = np.random.default_rng(size).integers(0, 256, size, np.uint8)
    write_archive(tmp_path / "x", {"a": data.tobytes(), "b": [np.arange(5, dtype="i2"), data]}, {"note": 1})
    found = Archive(tmp_path / "x")
    found.verify()
    assert np.array_equal(found["a"], data) and np.array_equal(found["b"][64:], data) and found.manifest["note"] == 1
    assert found["b"][:10].view("i2").tolist() == [0, 1, 2, 3, 4] and not found["b"][10:64].any()
    assert all(start % 64 == 0 for start, _ in found.places.values())
    with zipfile.ZipFile(tmp_path / "x") as file:
        assert file.testzip() is None and file.read("a") == data.tobytes()


def test_every_piece_is_checked(tmp_path: Path) -> None:
    write_archive(tmp_path / "x", {"a": bytes(2 * PIECE), "b": bytes(PIECE + 7)}, {})
    whole = (tmp_path / "x").read_bytes()
    for name, (start, size) in Archive(tmp_path / "x").places.items():
        for place in range(0, size if name != "manifest.json" else 0, 100):
            data = bytearray(whole)
            data[start + place] ^= 64
            (tmp_path / "y").write_bytes(data)
            with pytest.raises(tg.FormatError, match=f"damaged: entry {name} "):
                Archive(tmp_path / "y").verify()


def test_an_interrupted_write_leaves_what_was_there(tmp_path: Path) -> None:
    write_archive(tmp_path / "x", {"a": b"1"}, {})
    with pytest.raises(TypeError):
        write_archive(tmp_path / "x", {"a": b"2"}, {"not json": object()})
    assert Archive(tmp_path / "x").text("a") == "1" and [p.name for p in tmp_path.iterdir()] == ["x"]

"""Archives: entries of any length come back mapped and aligned, and every changed byte of a file is found, wherever it is."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tgraph as tg
from targets.runtime import archive
from targets.runtime.archive import Archive, write_archive
from targets.runtime.manifest import Fields, read_manifest

PIECE = 256
FIELDS: Fields = {"note": int}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "PIECE", PIECE)


@pytest.mark.parametrize("limit", [archive.LARGE, 100])  # above it, the 64-bit form of zip
@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE])
def test_round_trip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, limit: int) -> None:
    monkeypatch.setattr(archive, "LARGE", limit)
    data = np.random.default_rng(size).integers(0, 256, size, np.uint8)
    write_archive(tmp_path / "x", {"a": data.tobytes(), "b": [np.arange(5, dtype="i2"), data]}, {"note": 1})
    found = Archive(tmp_path / "x", FIELDS)
    found.verify()
    assert np.array_equal(found["a"], data) and np.array_equal(found["b"][64:], data) and found.manifest["note"] == 1
    assert found["b"][:10].view("i2").tolist() == [0, 1, 2, 3, 4] and not found["b"][10:64].any()
    assert all(start % 64 == 0 and found[name].ctypes.data % 64 == 0 for name, (start, _) in found.places.items())
    with zipfile.ZipFile(tmp_path / "x") as file:
        assert file.testzip() is None and file.read("a") == data.tobytes()


def opened(path: Path) -> None:
    Archive(path, FIELDS).verify()


def test_every_piece_is_checked_and_named(tmp_path: Path) -> None:
    write_archive(tmp_path / "x", {"a": bytes(2 * PIECE), "b": bytes(PIECE + 7)}, {"note": 1})
    whole = (tmp_path / "x").read_bytes()
    for name, (start, size) in Archive(tmp_path / "x", FIELDS).places.items():
        for place in range(0, size, 100):
            data = bytearray(whole)
            data[start + place] ^= 64
            (tmp_path / "y").write_bytes(data)
            with pytest.raises(tg.FormatError, match=f"damaged: entry {name} "):
                opened(tmp_path / "y")


def test_every_byte_is_vouched_for(tmp_path: Path) -> None:
    """Headers, padding, manifest, zip's directory, the seal itself: each byte, each time another bit; and every length."""
    write_archive(tmp_path / "x", {"a": b"12", "b": b""}, {"note": 1})
    whole = (tmp_path / "x").read_bytes()
    for place in range(len(whole)):
        data = bytearray(whole)
        data[place] ^= 1 << place % 8
        (tmp_path / "y").write_bytes(data)
        with pytest.raises(tg.FormatError, match=str(tmp_path / "y")):
            opened(tmp_path / "y")
    for content in (*(whole[:size] for size in range(0, len(whole), 7)), whole + b"\0", whole[1:], b"\0" + whole, whole + whole):
        (tmp_path / "y").write_bytes(content)
        with pytest.raises(tg.FormatError, match=str(tmp_path / "y")):
            opened(tmp_path / "y")


def test_a_right_seal_over_nothing_and_text_that_is_none(tmp_path: Path) -> None:
    """What only one who knows how to seal can write."""
    seal = b"tgraph %03d %019d %010d " % (archive.VERSION, 10**6, 5)
    (tmp_path / "x").write_bytes(seal + hashlib.sha256(b"").hexdigest().encode())
    with pytest.raises(tg.FormatError, match=r"damaged: entry manifest\.json is missing"):
        opened(tmp_path / "x")
    write_archive(tmp_path / "x", {"a": b"\xff\xfe"}, {"note": 1})
    with pytest.raises(tg.FormatError, match="entry a is no text"):
        Archive(tmp_path / "x", FIELDS).text("a")


def test_another_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_archive(tmp_path / "x", {}, {"note": 1})
    monkeypatch.setattr(archive, "VERSION", archive.VERSION + 1)
    with pytest.raises(tg.FormatError, match=f"has format {archive.VERSION - 1}; this tgraph reads format {archive.VERSION}"):
        opened(tmp_path / "x")


@pytest.mark.parametrize(("places", "problem"), [
    ({"a": (0, 4)}, "something that it does not list"), ({"a": (64, 3)}, "something that it does not list"),
    ({"a": (64, -64), "b": (64, 4)}, "places a at 64, -64 bytes long"), ({"a": (64, 5)}, "places a at 64"),
    ({"a": (1, 4)}, "places a at 1"), ({"a": (64, 4), "b": (64, 4)}, "places b"), ({"a": (10**30, 4)}, "places a"),
    ({}, "something that it does not list"),
])
def test_places(tmp_path: Path, places: dict[str, tuple[int, int]], problem: str) -> None:
    """What a manifest could say of places."""
    write_archive(tmp_path / "x", {"a": b"1234"}, {"note": 1})
    found = Archive(tmp_path / "x", FIELDS)
    assert found.places == {"a": (64, 4)}
    found.places = places
    with pytest.raises(tg.FormatError, match=problem):
        found._check_places()


def test_an_interrupted_write_leaves_what_was_there(tmp_path: Path) -> None:
    write_archive(tmp_path / "x", {"a": b"1"}, {"note": 1})
    with pytest.raises(TypeError):
        write_archive(tmp_path / "x", {"a": b"2"}, {"not json": object()})
    assert Archive(tmp_path / "x", FIELDS).text("a") == "1" and [p.name for p in tmp_path.iterdir()] == ["x"]


SHAPE: Fields = {"text": str, "number": int, "truth": bool, "list": [{"inner": float}], "table": {str: [int]}}
SOUND = b'{"text": "a", "number": -1, "truth": true, "list": [{"inner": 0.5}], "table": {"x": [1], "": []}}'


@pytest.mark.parametrize(("old", "new", "problem"), [
    ('"a"', "1", "manifest.text is int, not str"), ("-1", "true", "number is bool, not int"), ("-1", "1.0", "number is float"),
    ("true", "1", "truth is int, not bool"), ("0.5", "1", r"list\[0\].inner is int, not float"), ("[1]", "[1, null]", r"x\[1\]"),
    ('{"inner": 0.5}', "[]", r"list\[0\] is list, not an object"), ("[1]", "{}", "table.x is dict, not a list"),
    ('"truth": true, ', "", "has the fields"), ('"x"', '""', "a name occurs twice"), ("{", "[" * 100000, "damaged"),
    ("-1", "-1" * 3000, "damaged"), ("0.5", "NaN, \"other\": 1", "has the fields"),
    (SOUND.decode(), "[]", "is list, not an object"),
])
def test_a_field_that_is_not_as_it_should_be_is_named(old: str, new: str, problem: str) -> None:
    assert read_manifest(SOUND, SHAPE, "x.tgc")["table"] == {"x": [1], "": []}
    with pytest.raises(tg.FormatError, match=r"^x\.tgc.*" + problem):
        read_manifest(SOUND.decode().replace(old, new, 1).encode(), SHAPE, "x.tgc")


@given(st.binary() | st.lists(st.tuples(st.integers(0, len(SOUND) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_any_bytes_are_a_manifest_of_the_shape_or_refused(change: bytes | list[tuple[int, int]]) -> None:
    content = bytearray(SOUND)
    if isinstance(change, bytes):
        content = bytearray(change)
    else:
        for place, value in change:
            content[place] = value
    try:
        found = read_manifest(bytes(content), SHAPE, "x")
    except tg.FormatError:
        return
    assert found.keys() == SHAPE.keys() and type(found["number"]) is int and all(type(e["inner"]) is float for e in found["list"])

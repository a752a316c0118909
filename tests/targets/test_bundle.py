"""A bundle is judged before its code is mapped: what is damaged, or does not fit together, never gets as far."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tgraph as tg
from targets.runtime import archive, attached, bundle, cache
from targets.runtime.archive import Archive, write_archive
from targets.runtime.attached import file_entries
from targets.runtime.bundle import FIELDS
from tests.targets.unmapped import Mapped
from tgraph import nn

B, S = tg.dims("B S")


class Model(nn.Module):
    """What a manifest can tell of: a looked up index, a large constant, a parameter's other name, a size that a run decides."""

    def __init__(self) -> None:
        self.embedding, self.linear = nn.Embedding(50, 24), nn.Linear(24, 50)
        self.table = np.linspace(0, 1, 40 * 24, dtype="f").reshape(40, 24)

    def __call__(self, ids: tg.Tensor, mask: tg.Tensor) -> dict[str, tg.Tensor]:
        x = self.embedding(ids) + self.table[:1]
        return {"logits": self.linear(x), "first": tg.zero_padding(x @ self.table.T, mask)}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    graph = tg.trace(Model(), ids=tg.i64[B, S], mask=tg.bool_[B, S])
    graph.weights.aliases["other.weight"] = "linear.weight"
    path = tmp_path_factory.mktemp("bundle") / "x.tgc"
    tg.compile(graph).save(path, originals=True, files={"notes.txt": b"what travels along"})
    return path


def test_a_sound_one_is_mapped(sound: Path, unmapped: None) -> None:
    with pytest.raises(Mapped):
        tg.load(sound)


def test_any_changed_byte_is_refused_before_code_is_mapped(sound: Path, tmp_path: Path, unmapped: None) -> None:
    """Every third byte of manifest, zip's directory and seal; headers between entries; entries here and there."""
    whole = sound.read_bytes()
    places = Archive(sound, FIELDS).places
    last = max(start + size for start, size in places.values())
    inside = {at for start, size in places.values() for at in range(start, start + size)}
    between = [at for at in range(last) if at not in inside]
    choose = random.Random(0)
    chosen = [*range(last, len(whole), 3), *choose.sample(between, 150), *choose.sample(sorted(inside), 100)]
    damaged = tmp_path / "damaged.tgc"
    for at in chosen:
        data = bytearray(whole)
        data[at] ^= 1 << choose.randrange(8)
        damaged.write_bytes(data)
        with pytest.raises(tg.FormatError, match=str(damaged)):
            tg.load(damaged)
    assert len(chosen) > 500


def rewritten(path: Path, into: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """A bundle whose manifest was changed by someone who knows how to seal it."""
    found = Archive(path, FIELDS)
    manifest = {name: value for name, value in found.manifest.items() if name not in archive.CONTAINER}
    change(manifest)
    write_archive(into, {name: found[name].tobytes() for name in found.places}, manifest)


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from leaves(value[key], (*path, key))
    yield path


def test_no_field_of_a_sealed_manifest_changes_the_meaning(sound: Path, tmp_path: Path, unmapped: None) -> None:
    """Each field in turn becomes something else, is missing, or is there twice. What may pass decides nothing."""
    manifest = {k: v for k, v in Archive(sound, FIELDS).manifest.items() if k not in archive.CONTAINER}
    changed = tmp_path / "changed.tgc"
    refused = 0
    for path in leaves(manifest):
        for other in (None, 7, -1, True, 0.5, "x", "", [], {}, ["x"], {"x": "y"}):
            def change(found: dict[str, Any], path: tuple[Any, ...] = path, other: Any = other) -> None:
                where = found
                for key in path[:-1]:
                    where = where[key]
                where[path[-1]] = other
            if not path:
                continue
            rewritten(sound, changed, change)
            before = json.loads(json.dumps(manifest))
            change(before)
            if before == manifest:
                continue
            harmless = path[0] in ("tgraph", "aliases") or "features" in path
            with pytest.raises((tg.FormatError, tg.TargetError, *([Mapped] if harmless else []))):
                tg.load(changed)
            refused += 1
    for name in manifest:
        rewritten(sound, changed, lambda found, name=name: found.pop(name))
        with pytest.raises(tg.FormatError, match="has the fields"):
            tg.load(changed)
    assert refused > 300


@pytest.mark.parametrize(("entry", "content", "problem"), [
    ("traced.tg", None, r"entry traced\.tg is missing"), ("prepared.bin", b"", r"prepared\.bin has 0 bytes, the weights"),
    ("0/library.so", None, r"entry library\.so is missing"), ("constants.safetensors", None, "lacks the constant sha256:"),
    ("constants.safetensors", b"{}", "no safetensors file"), ("traced.tg", b"graph g(%x: f32[2]) -> (y: f32[2]) {\n"
     b"  return (y: %x)\n}\n", r"traced\.tg is not what the manifest names"),
    ("0/kernels.tg", b"graph g(%x: f32[2]) -> (y: f32[2]) {\n  return (y: %x)\n}\n", "not those that the kernels read"),
])
def test_entries_that_do_not_fit_together(sound: Path, tmp_path: Path, unmapped: None, entry: str, content: bytes | None,
                                          problem: str) -> None:
    found = Archive(sound, FIELDS)
    entries = {name: found[name].tobytes() for name in found.places if name != entry}
    if content is not None:
        entries[entry] = content
    write_archive(tmp_path / "x.tgc", entries, {k: v for k, v in found.manifest.items() if k not in archive.CONTAINER})
    with pytest.raises(tg.FormatError, match=problem):
        tg.load(tmp_path / "x.tgc")


def test_entries_of_the_cache_are_no_bundles_and_the_other_way_round(sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                                     unmapped: None) -> None:
    with pytest.raises(tg.FormatError, match="has the fields"):
        cache.facts_of(sound)
    assert bundle.FIELDS.keys() != cache.FIELDS.keys()


def test_a_bundle_without_the_original_weights_finds_a_bad_index(tmp_path: Path) -> None:
    """The interpreter, which says where it stands, has the prepared weights alone."""
    tg.compile(tg.trace(Model(), ids=tg.i64[B, S], mask=tg.bool_[B, S])).save(tmp_path / "x.tgc")
    exe = tg.load(tmp_path / "x.tgc")
    with pytest.raises(tg.InputError, match=r"^embedding: index 77 at \[0, 1\] is outside of .* the table has 50 rows"):
        exe(np.array([[1, 77]]), np.ones((1, 2), bool))
    with pytest.raises(tg.CompileError, match=r"'embedding.weight' has no data.* saved with originals=True"):
        tg.check(exe)


def test_rebuilding_leaves_the_library_alone(sound: Path, tmp_path: Path) -> None:
    """Its bytes may be anything, and what another version called it by: the kernels are made of the graphs."""
    path, found = tmp_path / "y.tgc", Archive(sound, FIELDS)
    entries = {name: found[name].tobytes() for name in found.places} | {"0/library.so": b"no code at all"}
    manifest = {k: v for k, v in found.manifest.items() if k not in archive.CONTAINER}
    manifest["variants"][0]["signatures"] = []
    write_archive(path, entries, {**manifest, "tgraph": "0.0.1"})
    with pytest.raises(tg.FormatError, match=r"0\.0\.1.* rebuild=True"):
        tg.load(path)
    rebuilt, loaded = tg.load(path, rebuild=True), tg.load(sound)
    feeds = {"ids": np.arange(6, dtype="i8").reshape(2, 3), "mask": np.array([[True, True, False], [True, True, True]])}
    for name, array in loaded.run(feeds).items():
        np.testing.assert_array_equal(rebuilt.run(feeds)[name], array)
    assert "kernel" in rebuilt.source("tir")


# Files that travel along

def test_files_come_back_and_stay_when_it_is_saved_again(sound: Path, tmp_path: Path) -> None:
    exe = tg.load(sound)
    assert exe.files == {"notes.txt": b"what travels along"}
    exe.save(tmp_path / "again.tgc")
    assert tg.load(tmp_path / "again.tgc").files == exe.files
    exe.save(tmp_path / "other.tgc", files={"a.bin": bytes(range(256)), "_b-2.json": b""})
    assert tg.load(tmp_path / "other.tgc", rebuild=True).files == {"a.bin": bytes(range(256)), "_b-2.json": b""}
    program = tg.compile(tg.trace_program(Model(), __call__={"ids": tg.i64[B, S], "mask": tg.bool_[B, S]}))
    program.save(tmp_path / "program.tgc", files={"a": b"1"})
    assert tg.load(tmp_path / "program.tgc").files == {"a": b"1"}


@pytest.mark.parametrize("name", ["", "../a", "a/b", ".hidden", "a b", "x" * 101, "a\n", "é"])
def test_names_that_no_file_has(sound: Path, tmp_path: Path, unmapped: None, name: str) -> None:
    """Neither of one's own, nor in a bundle of someone who knows how to seal it."""
    with pytest.raises(tg.CompileError, match="is no name of a file"):
        file_entries({name: b"1"})
    found = Archive(sound, FIELDS)
    entries = {entry: found[entry].tobytes() for entry in found.places}
    write_archive(tmp_path / "x.tgc", {**entries, f"files/{name}": b"1"},
                  {k: v for k, v in found.manifest.items() if k not in archive.CONTAINER})
    with pytest.raises(tg.FormatError, match="is no name of a file"):
        tg.load(tmp_path / "x.tgc")


def test_files_are_small(sound: Path, tmp_path: Path, unmapped: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attached, "LIMIT", 100)
    with pytest.raises(tg.CompileError, match="they have 101 bytes, and 100 is the most"):
        file_entries({"a": bytes(50), "b": bytes(51)})
    monkeypatch.setattr(attached, "LIMIT", 10)
    with pytest.raises(tg.FormatError, match="they have 18 bytes, and 10 is the most"):
        tg.load(sound)

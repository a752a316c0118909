"""Bundles and entries of the compile cache. Digests cover every byte, so what is changed is sealed again, as one who means harm
would do it."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

import tgraph as tg
from targets.base.target import Target
from targets.runtime import archive, bundle, cache
from targets.runtime.archive import VERSION, Archive, write_archive
from targets.runtime.attached import FOLDER
from targets.runtime.cache import CacheEntry, CacheResult
from tests.hostile.mutate import mutate_bytes, mutate_json, mutate_words
from tests.hostile.parser import Parser
from tests.targets.unmapped import no_code_is_mapped
from tgraph.ir.errors import FormatError
from tgraph.ir.registry import OPS
from tgraph.ir.weights import Weights


@functools.cache
def _sound() -> tuple[bytes, bytes]:
    """A bundle, and an entry of the cache, of one small graph."""
    graph = tg.trace(lambda x, w=None: tg.relu(x @ np.arange(32, dtype="f").reshape(4, 8)), x=tg.f32[tg.dim("B"), 4], name="g")
    with tempfile.TemporaryDirectory() as folder:
        exe = tg.compile(graph, level="O0")
        path = Path(folder) / "x.tgc"
        exe.save(path, originals=True, files={"notes.txt": b"what travels along"})
        entry = CacheEntry(Path(folder) / "y.tgc", exe.target, {"graph": "x"}, CacheResult("miss", ""))
        entry.keep(exe._compiled)
        return path.read_bytes(), entry.path.read_bytes() if entry.path else b""


KINDS = (bundle.FIELDS, cache.FIELDS)


@functools.cache
def _parts(which: int) -> tuple[bytes, dict[str, Any]]:
    """What lies before the manifest of a bundle (0) or an entry of the cache (1), and the manifest."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.tgc"
        path.write_bytes(_sound()[which])
        found = Archive(path, KINDS[which])
        return _sound()[which][:found._end], found.manifest


def sealed(before: bytes, manifest: bytes) -> bytes:
    """A bundle with this text for a manifest, and the seal that it needs."""
    header = b"PK\x03\x04" + bytes(22) + struct.pack("<HH", len(archive.MANIFEST), 0) + archive.MANIFEST.encode()
    end = header + manifest + b"tgraph %03d %019d %010d " % (VERSION, len(before), len(manifest))
    return before + end + hashlib.sha256(end).hexdigest().encode()


def _manifests(which: int) -> Callable[[], list[bytes]]:
    return lambda: [json.dumps(_parts(which)[1]).encode()]


def _write_manifest(which: int) -> Callable[[Path, bytes], object]:
    return lambda path, data: path.write_bytes(sealed(_parts(which)[0], data))


@functools.cache
def _entries(which: int) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The content of each entry, and the manifest's own fields."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.tgc"
        path.write_bytes(_sound()[which])
        found = Archive(path, KINDS[which])
        own = {name: value for name, value in found.manifest.items() if name not in archive.CONTAINER}
        return {name: found[name].tobytes() for name in found.places}, own


def _some_entries(which: int) -> Callable[[], list[bytes]]:
    return lambda: [name.encode() + b"\n" + data for name, data in _entries(which)[0].items() if not name.endswith("library.so")]


def _write_entry(which: int) -> Callable[[Path, bytes], object]:
    """The input is the name of an entry, a line end, and its content; all digests are made for it."""

    def write(path: Path, data: bytes) -> None:
        entries, own = _entries(which)
        name, _, content = data.partition(b"\n")
        write_archive(path, {**entries, name.decode(errors="replace"): content}, own)

    return write


def _change_entry(data: bytes, random: Random) -> bytes:
    name, _, content = data.partition(b"\n")
    if name.endswith(b".tg"):
        return name + b"\n" + mutate_words(content, random, [*OPS, "%0", "%x", "B", "f32", "1", "0"])
    return name + b"\n" + mutate_bytes(content, random)


class _MappedError(FormatError):
    """Code would be mapped now: every check was passed."""


def _load(path: Path) -> object:
    """Bytes that are not what was written never get as far as the code."""
    try:
        return _load_sealed(path)
    except _MappedError:
        assert path.read_bytes() == _sound()[0], "code of a damaged bundle would be mapped"
        raise


def _load_sealed(path: Path) -> object:
    with no_code_is_mapped(_MappedError):
        return tg.load(path)


def _load_manifest(path: Path) -> object:
    """A sealed manifest that says something else gets there only where that decides nothing."""
    try:
        return _load_sealed(path)
    except _MappedError:
        found, sound = _deciding(Archive(path, bundle.FIELDS).manifest), _deciding(_parts(0)[1])
        assert found == sound, "code would be called in another way"
        raise


def _deciding(manifest: dict[str, Any]) -> dict[str, Any]:
    """What of a manifest decides which code runs, and how: no files that travel along, and no weights as they were given."""
    harmless = ("tgraph", "features", "aliases")
    needed = [name for name in _parts(0)[1]["entries"] if not name.startswith(FOLDER) and name != "weights.safetensors"]
    variants = [{name: value for name, value in variant.items() if name not in harmless} for variant in manifest["variants"]]
    entries = {name: manifest["entries"].get(name) for name in needed}
    return {**{name: value for name, value in manifest.items() if name not in harmless}, "variants": variants, "entries": entries}


def _load_entry(path: Path) -> object:
    """As a compilation does, which removes a damaged entry; and as `tgraph cache` and the search for the nearest entry do."""
    with contextlib.suppress(tg.TGraphError):
        cache.facts_of(path)
    with no_code_is_mapped(_MappedError):
        return CacheEntry(path, Target.parse("cpu"), {"graph": "x"}, CacheResult("miss", "")).load(Weights())


PARSERS = {
    "bundle": Parser("x.tgc", _load, lambda: [_sound()[0]], accepts=False),
    "bundle-manifest": Parser("x.tgc", _load_manifest, _manifests(0), mutate_json, _write_manifest(0),
                              accepts=False),
    "bundle-entries": Parser("x.tgc", _load_sealed, _some_entries(0), _change_entry, _write_entry(0), accepts=False),
    "cache": Parser("x.tgc", _load_entry, _manifests(1), mutate_json, _write_manifest(1), accepts=False),
    "cache-entries": Parser("x.tgc", _load_entry, _some_entries(1), _change_entry, _write_entry(1), accepts=False),
}

"""Small files and texts: schedules, indices of shards, pages of the explorer, arrays of NumPy, names of targets and passes."""

from __future__ import annotations

import base64
import gzip
import io
import json
from collections.abc import Sequence
from pathlib import Path
from random import Random

import numpy as np

import passes
from targets.base.schedules import load_schedules
from targets.base.target import Target
from tests.hostile.mutate import Mutator, mutate_bytes, mutate_json, mutate_words
from tests.hostile.parser import Parser
from tgraph.cli.run import _load
from tgraph.formats.html import read_page
from tgraph.formats.safetensors import save_safetensors
from tgraph.ir.file_formats import read_arrays
from tgraph.version import VERSION


def _schedules() -> list[bytes]:
    row = {"kernel": "linear", "schedule": {"rows": 6, "columns": 2, "depth": 384}, "tgraph": VERSION, "gain": 1.25}
    older = {**row, "tgraph": "0"}
    return [json.dumps({"kernels": kernels}).encode() for kernels in ({}, {"a" * 32: row}, {"a": row, "b": older})]


def _shards() -> list[bytes]:
    return [json.dumps({"metadata": {"total_size": 8}, "weight_map": files}).encode()
            for files in ({}, {"a": "m1.safetensors"}, {"a": "m1.safetensors", "b": "m2.safetensors"})]


def _weights(folder: Path) -> None:
    save_safetensors(folder / "m1.safetensors", {"a": np.arange(2, dtype="f")})
    save_safetensors(folder / "m2.safetensors", {"b": np.arange(4, dtype="i8")})
    (folder.parent / "outside.safetensors").write_bytes((folder / "m1.safetensors").read_bytes())


def _read_shards(path: Path) -> object:
    return {name: array.sum() for name, array in read_arrays(path).items()}


def _outside(data: bytes, random: Random) -> bytes:
    """Shards that lie elsewhere, among others."""
    if random.random() < 0.2:
        name = random.choice(("../outside.safetensors", "m1.safetensors/../../outside.safetensors", "/etc/passwd", "\0", ".",
                              "../../../etc/passwd", "x.safetensors.index.json"))
        return json.dumps({"weight_map": {"a": name}}).encode()
    return mutate_json(data, random)


def _page() -> list[bytes]:
    return [b"graphs", json.dumps({"graphs": [{"name": "g", "first": [], "stages": []}], "title": "t"}).encode()]


def _write_page(path: Path, data: bytes) -> None:
    """An input is the document; one that begins with a NUL is the base64 of what would be compressed."""
    packed = data[1:] if data[:1] == b"\0" else base64.b64encode(gzip.compress(data, mtime=0))
    path.write_bytes(b'<html><script type="application/gzip" id="data">' + packed + b"</script>")


def _change_page(data: bytes, random: Random) -> bytes:
    if random.random() < 0.5:
        return mutate_json(data, random)
    packed = data[1:] if data[:1] == b"\0" else base64.b64encode(gzip.compress(data, mtime=0))
    return b"\0" + mutate_bytes(packed, random)


def _npy() -> list[bytes]:
    found = []
    for array in (np.zeros(3), np.zeros((2, 3), "i8", order="F"), np.array(True), np.zeros((0, 2), "f2")):
        file = io.BytesIO()
        np.save(file, array)
        found.append(file.getvalue())
    file = io.BytesIO()
    np.savez(file, a=np.zeros(2))
    return [*found, file.getvalue(), b"\x80\x04]\x94."]


def _texts(*texts: str) -> list[bytes]:
    return [text.encode() for text in texts]


def _target(path: Path) -> object:
    return Target.parse(path.read_text(errors="replace"))


def _pipeline(path: Path) -> object:
    return [str(p) for p in passes.parse_pipeline(path.read_text(errors="replace"))]


def _words(words: Sequence[str]) -> Mutator:
    return lambda data, random: mutate_words(data, random, words)


PARSERS = {
    "schedules": Parser("znver4.json", load_schedules, _schedules, mutate_json),
    "shards": Parser("model.safetensors.index.json", _read_shards, _shards, _outside, prepare=_weights),
    "page": Parser("page.html", read_page, _page, _change_page, _write_page, accepts=False),
    "npy": Parser("x.npy", _load, _npy, accepts=False),
    "target": Parser("target.txt", _target, lambda: _texts("cpu", "numpy", "cuda:sm_90", "cpu:znver4,-avx512f", "cpu:-avx2"),
                     _words(("cpu", "cuda", "numpy", "sm_80", "+avx2", "znver3", ","))),
    "pipeline": Parser("passes.txt", _pipeline,
                       lambda: _texts("O3", "fuse-qkv,dce", 'remove-padding{output=hidden,mask="mask"}', "decompose,O2"),
                       _words(("{", "}", "=", ",", "-", "O0", "O3", "fuse-attention", "fold-constants", "mixed-precision"))),
}

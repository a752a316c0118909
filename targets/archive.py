"""The container of bundles and of the compile cache: an uncompressed zip whose entries start at multiples of 64 bytes, so that
they are mapped and not read, and whose manifest (manifest.json, the last entry) has the SHA-256 of all others.

Digests are of pieces of 16 MiB, which all cores check at once: of 400 MB of weights in a tenth of a second.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zipfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import numpy as np

from targets.memory import offsets
from targets.target import ALIGNMENT, default_threads
from tgraph.formats.registry import replacing
from tgraph.ir.errors import FormatError

VERSION = 2
MANIFEST = "manifest.json"
PIECE = 1 << 24  # bytes that one digest covers
LARGE = (1 << 31) - 1  # bytes above which an entry needs the 64-bit form of zip
_PADDING = 0xD935  # id of the extra field that fills up to the alignment

Content = bytes | list[np.ndarray]  # an entry: its bytes, or dense arrays one after the other, each at a multiple of 64 bytes


def write_archive(path: Path, entries: Mapping[str, Content], manifest: Mapping[str, Any]) -> None:
    """Write entries, and a manifest with their digests. The file appears when it is complete."""
    digests = {}
    with replacing(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, content in entries.items():
            digests[name] = _add(archive, file, name, content)
        text = json.dumps({"format": VERSION, **manifest, "entries": digests}, indent=1)
        _add(archive, file, MANIFEST, text.encode())


def _add(archive: zipfile.ZipFile, file: IO[bytes], name: str, content: Content) -> list[str]:
    """One entry, its data at a multiple of 64 bytes; the digests of its pieces."""
    info = zipfile.ZipInfo(name)
    info.external_attr = 0o644 << 16
    large = sum(map(len, _parts(content))) > LARGE
    header = file.tell() + 30 + len(name.encode()) + 20 * large + 4
    room = -header % ALIGNMENT
    info.extra = struct.pack("<HH", _PADDING, room) + b"\0" * room
    digests, digest, filled = [], hashlib.sha256(), 0
    with archive.open(info, "w", force_zip64=large) as entry:
        for part in _parts(content):
            while len(part):
                piece, part = part[:PIECE - filled], part[PIECE - filled:]
                entry.write(piece)
                digest.update(piece)
                filled += len(piece)
                if filled == PIECE:
                    digests.append(digest.hexdigest())
                    digest, filled = hashlib.sha256(), 0
    return [*digests, digest.hexdigest()] if filled or not digests else digests


def _parts(content: Content) -> Iterator[memoryview]:
    """The bytes of an entry."""
    if isinstance(content, bytes):
        yield memoryview(content)
        return
    end = 0
    for array, start in zip(content, offsets(content)[0]):
        yield memoryview(bytes(start - end))
        yield np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        end = start + array.nbytes


class Archive:
    """A file that `write_archive` wrote, mapped. Raises FormatError if it is none, is cut off, or is of another version."""

    def __init__(self, path: Path):
        self.path = path
        self.places = self._find()
        try:
            self.manifest: dict[str, Any] = json.loads(self[MANIFEST].tobytes())
            version, self._digests = self.manifest["format"], dict(self.manifest["entries"])
        except (KeyError, ValueError, TypeError):
            raise FormatError(f"{path} is no bundle of tgraph: it has no manifest") from None
        if version != VERSION:
            raise FormatError(f"{path} has format {version}; this tgraph reads format {VERSION}")

    def __contains__(self, name: str) -> bool:
        return name in self.places

    def __getitem__(self, name: str) -> np.ndarray:
        """The bytes of an entry, mapped copy-on-write: TVM shares writable memory only."""
        start, size = self.places[name]
        return np.memmap(self.path, np.uint8, "c", start, (size,)) if size else np.empty(0, np.uint8)

    def text(self, name: str) -> str:
        return self[name].tobytes().decode()

    def verify(self) -> None:
        """Compare all entries with their digests. Raises FormatError that names those which are not what was written."""
        jobs = []
        for name, digests in self._digests.items():
            data = self[name] if name in self else np.empty(0, np.uint8)
            pieces = [data[i:i + PIECE] for i in range(0, max(data.size, 1), PIECE)]
            if name not in self or len(pieces) != len(digests):
                raise FormatError(f"{self.path} is damaged: entry {name} is missing or not what was written")
            jobs += [(name, piece, digest) for piece, digest in zip(pieces, digests)]
        with ThreadPoolExecutor(default_threads()) as pool:  # hashing lets go of Python's lock
            found = pool.map(lambda job: hashlib.sha256(job[1].data).hexdigest(), jobs)
            damaged = dict.fromkeys(name for (name, _, digest), now in zip(jobs, found) if now != digest)
        if damaged:
            raise FormatError(f"{self.path} is damaged: entry {', '.join(damaged)} is missing or not what was written")

    def _find(self) -> dict[str, tuple[int, int]]:
        """Where each entry's data starts in the file, and its length."""
        places = {}
        try:
            with open(self.path, "rb") as file, zipfile.ZipFile(file) as archive:
                for info in archive.infolist():
                    file.seek(info.header_offset + 26)
                    name_length, extra_length = struct.unpack("<HH", file.read(4))
                    places[info.filename] = info.header_offset + 30 + name_length + extra_length, info.file_size
        except (zipfile.BadZipFile, struct.error) as error:
            raise FormatError(f"{self.path} is no bundle of tgraph: {error}") from None
        if any(start + size > self.path.stat().st_size for start, size in places.values()):
            raise FormatError(f"{self.path} is cut off")
        return places

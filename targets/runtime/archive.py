"""The container of bundles and of the compile cache: an uncompressed zip whose entries start at multiples of 64 bytes, so that
they are mapped and not read. Digests cover every byte of the file:

    entries         each after its header of zip; their digests are in the manifest
    manifest.json   the last entry: where the others lie, their digests, that of all between them, and what a bundle is about
    directory       zip's
    seal            the comment of the zip: where the manifest lies, and the digest of all from its header on

Reading begins at the seal, and takes nothing from zip's own records. Digests (SHA-256) are of pieces of 16 MiB, which all cores
check at once: of 400 MB of weights in a tenth of a second. They find damage; they do not say who wrote a file.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import re
import struct
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from targets.base.memory import offsets
from targets.base.parallel import in_parallel
from targets.base.target import ALIGNMENT
from targets.runtime.manifest import Fields, read_manifest
from tgraph.formats.disk import replacing
from tgraph.ir.errors import FormatError

VERSION = 5
MANIFEST = "manifest.json"
PIECE = 1 << 24  # bytes that one digest covers
LARGE = (1 << 31) - 1  # bytes above which an entry needs the 64-bit form of zip
CONTAINER: Fields = {"entries": {str: {"start": int, "size": int, "digests": [str]}}, "between": str}  # fields of the manifest
_PADDING = 0xD935  # id of the extra field that fills up to the alignment
_HEADER = struct.Struct("<26xHH")  # of an entry in a zip: the sizes of its name and of its extra field
_SEAL = re.compile(rb"tgraph (\d{3}) (\d{19}) (\d{10}) ([0-9a-f]{64})")  # format, header and size of the manifest, digest
_SEALED = 7 + 4 + 20 + 11 + 64

# an entry: its bytes, or dense arrays one after the other, each at a multiple of 64 bytes; an iterator makes one at a time
Content = bytes | list[np.ndarray] | Iterator[np.ndarray]


class ArchiveWriter:
    """A file into which entries go one after the other, and then a manifest with their digests."""

    def __init__(self, file: IO[bytes], archive: zipfile.ZipFile):
        self._file, self._archive, self._places = file, archive, dict[str, dict[str, Any]]()

    def add(self, name: str, content: Content) -> None:
        """Write an entry. An iterator is asked for the next array when the last one is written."""
        self._places[name] = _add(self._archive, self._file, name, content)

    def finish(self, manifest: Mapping[str, Any]) -> None:
        """Write the manifest, and the seal over it."""
        between, end, file = hashlib.sha256(), 0, self._file
        for place in self._places.values():
            between.update(_read(file, end, place["start"]))
            end = place["start"] + place["size"]
        file.seek(end)
        text = json.dumps({**manifest, "entries": self._places, "between": between.hexdigest()}, indent=1).encode()
        _add(self._archive, file, MANIFEST, text)
        self._archive.comment = b"tgraph %03d %019d %010d " % (VERSION, end, len(text)) + b"0" * 64
        self._archive.close()
        seal = file.seek(-64, os.SEEK_END)
        digest = hashlib.sha256(_read(file, end, seal)).hexdigest()
        file.seek(seal)
        file.write(digest.encode())


@contextmanager
def writing_archive(path: Path, needed: int | None = None) -> Iterator[ArchiveWriter]:
    """A context in which an archive is written, and finished. The file appears when it is over.

    needed: the bytes that it will have, if that is known. Raises DiskError.
    """
    with replacing(path, needed) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        yield ArchiveWriter(file, archive)


def write_archive(path: Path, entries: Mapping[str, bytes | list[np.ndarray]], manifest: Mapping[str, Any]) -> None:
    """Write entries, and a manifest with their digests. The file appears when it is complete. Raises DiskError."""
    with writing_archive(path, sum(map(size_of, entries.values()))) as archive:
        for name, content in entries.items():
            archive.add(name, content)
        archive.finish(manifest)


def _add(archive: zipfile.ZipFile, file: IO[bytes], name: str, content: Content) -> dict[str, Any]:
    """Write one entry, and return its place, a multiple of 64 bytes, and the digests of its pieces."""
    info = zipfile.ZipInfo(name)
    info.external_attr = 0o644 << 16
    large = not isinstance(content, (bytes, list)) or size_of(content) > LARGE
    header = file.tell() + 30 + len(name.encode()) + 20 * large + 4
    room = -header % ALIGNMENT
    info.extra = struct.pack("<HH", _PADDING, room) + b"\0" * room
    digests, digest, filled, size = [], hashlib.sha256(), 0, 0
    with archive.open(info, "w", force_zip64=large) as entry:
        for part in _parts(content):
            size += len(part)
            while len(part):
                taken = min(len(part), PIECE - filled)
                entry.write(part[:taken])
                digest.update(part[:taken])
                part, filled = part[taken:], filled + taken
                if filled == PIECE:
                    digests.append(digest.hexdigest())
                    digest, filled = hashlib.sha256(), 0
            del part  # while the next one is made, nothing holds this one's memory
    if filled or not digests:
        digests.append(digest.hexdigest())
    return {"start": header + room, "size": size, "digests": digests}


def size_of(content: bytes | list[np.ndarray]) -> int:
    """The number of bytes of an entry."""
    return len(content) if isinstance(content, bytes) else offsets(content)[1]


def _parts(content: Content) -> Iterator[memoryview]:
    """The bytes of an entry, array by array."""
    if isinstance(content, bytes):
        yield memoryview(content)
        return
    end = 0
    for array in content:
        yield memoryview(bytes(-end % ALIGNMENT))
        end += -end % ALIGNMENT + array.nbytes
        yield np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        del array


def _read(file: IO[bytes], start: int, stop: int) -> bytes:
    """Bytes of a file that is being written."""
    file.seek(start)
    return file.read(stop - start)


class Archive:
    """A file that `write_archive` wrote, mapped. `fields`: the fields of its manifest besides those of CONTAINER.

    Raises FormatError if it is none, is cut off, is of another version, or its manifest or anything after that is damaged.
    """

    def __init__(self, path: Path, fields: Fields):
        self.path = path
        if not path.stat().st_size:
            raise FormatError(f"{path} is no bundle of tgraph: it is empty")
        # copy-on-write: TVM shares writable memory only
        self._bytes = np.memmap(path, np.uint8, "c").view(np.ndarray)
        self._end, content = self._sealed()
        self.manifest = read_manifest(content, {**CONTAINER, **fields}, f"{path}: entry {MANIFEST}")
        self.places: dict[str, tuple[int, int]] = {
            name: (place["start"], place["size"]) for name, place in self.manifest["entries"].items()}
        self._check_places()

    def __contains__(self, name: str) -> bool:
        return name in self.places

    def __getitem__(self, name: str) -> np.ndarray:
        """The bytes of an entry. Raises FormatError if there is none of that name."""
        if name not in self.places:
            raise self._damaged(f"entry {name}")
        start, size = self.places[name]
        return self._bytes[start:start + size]

    def part(self, folder: str, fields: Mapping[str, Any]) -> Archive:
        """The same file as if it had only what is in one folder, by the names there, and what is in none; with more fields."""
        found = copy.copy(self)
        found.manifest = {**self.manifest, **fields}
        found.places = {name.removeprefix(f"{folder}/"): place for name, place in self.places.items()
                        if "/" not in name or name.startswith(f"{folder}/")}
        return found

    def text(self, name: str) -> str:
        """An entry that is text. Raises FormatError if there is none of that name, or it is no UTF-8."""
        try:
            return self[name].tobytes().decode()
        except UnicodeDecodeError as error:
            raise FormatError(f"{self.path}: entry {name} is no text: {error}") from None

    def verify(self) -> None:
        """Compare all entries with their digests. Raises FormatError that names those which are not what was written."""
        jobs, between, end = [], hashlib.sha256(), 0
        for name, place in self.manifest["entries"].items():
            data = self[name]
            between.update(self._bytes[end:place["start"]].data)
            end = place["start"] + place["size"]
            pieces = [data[i:i + PIECE] for i in range(0, max(data.size, 1), PIECE)]
            if len(pieces) != len(place["digests"]):
                raise self._damaged(f"entry {name}")
            jobs += [(name, piece, digest) for piece, digest in zip(pieces, place["digests"])]
        if between.hexdigest() != self.manifest["between"]:
            raise self._damaged("what lies between the entries")
        found = in_parallel(lambda job: hashlib.sha256(job[1].data).hexdigest(), jobs)
        damaged = dict.fromkeys(name for (name, _, digest), now in zip(jobs, found) if now != digest)
        if damaged:
            raise self._damaged(f"entry {', '.join(damaged)}")

    def _sealed(self) -> tuple[int, bytes]:
        """Where the entries before the manifest end, and the manifest, if the seal is right."""
        seal = _SEAL.fullmatch(self._bytes[-_SEALED:].tobytes())
        if seal is None:
            raise FormatError(f"{self.path} is no bundle of tgraph, or is cut off: it does not end with the seal of one")
        version, end, size = (int(number) for number in seal.groups()[:3])
        if version != VERSION:
            raise FormatError(f"{self.path} has format {version}; this tgraph reads format {VERSION}")
        sealed = self._bytes[min(end, self._bytes.size):-64]
        if hashlib.sha256(sealed.data).hexdigest().encode() != seal[4]:
            raise self._damaged(f"entry {MANIFEST}, or the directory after it,")
        if sealed.size < _HEADER.size:
            raise self._damaged(f"entry {MANIFEST}")
        name_size, extra_size = _HEADER.unpack_from(sealed.data)
        start = _HEADER.size + name_size + extra_size
        return end, sealed[start:start + size].tobytes()

    def _check_places(self) -> None:
        """Check that entries lie one after the other, each at a multiple of 64 bytes, before the manifest."""
        end = 0
        for name, (start, size) in self.places.items():
            if start < end or start % ALIGNMENT or size < 0 or start + size > self._end:
                raise FormatError(f"{self.path}: entry {MANIFEST} is damaged: it places {name} at {start}, {size} bytes long")
            end = start + size
        if end != self._end:
            raise FormatError(f"{self.path}: entry {MANIFEST} is damaged: there is something that it does not list")

    def _damaged(self, what: str) -> FormatError:
        return FormatError(f"{self.path} is damaged: {what} is missing or not what was written")

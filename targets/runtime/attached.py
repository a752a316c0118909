"""Small files that travel in a bundle beside the model: a tokenizer, labels, a licence."""

from __future__ import annotations

import re
from collections.abc import Mapping

from targets.runtime.archive import Archive
from tgraph.ir.errors import CompileError, FormatError

FOLDER = "files/"  # of the archive, in which they are
LIMIT = 1 << 26  # bytes of all files of a bundle
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")


def file_entries(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The entries of an archive that hold files. Raises CompileError for a name or size that a bundle does not take."""
    problem = _problem({name: len(content) for name, content in files.items()})
    if problem is not None:
        raise CompileError(f"a bundle cannot hold these files: {problem}")
    return {f"{FOLDER}{name}": bytes(content) for name, content in files.items()}


def read_files(archive: Archive) -> dict[str, bytes]:
    """The files in a bundle, by name. Raises FormatError for those that no `save` writes."""
    sizes = {name.removeprefix(FOLDER): size for name, (_, size) in archive.places.items() if name.startswith(FOLDER)}
    problem = _problem(sizes)
    if problem is not None:
        raise FormatError(f"{archive.path} is damaged, or of another tgraph: {problem}")
    return {name: archive[f"{FOLDER}{name}"].tobytes() for name in sizes}


def _problem(sizes: Mapping[str, int]) -> str | None:
    wrong = next((name for name in sizes if not _NAME.fullmatch(name)), None)
    if wrong is not None:
        return f"{wrong!r} is no name of a file; one has letters, digits, '.', '_' and '-', and no folder"
    total = sum(sizes.values())
    return f"they have {total:,} bytes, and {LIMIT:,} is the most" if total > LIMIT else None

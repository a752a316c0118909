"""Files of rows, Parquet, JSON lines and text, cut into parts of some thousand rows that are read one by one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from tgraph.batch.arrow import pa, pq
from tgraph.batch.columns import Errors, Fields, is_unicode, not_utf8, table_of
from tgraph.batch.model import Window
from tgraph.ir.errors import FormatError, InputError

KINDS = {".parquet": "parquet", ".jsonl": "jsonl", ".json": "jsonl", ".txt": "text"}
TEXT = "text"  # the column of a file of lines of text
BOM = b"\xef\xbb\xbf"
_SURROGATE = re.compile(rb"\\u[dD]")  # an escape of JSON that may be one


@dataclass(frozen=True)
class Part:
    """Rows of one file that are computed together. start, stop: in a Parquet file rows, in others bytes.

    first: the number of its first row in the output; at: that in its file.
    """

    number: int
    file: int
    first: int
    at: int
    rows: int
    start: int
    stop: int


@dataclass(frozen=True)
class Files:
    """Files of one kind with the columns of all, and their parts in order."""

    paths: tuple[str, ...]
    kind: str
    schema: Any
    parts: tuple[Part, ...]

    @property
    def rows(self) -> int:
        """The number of rows of all files."""
        return sum(part.rows for part in self.parts)

    def where(self, part: Part, row: int) -> str:
        """A row of a part in reports: its line, or its number from 0 on."""
        path, at = Path(self.paths[part.file]), part.at + row
        path = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
        return f"{path}, row {at}" if self.kind == "parquet" else f"{path}:{at + 1}"

    def windows(self, part: Part, window: int) -> Iterator[Window]:
        """The rows of a part in tables of `window` rows. Raises FormatError if the file is damaged."""
        path = Path(self.paths[part.file])
        if self.kind == "parquet":
            yield from _parquet_windows(path, self.schema, part, window)
            return
        with open(path, "rb") as file:
            file.seek(part.start)
            lines = file.read(part.stop - part.start).split(b"\n")[:part.rows]
        if len(lines) < part.rows:
            raise FormatError(f"{path} has changed: it is shorter than when its rows were counted")
        for at in range(0, part.rows, window):
            errors: Errors = {}
            some = lines[at:at + window]
            rows = [{TEXT: text} for text in decoded(some, errors)] if self.kind == "text" else parsed(some, errors)
            yield table_of(rows, self.schema, errors), errors


def find_files(sources: Iterable[str | Path]) -> tuple[list[Path], str]:
    """The files that paths of files and folders name, in order, and their kind. Raises InputError, FileNotFoundError."""
    found: list[Path] = []
    for source in map(Path, sources):
        if source.is_dir():
            inside = sorted(p for p in source.rglob("*") if p.suffix in KINDS and p.is_file()
                            and not any(part.startswith(".") for part in p.relative_to(source).parts))
            if not inside:
                raise InputError(f"{source} holds no files that end in {', '.join(KINDS)}")
            found += inside
        elif not source.exists():
            raise FileNotFoundError(f"there is no file {source}")
        elif source.suffix not in KINDS:
            raise InputError(f"{source} does not end in {', '.join(KINDS)}")
        else:
            found.append(source)
    kinds = {KINDS[path.suffix]: path for path in reversed(found)}
    if len(kinds) != 1:
        several = " and ".join(str(path) for path in kinds.values())
        raise InputError(f"{several} are of different kinds; a run takes one" if kinds else "there are no files")
    return [path.absolute() for path in found], next(iter(kinds))


def scan(paths: Sequence[Path], kind: str, rows: int, texts: Sequence[str]) -> Files:
    """The columns of files, and their parts of up to so many rows. texts: columns that are text in JSON lines.

    JSON lines and text are read once for it, in pieces. Raises FormatError, InputError if columns differ from file to file.
    """
    if kind == "parquet":
        schema, places = _scan_parquet(paths, rows)
    else:
        fields = Fields(texts if kind == "jsonl" else [TEXT])
        places = [place for number, path in enumerate(paths) for place in _scan_lines(path, number, rows, kind, fields)]
        fields.require_texts()
        schema = fields.schema
    parts, first = [], 0
    for number, (file, at, count, start, stop) in enumerate(places):
        parts.append(Part(number, file, first, at, count, start, stop))
        first += count
    return Files(tuple(map(str, paths)), kind, schema, tuple(parts))


Place = tuple[int, int, int, int, int]  # of a part: file, the row there, rows, start, stop


# Parquet

def _scan_parquet(paths: Sequence[Path], rows: int) -> tuple[Any, list[Place]]:
    schema, places = None, []
    for number, path in enumerate(paths):
        with opened(path) as file:
            if schema is None:
                schema = file.schema_arrow
            elif not file.schema_arrow.equals(schema):
                raise InputError(f"{path} has other columns ({_shown(file.schema_arrow)}) than {paths[0]} ({_shown(schema)})")
            at = 0
            for group in range(file.num_row_groups):
                end = at + file.metadata.row_group(group).num_rows
                for start in range(at, end, rows):
                    stop = min(start + rows, end)
                    places.append((number, start, stop - start, start, stop))
                at = end
    return schema, places


def _parquet_windows(path: Path, schema: Any, part: Part, window: int) -> Iterator[Window]:
    with opened(path) as file:
        if not file.schema_arrow.equals(schema):
            raise FormatError(f"{path} has changed: its columns are {_shown(file.schema_arrow)}")
        groups: list[int] = []
        at = first = 0
        for group in range(file.num_row_groups):
            end = at + file.metadata.row_group(group).num_rows
            if at < part.stop and end > part.start:
                first = at if not groups else first
                groups.append(group)
            at = end
        for batch in file.iter_batches(window, row_groups=groups):
            begin, end = max(part.start - first, 0), min(part.stop - first, batch.num_rows)
            if begin < end:
                yield pa.Table.from_batches([batch.slice(begin, end - begin)], schema), {}
            first += batch.num_rows


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """A Parquet file. Raises FormatError if it is none, or what is read of it is damaged."""
    try:
        with pq.ParquetFile(path) as file:
            yield file
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise FormatError(f"{path} is no Parquet file, or is damaged: {error}") from None
    except OSError as error:
        if isinstance(error, (FileNotFoundError, PermissionError)) or error.filename is not None:
            raise
        raise FormatError(f"{path} is no Parquet file, or is damaged: {error}") from None


def _shown(schema: Any) -> str:
    return ", ".join(f"{field.name}: {field.type}" for field in schema)


# Lines

def _scan_lines(path: Path, number: int, rows: int, kind: str, fields: Fields) -> Iterator[Place]:
    with open(path, "rb") as file:
        start = at = len(BOM) if file.read(len(BOM)) == BOM else 0
        file.seek(start)
        at = 0
        while lines := list(islice(file, rows)):
            if kind == "jsonl":
                fields.add(parsed([line.rstrip(b"\n") for line in lines], {}))
            size = sum(map(len, lines))
            yield number, at, len(lines), start, start + size
            at, start = at + len(lines), start + size


def decoded(lines: Sequence[bytes], errors: Errors) -> list[str | None]:
    """Lines of text, None for those that are no UTF-8."""
    found: list[str | None] = []
    for row, line in enumerate(lines):
        try:
            found.append(line.removesuffix(b"\r").decode())
        except UnicodeDecodeError as error:
            errors[row] = not_utf8(error)
            found.append(None)
    return found


def parsed(lines: Sequence[bytes], errors: Errors) -> list[dict[str, Any]]:
    """The objects of JSON lines; an empty one for a line that holds none."""
    found: list[dict[str, Any]] = []
    for row, line in enumerate(lines):
        value: Any = {}
        try:
            value = json.loads(line.decode())
            if not isinstance(value, dict):
                errors[row] = f"the line holds {type(value).__name__}, not an object"
            elif _SURROGATE.search(line) and not is_unicode(json.dumps(value, ensure_ascii=False)):
                value, errors[row] = {}, "the text is not UTF-8: it has half a character (a surrogate)"
        except UnicodeDecodeError as error:
            errors[row] = not_utf8(error)
        except RecursionError:
            errors[row] = "the line is no JSON: it is nested too deep"
        except ValueError as error:  # of json, and of int() for more than 4300 digits
            errors[row] = f"the line is no JSON: {error}" if line.strip() else "the line is empty"
        found.append(value if isinstance(value, dict) else {})
    return found


# Rows that do not come from files

def windows_of(rows: Iterable[Any], texts: Sequence[str], window: int) -> Iterator[Window]:
    """Windows of rows that come as tables, as dicts by column, or as text; they may never end. Raises InputError for others.

    The columns of dicts are those of the first window, and what does not fit them later makes a row a bad one.
    """
    items, schema = iter(rows), None
    while some := list(islice(items, 1)):
        first, errors = some[0], Errors()
        if isinstance(first, (pa.Table, pa.RecordBatch)):
            table = pa.Table.from_batches([first]) if isinstance(first, pa.RecordBatch) else first
            yield from ((table.slice(at, window), {}) for at in range(0, table.num_rows, window))
            continue
        some += islice(items, window - 1)
        dicts = [{(texts or [TEXT])[0]: item} if isinstance(item, str) else item for item in some]
        wrong = next((item for item in dicts if not isinstance(item, dict)), None)
        if wrong is not None:
            raise InputError(f"rows are dicts, texts, or tables of pyarrow, not {type(wrong).__name__} ({str(wrong)[:60]})")
        if schema is None:
            fields = Fields(texts)
            fields.add(dicts)
            fields.require_texts()
            schema = fields.schema
        yield table_of(dicts, schema, errors), errors

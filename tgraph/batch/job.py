"""A run over files that can be interrupted: finished parts are files in a folder, which the next run finds.

OUTPUT.parts/ holds `manifest.json` (what is computed of what: a run goes on only if that is the same), `lock` (which the process
that runs holds), and a Parquet file for each finished part, which appears when it is complete. When all are there they become
OUTPUT, and the folder goes.
"""

from __future__ import annotations

import base64
import fcntl
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tgraph.batch.arrow import pa, pq
from tgraph.batch.bundles import Bundle
from tgraph.batch.embedder import Embedder
from tgraph.batch.files import Files, Part, opened, scan
from tgraph.batch.mapper import Mapper
from tgraph.batch.model import RowModel
from tgraph.batch.report import Report
from tgraph.formats.disk import replacing
from tgraph.ir.errors import FormatError, InputError, TGraphError
from tgraph.ir.json_text import json_object
from tgraph.version import VERSION

MODELS: dict[str, type[RowModel]] = {"embed": Embedder, "map": Mapper}
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Work:
    """What a worker of Ray does to rows. kind: a name of MODELS; options: those of that model; threads: of the worker."""

    kind: str
    bundle: Bundle
    options: Mapping[str, Any]
    threads: int = 1

    def start(self) -> RowModel:
        """The model in this process."""
        import targets

        targets.set_num_threads(self.threads)
        return MODELS[self.kind](self.bundle.here(), **self.options)


@dataclass(frozen=True)
class Job:
    """A run over files. folder: where its parts are."""

    work: Work
    files: Files
    output: Path
    folder: Path

    def place(self, part: Part) -> Path:
        """The file of a part."""
        return self.folder / f"{part.number:06d}.parquet"

    def finished(self, part: Part) -> bool:
        """Whether the file of a part is there, and whole."""
        place = self.place(part)
        if not place.exists():
            return False
        try:
            with opened(place) as file:
                return bool(file.metadata.num_rows == part.rows)
        except FormatError:
            return False

    def compute(self, model: RowModel, part: Part) -> None:
        """Compute a part and write its file. Raises TGraphError, OSError; then there is no file."""
        with replacing(self.place(part)) as file, writer(file, model.schema(self.files.schema)) as out:
            for table in model.over(self.files.windows(part, model.window)):
                out.write_table(table)

    def join(self, schema: Any, error: str, report: Report) -> None:
        """Make OUTPUT of all parts, and count bad rows. error: the column that says what is wrong with them."""
        with replacing(self.output) as file, writer(file, schema) as out:
            for part in self.files.parts:
                with opened(self.place(part)) as found:
                    table = found.read()
                out.write_table(table)
                count_bad(table, error, report, lambda row, part=part: self.files.where(part, row))  # type: ignore[misc]
        shutil.rmtree(self.folder)


def parts_folder(output: Path) -> Path:
    """Where the parts of an output are until they are all there."""
    return output.with_name(f"{output.name}.parts")


def require_parquet(output: Path) -> None:
    """Raises InputError for an output that is not named as what it is."""
    if output.suffix != ".parquet":
        raise InputError(f"the output {output} is a Parquet file, so its name ends in .parquet")


@contextmanager
def job(work: Work, paths: Sequence[Path], kind: str, output: Path, part_rows: int, restart: bool) -> Iterator[Job]:
    """Context of a run: begins one, or goes on with the one whose parts are there.

    restart: drop those parts. Raises InputError if they are of something else, or another process is at it.
    """
    require_parquet(output)
    folder = parts_folder(output)
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        try:
            yield Job(work, _files_of(work, paths, kind, output, part_rows, restart), output, folder)
        except BaseException:
            if not any(folder.glob("*.parquet")):  # nothing to go on with
                shutil.rmtree(folder)
            raise


def _files_of(work: Work, paths: Sequence[Path], kind: str, output: Path, part_rows: int, restart: bool) -> Files:
    """The parts of a run, as the manifest of an earlier one lists them, or as the files have them now."""
    facts, manifest = _facts(work, paths, kind, part_rows), parts_folder(output) / MANIFEST
    if manifest.exists() and not restart:
        return _read(manifest, facts, output)
    for path in (manifest, *manifest.parent.glob("*.parquet")):
        path.unlink(missing_ok=True)
    files = scan(paths, kind, part_rows, [work.options["column"]] if work.kind == "embed" else [])
    _write(manifest, facts, files)
    return files


def _facts(work: Work, paths: Sequence[Path], kind: str, part_rows: int) -> dict[str, Any]:
    """What decides the content of the parts."""
    inputs = [{"path": str(p), "size": p.stat().st_size, "mtime": p.stat().st_mtime_ns} for p in paths]
    return {"tgraph": VERSION, "inputs": inputs, "kind": kind, "part_rows": part_rows, "bundle": work.bundle.digest,
            "work": work.kind, "options": json.loads(json.dumps(dict(work.options)))}


def _write(manifest: Path, facts: Mapping[str, Any], files: Files) -> None:
    schema = base64.b64encode(files.schema.serialize().to_pybytes()).decode()
    text = json.dumps({"facts": facts, "schema": schema, "parts": [list(asdict(part).values()) for part in files.parts]})
    with replacing(manifest) as file:
        file.write(text.encode())


def _read(manifest: Path, facts: Mapping[str, Any], output: Path) -> Files:
    advice = f"restart=True (--restart) drops what is in {manifest.parent} and begins anew"
    try:
        found = json_object(manifest)
        differing = [name for name, value in facts.items() if found["facts"].get(name) != value]
        schema = pa.ipc.read_schema(pa.BufferReader(base64.b64decode(found["schema"])))
        parts = tuple(Part(*values) for values in found["parts"])
    except (TGraphError, pa.ArrowException, LookupError, TypeError, ValueError, AttributeError) as error:
        raise FormatError(f"{manifest} is not what a run leaves ({error}); {advice}") from None
    if differing:
        changes = "; ".join(f"{name} was {_short(found['facts'].get(name))} and is {_short(facts[name])}" for name in differing)
        raise InputError(f"{manifest.parent} holds parts of {output} that were computed otherwise: {changes}. {advice}")
    return Files(tuple(place["path"] for place in facts["inputs"]), facts["kind"], schema, parts)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) < 120 else f"{text[:120]}..."


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Context in which no other process runs into the same folder; the system lets go of it when this one ends, however."""
    with open(folder / "lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"another process is writing {folder}; wait for it, or give another output") from None
        yield


@contextmanager
def writer(file: Any, schema: Any) -> Iterator[Any]:
    """A writer of Parquet: lists of floats, which do not repeat, without a dictionary."""
    plain = [field.name for field in schema if pa.types.is_nested(field.type)]
    with pq.ParquetWriter(file, schema, use_dictionary=[name for name in schema.names if name not in plain]) as out:
        yield out


def count_bad(table: Any, error: str, report: Report, where: Any) -> None:
    """Count the rows of a table into a report, and its bad ones. where: a row's number in the table to where it is from."""
    reasons = table.column(error)
    if reasons.null_count < table.num_rows:
        for row, reason in enumerate(reasons.to_pylist()):
            if reason is not None:
                report.add(report.rows + row, where(row), reason)
    report.rows += table.num_rows


def on_cluster(work: Work, stored: Any) -> Work:
    """The same work with the bundle in Ray's object store."""
    return replace(work, bundle=replace(work.bundle, stored=(stored,)))

"""`tgraph.batch.embed` and `tgraph.batch.map`: files, rows or a Ray dataset through a model."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from targets.runtime.executable import Executable
from tgraph.batch.arrow import pa
from tgraph.batch.bundles import Bundle
from tgraph.batch.files import KINDS, find_files, scan, windows_of
from tgraph.batch.job import MODELS, Work, count_bad, job, parts_folder, require_parquet, writer
from tgraph.batch.model import WINDOW
from tgraph.batch.report import Report
from tgraph.formats.disk import replacing
from tgraph.ir.errors import InputError

BundleOf = str | os.PathLike[str] | Executable
Progress = Callable[[int, int], object]


def embed(dataset: Any, bundle: BundleOf, *, column: str = "text", vector: str = "vector", error: str = "error",
          max_length: int | None = None, too_long: str = "cut", batch: int = 32, window: int = WINDOW,
          output: str | os.PathLike[str] | None = None, part_rows: int = 10_000, restart: bool = False, ray: str | None = None,
          workers: int | None = None, threads: int | None = None, progress: Progress | None = None) -> Any:
    """Vectors of a column of text: every row with `vector`, a list of fixed size, and `error`, which is null for good rows.

        batch.embed("docs.parquet", "minilm.tgc", output="vectors.parquet")

    dataset: a file or folder, or several, of Parquet, JSON lines or text (a row a line, column "text"); a pyarrow table; an
    iterable of tables, of dicts or of texts, which may be endless; or a Ray dataset. bundle: an encoder with its tokenizer, as
    `tgraph embed --save` writes one, or its executable.

    max_length: tokens after which a text is cut, or, with too_long="reject", a bad row. Every row comes out once, in its place; a
    bad row (null, no UTF-8, too long, of another type, a line that is no JSON) has no vector, and its reason in `error`.
    batch: sentences a call; window: rows within which those of like length are put together.

    output: the Parquet file to write; a Report comes back. Files are computed in parts of part_rows: a run that was killed goes
    on where it was, if it is started as before; restart=True begins anew. Without output, tables come back as they are computed;
    of a Ray dataset, another one, computed when it is used.

    ray: None for this process, "local" for actors on this machine, or a cluster's address; workers: actors, by default as many as
    there are cores for; threads: of each, by default 1 (without Ray, all cores). progress: called with the rows done, and all.

    Raises InputError before any row is computed, if the rows or parts of an earlier run do not fit; FormatError, and OSError.
    """
    options = {"column": column, "vector": vector, "error": error, "max_length": max_length, "too_long": too_long,
               "batch": batch, "window": window}
    return _run("embed", dataset, bundle, options, [column], output, part_rows, restart, ray, workers, threads, progress)


def map(dataset: Any, bundle: BundleOf, *, inputs: Mapping[str, str], outputs: Mapping[str, str], mask: str | None = None,
        error: str = "error", batch: int = 32, window: int = WINDOW, output: str | os.PathLike[str] | None = None,
        part_rows: int = 10_000, restart: bool = False, ray: str | None = None, workers: int | None = None,
        threads: int | None = None, progress: Progress | None = None) -> Any:
    """Columns through any model: every row with a column for each output, and `error`, which is null for good rows.

        batch.map("pixels.parquet", "model.tgc", inputs={"x": "pixels"}, outputs={"logits": "scores"}, output="scores.parquet")

    inputs: the column of each input of the graph, numbers or lists of them, nested as deep as the input has axes after the first.
    outputs: the new column of each output that is wanted. The first axis of all of them is one symbolic batch dim. Rows of the
    same shapes share a call. mask: the input bool [B, S] that says where there is something: rows of different lengths along S
    share calls, padded with zeros, and outputs are cut back.

    Everything else is as of `embed`. Raises InputError, before any row is computed, for a graph whose rows depend on each other.
    """
    options = {"inputs": dict(inputs), "outputs": dict(outputs), "mask": mask, "error": error, "batch": batch, "window": window}
    return _run("map", dataset, bundle, options, [], output, part_rows, restart, ray, workers, threads, progress)


def _run(kind: str, dataset: Any, bundle: BundleOf, options: dict[str, Any], texts: Sequence[str],
         output: str | os.PathLike[str] | None, part_rows: int, restart: bool, ray: str | None, workers: int | None,
         threads: int | None, progress: Progress | None) -> Any:
    for name, number in (("part_rows", part_rows), ("workers", workers), ("threads", threads)):
        if number is not None and number < 1:
            raise InputError(f"{name} is {number}; it is 1 or more")
    if _is_dataset(dataset):
        return _dataset(kind, dataset, bundle, options, output, workers, threads)
    paths = _paths(dataset)
    if workers is not None and ray is None:
        raise InputError('workers are actors of Ray: give ray="local", or the address of a cluster')
    if ray is not None and (paths is None or output is None):
        raise InputError("on Ray, files go to an output; give both, or a ray.data.Dataset")
    if threads is not None and ray is None:
        import targets

        targets.set_num_threads(threads)
    if paths is not None and output is not None:
        return _files(kind, paths, bundle, options, Path(output), part_rows, restart, ray, workers, threads, progress)
    model = MODELS[kind](bundle, **options)
    if paths is None:
        windows = windows_of([dataset] if isinstance(dataset, (pa.Table, pa.RecordBatch)) else dataset, texts, model.window)
    else:
        files = scan(*find_files(paths), part_rows, texts)
        model.schema(files.schema)
        windows = (found for part in files.parts for found in files.windows(part, model.window))
    tables = model.over(windows)
    return tables if output is None else _stream(tables, Path(output), options["error"])


def _is_dataset(dataset: Any) -> bool:
    return any(cls.__module__.startswith("ray.data") for cls in type(dataset).__mro__)


def _paths(dataset: Any) -> list[str | Path] | None:
    """The paths that a dataset is; None if it is rows."""
    if isinstance(dataset, (str, os.PathLike)):
        return [Path(dataset)]
    several = isinstance(dataset, (list, tuple)) and len(dataset) > 0 and all(
        isinstance(x, os.PathLike) or (isinstance(x, str) and Path(x).suffix in KINDS) for x in dataset)
    return [Path(x) for x in dataset] if several else None


def _dataset(kind: str, dataset: Any, bundle: BundleOf, options: dict[str, Any], output: object, workers: int | None,
             threads: int | None) -> Any:
    from tgraph.batch.ray_workers import map_dataset

    if output is not None or isinstance(bundle, Executable):
        raise InputError("a Ray dataset gives a dataset (write it with its own write_parquet), and takes the path of a bundle, "
                         "which its actors load")
    schema = dataset.schema()
    if schema is not None and isinstance(schema.base_schema, pa.Schema):
        MODELS[kind](bundle, **options).schema(schema.base_schema)
    return map_dataset(dataset, Work(kind, Bundle.of(bundle), options, threads or 1), workers)


def _files(kind: str, sources: Sequence[str | Path], bundle: BundleOf, options: dict[str, Any], output: Path, part_rows: int,
           restart: bool, ray: str | None, workers: int | None, threads: int | None, progress: Progress | None) -> Report:
    require_parquet(output)
    paths, file_kind = find_files(sources)
    model = MODELS[kind](bundle, **options)
    if isinstance(bundle, Executable):
        place = parts_folder(output) / "model.tgc"
        bundle.save(place)
        bundle = place
    work = Work(kind, Bundle.of(bundle), options, threads or 1)
    with job(work, paths, file_kind, output, part_rows, restart) as run:
        schema = model.schema(run.files.schema)
        left = [part for part in run.files.parts if not run.finished(part)]
        report = Report(output, parts=len(run.files.parts), kept=len(run.files.parts) - len(left))
        done = _counter(run.files.rows, run.files.rows - sum(part.rows for part in left), progress)
        if ray is None:
            for part in left:
                run.compute(model, part)
                done(part)
        elif left:
            from tgraph.batch.ray_workers import run_parts

            del model  # the actors have their own
            run_parts(run, left, ray, workers, done)
        run.join(schema, options["error"], report)
    return report


def _counter(total: int, count: int, progress: Progress | None) -> Callable[[Any], None]:
    def done(part: Any) -> None:
        nonlocal count
        count += part.rows
        if progress is not None:
            progress(count, total)

    if progress is not None:
        progress(count, total)
    return done


def _stream(tables: Iterator[Any], output: Path, error: str) -> Report:
    """Write tables as they come. Nothing of it stays if it is interrupted: rows that come once cannot be asked for again."""
    require_parquet(output)
    report, first = Report(output), next(tables, None)
    if first is None:
        raise InputError("there are no rows")
    with replacing(output) as file, writer(file, first.schema) as out:
        for table in chain([first], tables):
            if not table.schema.equals(first.schema):
                raise InputError(f"the columns changed on the way, or their types: {first.schema.names}, {table.schema.names}")
            out.write_table(table)
            count_bad(table, error, report, lambda row: f"row {report.rows + row}")
    return report

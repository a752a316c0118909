"""`tgraph embed`: sentences to vectors, a few on the command line or many in files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tgraph.cli.answers import answer, json_option, written
from tgraph.cli.options import Numbers, precision_options, set_threads, target_option, threads_option

if TYPE_CHECKING:
    from rich.console import Console

    from targets import Executable
    from tgraph.batch import Report

FILES = (".parquet", ".jsonl", ".json", ".txt")
SHOWN = 5  # bad rows that are printed


@click.command("embed")
@click.argument("texts", nargs=-1, metavar="[SENTENCES|FILES]...")
@click.option("-m", "--model", default="minilm", show_default=True, metavar="MODEL",
              help="minilm, a folder with an encoder, or a bundle that --save wrote.")
@click.option("-i", "--input", "source", type=click.Path(dir_okay=False, allow_dash=True), metavar="FILE",
              help="A file with a sentence a line (- for standard input).")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False),
              help="Write the vectors: of sentences FILE.npy, f32 [sentences, H]; of files FILE.parquet.")
@click.option("--save", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.tgc",
              help="Write the compiled model with its tokenizer: a bundle for --model, here and elsewhere.")
@click.option("--column", default="text", show_default=True, help="Of files: the column with the text.")
@click.option("--batch", default=32, show_default=True, type=click.IntRange(1),
              help="Sentences a call; those of like length go together.")
@click.option("--max-length", type=click.IntRange(1), metavar="N",
              help="Tokens after which a sentence is cut [default: 256, or what the bundle says].")
@click.option("--too-long", default="cut", show_default=True, type=click.Choice(("cut", "reject")),
              help="Of files: what becomes of longer texts; rejected ones are bad rows.")
@click.option("--part-rows", default=10_000, show_default=True, type=click.IntRange(1),
              help="Of files: rows that are computed and kept together; a run that was killed goes on after the last of them.")
@click.option("--restart", is_flag=True, help="Of files: drop what an earlier run left, instead of going on with it.")
@click.option("--ray", "address", metavar="ADDRESS", help="Of files: compute on a Ray cluster, or with `local` on actors here.")
@click.option("--workers", type=click.IntRange(1), metavar="N", help="Actors of Ray [default: as many as there are cores for].")
@precision_options
@target_option
@threads_option
@json_option({
    "sentences": ["string: a sentence"], "width": "integer: numbers of a vector",
    "vectors": [["number: a unit vector's element"]], "similarity": [["number: cosine of two sentences"]],
    "rows": "integer: of files: all rows", "bad": "integer: of files: rows without a vector",
    "bad_rows": [{"row": "integer: its place in the output", "where": "string: its file and line or row",
                  "reason": "string: what is wrong with it"}],
    "kept": "integer: parts of files that an earlier run had finished",
    "wrote": [{"file": "string: a file that was written, in place of vectors", "bytes": "integer: its size"}],
})
def command(texts: tuple[str, ...], model: str, source: str | None, output: Path | None, save: Path | None, column: str,
            batch: int, max_length: int | None, too_long: str, part_rows: int, restart: bool, address: str | None,
            workers: int | None, target: str, threads: int | None, numbers: Numbers, as_json: bool) -> None:
    """Unit vectors of SENTENCES, or of the rows of FILES: Parquet, JSON lines (.jsonl, .json), text (.txt), folders of these.

    MODEL is an encoder, whose tokens' states are averaged. Of sentences, prints how similar they are, or writes their vectors. Of
    files, writes all columns, the vectors, and what is wrong with bad rows; the same command again goes on where it was killed.

    \b
    Examples:
      $ tgraph embed "a cat sat on the mat" "the feline rested" "stocks fell"
      $ tgraph embed docs.parquet -o vectors.parquet
      $ tgraph embed docs.jsonl --column body -o vectors.parquet --ray local --workers 8
      $ tgraph embed --model ./all-mpnet-base-v2 --save mpnet.tgc
      $ tgraph embed --model mpnet.tgc -i sentences.txt -o vectors.npy
    """
    files = [text for text in texts if text.endswith(FILES) or Path(text).is_dir()]
    _check_usage(texts, files, source, output, save, address, workers)
    set_threads(threads if not (files and address) else None)
    exe = _executable(model, target, numbers, max_length)
    if save is not None:
        exe.save(save)
    if files:
        assert output is not None
        _embed_files(exe, files, output, as_json, save, column=column, batch=batch, max_length=max_length, too_long=too_long,
                     part_rows=part_rows, restart=restart, ray=address, workers=workers, threads=threads if address else None)
    else:
        _embed_sentences(exe, model, _lines(texts, source), output, save, batch, max_length, as_json)


def _check_usage(texts: Sequence[str], files: Sequence[str], source: str | None, output: Path | None, save: Path | None,
                 address: str | None, workers: int | None) -> None:
    if files and (len(files) < len(texts) or source is not None):
        raise click.UsageError(f"{files[0]} is a file, and there are sentences besides; give one or the other")
    if files and (output is None or output.suffix != ".parquet"):
        raise click.UsageError("the vectors of files go to a Parquet file: -o FILE.parquet")
    if not files and (address is not None or workers is not None):
        raise click.UsageError("--ray and --workers are for files")
    if workers is not None and address is None:
        raise click.UsageError("--workers are actors of Ray: give --ray local, or the address of a cluster")
    if save is not None and save.suffix != ".tgc":
        raise click.UsageError(f"--save {save}: the name of a bundle ends in .tgc")
    if not texts and source is None and save is None:
        raise click.UsageError("give sentences, files, or a file of sentences with --input")


def _executable(model: str, target: str, numbers: Numbers, max_length: int | None) -> Executable:
    """The compiled encoder, with its tokenizer among its files."""
    import tgraph as tg
    from tgraph.cli.models import is_bundle, load_executable, only_executable
    from tgraph.cli.progress import compiling
    from tgraph.models.sentence import load_sentence_model, sentence_graph, tokenizer_files

    if is_bundle(model):
        return only_executable(load_executable(model, target=target)[0], model)
    encoder, tokenizer, pad = load_sentence_model(model)
    with compiling(f"compiling {model}") as steps:
        graph = sentence_graph(encoder, tokenizer)
        exe: Any = tg.compile(graph, target, progress=steps, **numbers)
    exe.files = tokenizer_files(tokenizer, max_length or 256, pad)
    return only_executable(exe, model)


def _lines(texts: Sequence[str], source: str | None) -> list[str]:
    lines = list(texts)
    if source is not None:
        with click.open_file(source, encoding="utf-8") as file:
            lines += [line.rstrip("\n") for line in file]
    return lines


def _embed_sentences(exe: Executable, model: str, lines: Sequence[str], output: Path | None, save: Path | None, batch: int,
                     max_length: int | None, as_json: bool) -> None:
    import numpy as np

    from tgraph.cli.console import table
    from tgraph.formats.disk import replacing
    from tgraph.models.sentence import embed, tokenizer_from

    tokenizer, longest, pad = tokenizer_from(exe.files, model)
    vectors = embed(exe, tokenizer, lines, batch=batch, max_length=max_length or longest, pad_token_id=pad)
    if output is not None and lines:
        with replacing(output) as file:
            np.save(file, vectors)
    files = [path for path in (output if lines else None, save) if path is not None]

    def show(out: Console) -> None:
        if save is not None:
            out.print(f"wrote {save}", markup=False, soft_wrap=True)
        if output is not None and lines:
            out.print(f"{len(lines)} vectors of {vectors.shape[1]} numbers in {output}")
        elif len(lines) == 1:
            out.print(" ".join(f"{x:.4f}" for x in vectors[0]))
        elif lines:
            rows = [(f"{i + 1} {line}", *(f"{x:.3f}" for x in row))
                    for i, (line, row) in enumerate(zip(lines, vectors @ vectors.T))]
            out.print(table("cosine similarity", ("sentence", *(f">{i + 1}" for i in range(len(lines)))), rows))

    shown = output is None and len(lines) > 0
    answer({"sentences": lines, "width": vectors.shape[1], "vectors": vectors if shown else [],
            "similarity": vectors @ vectors.T if shown else [], "rows": 0, "bad": 0, "bad_rows": [], "kept": 0,
            "wrote": written(*files)}, as_json, show)


def _embed_files(exe: Executable, files: Sequence[str], output: Path, as_json: bool, save: Path | None, **options: Any) -> None:
    from tgraph import batch

    with _going_on(output), _progress(f"{output}") as progress:
        report: Report = batch.embed([Path(file) for file in files], exe, output=output, progress=progress, **options)

    def show(out: Console) -> None:
        if save is not None:
            out.print(f"wrote {save}", markup=False, soft_wrap=True)
        kept = f", {report.kept} of {report.parts} parts from an earlier run" if report.kept else ""
        out.print(f"{report}{kept}", markup=False, soft_wrap=True)
        for row in report.bad_rows[:SHOWN]:
            out.print(f"  {row}", markup=False, soft_wrap=True)
        if report.bad > SHOWN:
            out.print(f"  and {report.bad - SHOWN} more: the column error of {output} has them all", markup=False, soft_wrap=True)

    width = exe.graph.outputs[0][1].type.shape[1]
    answer({"sentences": [], "width": width, "vectors": [], "similarity": [], "rows": report.rows, "bad": report.bad,
            "bad_rows": report.bad_rows, "kept": report.kept, "wrote": written(*(p for p in (output, save) if p is not None))},
           as_json, show)


@contextmanager
def _going_on(output: Path) -> Iterator[None]:
    """Context of a run over files: if it is ended from outside, says how to go on."""
    try:
        yield
    except Exception:
        raise
    except BaseException:
        from tgraph.batch.job import parts_folder

        done = len(list(parts_folder(output).glob("*.parquet")))
        if done:
            click.echo(f"{done} parts are finished; the same command goes on with them", err=True)
        raise


@contextmanager
def _progress(title: str) -> Iterator[Any]:
    """A display of rows done and to do on standard error: a bar on a terminal, lines elsewhere."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    from tgraph.cli.console import console
    from tgraph.cli.progress import lines

    out = console(stderr=True)
    if not out.is_terminal:
        say = lines()
        yield lambda done, total: say(f"{done:,} of {total:,} rows")
        return
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()
    with Progress(*columns, console=out, transient=True) as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)

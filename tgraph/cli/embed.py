"""`tgraph embed`: sentences to vectors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tgraph.cli.answers import answer, json_option, written
from tgraph.cli.options import Numbers, precision_options, set_threads, target_option, threads_option

if TYPE_CHECKING:
    from rich.console import Console


@click.command("embed")
@click.argument("model")
@click.argument("sentences", nargs=-1)
@click.option("-i", "--input", "source", type=click.Path(dir_okay=False, allow_dash=True), metavar="FILE",
              help="A file with a sentence a line (- for standard input).")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False),
              help="Write the vectors: FILE.npy, f32 [sentences, H].")
@click.option("--batch", default=32, show_default=True, type=click.IntRange(1),
              help="Sentences a call; those of like length go together.")
@click.option("--max-length", default=256, show_default=True, type=click.IntRange(1),
              help="Tokens after which a sentence is cut.")
@precision_options
@target_option
@threads_option
@json_option({
    "sentences": ["string: a sentence"], "width": "integer: numbers of a vector",
    "vectors": [["number: a unit vector's element"]], "similarity": [["number: cosine of two sentences"]],
    "wrote": [{"file": "string: a file that was written, in place of vectors", "bytes": "integer: its size"}],
})
def command(model: str, sentences: tuple[str, ...], source: str | None, output: Path | None, batch: int,
            max_length: int, target: str, threads: int | None, numbers: Numbers, as_json: bool) -> None:
    """Unit vectors of SENTENCES by MODEL: minilm, or a folder with an encoder, whose tokens' states are averaged.

    Prints how similar the sentences are, or writes their vectors.

    \b
    Examples:
      $ tgraph embed minilm "a cat sat on the mat" "the feline rested" "stocks fell"
      $ tgraph embed ./all-mpnet-base-v2 -i sentences.txt -o vectors.npy
    """
    import numpy as np

    import tgraph as tg
    from tgraph.cli.console import table
    from tgraph.cli.progress import compiling
    from tgraph.formats.disk import replacing
    from tgraph.models.sentence import embed, load_sentence_model

    set_threads(threads)
    lines = list(sentences)
    if source is not None:
        with click.open_file(source, encoding="utf-8") as file:
            lines += [line.rstrip("\n") for line in file]
    if not lines:
        raise click.UsageError("give sentences, or a file of them with --input")
    encoder, tokenizer, pad = load_sentence_model(model)
    batch_dim, length = tg.dim("B"), tg.dim("S", max=512)
    specs = {"input_ids": tg.i64[batch_dim, length].range(0, tokenizer.get_vocab_size()), "mask": tg.bool_[batch_dim, length]}
    with compiling(f"compiling {model}") as steps:
        exe = tg.compile(tg.trace(encoder, **specs), target, progress=steps, **numbers)
    vectors = embed(exe, tokenizer, lines, batch=batch, max_length=max_length, pad_token_id=pad)
    if output is not None:
        with replacing(output) as file:
            np.save(file, vectors)

    def show(out: Console) -> None:
        if output is not None:
            out.print(f"{len(lines)} vectors of {vectors.shape[1]} numbers in {output}")
        elif len(lines) == 1:
            out.print(" ".join(f"{x:.4f}" for x in vectors[0]))
        else:
            rows = [(f"{i + 1} {line}", *(f"{x:.3f}" for x in row))
                    for i, (line, row) in enumerate(zip(lines, vectors @ vectors.T))]
            out.print(table("cosine similarity", ("sentence", *(f">{i + 1}" for i in range(len(lines)))), rows))

    answer({"sentences": lines, "width": vectors.shape[1], "vectors": vectors if output is None else [],
            "similarity": vectors @ vectors.T if output is None else [], "wrote": [] if output is None else written(output)},
           as_json, show)

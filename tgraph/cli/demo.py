"""`tgraph demo`: the real all-MiniLM-L6-v2 from Python to sentences compared, with every step shown."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tgraph.cli.answers import answer, json_option
from tgraph.cli.exit_status import DIFFERS
from tgraph.cli.options import set_threads, target_option, threads_option

if TYPE_CHECKING:
    from targets import Executable

SENTENCES = (  # neighbours mean the same, others have nothing in common
    "A man is eating a piece of bread.", "A man eats some bread.",
    "A woman is playing the violin on stage.", "On the stage a woman performs on her violin.",
    "The stock market fell sharply on Monday.", "Stock prices fell steeply on Monday.",
    "Two children are building a sand castle on the beach.", "Kids make a castle out of sand by the sea.",
    "The compiler fuses three matrix products into one.", "Three matrix multiplications are merged by the compiler.",
)
POINTS = ((1, 16), (1, 128), (8, 32), (8, 128))  # batch, length
SAME, DIFFERENT = 0.7, 0.2  # cosine similarity of paraphrases at least, of unrelated sentences at most


@click.command("demo")
@click.option("--save", metavar="FILE.tgc", type=click.Path(path_type=Path), help="Keep the compiled model as a bundle.")
@click.option("--svg", metavar="FILE.svg", type=click.Path(path_type=Path), help="Draw the optimised graph.")
@target_option
@threads_option
@json_option({
    "ok": "boolean: whether all agrees", "target": "string: what was compiled for", "nodes": "integer: of the graph",
    "kernels": "integer: different ones", "compile_seconds": {"<phase>": "number: the time of a phase of the compilation"},
    "similarity": [["number: cosine of two of the sentences"]], "sentences": ["string: a sentence"],
    "latency": [{"sizes": {"<dim>": "integer: its size"}, "seconds": "number: median of a call"}],
})
def command(save: Path | None, svg: Path | None, target: str, threads: int | None, as_json: bool) -> None:
    """Trace, optimise, compile, check and run the sentence model all-MiniLM-L6-v2, with its real weights.

    Exit status 1 if the compiled model disagrees with the NumPy reference, or with what the sentences mean.

    \b
    Examples:
      $ tgraph demo
      $ tgraph demo --threads 2 --save minilm.tgc --svg minilm.svg
    """
    import statistics

    import tgraph as tg
    from tgraph.cli import demo_report as report
    from tgraph.cli.console import console, show_bytes
    from tgraph.cli.models import minilm
    from tgraph.cli.progress import compiling
    from tgraph.models.sentence import encode_batch, load_minilm

    out = console(stderr=as_json)
    set_threads(threads)
    model, tokenizer = load_minilm()
    graph = minilm(model)
    out.print(report.graph_summary(graph), "")
    with compiling(f"compiling {graph.name} for {target}") as steps:
        exe = tg.compile(graph, target, progress=steps)
    out.print(report.passes(exe.records), "")
    if exe.kernels.functions:
        out.print(report.kernels(exe), "")
    out.print(f"compiled for [bold]{exe.target}[/bold] in {steps}", soft_wrap=True)
    if exe.cache is not None:
        out.print(f"compile cache: {exe.cache}\n", markup=False, soft_wrap=True)
    ids, mask = encode_batch(tokenizer, SENTENCES)
    ok = _check(exe, {"input_ids": ids, "mask": mask}, out)
    vectors = exe(ids, mask)
    rows: list[tuple[report.Point, list[float]]] = []
    similarity = vectors @ vectors.T
    out.print(report.similarity(SENTENCES, similarity), "")
    ok &= _meaning(similarity, out)
    if exe.target.kind != "numpy":  # which is there to be right
        with out.status("measuring"):
            rows = report.measure(exe, POINTS)
        out.print(report.latency(rows, threads), "")
    for path, write in ((save, exe.save), (svg, exe.optimized.dump)):
        if path is not None:
            write(path)
            out.print(f"wrote {path}: {show_bytes(path.stat().st_size)}", markup=False)
    if as_json:
        answer({"ok": ok, "target": str(exe.target), "nodes": len(graph), "kernels": len(exe.kernels.functions),
                "compile_seconds": steps.seconds, "similarity": similarity, "sentences": SENTENCES,
                "latency": [{"sizes": dict(zip("BS", point)), "seconds": statistics.median(times)} for point, times in rows]},
               True)
    if not ok:
        raise SystemExit(DIFFERS)


def _check(exe: Executable, feeds: dict[str, Any], out: Any) -> bool:
    """The sentences, and generated inputs of other sizes, against NumPy in float64."""
    import tgraph as tg

    with out.status("checking against NumPy"):
        reports = [tg.check(exe, feeds), tg.check(exe)]
    ok = all(report.ok for report in reports)
    for report in reports:
        out.print(str(report), style="green" if report.ok else "bold red", markup=False)
    out.print()
    return ok


def _meaning(similarity: Any, out: Any) -> bool:
    """Whether paraphrases lie close together and the others apart."""
    count = len(similarity)
    pairs = [float(similarity[i, i + 1]) for i in range(0, count, 2)]
    others = [float(similarity[i, j]) for i in range(count) for j in range(i) if i // 2 != j // 2]
    ok = min(pairs) > SAME and max(others) < DIFFERENT
    out.print(f"paraphrases: {min(pairs):.2f} at least (above {SAME}: {'yes' if min(pairs) > SAME else 'NO'}); "
              f"unrelated: {max(others):.2f} at most (below {DIFFERENT}: {'yes' if max(others) < DIFFERENT else 'NO'})\n",
              style="green" if ok else "bold red")
    return ok

"""`python -m benchmarks.onnx_zoo`: export small models of transformers in every way, import them, and say what became of each.

Needs PyTorch's build for CPUs, and of PyPI transformers, onnxscript and onnx_ir (pip install --no-deps, for two of them ask
for PyTorch). Files that are there already are not exported again, and examining them needs no PyTorch.
"""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from fnmatch import fnmatch
from pathlib import Path

import click

from benchmarks.onnx_zoo.importing import Outcome, examine
from tgraph.cli.console import console, table

KINDS = {"attentions": ("attention",), "norms": ("layer norm", "RMS norm"), "GELUs": ("GELU",)}
Counts = tuple["int | None", "int | None", "int | None"]
UNKNOWN: Counts = (None, None, None)


@click.command()
@click.option("--folder", metavar="FOLDER", type=click.Path(path_type=Path, file_okay=False), required=True,
              help="Where the models are, or go: about 750 files of 0.3 MB.")
@click.option("--only", metavar="NAME,...", default="*", help='Models by name, with * for any text: "bert-legacy*,llama*-sdpa".')
@click.option("--target", default="numpy", help="What to compile for [default: numpy; cpu takes some seconds a model].")
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Models examined at a time.")
@click.option("--no-export", is_flag=True, help="Examine the files that are there.")
@click.option("--results", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False),
              help="Add a line of JSON for each model; those that FILE has are not examined again.")
@click.option("--explain", is_flag=True, help="Show for what stayed apart the nearest miss, and why.")
def main(folder: Path, only: str, target: str, jobs: int, no_export: bool, results: Path | None, explain: bool) -> None:
    """Export models with random weights by torch.onnx's two exporters, import them, and compare with PyTorch."""
    patterns = only.split(",")
    folder.mkdir(parents=True, exist_ok=True)
    refused = {} if no_export else dict(_exported(folder, patterns))
    wanted = _expectations()
    known = _read(results)
    paths = [p for p in sorted(folder.glob("*.onnx")) if any(fnmatch(p.stem, pattern) for pattern in patterns)]
    found = {p.stem: known[p.stem] for p in paths if p.stem in known}
    for outcome in _examined([p for p in paths if p.stem not in known], target, jobs):
        found[outcome.name] = outcome
        console().print(_line(outcome), highlight=False, soft_wrap=True)
        if results is not None:
            with results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(dataclasses.asdict(outcome)) + "\n")
    outcomes = [found[p.stem] for p in paths]
    rows = [_row(outcome, wanted.get(outcome.name, UNKNOWN)) for outcome in outcomes]
    console().print(table(f"{sum(o.ok for o in outcomes)} of {len(outcomes)} agree with PyTorch, on {target}",
                          ("model", "nodes", "difference", *KINDS, "masks", "sizes computed"), rows))
    console().print(_total(outcomes, wanted), highlight=False, soft_wrap=True)
    for name, reason in refused.items():
        console().print(f"{name}: not exported: {reason}", highlight=False, soft_wrap=True)
    if explain:
        for outcome in outcomes:
            for line in outcome.misses:
                console().print(f"{outcome.name}: {line}", highlight=False, soft_wrap=True)


def _examined(paths: Sequence[Path], target: str, jobs: int) -> Iterator[Outcome]:
    if jobs == 1:
        yield from (examine(path, target) for path in paths)
        return
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        for done in as_completed([pool.submit(examine, path, target) for path in paths]):
            yield done.result()


def _read(results: Path | None) -> dict[str, Outcome]:
    if results is None or not results.exists():
        return {}
    rows = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
    return {row["name"]: Outcome(**row) for row in rows}


def _exported(folder: Path, patterns: list[str]) -> Iterator[tuple[str, str]]:
    """Export what is not there; the cases that an exporter refuses, with its reason."""
    from benchmarks.onnx_zoo.exporting import cases, export

    for case in cases():
        if any(fnmatch(case.name, pattern) for pattern in patterns) and not (folder / f"{case.name}.onnx").exists():
            reason = export(case, folder)
            console().print(f"{case.name}: {reason or 'exported'}", highlight=False, soft_wrap=True)
            if reason:
                yield case.name, reason


def _expectations() -> dict[str, Counts]:
    """How many attentions, norms and GELUs each model has by its configuration; nothing where transformers is not there."""
    try:
        from benchmarks.onnx_zoo.exporting import cases
    except ImportError:
        return {}
    return {case.name: (case.entry.attentions, case.entry.norms, case.entry.gelus) for case in cases()}


def _line(outcome: Outcome) -> str:
    return f"{outcome.name}: {'ok' if outcome.ok else outcome.error or f'differs by {outcome.difference:.1e}'}"


def _row(outcome: Outcome, wanted: Counts) -> tuple[str, ...]:
    counts = [f"{outcome.fused(*kinds)} of {'?' if n is None else n}" for kinds, n in zip(KINDS.values(), wanted)]
    masks = ", ".join(f"{n} {kind}" for kind, n in sorted(outcome.masks.items()))
    found = f"{outcome.difference:.1e}" if not outcome.error else "error"
    return (outcome.name, f"{outcome.nodes[0]} to {outcome.nodes[1]}", found, *counts, masks, str(outcome.sizes))


def _total(outcomes: Sequence[Outcome], wanted: dict[str, Counts]) -> str:
    """What fused of all that the models' configurations say."""
    parts = []
    for place, (name, kinds) in enumerate(KINDS.items()):
        there = [(o.fused(*kinds), wanted.get(o.name, UNKNOWN)[place]) for o in outcomes]
        counted = [(n, m) for n, m in there if m is not None]
        parts.append(f"{name} {sum(n for n, _ in counted)} of {sum(m for _, m in counted)}")
    return f"fused of all: {', '.join(parts)}"


if __name__ == "__main__":
    main()

"""`python -m benchmarks.onnx_zoo`: export small models of transformers in every way, import them, and say what became of each.

Needs PyTorch's build for CPUs, and of PyPI transformers, onnxscript and onnx_ir (pip install --no-deps, for two of them ask
for PyTorch). Files that are there already are not exported again, and examining them needs no PyTorch.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import click

from benchmarks.onnx_zoo.importing import Outcome, examine
from tgraph.cli.console import console, table

KINDS = {"attention": "attention(", "norm": "norm(", "gelu": "gelu("}  # and what the names of their rules contain
Counts = tuple["int | None", "int | None", "int | None"]
UNKNOWN: Counts = (None, None, None)


@click.command()
@click.option("--folder", metavar="FOLDER", type=click.Path(path_type=Path, file_okay=False), required=True,
              help="Where the models are, or go: about 300 files of 0.3 MB.")
@click.option("--only", metavar="NAME,...", default="*", help='Models by name, with * for any text: "bert-legacy*,llama*-sdpa".')
@click.option("--target", default="numpy", help="What to compile for [default: numpy; cpu takes half a minute a model].")
@click.option("--no-export", is_flag=True, help="Examine the files that are there.")
@click.option("--explain", is_flag=True, help="Show what the rules say of the nearest miss where something stayed apart.")
def main(folder: Path, only: str, target: str, no_export: bool, explain: bool) -> None:
    """Export models with random weights by torch.onnx's two exporters, import them, and compare with PyTorch."""
    patterns = only.split(",")
    folder.mkdir(parents=True, exist_ok=True)
    refused = {} if no_export else dict(_exported(folder, patterns))
    wanted = _expectations()
    paths = [p for p in sorted(folder.glob("*.onnx")) if any(fnmatch(p.stem, pattern) for pattern in patterns)]
    outcomes = []
    for path in paths:
        outcomes.append(examine(path, target))
        console().print(_line(outcomes[-1]), highlight=False, soft_wrap=True)
    rows = [_row(outcome, wanted.get(outcome.name, UNKNOWN)) for outcome in outcomes]
    console().print(table(f"{sum(o.ok for o in outcomes)} of {len(outcomes)} agree with PyTorch",
                          ("model", "nodes", "difference", "attentions", "norms", "GELUs", "masks", "sizes computed"), rows))
    for name, reason in refused.items():
        console().print(f"{name}: not exported: {reason}", highlight=False, soft_wrap=True)
    if explain:
        for outcome in outcomes:
            for line in _apart(outcome, wanted.get(outcome.name, UNKNOWN)):
                console().print(f"{outcome.name}: {line}", highlight=False, soft_wrap=True)


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
    counts = [f"{outcome.fused(kind)} of {'?' if n is None else n}" for kind, n in zip(KINDS, wanted)]
    masks = ", ".join(f"{n} {kind}" for kind, n in sorted(outcome.masks.items()))
    found = f"{outcome.difference:.1e}" if not outcome.error else "error"
    return (outcome.name, f"{outcome.nodes[0]} to {outcome.nodes[1]}", found, *counts, masks, str(outcome.ops["dim_size"]))


def _apart(outcome: Outcome, wanted: Counts) -> list[str]:
    """For each family of which fewer were found than there are, the rule that came furthest without matching, and why."""
    lines = []
    for (kind, text), count in zip(KINDS.items(), wanted):
        if count is None or outcome.fused(kind) >= count:
            continue
        misses = [m for m in outcome.misses if text in m.split(": ")[0] and ": never" in m]
        lines += sorted(misses, key=_matched)[-1:]
    return lines


def _matched(miss: str) -> int:
    found = re.search(r"(\d+) nodes matched", miss)
    return int(found.group(1)) if found else 0



if __name__ == "__main__":
    main()

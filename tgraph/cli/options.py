"""Options that several commands share."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

import click

from tgraph.ir.graph import Graph
from tgraph.ir.levels import DEFAULT_LEVEL

Dims = tuple[dict[str, int], ...]
Numbers = dict[str, Any]  # precision, weights and tolerance, of tg.compile


def parse_dims(ctx: click.Context, parameter: click.Parameter, texts: tuple[str, ...]) -> Dims:
    """`--dim B=2,S=7 --dim B=1` as one dict an option."""
    trials = []
    for text in texts:
        sizes: dict[str, int] = {}
        for item in text.split(","):
            name, equals, size = item.strip().partition("=")
            if not equals or not name or not size.strip().isdecimal():
                raise click.BadParameter(f"expected NAME=SIZE like B=2, got {item.strip()!r}", ctx, parameter)
            sizes[name.strip()] = int(size)
        trials.append(sizes)
    return tuple(trials)


def merged(dims: Dims) -> dict[str, int]:
    """All options together, the last one winning."""
    return {name: size for trial in dims for name, size in trial.items()}


def check_dims(graphs: Iterable[Graph], dims: Dims) -> None:
    """Raises UsageError for a dim that none of the graphs has."""
    known = dict.fromkeys(name for graph in graphs for name in graph.symbols)
    for name in merged(dims):
        if name not in known:
            raise click.UsageError(f"the graph has no dim {name!r}; its dims: {', '.join(known) or 'none'}")


def target_option(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--target", default="cpu", show_default=True, metavar="TARGET",
                        help="What to compile for: cpu, cuda, cpu:NAME, cuda:sm_NN, numpy; `tgraph targets` explains.")(function)


def level_option(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--level", default=DEFAULT_LEVEL, show_default=True, metavar="LEVEL",
                        help="Pipeline of passes, O0 to O3.")(function)


def passes_option(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("-p", "--passes", "pipeline", metavar="PIPELINE",
                        help='Passes in place of the level\'s, as in "fold-constants,fuse-qkv{at_least=3}".')(function)


def precision_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """--precision, --weights and --tolerance. The command gets one argument for them, `numbers`, as `tg.compile` takes them."""

    @functools.wraps(function)
    def command(*args: Any, precision: str, weights: str, tolerance: float | None, **others: Any) -> Any:
        if (precision == "auto") != (tolerance is not None):
            raise click.UsageError("--precision auto needs the error that is allowed, and nothing else does: --tolerance 1e-2")
        return function(*args, numbers={"precision": precision, "weights": weights, "tolerance": tolerance}, **others)

    command = click.option("--tolerance", type=click.FloatRange(min=0, min_open=True), metavar="ERROR",
                           help="With --precision auto: the largest error, relative to an output's largest element.")(command)
    command = click.option("--weights", type=click.Choice(("f32", "f16", "bf16", "i8", "i4")), default="f32", show_default=True,
                           help="How weights are stored; i8 computes with 8-bit integers as well.")(command)
    return click.option("--precision", type=click.Choice(("f32", "f16", "bf16", "auto")), default="f32", show_default=True,
                        help="What products are computed in; sums are f32. auto: the fastest way, and storage of weights, whose "
                             "error is within --tolerance.")(command)


def threads_option(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--threads", type=click.IntRange(min=1), metavar="N", help="Threads [default: all cores].")(function)


def dim_option(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--dim", "dims", multiple=True, metavar="NAME=SIZE[,...]", callback=parse_dims,
                        help="Size of a symbolic dim, as in B=2,S=7. Repeatable.")(function)


def seed_option(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--seed", type=int, default=0, show_default=True, help="Seed of generated inputs.")(function)


def set_threads(count: int | None) -> None:
    """Give tgraph so many threads, if asked for."""
    if count is not None:
        import tgraph as tg

        tg.set_num_threads(count)


def parse_shapes(text: str) -> list[dict[str, int]]:
    """`1x16,8x128` as sizes of B and S."""
    points = []
    for item in text.split(","):
        batch, x, length = item.strip().partition("x")
        if not x or not batch.isdecimal() or not length.isdecimal() or not int(batch) * int(length):
            raise click.UsageError(f"--shapes: expected BATCHxLENGTH like 8x128, got {item.strip()!r}")
        points.append({"B": int(batch), "S": int(length)})
    return points

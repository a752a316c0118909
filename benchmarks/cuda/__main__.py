"""One table: medians of tgraph on the GPU, and PyTorch's times over them, in alternating rounds of one run.

    python -m benchmarks.cuda                       # f16, with torch.compile
    python -m benchmarks.cuda --dtype bf16 --no-compile --only attention
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from benchmarks.cuda.cases import Case, Setting, cases

SHORTEST = 0.05  # seconds that one turn takes at least


@click.command()
@click.option("--dtype", type=click.Choice(("f16", "bf16")), default="f16", show_default=True)
@click.option("--compile/--no-compile", "compiled", default=True, help="With torch.compile (max-autotune, CUDA graphs).")
@click.option("--rounds", type=click.IntRange(min=1), default=7, show_default=True)
@click.option("--only", default="", metavar="WORD", help="Cases with this in their names.")
@click.option("--small", is_flag=True, help="Small sizes, to try the command.")
@click.option("--device", default="cuda", show_default=True, help="Where PyTorch's tensors are.")
def main(dtype: str, compiled: bool, rounds: int, only: str, small: bool, device: str) -> None:
    import torch

    setting = Setting(device, dtype, compiled, small)
    table = Table("case", "tgraph", "spread", "TFLOP/s", *[f"{p} / tgraph" for p in peers(setting)], "largest difference",
                  title=f"{machine(device)}, {dtype}; medians of {rounds} rounds")
    with torch.inference_mode():
        for case in cases(setting):
            if only in case.name:
                table.add_row(*row(case, rounds, peers(setting), device))
    Console(width=140).print(table)


def peers(setting: Setting) -> list[str]:
    return ["torch", *(["torch.compile"] if setting.compiled else [])]


def machine(device: str) -> str:
    import torch

    return str(torch.cuda.get_device_name(0)) if device == "cuda" else device


def row(case: Case, rounds: int, names: list[str], device: str) -> list[str]:
    """Measured, and as text."""
    results = {name: first(call()).float() for name, call in case.contenders.items()}  # warms up, compiles
    if case.real is not None:
        results = {name: result[case.real] for name, result in results.items()}
    wanted = results["torch"]
    difference = float((results["tgraph"] - wanted).abs().max() / wanted.abs().max().clamp(min=1))
    times: dict[str, list[float]] = {name: [] for name in case.contenders}
    order = list(case.contenders)
    for turn in range(rounds):
        for name in order[turn % len(order):] + order[:turn % len(order)]:
            times[name].append(seconds(case.contenders[name], device))
    ours = statistics.median(times["tgraph"])
    spread = (max(times["tgraph"]) - min(times["tgraph"])) / ours
    ratios = [f"{statistics.median(a / b for a, b in zip(times[name], times['tgraph'])):.2f}" if name in times else "-"
              for name in names]
    return [case.name, f"{ours * 1e3:.3f} ms", f"{spread:.0%}", f"{case.flops / ours / 1e12:.1f}", *ratios, f"{difference:.1e}"]


def first(result: Any) -> Any:
    """The first output, as PyTorch's tensor."""
    import torch

    output = result[0] if isinstance(result, tuple) else result
    return output if isinstance(output, torch.Tensor) else torch.from_dlpack(output)


def seconds(call: Callable[[], Any], device: str) -> float:
    """Of one call, from as many as make a turn long enough, after two that are not counted."""
    for _ in range(2):
        call()
    wait(device)
    count, taken = 1, 0.0
    while taken < SHORTEST:
        start = time.perf_counter()
        for _ in range(count):
            call()
        wait(device)
        taken = time.perf_counter() - start
        count *= 2
    return taken / (count // 2)


def wait(device: str) -> None:
    import torch

    if device == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()

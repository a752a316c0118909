"""A step of a decoder by how its weights are stored: GPT-2 small of random weights at batch 1, on one thread.

    taskset -c 0 python -m benchmarks.narrow_weights
    taskset -c 0 python -m benchmarks.narrow_weights --weights i8,i4 --layers 4 --steps 50 --batch 4

All are in one process and take their steps in turns, so that whatever else the machine does meets all of them. Reported is the
processor's time, which does not count that of other programs (it does count what they leave of caches and memory), and the
ratio to the first one's, step by step.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import click
import numpy as np


@click.command()
@click.option("--weights", default="i8,i4,f32", show_default=True)
@click.option("--layers", default=12, show_default=True)
@click.option("--batch", default=1, show_default=True)
@click.option("--past", default=16, show_default=True, help="Tokens before the first step.")
@click.option("--steps", default=100, show_default=True)
@click.option("--target", default="cpu", show_default=True)
def main(weights: str, layers: int, batch: int, past: int, steps: int, target: str) -> None:
    """Time steps with weights stored in several ways, in turns."""
    import tgraph as tg
    from tgraph.models.gpt2 import GPT2Config, GPT2LMHeadModel

    tg.set_num_threads(1)
    model = GPT2LMHeadModel(GPT2Config(num_hidden_layers=layers))
    program = tg.trace_program(model, step={"tokens": model.step_specs["tokens"]})
    tokens = np.random.default_rng(0).integers(0, model.config.vocab_size, (batch, past + steps))
    sessions: dict[str, Any] = {}
    for kind in weights.split(","):
        exe = tg.compile(program, target, weights=kind)
        kept = sum(v.type.nbytes for _, v in exe.prepare.outputs)
        sessions[kind] = exe.session(B=batch, C=past + steps)
        sessions[kind].step(tokens[:, :past])
        click.echo(f"{kind:4} {kept / 1e6:7.1f} MB of prepared weights")  # type: ignore[str-format]
    times: dict[str, list[float]] = {kind: [] for kind in sessions}
    for at in range(past, past + steps):
        for kind, session in sessions.items():
            start = time.process_time()
            session.step(tokens[:, at:at + 1])
            times[kind].append(time.process_time() - start)
    first = next(iter(times.values()))
    for kind, found in times.items():
        ratios = sorted(a / b for a, b in zip(first, found))
        low, middle, high = (ratios[int(share * (len(ratios) - 1))] for share in (0.25, 0.5, 0.75))
        click.echo(f"{kind:4} {statistics.median(found) * 1e3:7.2f} ms a step, {middle:5.2f} times as fast as the first "
                   f"({low:.2f} .. {high:.2f} in the middle half)")


if __name__ == "__main__":
    main()

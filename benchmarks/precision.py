"""What reduced precision gains and costs: `python -m benchmarks.precision [--rows 1,4,16,128,1024] [--choices bf16,f16,i8]`.

Speed: the products of BERT-base alone, with the weights of all 12 layers in turn so that they come from memory, as a ratio to f32
in the same process, in alternation. Accuracy: all-MiniLM-L6-v2 on the sentences of `tgraph demo`, against f32.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import numpy as np

import tgraph as tg
from tgraph import nn

HIDDEN, WIDE, LAYERS = 768, 3072, 12
SECONDS = 2.0  # of measuring at each number of rows
CHOICES: dict[str, dict[str, str]] = {
    "bf16": {"weights": "bf16"}, "f16": {"weights": "f16"}, "i8": {"weights": "i8"},
    "precision=bf16": {"precision": "bf16"}, "precision=f16": {"precision": "f16"},
}


class Products(nn.Module):
    """The four products of an encoder layer, after each other."""

    def __init__(self) -> None:
        self.qkv, self.out = nn.Linear(HIDDEN, 3 * HIDDEN), nn.Linear(HIDDEN, HIDDEN)
        self.up, self.down = nn.Linear(HIDDEN, WIDE), nn.Linear(WIDE, HIDDEN)

    def __call__(self, x: Any) -> Any:
        return self.down(self.up(self.out(self.qkv(x)[:, :HIDDEN])))


class Stack(nn.Module):
    def __init__(self) -> None:
        self.layer = [Products() for _ in range(LAYERS)]

    def __call__(self, x: Any) -> Any:
        for layer in self.layer:
            x = layer(x)
        return x


def speed(choices: list[str], rows: list[int]) -> None:
    """A line for each number of rows and choice: median time, rate, and how many times as fast as f32."""
    graph = tg.trace(Stack(), x=tg.f32[tg.dim("M"), HIDDEN])
    executables = {"f32": tg.compile(graph), **{name: tg.compile(graph, **CHOICES[name]) for name in choices}}
    flops = 2 * LAYERS * (4 * HIDDEN * HIDDEN + 2 * HIDDEN * WIDE)
    generator = np.random.default_rng(0)
    print(f"{'rows':>5} {'weights':<16} {'ms':>9} {'GFLOP/s':>8} {'times f32':>9}")
    for count in rows:
        x = generator.standard_normal((count, HIDDEN)).astype(np.float32)
        times: dict[str, list[float]] = {name: [] for name in executables}
        end = time.perf_counter() + SECONDS
        while time.perf_counter() < end or len(times["f32"]) < 5:
            for name, exe in executables.items():
                exe(x)  # the threads wake
                start = time.perf_counter()
                exe(x)
                times[name].append(time.perf_counter() - start)
        base = statistics.median(times["f32"])
        for name, found in times.items():
            seconds = statistics.median(found)
            rate = flops * count / seconds / 1e9
            print(f"{count:>5} {name:<16} {seconds * 1e3:>9.2f} {rate:>8.0f} {base / seconds:>9.2f}", flush=True)


def accuracy(choices: list[str]) -> None:
    """The report of each choice on real sentences."""
    from tgraph.cli.demo import SENTENCES
    from tgraph.cli.models import minilm
    from tgraph.models.sentence import encode_batch, load_minilm

    model, tokenizer = load_minilm()
    graph = minilm(model)
    ids, mask = encode_batch(tokenizer, SENTENCES)
    for name in choices:
        print(f"\n{name}: {tg.accuracy(tg.compile(graph, **CHOICES[name]), {'input_ids': ids, 'mask': mask})}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="1,4,16,128,1024")
    parser.add_argument("--choices", default="bf16,f16,i8")
    parser.add_argument("--only", choices=("speed", "accuracy"))
    arguments = parser.parse_args()
    choices = arguments.choices.split(",")
    if arguments.only != "accuracy":
        speed(choices, [int(count) for count in arguments.rows.split(",")])
    if arguments.only != "speed":
        accuracy(choices)


if __name__ == "__main__":
    main()

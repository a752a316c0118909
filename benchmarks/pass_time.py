"""Time and work of passes by depth: BERT stacks of tiny layers, written out in primitives or not.

    python benchmarks/pass_time.py [PIPELINE] [LAYERS ...]
"""

from __future__ import annotations

import sys
import time

import tgraph as tg
from tgraph.models.bert import Bert, BertConfig


def stack(layers: int) -> tg.Graph:
    config = BertConfig(hidden_size=16, num_hidden_layers=layers, num_attention_heads=2, intermediate_size=32, vocab_size=100)
    batch, length = tg.dim("B"), tg.dim("S", max=512)
    return tg.trace(Bert(config), input_ids=tg.i64[batch, length].range(0, 100), mask=tg.bool_[batch, length])


def main(pipeline: str = "O3", depths: tuple[int, ...] = (12, 48, 192)) -> None:
    print(f"{'graph':<12}{'layers':>7}{'nodes':>8}{'after':>8}{'seconds':>9}{'us/node':>9}{'attempts/node':>15}{'rewrites/node':>15}")
    for primitive in (False, True):
        for layers in depths:
            graph = tg.optimize(stack(layers), "decompose" if primitive else "O0")
            manager = tg.passes.PassManager(pipeline)
            start = time.perf_counter()
            result = manager.run(graph)
            seconds = time.perf_counter() - start
            attempts = sum(r.attempts for r in manager.records) / len(graph)
            rewrites = sum(sum(r.rewrites.values()) for r in manager.records) / len(graph)
            print(f"{'primitives' if primitive else 'composite':<12}{layers:>7}{len(graph):>8}{len(result):>8}{seconds:>9.2f}"
                  f"{seconds / len(graph) * 1e6:>9.0f}{attempts:>15.2f}{rewrites:>15.3f}", flush=True)


if __name__ == "__main__":
    pipeline_text, *layer_counts = sys.argv[1:] or ["O3"]
    main(pipeline_text, tuple(map(int, layer_counts)) or (12, 48, 192))

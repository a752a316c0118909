"""Nodes of each kind by level: a BERT written out in primitives, and what every level makes of it.

    python benchmarks/pass_nodes.py [LAYERS]        (12 layers by default; a call counts as the ops of its function)
"""

from __future__ import annotations

import sys
from collections import Counter

import tgraph as tg
from tgraph.ir.analysis import prepared
from tgraph.models.bert import Bert, BertConfig


def bert(layers: int) -> tg.Graph:
    """All shapes of BERT, small sizes."""
    config = BertConfig(hidden_size=16, num_hidden_layers=layers, num_attention_heads=2, intermediate_size=32, vocab_size=100)
    batch, length = tg.dim("B"), tg.dim("S", max=512)
    return tg.trace(Bert(config), input_ids=tg.i64[batch, length].range(0, 100), mask=tg.bool_[batch, length])


def count(graph: tg.Graph) -> Counter[str]:
    """Nodes by op, without the prepare part, which runs once; the ops of called functions count at every call."""
    ready = prepared(graph)
    found: Counter[str] = Counter()
    for node in graph.nodes:
        if node.op.name == "call":
            found += count(node.attrs["function"])
        elif node not in ready:
            found[node.op.name] += 1
    return found


def table(layers: int) -> dict[str, Counter[str]]:
    """Counts of the traced model, of its primitives, and of these at each level."""
    graph = bert(layers)
    columns = {"traced": "O0", "O0": "decompose", **{level: f"decompose,{level}" for level in ("O1", "O2", "O3")}}
    return {title: count(tg.optimize(graph, pipeline)) for title, pipeline in columns.items()}


def main(layers: int = 12) -> None:
    found = table(layers)
    print(f"{layers} layers{'':<12}" + "".join(f"{title:>8}" for title in found))
    for op in sorted({op for column in found.values() for op in column}):
        print(f"{op:<20}" + "".join(f"{column[op] or '':>8}" for column in found.values()))
    print(f"{'all':<20}" + "".join(f"{sum(column.values()):>8}" for column in found.values()))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

"""All workloads, by name."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from benchmarks.harness.peers import peer_of
from benchmarks.models.attention import attention_graph
from benchmarks.models.products import products_graph
from benchmarks.models.recurrent import recurrent_graph
from benchmarks.ragged import Ragged
from benchmarks.startup import StartupWorkload
from benchmarks.work import least_bytes, ragged_flops
from benchmarks.workload import ModelWorkload, Point, Workload, at_sizes
from passes.pipelines import LEVELS
from tgraph.cli.models import load_graph
from tgraph.cli.options import parse_shapes
from tgraph.ir.graph import Graph

HEADS, HEAD_DIM = 12, 64
PRODUCTS = ((768, 768), (2304, 768), (3072, 768), (768, 3072))  # weights [N, K] of BERT-base
BERT_WEIGHTS = 340e6  # bytes of all of them: the model's own weights are never nearer than the last cache that holds so many
NO_JOINING = LEVELS["O3"].replace("fuse-qkv,", "")  # products of one input stay products


def workloads() -> dict[str, Workload]:
    """In the order in which they run."""
    found: list[Workload] = [
        _bert("bert-tiny", "A small BERT (2 layers of 128), f32", {"1x8": 10, "1x32": 10}),
        _bert("minilm", "MiniLM-L6 (6 layers of 384), f32", {"1x16": 10, "1x128": 8, "1x512": 8, "8x128": 8},
              quick=("1x16", "8x128")),
        _bert("bert-base", "BERT-base (12 layers of 768), f32", {"1x16": 10, "1x128": 8, "1x512": 5, "8x128": 5},
              quick=("1x16", "1x128")),
        _ragged("minilm", "remove-padding", quick=("32",)),
        _ragged("bert-base", "remove-padding{output=hidden,mask=mask}"),
        _attention(False, quick=("512",)),
        _attention(True),
        *(_recurrent(kind, hidden, both) for kind in ("lstm", "gru") for hidden in (256, 512) for both in (False, True)),
        *(_products(n, k, quick=("1", "128") if (n, k) == (768, 768) else ()) for n, k in PRODUCTS),
        StartupWorkload(name="startup", title="Compiling, loading, and the first call at (1, 128)",
                        points={"minilm": 2, "bert-base": 2}, quick=("minilm",)),
        _bert("bert-base", "BERT-base with fewer bits", {"1x16": 6, "1x128": 5, "8x128": 3, "32x128": 2}, reduced=True),
        _products(3072, 768, reduced=True),
    ]
    return {workload.name: workload for workload in found}


def _bert(model: str, title: str, points: dict[str, int], quick: tuple[str, ...] = (), reduced: bool = False) -> ModelWorkload:
    return ModelWorkload(name=f"{model}-reduced" if reduced else model, title=title, points=points, quick=quick, reduced=reduced,
                         graph=partial(load_graph, model), peer=partial(peer_of, model),
                         point=lambda graph, name: at_sizes(graph, parse_shapes(name)[0]))


def _ragged(model: str, passes: str, quick: tuple[str, ...] = ()) -> ModelWorkload:
    def point(graph: Graph, name: str) -> Point:
        batch = Ragged.read()
        sizes = {"B": len(batch.ids), "S": batch.ids.shape[1]}
        return Point(batch.plans(), ragged_flops(graph, batch.lengths), least_bytes(graph, sizes), batch.arrange)

    return ModelWorkload(name=f"{model}-ragged", title=f"{model}: 32 sentences in one call, f32; only real tokens counted",
                         points={"32": 5}, quick=quick, graph=partial(load_graph, model), peer=partial(peer_of, model),
                         point=point, passes=f"{passes},{LEVELS['O3']}")


def _attention(causal: bool, quick: tuple[str, ...] = ()) -> ModelWorkload:
    arguments: dict[str, Any] = {"heads": HEADS, "head_dim": HEAD_DIM, "causal": causal}
    return ModelWorkload(name=f"attention-{'causal' if causal else 'full'}",
                         title=f"One {'causal ' if causal else ''}attention op, B=1, {HEADS} heads of {HEAD_DIM}, f32, by length",
                         points={"128": 10, "512": 8, "2048": 6, "8192": 3}, quick=quick, memory=True,
                         graph=partial(attention_graph, **arguments),
                         peer=lambda: {"class": "benchmarks.models.attention:AttentionPeer", "arguments": arguments},
                         point=lambda graph, name: at_sizes(graph, {"B": 1, "S": int(name)}))


def _recurrent(kind: str, hidden: int, both: bool) -> ModelWorkload:
    def point(graph: Graph, name: str) -> Point:
        batch, steps = map(int, name.split("x"))
        return at_sizes(graph, {"B": batch, "T": steps})

    arguments: dict[str, Any] = {"kind": kind, "hidden": hidden, "both": both}
    ways = "both directions" if both else "one direction"
    return ModelWorkload(name=f"{kind}-{hidden}{'-both' if both else ''}",
                         title=f"One layer of {kind.upper()}, {hidden} inputs and units, {ways}, f32, by batch and length",
                         points={"1x64": 8, "16x64": 6}, graph=partial(recurrent_graph, **arguments),
                         peer=lambda: {"class": "benchmarks.models.recurrent:RecurrentPeer", "arguments": arguments}, point=point)


def _products(n: int, k: int, quick: tuple[str, ...] = (), reduced: bool = False) -> ModelWorkload:
    def graph() -> Graph:
        from targets.base.target import Target

        enough = min(2 * Target.parse("cpu").l3_bytes, BERT_WEIGHTS)
        return products_graph(n, k, max(2, math.ceil(enough / (4 * n * k))))

    points = {"1": 6, "4": 6, "16": 6, "128": 6, "1024": 4}
    return ModelWorkload(name=f"matmul-{n}x{k}{'-reduced' if reduced else ''}",
                         title=f"Products alone: x [M, {k}] times each of many weights [{n}, {k}], by M"
                         + (", with fewer bits" if reduced else ", f32"),
                         points=points, quick=quick, reduced=reduced, passes=NO_JOINING, graph=graph,
                         peer=lambda: {"class": "benchmarks.models.products:ProductsPeer", "arguments": {}},
                         point=lambda graph, name: at_sizes(graph, {"M": int(name)}))

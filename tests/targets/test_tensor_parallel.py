"""A layer cut for several workers computes what the whole one does, and its shards compile for CPUs and GPUs."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tgraph as tg
from targets.cuda.compilers import COMPILERS
from tgraph import nn
from tgraph.ir.dims import evaluate
from tgraph.ir.registry import OPS
from tgraph.ir.verify import verify
from tgraph.models.llama import LlamaConfig, LlamaLayer
from tgraph.models.rope import rotary_angles

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "tensor_parallel.py"
WIDTH = 64


@pytest.fixture(scope="module")
def example() -> Iterator[dict[str, Any]]:
    """The names of the example, whose op is known to these tests alone."""
    before = dict(OPS)
    yield runpy.run_path(str(EXAMPLE))
    OPS.clear()
    OPS.update(before)


class Llama(nn.Module):
    """A layer of eight query heads and four key heads, with its rotation."""

    def __init__(self) -> None:
        config = LlamaConfig(hidden_size=WIDTH, num_attention_heads=8, num_key_value_heads=4, intermediate_size=96)
        self.rotary = rotary_angles(config.head_size, {"rope_theta": 10000.0})
        self.layer = LlamaLayer(config, 0)

    def __call__(self, x: tg.Tensor, mask: tg.Tensor) -> tg.Tensor:
        return self.layer(x, mask, self.rotary(tg.range(stop=x.shape[1])))


class Alone(nn.Module):
    """A product whose result is cut, and stays so."""

    def __init__(self) -> None:
        self.layer = nn.Linear(8, 8)

    def __call__(self, x: tg.Tensor) -> tg.Tensor:
        return self.layer(x)


def graph_and_plan(example: dict[str, Any], name: str) -> tuple[tg.Graph, Any]:
    if name == "bert":
        return example["bert_layer"](WIDTH, 4), example["BERT"]
    batch, length = tg.dims("B S")
    return tg.trace(Llama(), x=tg.f32[batch, length, WIDTH], mask=tg.bool_[batch, length]), example["LLAMA"]


def inputs() -> dict[str, np.ndarray]:
    mask = np.ones((3, 11), bool)
    mask[1, 7:] = False
    return {"x": np.random.default_rng(1).standard_normal((3, 11, WIDTH)).astype(np.float32), "mask": mask}


@pytest.mark.parametrize("workers", [2, pytest.param(4, marks=pytest.mark.thorough)])
@pytest.mark.parametrize("name", ["bert", "llama"])
def test_the_workers_give_what_one_gives(example: dict[str, Any], name: str, workers: int) -> None:
    graph, plan = graph_and_plan(example, name)
    expected = tg.compile(graph).run(inputs())["output"]
    found = example["Workers"](graph, plan, workers)(**inputs())["output"]
    assert np.abs(found - expected).max() <= 2e-6 * np.abs(expected).max()


@pytest.mark.parametrize("name", ["bert", "llama"])
def test_a_shard_has_its_part_of_the_weights(example: dict[str, Any], name: str) -> None:
    """Each product is 1/R of the whole one, and there are two all-reduces."""
    graph, plan = graph_and_plan(example, name)
    flops = sum(evaluate(n.flops, {"B": 1, "S": 8}) for n in graph.nodes if n.op.name == "linear")
    for rank in range(4):
        piece = example["shard"](graph, plan, rank, 4)
        verify(piece)
        assert [n.op.name for n in piece.nodes].count("all_reduce") == 2
        assert 4 * sum(evaluate(n.flops, {"B": 1, "S": 8}) for n in piece.nodes if n.op.name == "linear") <= flops
        assert piece.parameters.keys() == graph.parameters.keys()
        assert piece.weights is graph.weights


def test_what_the_plan_does_not_fit_is_said(example: dict[str, Any]) -> None:
    graph, plan = graph_and_plan(example, "bert")
    with pytest.raises(tg.GraphError, match="cannot be divided among 3 workers"):
        example["shard"](graph, plan, 0, 3)
    with pytest.raises(tg.GraphError, match="a part of the input"):
        example["shard"](graph, {"intermediate.dense": "colwise", "output.dense": "colwise"}, 0, 2)
    batch = tg.dim("B")
    with pytest.raises(tg.GraphError, match="a part of output output: end the plan"):
        example["shard"](tg.trace(Alone(), x=tg.f32[batch, 8]), {"layer": "colwise"}, 0, 2)
    with pytest.raises(tg.GraphError, match="rowwise: the input"):
        example["shard"](graph, {"*output.dense": "rowwise"}, 0, 2)
    with pytest.raises(tg.GraphError, match="layer_norm"):
        example["shard"](graph, {"*attention.output.dense": "colwise"}, 0, 2)


@pytest.mark.thorough
def test_the_workers_are_processes_under_disco() -> None:
    command = [sys.executable, str(EXAMPLE.with_name("tensor_parallel_disco.py"))]
    environment = {**os.environ, "PYTHONPATH": str(EXAMPLE.parents[1])}
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)
    assert ran.returncode == 0, ran.stderr
    found = re.fullmatch(r"2 processes: differs by (\S+) from one\n", ran.stdout)
    assert found is not None and float(found[1]) <= 2e-6, ran.stdout


@pytest.mark.thorough
@pytest.mark.skipif(not any(find() for find in COMPILERS.values()), reason="neither NVRTC nor nvcc is here")
@pytest.mark.parametrize("name", ["bert", "llama"])
def test_the_shards_compile_for_gpus(example: dict[str, Any], name: str) -> None:
    graph, plan = graph_and_plan(example, name)
    for stage in example["cut"](example["shard"](graph, plan, 1, 2)):
        assert "mma.sync" in tg.compile(stage.graph, "cuda:sm_90", precision="f16").source("ptx") or not stage.sums

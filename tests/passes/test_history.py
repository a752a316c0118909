"""The history of a graph: its rewrites lead from the first graph to the last one, and every change belongs to a rewrite."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import tgraph as tg
from passes.debug.history import History, Step, record
from passes.pipelines import passes_of
from targets.base.registry import backend_of
from targets.base.target import Target
from tgraph import nn
from tgraph.ir.graph import Graph
from tgraph.ir.journal import Added, Erased, OutputsSet, Rewired
from tgraph.ir.values import Node

sys.path.insert(0, str(Path(__file__).parent))

from golden import Case, cases


def replayed(history: History) -> tuple[dict[Node, tuple], tuple]:
    """The nodes with what they read, and the outputs, after all changes of all steps."""
    nodes, outputs = dict(history.operands), history.outputs
    for _, step in history.steps():
        for change in step.changes:
            if isinstance(change, Added):
                nodes[change.node] = change.operands
            elif isinstance(change, Erased):
                del nodes[change.node]
            elif isinstance(change, Rewired):
                read = list(nodes[change.node])
                assert read[change.position] is change.old
                read[change.position] = change.new
                nodes[change.node] = tuple(read)
            else:
                assert isinstance(change, OutputsSet)
                outputs = change.outputs
    return nodes, outputs


@pytest.mark.parametrize("case", cases(), ids=lambda c: f"{c.path.parent.name}/{c.path.stem}")
def test_rewrites_are_the_whole_change(case: Case) -> None:
    graph = tg.parse(case.before)
    assert isinstance(graph, Graph)
    history = record(graph, case.pipeline)
    assert history.last is not None and history.last.journal is None
    nodes, outputs = replayed(history)
    assert nodes == {n: n.operands for n in history.last.nodes}
    assert outputs == tuple(history.last.outputs)
    if not graph.functions:  # a call of a function that a pass has rewritten is another call, by no rule
        assert [step.changes for _, step in history.steps() if not step.rule] == []


def encoder_layer() -> tg.Graph:
    B, S = tg.dims("B S")

    class Layer(nn.Module):
        def __init__(self) -> None:
            self.attention = nn.MultiHeadAttention(64, 4)
            self.norm = nn.LayerNorm(64)

        def __call__(self, x, mask=None):
            return self.norm(x + self.attention(x, mask=mask))

    return tg.trace(Layer(), x=tg.f32[B, S, 64], mask=tg.bool_[B, S])


def of_kernels(graph: tg.Graph) -> History:
    target = Target.parse("cpu:x86-64-v3")
    return record(graph, [*passes_of("O3"), *backend_of(target).lowering(target)])


def test_every_node_leads_to_kernels_and_every_kernel_comes_from_nodes() -> None:
    history = of_kernels(encoder_layer())
    projections = [n for n in history.first if n.provenance.scope in ("attention.query", "attention.key", "attention.value")]
    kernels = [n for n in history.descendants(projections) if n.op.name == "call"]
    names = [k.attrs["function"].name for k in kernels]
    assert names == ["linear", "attention"]  # all three products are one, and attention reads its parts
    assert set(projections) <= set(history.origins(kernels))
    for node in history.first:
        assert history.descendants([node]), node
    for node in history.final:
        assert history.origins([node]), node


def test_the_trail_of_a_node_names_its_rules() -> None:
    history = of_kernels(encoder_layer())
    query = next(n for n in history.first if n.provenance.scope == "attention.query" and n.op.name == "linear")
    passes = [stage.step.pass_name() for stage, _ in history.became([query])]
    assert passes[0] == "fuse-qkv" and passes[-1] == "select-kernels"


def test_a_step_does_not_list_what_came_and_went() -> None:
    graph = encoder_layer()
    node, gone = graph.nodes[0], graph.nodes[-1]
    step = Step("f(x) = x", (Added(gone, gone.operands), Erased(gone), Erased(node)))
    assert step.added == [] and step.erased == [node]


def test_an_executable_knows_the_rewrites_that_led_to_its_kernels() -> None:
    exe = tg.compile(encoder_layer(), precision="bf16")
    history = exe.history()
    calls = [n.attrs["function"] for n in history.final if "function" in n.attrs]
    assert calls == [n.attrs["function"] for n in exe.kernels.nodes if "function" in n.attrs]
    assert [str(stage.step) for stage in history.stages] == [record.name for record in exe.records]


def test_a_bundle_does_not_know_its_passes(tmp_path: Path) -> None:
    tg.compile(encoder_layer()).save(tmp_path / "layer.tgc")
    with pytest.raises(tg.TargetError, match="compile it to see its history"):
        tg.load(tmp_path / "layer.tgc").history()

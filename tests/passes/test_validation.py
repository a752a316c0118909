"""Numeric validation and bisection: planted wrong rewrites are caught, and named with their nodes and lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

import tgraph as tg
from passes import Pass, PassManager, ValidateEach, bisect, optimize, run_pipeline
from passes.debug.validation import Validator, counterparts
from passes.patterns import rule
from passes.rewriting import RewritePass, current_report
from tgraph import nn
from tgraph.ir.builder import Builder
from tgraph.models.bert import Bert, BertConfig

B, S = tg.dims("B S")


@dataclass(frozen=True)
class WrongRules(RewritePass):
    """One right rule and one that is wrong."""

    effect = "rounds"
    rules = (
        rule("x * sigmoid(x) = silu(x)", lambda x: x * tg.sigmoid(x), lambda x: tg.silu(x)),
        rule("relu(x - y) = |x - y|", lambda x, y: tg.relu(x - y), lambda x, y: tg.abs(x - y)),
    )


@dataclass(frozen=True)
class WrongAtOne(Pass):
    """gelu(x) = relu(x), but only at the `number`-th gelu; the others become what they are, once more."""

    effect = "exact"
    number: int = 3

    def apply(self, graph: tg.Graph) -> None:
        for position, node in enumerate([n for n in graph.nodes if n.op.name == "gelu"]):
            b = Builder(graph, node.provenance)
            new = b.relu(node.inputs[0]) if position == self.number else b.gelu(node.inputs[0])
            graph.replace(node.result, new)
            graph.erase(node)
            current_report().rewrote("gelu(x) = gelu(x)", [node], [new])


@dataclass(frozen=True)
class SilentlyWrong(Pass):
    """Doubles the first output, and reports nothing."""

    effect = "rounds"

    def apply(self, graph: tg.Graph) -> None:
        (name, value), *others = graph.outputs
        graph.set_outputs([(name, Builder(graph).mul(value, 2.0)), *others])


@dataclass(frozen=True)
class Rounds(SilentlyWrong):
    """A tiny difference."""

    by: float = 1e-8

    def apply(self, graph: tg.Graph) -> None:
        (name, value), *others = graph.outputs
        graph.set_outputs([(name, Builder(graph).mul(value, np.float32(1) + np.float32(self.by))), *others])


@dataclass(frozen=True)
class ExactRounds(Rounds):
    """The same, but declared exact."""

    effect = "exact"
    by: float = 2e-7


@dataclass(frozen=True)
class Doubles(SilentlyWrong):
    """The same as SilentlyWrong, but it says so."""

    effect = "changes-meaning"


@dataclass(frozen=True)
class DropsOutput(Pass):
    """Loses an output."""

    effect = "exact"

    def apply(self, graph: tg.Graph) -> None:
        graph.set_outputs(graph.outputs[1:])


@dataclass(frozen=True)
class FoldsMasks(Pass):
    """where(mask, x, 0) = x: right as long as every row has all of its keys."""

    effect = "exact"

    def apply(self, graph: tg.Graph) -> None:
        for node in [n for n in graph.nodes if n.op.name == "where"]:
            graph.replace(node.result, node.inputs[1])


class Gated(nn.Module):
    def __init__(self) -> None:
        self.up = nn.Linear(8, 8)

    def __call__(self, x, y):
        h = self.up(x)
        gated = h * tg.sigmoid(h)
        return {"gated": gated, "y": tg.relu(gated - y)}


def gated() -> tg.Graph:
    return tg.trace(Gated(), x=tg.f32[B, 8], y=tg.f32[B, 8])


def deep(layers: int) -> tg.Graph:
    config = BertConfig(hidden_size=8, num_hidden_layers=layers, num_attention_heads=2, intermediate_size=8, vocab_size=50)
    return tg.trace(Bert(config), input_ids=tg.i64[B, tg.dim("S", max=512)], mask=tg.bool_[B, tg.dim("S", max=512)])


def validate(graph: tg.Graph, pipeline: str | Sequence[Pass]) -> ValidateEach:
    instrument = ValidateEach()
    PassManager(pipeline, [instrument]).run(graph)
    return instrument


def test_a_wrong_rule_is_caught_with_its_name_and_node() -> None:
    with pytest.raises(tg.PassError) as raised:
        validate(gated(), [WrongRules()])
    text = str(raised.value)
    assert "pass wrong-rules (rounds) changes the result of graph gated: output 'y' differs at B=2" in text
    assert "rules that fired: x * sigmoid(x) = silu(x); relu(x - y) = |x - y|" in text
    assert "first differing node: relu(f32[B, 8]) at " in text and "which has become:     abs(f32[B, 8]) at " in text
    assert "test_validation.py" in text


def test_bisect_names_the_rule_the_match_and_the_line() -> None:
    culprit = bisect(gated(), [WrongRules()])
    assert culprit is not None and culprit.rewrite is not None
    assert (culprit.rewrite.rule, culprit.number, culprit.total) == ("relu(x - y) = |x - y|", 2, 2)
    assert [n.op.name for n in culprit.rewrite.old] == ["relu", "sub"]
    text = str(culprit)
    assert text.startswith("pass wrong-rules, rewrite 2 of 2: relu(x - y) = |x - y|\n  replaced relu(f32[B, 8]) at ")
    assert "test_validation.py" in text and "output 'y' differs" in text


@pytest.mark.parametrize("number", [0, 5, 11])
def test_bisect_finds_one_of_many_rewrites(number: int) -> None:
    graph = deep(12)
    culprit = bisect(graph, [*tg.passes.parse_pipeline("cse,fuse-qkv"), WrongAtOne(number), *tg.passes.parse_pipeline("dce")])
    assert culprit is not None and culprit.rewrite is not None
    assert (culprit.number, culprit.total, str(culprit.step)) == (number + 1, 12, str(WrongAtOne(number)))
    assert f"encoder.layer.{number}." in str(culprit)
    with pytest.raises(tg.PassError, match=rf"first differing node: gelu\(f32\[B, S, 8\]\) in encoder.layer.{number}\."):
        validate(graph, [WrongAtOne(number)])


def test_right_pipelines_pass() -> None:
    for level in ("O1", "O2", "O3"):
        instrument = validate(gated(), level)
        assert instrument.skipped == []
        assert bisect(gated(), level) is None
    assert validate(gated(), "fuse-silu").validated == 1
    assert validate(gated(), "cse").validated == 0, "nothing changed, so nothing is run"


def test_code_that_reports_no_rewrite_is_named_as_such() -> None:
    with pytest.raises(tg.PassError, match="no rule fired: the pass's own code did it"):
        validate(gated(), [SilentlyWrong()])
    culprit = bisect(gated(), [SilentlyWrong()])
    assert culprit is not None and culprit.rewrite is None
    assert "pass silently-wrong breaks the graph, by none of its 0 rewrites: output 'gated' differs" in str(culprit)


def test_the_effect_decides_what_is_allowed() -> None:
    assert validate(gated(), [Rounds(1e-7)]).validated == 1
    with pytest.raises(tg.PassError, match=r"pass rounds\{by=0.001\} \(rounds\) changes the result"):
        validate(gated(), [Rounds(1e-3)])
    with pytest.raises(tg.PassError, match=r"pass exact-rounds \(exact\) changes the result .* allowed 0e\+00"):
        validate(gated(), [ExactRounds()])


def test_changes_of_meaning_are_skipped_and_said_so() -> None:
    instrument = validate(gated(), [Doubles(), *tg.passes.parse_pipeline("fuse-silu")])
    assert instrument.skipped == ["doubles is not validated: it changes the meaning"] and instrument.validated == 1
    assert bisect(gated(), [Doubles(), *tg.passes.parse_pipeline("fuse-silu")]) is None
    later = bisect(gated(), [Doubles(), WrongRules()])
    assert later is not None and later.rewrite is not None and later.rewrite.rule == "relu(x - y) = |x - y|"


def test_a_lost_output_is_a_difference() -> None:
    with pytest.raises(tg.PassError, match="output 'gated' differs"):
        validate(gated(), [DropsOutput()])


def test_masks_without_a_key_are_among_the_inputs() -> None:
    graph = tg.trace(lambda x, mask: {"y": tg.where(mask, x, 0.0)}, x=tg.f32[B, S], mask=tg.bool_[B, S])
    with pytest.raises(tg.PassError, match="output 'y' differs"):
        validate(graph, [FoldsMasks()])
    validator = Validator(graph)
    assert not validator.trials[2].feeds["mask"][-1].any() and validator.trials[0].feeds["mask"].any()


def test_parameters_without_data_get_some_and_leave_the_table_alone() -> None:
    graph = tg.parse(str(gated()))
    assert not len(graph.weights)
    assert validate(graph, "fuse-silu").validated == 1 and not len(graph.weights)


def test_sizes_may_be_given_and_impossible_ones_are_left_out() -> None:
    graph = tg.parse("graph g(%x: f32[S]) -> (y: f32[2, S//2]) where S == 2*(S//2) {\n"
                     "  %0 = reshape(%x, shape=[2, S//2]) : f32[2, S//2]\n  %1 = exp(%0) : f32[2, S//2]\n"
                     "  return (y: %1)\n}")
    validator = Validator(graph, {"S": 6})
    assert len(validator.expect(graph)) > 3 and all(t.sizes == {"S": 6} for t in validator.trials)
    odd = Validator(graph, {"S": 7})
    with pytest.raises(tg.PassError, match="cannot be validated: it runs on none of the inputs"):
        odd.expect(graph)


def test_an_own_judge_of_graphs() -> None:
    """What is wrong may be anything: here, that no two products are left."""
    graph = deep(3)

    def too_few(now: tg.Graph) -> str | None:
        products = sum(n.op.name == "linear" for n in now.nodes)
        return None if products > 15 else f"{products} products are left"

    culprit = bisect(graph, "cse,fuse-qkv", too_few)
    assert culprit is not None and culprit.rewrite is not None
    assert (str(culprit.step), culprit.number, culprit.reason) == ("fuse-qkv", 2, "15 products are left")
    assert bisect(graph, "cse", too_few) is None


def test_counterparts_look_through_swapped_operands() -> None:
    a = tg.parse("graph g(%x: f32[B], %z: f32[B]) -> (y: f32[B]) {\n  %0 = exp(%x) : f32[B]\n  %1 = add(%0, %z) : f32[B]\n"
                 "  return (y: %1)\n}")
    b = tg.parse("graph g(%x: f32[B], %z: f32[B]) -> (y: f32[B]) {\n  %0 = exp(%x) : f32[B]\n  %1 = add(%z, %0) : f32[B]\n"
                 "  return (y: %1)\n}")
    pairs = counterparts(a, b)
    assert pairs[a.nodes[0].result] is b.nodes[0].result and pairs[a.inputs[1]] is b.inputs[1]


def test_a_failing_pass_is_bisected_to_its_last_good_rewrite() -> None:
    @dataclass(frozen=True)
    class Fails(Pass):
        effect = "exact"

        def apply(self, graph: tg.Graph) -> None:
            optimized = [n for n in graph.nodes if n.op.name == "gelu"]
            for node in optimized:
                current_report().rewrote("gelu(x) = gelu(x)", [node], node.results)
            graph.erase(optimized[0])

    culprit = bisect(deep(2), [Fails()])
    assert culprit is not None and culprit.rewrite is None and culprit.total == 2
    assert "it fails: cannot erase gelu" in str(culprit)
    with pytest.raises(tg.PassError, match="pass fails failed"):
        run_pipeline(deep(2), [Fails()])
    with pytest.raises(tg.PassError, match="unknown pass"):
        optimize(gated(), "no-such-pass")

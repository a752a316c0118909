"""Sequence to sequence: the step writes what the whole model scores best, sources of any length side by side, and beams."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tgraph as tg
from tgraph.ir.values import Parameter, Value
from tgraph.models.seq2seq import Seq2Seq
from tgraph.nn.scored_attention import SCORES

B, S, T = tg.dims("B S T")
SOURCE = np.array([[1, 2, 3, 4], [5, 6, 0, 0]])
KINDS = [{"attention": None}, {"attention": "additive"}, {"attention": "multiplicative", "cell": "lstm", "layers": 2},
         {"attention": "dot", "layers": 2, "bidirectional": False}, {"attention": "scaled_dot", "cell": "rnn"}]


def model_of(**options: Any) -> Seq2Seq:
    model, generator = Seq2Seq(11, 9, dim=8, hidden=12, **options), np.random.default_rng(0)
    for parameter in model.parameters().values():
        parameter.data = generator.standard_normal(parameter.type.shape).astype(np.float32) / 2
    return model


def program_of(model: Seq2Seq) -> tg.Program:
    return tg.trace_program(model, start={"source": tg.i64[B, S], "source_mask": tg.bool_[B, S]}, step=tg.i64[B, T])


@pytest.mark.parametrize("options", KINDS, ids=str)
def test_generation_is_what_the_whole_model_scores_best(options: dict[str, Any]) -> None:
    model = model_of(**options)
    session = tg.compile(program_of(model), target="numpy").session()
    whole = tg.trace(model, source=tg.i64[B, S], target=tg.i64[B, T], source_mask=tg.bool_[B, S])
    session.start(SOURCE, SOURCE > 0)
    written = tg.generate(session, [[0], [0]], max_new_tokens=6).tokens
    target = np.array([[0, *tokens] for tokens in written])
    scores = tg.reference.run(whole, {"source": SOURCE, "target": target[:, :-1], "source_mask": SOURCE > 0})["output"]
    assert np.array_equal(scores.argmax(axis=-1), target[:, 1:])
    session.start(SOURCE[1:, :2], np.ones((1, 2), bool))  # alone and without padding
    assert tg.generate(session, [0], max_new_tokens=6).tokens[0] == written[1]
    session.start(SOURCE, SOURCE > 0)
    beams = tg.generate(session, [[0], [0]], method="beam", beams=3, max_new_tokens=6, length_penalty=0.0)
    greedy = np.log(np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True))
    totals = np.take_along_axis(greedy, target[:, 1:, None], axis=-1).sum(axis=(1, 2))
    assert all(found >= total - 1e-4 for found, total in zip(beams.scores, totals))


def test_compiled() -> None:
    program = program_of(model_of(attention="additive"))
    exe = tg.compile(program)
    session, reference = exe.session(), tg.compile(program, target="numpy").session()
    for one in (session, reference):
        one.start(SOURCE, SOURCE > 0)
    steps = [np.array([[0], [0]]), np.array([[3, 1], [4, 2]])]
    for tokens in steps:
        assert np.abs(session.step(tokens) - reference.step(tokens)).max() < 1e-5


def test_alignment() -> None:
    graph = tg.trace(model_of(attention="additive").align, source=tg.i64[B, S], target=tg.i64[B, T], source_mask=tg.bool_[B, S])
    target = np.array([[0, 1, 2]] * 2)
    weights = tg.reference.run(graph, {"source": SOURCE, "target": target, "source_mask": SOURCE > 0})["output"]
    assert weights.shape == (2, 3, 4) and np.allclose(weights.sum(axis=-1), 1) and np.all(weights[1, :, 2:] == 0)


def test_errors() -> None:
    with pytest.raises(tg.TraceError, match="a cell is rnn, gru or lstm"):
        Seq2Seq(5, 5, cell="elman")  # type: ignore[arg-type]
    with pytest.raises(tg.TraceError, match="it must be even"):
        Seq2Seq(5, 5, hidden=7)
    with pytest.raises(tg.TraceError, match="it has no alignment"):
        tg.trace(model_of(attention=None).align, source=tg.i64[B, S], target=tg.i64[B, T])


@pytest.mark.parametrize("score", SCORES)
def test_a_step_computes_nothing_of_the_source_alone(score: str) -> None:
    """That is in `start`; a step looks at it in other shapes, and no more."""
    step = program_of(model_of(attention=score))["step"]
    source = {i for i in step.inputs if i.name in ("memory", "keys", "mask")}
    assert len(source) == (2 if score in ("dot", "scaled_dot") else 3)
    of_source: set[Value] = set(source)
    for node in step.nodes:
        if all(x in of_source or isinstance(x, Parameter) for x in node.inputs) and of_source.intersection(node.inputs):
            assert node.op.traits.view is not None, node
            of_source.update(node.results)

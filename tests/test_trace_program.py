"""Several methods of a model traced as one program over its parameters."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import tgraph as tg
from tgraph import nn

B, S = tg.dims("B S")


class Tied(nn.Module):
    """Two methods that share a layer, of which each also has one of its own, and a parameter with two names."""

    def __init__(self) -> None:
        self.embedding, self.up, self.down = nn.Embedding(20, 8), nn.Linear(8, 8), nn.Linear(8, 20)
        self.down.weight = self.embedding.weight

    def encode(self, ids: tg.Tensor) -> dict[str, tg.Tensor]:
        return {"memory": self.up(self.embedding(ids))}

    def score(self, memory: tg.Tensor, scale: float = 1.0) -> tg.Tensor:
        return self.down(memory) * scale


def test_methods_become_graphs_over_one_table() -> None:
    model = Tied()
    program = tg.trace_program(model, encode={"ids": tg.i64[B, S].range(0, 20)}, score={"memory": tg.f32[B, S, 8], "scale": 2.0})
    tg.verify(program)
    assert list(program) == ["encode", "score"] and [g.name for g in program.graphs.values()] == ["encode", "score"]
    assert all(g.weights is program.weights for g in program.graphs.values())
    assert set(program.parameters) == {"embedding.weight", "up.weight", "up.bias", "down.bias"}
    assert program["score"].parameters.keys() == {"embedding.weight", "down.bias"}
    assert program.weights.aliases == {"down.weight": "embedding.weight"}
    alone = tg.trace(model.encode, ids=tg.i64[B, S].range(0, 20))
    assert str(program["encode"]) == str(alone)
    assert np.array_equal(program.weights["up.weight"], alone.weights["up.weight"])
    assert tg.parse_program(str(program)) == program


@pytest.mark.parametrize("specs", [tg.f32[B, 8], (tg.f32[B, 8],), [tg.f32[B, 8]], {"memory": tg.f32[B, 8]}])
def test_specs_by_name_and_position(specs: Any) -> None:
    assert str(tg.trace_program(Tied(), score=specs)["score"]) == str(tg.trace(Tied().score, tg.f32[B, 8]))


@pytest.mark.parametrize(("methods", "message"), [
    ({}, "a program needs a graph: name a method"),
    ({"decode": {}}, "Tied has no method 'decode'; it has aliases, encode, load_weights, parameters, score"),
    ({"up": {}}, "cannot be called with these specs"),
    ({"embedding_size": {}}, "Tied has no method 'embedding_size'"),
    ({"score": 3}, "the specs of score are 3; write a dict by name, score=dict("),
    ({"score": {"x": tg.f32[B, 8]}}, "cannot be called with these specs"),
])
def test_what_cannot_be_traced(methods: dict[str, Any], message: str) -> None:
    with pytest.raises(tg.TraceError, match=re.escape(message)):
        tg.trace_program(Tied(), **methods)


def test_an_error_in_a_method_has_its_line() -> None:
    with pytest.raises(tg.OpError, match=r"test_trace_program\.py:\d+"):
        tg.trace_program(Tied(), score={"memory": tg.f32[B, 9]})

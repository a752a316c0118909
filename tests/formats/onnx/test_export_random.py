"""Random programs over all ops go out as ONNX and come back: the checker takes them, and they compute the same."""

from __future__ import annotations

import os

import numpy as np
import pytest

import tgraph as tg
from tests.formats.onnx.test_export import OPSETS, whole
from tgraph.formats import import_onnx
from tgraph.reference import Interpreter, compare, generate_inputs
from tgraph.reference.tolerance import tolerance
from tgraph.testing.generator.program import program

# TGRAPH_ONNX_PROGRAMS=0:1000 for a longer run
FIRST, LAST = map(int, os.environ.get("TGRAPH_ONNX_PROGRAMS", "0:80").split(":"))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(FIRST, LAST))
def test_programs(seed: int) -> None:
    graph = program(seed)
    for name, parameter in graph.parameters.items():
        if name not in graph.weights:
            values = np.random.default_rng(seed).standard_normal(parameter.type.evaluate({}))
            graph.weights.set(name, values.astype(parameter.dtype.numpy))
    again = import_onnx(whole(graph, OPSETS[seed % 4]))
    try:
        feeds = generate_inputs(graph, seed=seed)
    except tg.InputError:
        pytest.skip("no inputs fit: an index into an empty table")
    with np.errstate(all="ignore"):
        expected, results = Interpreter(graph).run(feeds), Interpreter(again).run(feeds)
    found = dict(zip(expected, results.values()))  # an output that has the name of an input, as states have, gets another one
    types = {r.dtype for n in graph.nodes for r in n.results} | {i.dtype for i in graph.inputs}
    # a literal of a definition (0.3) has the type of its operands, and ONNX's attributes are f32
    allowed = max((tolerance(d) for d in types if d.is_float), default=0.0) + 1e-6
    jumps = any(n.op.name in ("cast", "floor", "ceil", "round", "argmax", "argsort", "topk", "sign") for n in graph.nodes)
    for name, value in graph.outputs:
        assert found[name].shape == expected[name].shape and found[name].dtype == expected[name].dtype
        if value.dtype.is_float and not jumps:
            finite = np.isfinite(expected[name].astype(np.float64))
            assert compare(found[name][finite], expected[name][finite], allowed).ok, name

"""Defining ops, and applying them with a Builder."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest

from tgraph.ir.builder import Builder, scalar_dtype
from tgraph.ir.dims import dim
from tgraph.ir.dtypes import bf16, bool_, f16, f32, i8, i64
from tgraph.ir.errors import OpError, RuleError
from tgraph.ir.graph import Graph
from tgraph.ir.location import Location, Provenance
from tgraph.ir.parser import parse
from tgraph.ir.registry import OPS, REQUIRED, Op, get_op, op
from tgraph.ir.types import TensorType
from tgraph.ir.verify import verify

B = dim("B")


@pytest.fixture
def probe() -> Iterator[Op]:
    @op
    def probe_scale(x: TensorType, by: TensorType = None, *, factor: float, axis: int = -1) -> TensorType:  # type: ignore[assignment]
        """Scale along one axis.

        The details.
        """
        if by is not None and by.rank != 1:
            raise RuleError(f"'by' must have rank 1, got {by}")
        return x

    @probe_scale.canonicalize
    def _(operands, attrs):  # type: ignore[no-untyped-def]
        return {"axis": attrs["axis"] - operands[0].rank if attrs["axis"] >= 0 else attrs["axis"]}

    @probe_scale.cost
    def _(operands, results, attrs):  # type: ignore[no-untyped-def]
        return 2 * results[0].size

    yield probe_scale
    del OPS["probe_scale"]


def test_an_op_is_its_definition(probe: Op) -> None:
    assert (probe.name, probe.summary, probe.doc.split("\n")[-1]) == ("probe_scale", "Scale along one axis.",
                                                                      "The details.")
    assert [(o.name, o.optional, o.variadic) for o in probe.operands] == [("x", False, False), ("by", True, False)]
    assert dict(probe.attributes) == {"factor": REQUIRED, "axis": -1} and not probe.variadic and not probe.composite
    assert get_op("probe_scale") is probe


def test_a_users_op_is_like_ours(probe: Op) -> None:
    text = """\
graph main(%x: f32[B, 4]) -> (y: f32[B, 4]) {
  param @by: f32[4]
  %0 = probe_scale(%x, @by, factor=0.5, axis=-2) : f32[B, 4]
  %1 = probe_scale(%0, factor=2.0) : f32[B, 4]
  return (y: %1)
}"""
    graph = parse(text.replace("axis=-2", "axis=0"))
    assert str(graph) == text and parse(text) == graph
    verify(graph)
    assert graph.flops == 16 * B
    with pytest.raises(OpError, match=r"probe_scale\(f32\[B, 4\], f32\[B, 4\]\): 'by' must have rank 1"):
        Builder(graph).probe_scale(graph.inputs[0], graph.inputs[0], factor=1.0)


def test_binding_of_attributes(probe: Op) -> None:
    bound = probe.bind_attributes({"factor": 2, "axis": np.int64(1)})
    assert bound == {"factor": 2.0, "axis": 1} and [type(v) for v in bound.values()] == [float, int]
    assert probe.complete_attributes({"factor": [[1, np.int64(2)], np.float32(0.5)]})["factor"] == ((1, 2), 0.5)
    for given, message in (({}, "attribute 'factor' is missing"),
                           ({"factor": "2"}, "attribute 'factor' must be a finite number, got '2'"),
                           ({"factr": 1}, r"unknown attribute 'factr' \(attributes: factor, axis\)")):
        with pytest.raises(RuleError, match=message):
            probe.bind_attributes(given)


def test_binding_of_operands(probe: Op) -> None:
    assert probe.bind_operands([1], {}) == [1, None] and probe.bind_operands([], {"by": 2, "x": 1}) == [1, 2]
    for given, named, message in (([], {}, "operand 'x' is missing"), ([1, 2, 3], {}, "takes 2 operands, got 3"),
                                  ([1], {"x": 1}, "operand 'x' is given twice")):
        with pytest.raises(RuleError, match=message):
            probe.bind_operands(given, named)
    assert get_op("concat").bind_operands([1, 2], {}) == [1, 2]
    with pytest.raises(RuleError, match="operands of concat are positional"):
        get_op("concat").bind_operands([], {"xs": 1})


def test_a_name_belongs_to_one_module(probe: Op) -> None:
    with pytest.raises(RuleError, match="op 'relu' is already defined in tgraph"):
        op(lambda x: x, name="relu")
    assert op(probe.infer) is OPS["probe_scale"]  # the same file may be loaded again
    with pytest.raises(RuleError, match="unknown op 'prob_scale'; did you mean probe_scale"):
        get_op("prob_scale")


def test_python_numbers_take_the_type_beside_them() -> None:
    assert scalar_dtype(1, [bool_, f16]) is f16 and scalar_dtype(1, []) is i64 and scalar_dtype(True, [f16]) is bool_
    assert scalar_dtype(0.5, [i8, bf16]) is bf16 and scalar_dtype(0.5, [i8]) is f32
    assert scalar_dtype(np.float64(1), [f16]) is None
    with pytest.raises(RuleError, match=r"expected a tensor, a NumPy array or a Python number, got str \('1'\)"):
        scalar_dtype("1", [f16])


def test_builder() -> None:
    graph = Graph()
    here = Provenance(("head",), (Location("model.py", 3),))
    b, x = Builder(graph, here), graph.input("x", f16[B, 4])
    y = b.add(x, 2)
    assert y.node.operands[1].type == TensorType(f16) and y.node.provenance == here
    assert b.add(x, np.ones(4, np.float16)).node.operands[1].shape == (4,)
    assert b.layer_norm(x, bias=np.ones(4, np.float16)).node.operands[1] is None
    assert b.constant([1.0], f32) is graph.constant([1.0], f32)
    with pytest.raises(RuleError, match="unknown op 'rellu'; did you mean relu"):
        b.rellu(x)
    with pytest.raises(AttributeError):
        b._relu
    with pytest.raises(RuleError, match="got SimpleNamespace"):
        b.add(x, SimpleNamespace())

"""Every attribute of every op refuses what it cannot be, wherever a node comes from, and keeps the rest in one spelling."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pytest

import tgraph as tg
from tests.ops.samples import SAMPLES
from tgraph.formats.json import from_json, to_json
from tgraph.ir.attributes import AtLeast, check_attribute, kinds_of
from tgraph.ir.builder import Builder
from tgraph.ir.dims import DimLike
from tgraph.ir.dtypes import DType
from tgraph.ir.graph import Graph
from tgraph.ir.registry import OPS, REQUIRED, op
from tgraph.ir.values import Node

B, S = tg.dims("B S")
NEVER = [object(), 1j, b"x", {}, {"a": 1}, np.ones(2), [[object()]], lambda: 0, "no such thing"]
WRONG = {  # by the type of the value that the attribute has in a sample
    bool: [0, 1, 1.0, None, "true", "false", [True]],
    int: [True, np.bool_(True), 1.5, None, "1", float("nan"), B / S],
    float: [True, float("nan"), float("inf"), -float("inf"), np.float32("nan"), "1", [1.0], B, 10**400],
    str: [0, True, ["none"], None],
    DType: [np.float32, "f32", 1, None, True],
    tuple: [[True], [1.5], [[1, 2], 3], ["1"], "axes"],
}
ANY_NUMBER = {("full", "value"), ("pad", "value"), ("clip", "min"), ("clip", "max")}
FREE_TEXT = {("einsum", "equation"), ("unpack", "name")}  # any string, which the rule then reads


def nodes() -> dict[str, tuple[Graph, Node]]:
    """A node of each op, of one sample or of several with other attributes."""
    found = {}
    for sample in SAMPLES:
        graph = sample.graph()
        for node in graph.nodes:
            if node.op.name == sample.op and node.attrs:
                found[f"{node.op.name}({', '.join(f'{k}={v}' for k, v in node.attrs.items())})"] = graph, node
    return found


NODES = nodes()
APPLICATIONS = [(graph, node, name) for graph, node in NODES.values() for name in node.attrs]


def test_every_attribute_is_annotated_and_tried() -> None:
    tried = {(node.op.name, name) for _, node, name in APPLICATIONS}
    for definition in OPS.values():
        if definition.infer.__module__.startswith("tgraph.ops"):
            assert set(definition.attributes) <= set(definition.kinds), definition
            assert definition.name == "call" or {(definition.name, name) for name in definition.attributes} <= tried


@pytest.mark.parametrize(("graph", "node", "name"), APPLICATIONS, ids=[f"{n.op.name}-{a}-{i}" for i, (_, n, a) in
                                                                         enumerate(APPLICATIONS)])
def test_wrong_values_are_refused(graph: Graph, node: Node, name: str) -> None:
    right = node.attrs[name]
    wrong = [*NEVER, *WRONG.get(type(right), [])]
    if (node.op.name, name) in ANY_NUMBER:
        wrong = NEVER
    if (node.op.name, name) in FREE_TEXT or isinstance(right, str):
        wrong = [w for w in wrong if not isinstance(w, str)]
    kind = node.op.kinds[name]
    if kind.says.endswith("or none") or node.op.attributes[name] is None:
        wrong = [w for w in wrong if w is not None]
    for value in wrong:
        with pytest.raises(tg.OpError) as raised:
            graph.insert(node.op, node.operands, {**node.attrs, name: value}, node.provenance)
        text = str(raised.value)
        assert text.startswith(f"{node.op.name}(") and f"attribute {name!r} must be " in text, (value, text)
    again = graph.insert(node.op, node.operands, {k: np.asarray(v)[()] if isinstance(v, (bool, int, float)) else v
                                                  for k, v in node.attrs.items()})
    twin = again[0].node if isinstance(again, tuple) else again.node
    assert [(v, type(v)) for v in twin.attrs.values()] == [(v, type(v)) for v in node.attrs.values()]


CASES = [("attention", {"causal": "false"}), ("attention", {"causal": 1}), ("attention", {"scale": float("nan")}),
         ("attention", {"softcap": -1.0}), ("attention", {"softcap": float("nan")}),
         ("attention", {"empty_row": "none"}), ("layer_norm", {"epsilon": float("nan")}), ("layer_norm", {"epsilon": -1e-5}),
         ("gelu", {"approximate": "fast"}), ("softmax", {"axis": True}), ("reduce_sum", {"keepdims": 1}),
         ("probe_window", {"width": 0}), ("probe_window", {"side": "top"})]


@pytest.fixture(autouse=True, scope="module")
def probe_window() -> Any:
    """An op as a user's own file defines one."""

    @op(name="probe_window")
    def probe_window(x: tg.TensorType, *, width: Annotated[int, AtLeast(1)] = 3,
                     side: Literal["left", "right"] = "left") -> tg.TensorType:
        """The same values."""
        return x

    yield
    del OPS["probe_window"]


def rule(name: str, attrs: dict[str, Any]) -> str:
    return f"attribute {next(iter(attrs))!r} must be "


@pytest.mark.parametrize(("name", "attrs"), CASES)
def test_wherever_a_node_comes_from(name: str, attrs: dict[str, Any]) -> None:
    types = [tg.f32[B, 2, S, 4]] * (3 if name == "attention" else 1)

    def model(*xs: Any) -> Any:
        return tg.tensor.apply(name, *xs, **attrs)

    with pytest.raises(tg.OpError) as raised:
        tg.trace(model, *types)
    assert rule(name, attrs) in str(raised.value)
    assert f"{Path(__file__).name}:{model.__code__.co_firstlineno + 1}" in str(raised.value)
    graph = tg.trace(lambda *xs: tg.tensor.apply(name, *xs), *types)
    with pytest.raises(tg.OpError) as raised:
        Builder(graph).apply(OPS[name], graph.inputs, attrs)
    assert rule(name, attrs) in str(raised.value)
    node, (key, value) = graph.nodes[0], next(iter(attrs.items()))
    tree = json.loads(json.dumps(to_json(graph)))
    tree["graphs"][0]["nodes"][0]["attributes"][key] = {"float": "nan"} if value != value else value
    with pytest.raises(tg.TGraphError) as raised:
        from_json(tree)
    assert rule(name, attrs) in str(raised.value)
    node.attrs[key] = value
    with pytest.raises(tg.VerifyError) as raised:
        tg.verify(graph)
    assert rule(name, attrs) in str(raised.value)
    with pytest.raises(tg.ParseError) as raised:
        tg.parse(str(graph))
    assert rule(name, attrs) in str(raised.value) and "<text>:2:" in str(raised.value)


def test_one_spelling() -> None:
    graphs = [tg.trace(lambda x, a=alpha, k=keep, n=axes: tg.reduce_sum(tg.leaky_relu(x, alpha=a), axes=n, keepdims=k),
                       x=tg.f32[B, 4])
              for alpha, keep, axes in ((1, True, -1), (1.0, np.True_, [np.int32(1)]), (np.float64(1), True, (1,)))]
    assert len({str(g) for g in graphs}) == 1 and "alpha=1.0" in str(graphs[0]) and "axes=[-1], keepdims=true" in str(graphs[0])


def test_kinds() -> None:
    def signature(*, a: int | tuple[DimLike, ...], b: Annotated[float, AtLeast(0)] | None, c: tuple[DimLike | None, ...],
                  d: Graph, e: bool | int | float | None, f) -> None:  # type: ignore[no-untyped-def]
        pass

    kinds = kinds_of(signature)
    assert {k: v.says for k, v in kinds.items() if k != "return"} == {
        "a": "an integer or a tuple of sizes (integers or dims)", "b": "a finite number of at least 0 or none",
        "c": "a tuple of sizes (integers or dims) or none", "d": "a graph", "e": "a number or none"}
    for name, value, kept in (("a", 3, 3), ("a", [B, 2], (B, 2)), ("b", 0, 0.0), ("b", None, None),
                              ("c", (None, B, 1), (None, B, 1)), ("e", True, True), ("e", np.float32(0.5), 0.5),
                              ("e", 2**62, 2**62)):
        assert check_attribute(name, value, kinds[name]) == kept
        assert type(check_attribute(name, value, kinds[name])) is type(kept)
    assert REQUIRED is not None and check_attribute("f", object, None) is object

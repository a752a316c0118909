"""JSON: complete, and strict about what it reads."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_graphs import constants, graphs

import tgraph as tg
from targets.lowering.pipeline import kernel_graph
from tests.passes.golden import cases
from tgraph.cli.models import BUILT_IN, bert
from tgraph.formats import read
from tgraph.formats.json import SCHEMA, from_json, to_json
from tgraph.ir.errors import FormatError
from tgraph.ir.graph import Graph
from tgraph.ir.parser import parse
from tgraph.ir.program import Program
from tgraph.ir.verify import verify


@given(graphs())
def test_json_round_trip(graph: Graph) -> None:
    again = from_json(json.loads(json.dumps(to_json(graph), allow_nan=False)))
    assert isinstance(again, Graph) and again == graph
    assert again.text(scopes=True, locations=True) == graph.text(scopes=True, locations=True)
    assert [n.provenance for n in again.nodes] == [n.provenance for n in graph.nodes]
    verify(again)


VALIDATOR = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(VALIDATOR.schema)


@given(graphs())
def test_the_schema_holds_for_any_graph(graph: Graph) -> None:
    VALIDATOR.validate(json.loads(json.dumps(to_json(graph))))


@pytest.mark.parametrize("name", ["bert-tiny", "transformer", "optimized", "kernels", "program", "states", "constants"])
def test_the_schema_holds_for_models(name: str, model: Graph, two_graphs: Program) -> None:
    def made() -> Graph | Program:
        if name in BUILT_IN:
            return BUILT_IN[name]()
        if name == "optimized":
            return tg.optimize(bert("bert-tiny"))
        if name == "kernels":
            return kernel_graph(tg.optimize(bert("bert-tiny")), tg.targets.Target.parse("cpu:x86-64-v3"))
        return tg.trace(Counter(), x=tg.f32[2]) if name == "states" else two_graphs if name == "program" else model

    VALIDATOR.validate(json.loads(json.dumps(to_json(made()))))


class Counter(tg.Module):
    def __init__(self) -> None:
        self.sum = tg.nn.State(tg.f32[2])

    def __call__(self, x):  # type: ignore[no-untyped-def]
        self.sum = self.sum + x
        return self.sum * 1.0


def test_the_schema_holds_for_golden_graphs() -> None:
    found = cases()
    assert len(found) > 300
    for case in found:
        VALIDATOR.validate(json.loads(json.dumps(to_json(parse(case.after)))))


@pytest.mark.parametrize(("place", "value"), [
    (("version",), 2), (("graphs", 0, "nodes", 0, "operands", 0), "%0"), (("graphs", 0, "inputs", 0, "id"), -1),
    (("graphs", 0, "nodes", 0, "attributes"), {"axis": {"dtype": "f32", "dim": "B"}}), (("graphs", 0, "extra"), 1),
    (("graphs",), []), (("graphs", 0, "nodes", 0, "locations"), [["model.py"]]),
])
def test_the_schema_refuses(place: tuple[Any, ...], value: Any, model: Graph) -> None:
    data = json.loads(json.dumps(to_json(model)))
    at = data
    for key in place[:-1]:
        at = at[key]
    at[place[-1]] = value
    assert list(VALIDATOR.iter_errors(data))


@given(constants())
def test_json_round_trip_of_constants(array: np.ndarray) -> None:
    graph = Graph()
    graph.set_outputs([("y", graph.constant(array))])
    again = from_json(json.loads(json.dumps(to_json(graph), allow_nan=False)))
    assert again.outputs[0][1].data.tobytes() == array.tobytes() and again == graph


def test_json_files(tmp_path: Path, model: Graph, two_graphs: Program) -> None:
    model.dump(tmp_path / "model.json", indent=1)
    again = read(tmp_path / "model.json")
    assert again == model and again.inputs[1].type.value_range == (0, 20) and again.symbols["B"].max == 64
    assert again.weights.aliases == {"tied.w": "w"}
    two_graphs.dump(tmp_path / "program.json")
    assert read(tmp_path / "program.json") == two_graphs
    content = json.loads((tmp_path / "model.json").read_text())
    assert content["format"] == "tgraph" and [g["name"] for g in content["functions"]] == ["scale"]
    attributes = [n["attributes"] for n in content["graphs"][0]["nodes"]]
    assert {"function": {"function": "scale"}} in attributes and {"axis": -2} in attributes


CALL = """\
function $scale(%x: f32[N, 4]) -> (y: f32[N, 4]) {
  param @gain: f32[4] aliases [@other]
  %0 = mul(%x, @gain) : f32[N, 4]
  return (y: %0)
}

graph model(%x: f32[B, 4], %ids: i64[B].range(0, 20)) -> (y: f32[B, 4]) where B <= 64 {
  const #0: f32[4] = [1.0, nan, inf, -0.5]
  %0 = call $scale(%x) : f32[B, 4]
  %1 = add(%0, #0) : f32[B, 4]
  %2 = softmax(%1, axis=-2) : f32[B, 4]  in head at model.py:3
  return (y: %2)
}"""


@given(st.data())
def test_damaged_json_is_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    tree = json.loads(json.dumps(to_json(parse(CALL))))
    place, key = tree, None
    for _ in range(data.draw(st.integers(1, 7))):
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            break
        holder, key = place, data.draw(st.sampled_from(keys))
        place = holder[key]
        if not isinstance(place, (dict, list)):
            break
    holder[key] = data.draw(st.sampled_from([None, 0, 99, -1, True, "", "B B", "f33", [], {}, [[]], {"dim": "("},
                                             1e300]))
    file = tmp_path_factory.getbasetemp() / "damaged.json"
    file.write_text(json.dumps(tree))
    try:
        again = read(file)
    except FormatError as error:
        assert "no graph in JSON" in str(error)
        assert not re.search(r"Error|NoneType|<class|object is|argument|unhashable|not subscriptable", str(error)), str(error)
    else:
        assert isinstance(again, (Graph, Program)) and str(again) != ""


@pytest.mark.parametrize("content", ["", "{", "[]", "3", "{}", '{"format": "tgraph", "version": 99}', "[" * 100_000,
                                     "\ufeff{}"])
def test_what_is_no_graph_in_json(content: str, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text(content, encoding="utf-8")
    with pytest.raises(FormatError, match=r"bad\.json is no graph in JSON"):
        read(tmp_path / "bad.json")
    (tmp_path / "bad.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FormatError, match=r"bad\.json is no graph in JSON"):
        read(tmp_path / "bad.json")


def test_json_checks_the_bytes_of_constants(model: Graph) -> None:
    tree = to_json(model)
    large = next(c for c in tree["graphs"][0]["constants"] if "base64" in c)
    large["sha256"] = "0" * 64
    with pytest.raises(FormatError, match=r"the elements of constant 0000.* are others"):
        from_json(tree)
    graph = parse(f"graph g() -> (y: f32[20]) {{\n  const #0: f32[20] = sha256:{'0' * 64}\n  return (y: #0)\n}}")
    with pytest.raises(FormatError, match="has no data"):
        to_json(graph)


@pytest.mark.parametrize(("edit", "message"), [
    (lambda g: g["nodes"][0].update(operands=[34]), r"graph 'model': node 0 \(call\): there is no value 34 before it"),
    (lambda g: g["nodes"][2].pop("operands"), r"graph 'model': node 2 \(softmax\): expected a field 'operands', found 'op', "),
    (lambda g: g["nodes"][2]["attributes"].update(axis={"dim": "B B"}), "node 2 .*attribute 'axis': .*expected the end"),
    (lambda g: g["nodes"][2]["attributes"].update(axis={"dim": "B", "float": "1"}), "'axis': expected a value or one of dtype"),
    (lambda g: g["nodes"][2]["attributes"].update(axis="last"), "attribute 'axis' must be an integer, got 'last'"),
    (lambda g: g["nodes"][2].update(op="softmux"), r"node 2 \(softmux\): unknown op 'softmux'; did you mean softmax"),
    (lambda g: g["nodes"][2].update(results=[]), r"node 2 \(softmax\): it has 1 results, the file lists 0"),
    (lambda g: g["nodes"][2]["results"][0].update(type="f32[B]"), r"the result is f32\[B, 4\], the file says f32\[B\]"),
    (lambda g: g["nodes"][2].update(locations=[["model.py"]]), "expected an integer for the line of a location, found null"),
    (lambda g: g["nodes"][0]["attributes"].update(function={"function": "other"}), 'there is no function "other" before it'),
    (lambda g: g.update(nodes={}), r"graph 'model': expected a list for 'nodes', found \{\}"),
    (lambda g: g.update(inputs=[3]), "expected an object for each of 'inputs', found 3"),
    (lambda g: g["inputs"][0].update(type=[1]), r"""input "x": expected a string for 'type', found \[1\]"""),
    (lambda g: g["symbols"].update(B={"min": "0", "max": None}), "dim 'B': expected an integer for 'min', found \"0\""),
    (lambda g: g["outputs"][0].update(value=None), 'output "y": there is no value null before it'),
    (lambda g: g["constants"][0].update(elements=["a"]), r"""constant 0: its elements are none of f32\[4\]: \["a"\]"""),
    (lambda g: g["constraints"].append(["B"]), r"""constraint \["B"\]: expected a string for a side"""),
])
def test_errors_say_where_and_what(edit: Callable[[dict[str, Any]], Any], message: str) -> None:
    tree = json.loads(json.dumps(to_json(parse(CALL))))
    edit(tree["graphs"][0])
    with pytest.raises(FormatError, match=message):
        from_json(tree)

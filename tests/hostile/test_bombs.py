"""Small files that would take all time, memory or stack: nested, doubled, repeated. Each is an error that says so, in time and
memory that its size explains."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

import tgraph as tg
from targets.base.schedules import Schedules, kernel_key, load_schedules
from targets.cpu.kernels.gemm_tile import GemmTile
from tests.hostile.oracle import judge
from tests.hostile.sandbox import limited_memory
from tests.onnx_models import BOOL, F32, I64, model, node, numbers
from tgraph.formats.html import page, read_page
from tgraph.formats.json import to_json
from tgraph.ir.errors import FormatError, RuleError, TGraphError
from tgraph.models.generation_config import GenerationConfig
from tgraph.version import VERSION

DEEP = 100_000


def graph(body: str = "", result: str = "%x", inputs: str = "%x: f32[B]", type: str = "f32[B]") -> str:
    return f"graph g({inputs}) -> (y: {type}) {{\n{body}  return (y: {result})\n}}\n"


def functions(count: int, calls: Callable[[int], Iterator[int]]) -> str:
    """Functions of which each calls earlier ones."""
    text = "function $f0(%x: f32[B]) -> (y: f32[B]) {\n  %0 = relu(%x) : f32[B]\n  return (y: %0)\n}\n"
    for i in range(1, count):
        text += f"function $f{i}(%x: f32[B]) -> (y: f32[B]) {{\n"
        last = "%x"
        for number, other in enumerate(calls(i)):
            text += f"  %{number} = call $f{other}({last}) : f32[B]\n"
            last = f"%{number}"
        text += f"  return (y: {last})\n}}\n"
    return text + graph(f"  %0 = call $f{count - 1}(%x) : f32[B]\n", "%0")


SUM = "+".join("abcdefgh")
DOUBLED = "".join(f"  %{i} = concat({v}, {v}, axis=0)\n" for i, v in enumerate(["%x", *(f"%{j}" for j in range(79))]))
SQUARED = "".join(f"  %{2 * i} = einsum({v}, {v}, equation=\"a,b->ab\")\n  %{2 * i + 1} = reshape(%{2 * i}, shape=[-1])\n"
                  for i, v in enumerate(["%x", *(f"%{2 * j + 1}" for j in range(69))]))
REFUSED = {
    "parentheses": graph(inputs=f"%x: f32[{'(' * DEEP}B{')' * DEEP}]"),
    "minus": graph(inputs=f"%x: f32[{'-' * 9999}B]"),
    "lists": graph(f"  %0 = transpose(%x, perm={'[' * 9999}0{']' * 9999})\n", "%0"),
    "strings": graph(result='"' + "\\" * DEEP),
    "a product of sums": graph(inputs=f"%x: f32[{'*'.join([f'({SUM})'] * 40)}]"),
    "a power": graph(inputs=f"%x: f32[{'*'.join(['B'] * 20_000)}]"),
    "a long number": graph(inputs="%x: f32[" + "9" * 5000 + "]"),
    "long numbers multiplied": graph(inputs="%x: f32[" + "*".join(["9" * 3000] * 3) + "]"),
    "long numbers times a dim": graph(inputs="%x: f32[" + "*".join(["9" * 3000] * 3) + "*B]"),
    "a size beyond any": graph(inputs="%x: f32[9223372036854775808]"),
    "a deep constant": graph(f"  const #0: f32[{', '.join(['1'] * 9999)}] = {'[' * 9999}1.0{']' * 9999}\n"),
    "a constant of many axes": graph(f"  const #0: f32[{', '.join(['1'] * 99)}] = {'[' * 99}1.0{']' * 99}\n"),
    "an empty constant with elements": graph("  const #0: f32[2, 0, 1] = [[[0.5]], [[0.25]]]\n"),
    "a constant that claims elements": graph(f"  const #0: f32[{2**60}] = [1.0]\n"),
    "a long name that is nearly known": graph(f"  param @{'a' * DEEP}: f32[2]\n", f"@{'a' * DEEP}b"),
    "one long line": "graph g(" + " " * 10**6 + "x",
    "sizes doubled by ops": graph(DOUBLED, "%79", "%x: f32[2]"), "sizes squared by ops": graph(SQUARED, "%139"),
    "a function twice": functions(2, lambda i: iter((0,))).replace("function $f1", "function $f0"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_texts_that_are_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "x.tg"
    path.write_text(REFUSED[name])
    caught: list[TGraphError] = []

    def read(path: Path) -> None:
        try:
            tg.read(path)
        except TGraphError as error:
            caught.append(error)

    with limited_memory(2**29):
        assert judge(read, path, seconds=30) is None
    [error] = caught
    assert len(str(error)) < 40_000, "an error is to be read"
    assert str(path) in str(error)


@pytest.mark.parametrize("text", [
    functions(60, lambda i: iter((i - 1, max(i - 2, 0)))), functions(1100, lambda i: iter((i - 1,))),
    graph(inputs=", ".join(["%x: f32[B]", *(f"%i{i}: f32[B]" for i in range(8000))])),
], ids=["functions that call the two before", "a chain of functions", "many inputs"])
def test_texts_that_are_read(text: str, tmp_path: Path) -> None:
    path = tmp_path / "x.tg"
    path.write_text(text)

    def read(path: Path) -> None:
        assert "y: " in str(tg.read(path))

    assert judge(read, path, seconds=30) is None


def test_sizes_that_double() -> None:
    """By arithmetic on them, as ops and importers do it: refused before they take all memory."""
    size = tg.dim("S") + 1
    with pytest.raises(RuleError, match="more than 10000 parts"):
        for _ in range(64):
            size = size * size
    size = tg.dim("S")
    with pytest.raises(RuleError, match="nested more than 50 deep"):
        for _ in range(2000):
            size = (size + 1) // 2 + tg.dim("T")
    with pytest.raises(RuleError, match="too many digits"):
        size = tg.dim("S")
        for _ in range(64):
            size = size * 2**1000
    with pytest.raises(RuleError, match="more than any size: a number of 65 bits"):
        tg.f32[2**64]


NESTED = "[" * DEEP + "]" * DEEP
JSON = {"nested": NESTED, "nested objects": '{"a":' * DEEP + "1" + "}" * DEEP, "a long number": "9" * 5000, "no UTF-8": "\udcff",
        "an endless text": '"' + "a" * DEEP, "a list": "[]", "nothing": ""}


@pytest.mark.parametrize("content", JSON.values(), ids=JSON)
def test_json_of_every_kind_of_file(content: str, tmp_path: Path) -> None:
    """One reader, so one set of errors: graphs, configs, indices, pages, schedules."""
    data = content.encode(errors="surrogateescape")
    for name in ("config.json", "generation_config.json", "x.json", "x.index.json", "znver4.json"):
        (tmp_path / name).write_bytes(data)
    page_file = tmp_path / "x.html"
    page_file.write_text(f'<script type="application/gzip" id="data">{page.pack_text(content)}</script>')
    reads: list[Callable[[], object]] = [
        lambda: tg.models.from_pretrained(tmp_path), lambda: GenerationConfig.of(tmp_path), lambda: tg.read(tmp_path / "x.json")]
    for read in reads:
        with pytest.raises(FormatError):
            read()
    from tgraph.ir.file_formats import read_arrays

    with pytest.raises(FormatError):
        read_arrays(tmp_path / "x.index.json")
    with pytest.raises(FormatError):
        read_page(page_file)
    with pytest.warns(UserWarning, match="is no file of schedules"):
        load_schedules(tmp_path / "znver4.json")


@pytest.mark.parametrize("sides", [[], ["B"], ["B", "S", "T"], [1, 2], ["B", None]])
def test_constraints_have_two_sides(sides: list[object], tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    content = to_json(tg.parse(graph()))
    for kind in ("constraints", "inequalities"):
        path.write_text(json.dumps({**content, "graphs": [{**content["graphs"][0], kind: [sides]}]}))
        with pytest.raises(FormatError, match="graph in JSON: graph 'g': "):
            tg.read(path)


@pytest.mark.parametrize("state", [3, None, "x", [], {}])
@pytest.mark.parametrize("place", ["inputs", "outputs"])
def test_states_are_true_or_false(place: str, state: object, tmp_path: Path) -> None:
    path, content = tmp_path / "x.json", to_json(tg.parse(graph()))
    content["graphs"][0][place][0]["state"] = state
    path.write_text(json.dumps(content))
    with pytest.raises(FormatError, match="expected true or false for 'state'"):
        tg.read(path)


@pytest.mark.parametrize("schedule", [{"rows": float("inf")}, {"rows": []}, {"rows": "x"}, [], 7, None])
def test_schedules_are_of_integers(schedule: object, tmp_path: Path) -> None:
    path = tmp_path / "znver4.json"
    path.write_text(json.dumps({"kernels": {"a": {"tgraph": VERSION, "schedule": schedule}}}))
    with pytest.warns(UserWarning, match="is no file of schedules"):
        assert not load_schedules(path).entries


@pytest.mark.parametrize("schedule", [{"k_block": 10**9}, {"k_block": 0}, {"m_block": -6}, {"rows": 10**6}, {"nothing": 1}])
def test_schedules_are_what_tuning_may_find(schedule: dict[str, int]) -> None:
    """Kernels are generated by them: a tile of a billion would never end."""
    function, default = tg.parse(graph()), GemmTile.for_target(256, 16, 2**15, 2**19)
    found = {"k_block": default.variants()["k_block"][0]}
    assert Schedules({kernel_key(function): found}).tile(function, default).k_block == found["k_block"]
    assert Schedules({kernel_key(function): {**found, **schedule}}).tile(function, default) == default


@pytest.mark.parametrize("data", ["", "!!!!", "AAAA", page.pack_text("{}")[:-9], page.pack_text("x" * 5000)])
def test_pages_that_are_damaged(data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And one that unpacks to more than pages hold."""
    monkeypatch.setattr(page, "_LARGEST", 1000)
    path = tmp_path / "x.html"
    path.write_text(f'<script type="application/gzip" id="data">{data}</script>')
    with pytest.raises(FormatError, match="is no page of the explorer"):
        read_page(path)


@pytest.mark.parametrize("entry", [
    {"num_hidden_layers": 10**9}, {"num_hidden_layers": 10**30}, {"n_layer": 10**9, "model_type": "gpt2"},
    {"num_layers": 10**9, "model_type": "t5"}, {"num_hidden_layers": 10**9, "model_type": "qwen2"},
    {"hidden_size": 10**300}, {"hidden_size": 0}, {"layer_norm_eps": float("nan")}, {"layer_norm_eps": 10**400},
    {"vocab_size": -5},
    {"num_attention_heads": 0}, {"architectures": {"a": 1}}, {"architectures": [["BertModel"]]}, {"model_type": ["bert"]},
    {"model_type": {}}, {"model_type": None, "architectures": 7}, {"model_type": None, "architectures": [{}]},
    {"model_type": "qwen2", "num_hidden_layers": "12"}, {"model_type": "llama", "rope_scaling": [1]},
    {"model_type": "modernbert", "layer_types": 5}, {"model_type": "modernbert", "rope_parameters": "x"},
], ids=str)
def test_configs_that_make_no_model(entry: dict[str, object], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert", **entry}))
    (tmp_path / "model.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    with limited_memory(2**29):
        assert judge(lambda path: tg.models.from_pretrained(path.parent), tmp_path / "config.json") is None
    with pytest.raises(TGraphError):
        tg.models.from_pretrained(tmp_path)


def calls(count: int, times: int) -> onnx.ModelProto:
    """Functions of which each calls the one before several times; the first is called by itself if `count` is 0."""
    opset = helper.make_opsetid("", 18)
    made = []
    for i in range(max(count, 1)):
        op, domain = ("Relu", "") if i == 0 and count else (f"F{max(i - 1, 0)}", "own")
        names = ["x", *(f"t{j}" for j in range(times - 1)), "y"]
        inner = [helper.make_node(op, [names[j]], [names[j + 1]], domain=domain) for j in range(times)]
        made.append(helper.make_function("own", f"F{i}", ["x"], ["y"], inner, [opset, helper.make_opsetid("own", 1)]))
    proto = model([helper.make_node(f"F{max(count - 1, 0)}", ["x"], ["y"], domain="own")], {"x": (F32, [2])}, {"y": (F32, [2])})
    proto.opset_import.append(helper.make_opsetid("own", 1))
    proto.functions.extend(made)
    return proto


def one(made: onnx.NodeProto, constants: dict[str, np.ndarray], type: int = F32) -> onnx.ModelProto:
    """A model of one node over constants."""
    return model([made, node("Identity", "x", "z")], {"x": (F32, [2])}, {"y": (type, None), "z": (F32, [2])}, constants)


def loop(trips: int) -> onnx.ModelProto:
    body = helper.make_graph([node("Identity", "c", "d"), node("Add", "v v", "w")], "body", [
        helper.make_tensor_value_info("i", I64, []), helper.make_tensor_value_info("c", BOOL, []),
        helper.make_tensor_value_info("v", F32, [1])],
        [helper.make_tensor_value_info("d", BOOL, []), helper.make_tensor_value_info("w", F32, [1])])
    return one(node("Loop", "n go a", "y", body=body), {"n": np.array(trips), "go": np.array(True), "a": np.ones(1, "f")})


RANGE = np.arange(2**15, dtype=np.int64)
ONNX_REFUSED = {
    "functions that double": calls(40, 2), "a function that calls itself": calls(0, 1), "a chain of functions": calls(200, 1),
    "a loop": loop(2**60), "a window": one(node("HannWindow", "n", "y"), {"n": np.array(2**40)}),
}
ONNX_READ = {
    "a product of two constants": one(node("MatMul", "a b", "y"), {"a": RANGE[:, None], "b": RANGE[None]}, I64),
    "a sum of two constants": one(node("Add", "a b", "y"), {"a": RANGE[:, None], "b": RANGE[None]}, I64),
    "many rows of a constant": one(node("Gather", "a b", "y"), {"a": RANGE[None], "b": np.zeros(2**15, np.int64)}, I64),
    "a choice": one(node("Where", "c a b", "y"), {"c": RANGE[:, None] > 5, "a": RANGE[None], "b": RANGE[:, None]}, I64),
    "a constant of a claimed shape": one(node("ConstantOfShape", "n", "y"), {"n": numbers(2**20, 2**20)}),
    "an expanded constant": one(node("Expand", "a n", "y"), {"a": np.ones(1, "f"), "n": numbers(2**20, 2**20)}),
    "a padded pooling": one(node("ConvTranspose", "a w", "y", strides=[2**40]),
                            {"a": np.ones((1, 1, 2), "f"), "w": np.ones((1, 1, 2), "f")}),
}


@pytest.mark.parametrize("name", [*ONNX_REFUSED, *ONNX_READ])
def test_onnx_models_that_stand_for_more_than_they_are(name: str, tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes((ONNX_REFUSED | ONNX_READ)[name].SerializeToString())
    with limited_memory(2**30):
        assert judge(tg.import_onnx, path) is None
    if name in ONNX_REFUSED:
        with pytest.raises(TGraphError):
            tg.import_onnx(path)


@pytest.mark.parametrize("location", ["\0", "a\0b", "../x", "/etc/passwd", "", ".", "x/../../x"])
def test_external_data_lies_beside_the_model(location: str, tmp_path: Path) -> None:
    proto = model([node("Add", "x w", "y")], {"x": (F32, [2])}, {"y": (F32, [2])}, {"w": np.ones(2, "f")})
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = tensor.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    (tmp_path / "m").mkdir()
    (tmp_path / "x").write_bytes(bytes(8))
    path = tmp_path / "m" / "x.onnx"
    path.write_bytes(proto.SerializeToString())
    assert judge(tg.import_onnx, path) is None
    with pytest.raises(FormatError, match=r"outside of the model's folder|cannot be read"):
        tg.import_onnx(path)


def test_strings_are_no_numbers(tmp_path: Path) -> None:
    proto = model([node("Identity", "x", "y")], {"x": (F32, [2])}, {"y": (F32, [2])})
    for raw in (b"", bytes(8 * 200)):
        tensor = helper.make_tensor("w", onnx.TensorProto.STRING, [200], [b"a"] * 200)
        tensor.raw_data = raw
        del proto.graph.initializer[:]
        proto.graph.initializer.append(tensor)
        with pytest.raises(FormatError, match="'w' holds strings"):
            tg.import_onnx(proto.SerializeToString())


@pytest.mark.parametrize(("nodes", "problem"), [
    ([node("Identity", "_", "y")], "output 'y' is a result of its node that tgraph does not compute"),
    ([node("Identity", "_", "t"), node("Clip", "x t", "y")], "reads 't', a result that tgraph does not compute"),
])
def test_a_result_that_is_nothing_is_no_operand_that_is_left_out(nodes: list[onnx.NodeProto], problem: str) -> None:
    with pytest.raises(FormatError, match=problem):
        tg.import_onnx(model(nodes, {"x": (F32, [2])}, {"y": (F32, [2])}))

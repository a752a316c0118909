"""Tracing: inputs and outputs, scopes and lines, parameters and their names, and errors where Python cannot be traced."""

from __future__ import annotations

import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import tgraph as tg
from tgraph import nn

B, S = tg.dims("B S")
ROW = tg.f32[B, 4]


def ops(graph: tg.Graph) -> list[str]:
    return [n.op.name for n in graph.nodes]


def run(graph: tg.Graph, **feeds: Any) -> Any:
    outputs = tg.reference.run(graph, feeds)
    return outputs["output"] if list(outputs) == ["output"] else outputs


# Inputs


def test_positional_specs_take_the_names_of_the_signature() -> None:
    def model(first: Any, second: Any, third: Any = None) -> Any:
        assert third is None
        return first + second

    graph = tg.trace(model, ROW, second=ROW)
    assert [i.name for i in graph.inputs] == ["first", "second"]
    assert graph.name == "model"
    assert [i.name for i in tg.trace(model, second=ROW, first=ROW).inputs] == ["second", "first"]
    assert [i.name for i in tg.trace(lambda *xs: xs[0] + xs[1], ROW, ROW).inputs] == ["xs.0", "xs.1"]
    assert tg.trace(model, ROW, ROW, name="other").name == "other"
    assert tg.trace(lambda x: x + 1.0, x=ROW).name == "main"


def test_a_bare_dtype_is_a_number() -> None:
    graph = tg.trace(lambda x: x * 2.0, x=tg.f32)
    assert graph.inputs[0].type == tg.f32[()]
    assert run(graph, x=3.0) == 6.0


def test_lists_and_dicts_of_specs_are_fed_one_by_one() -> None:
    def model(pair: Any, named: Any, flag: bool) -> Any:
        assert flag is True
        return pair[0] + pair[1] * named["weight"]

    graph = tg.trace(model, (ROW, ROW), {"weight": tg.f32[4]}, flag=True)
    assert [i.name for i in graph.inputs] == ["pair.0", "pair.1", "named.weight"]
    assert [i.name for i in tg.trace(lambda xs: xs[0] - xs[1], [ROW, ROW]).inputs] == ["xs.0", "xs.1"]


@pytest.mark.parametrize(("specs", "text"), [((), "missing a required argument: 'x'"), ((ROW, ROW), "too many positional"),
                                             ({"z": ROW}, "unexpected keyword argument 'z'")])
def test_specs_must_fit_the_signature(specs: Any, text: str) -> None:
    def model(x: Any) -> Any:
        return x

    with pytest.raises(tg.TraceError, match=r"model\(x: .*\) .*cannot be called") as raised:
        tg.trace(model, *specs) if isinstance(specs, tuple) else tg.trace(model, ROW, **specs)
    assert text in str(raised.value)


# Outputs


class Both(NamedTuple):
    hidden: Any
    pooled: Any


@pytest.mark.parametrize(("build", "names"), [
    (lambda x: x + 1.0, ["output"]), (lambda x: (x, x + 1.0), ["output0", "output1"]), (lambda x: [x + 1.0], ["output0"]),
    (lambda x: {"a": x, "b": x * x}, ["a", "b"]), (lambda x: Both(x, -x), ["hidden", "pooled"]),
    (lambda x: Both(x + 1.0, None), ["hidden"]), (lambda x: {"a": x, "again": x}, ["a", "again"]),
])
def test_what_a_function_returns_names_the_outputs(build: Callable[[Any], Any], names: list[str]) -> None:
    graph = tg.trace(build, x=ROW)
    tg.verify(graph)
    assert [name for name, _ in graph.outputs] == names


@pytest.mark.parametrize(("build", "text"), [
    (lambda x: None, "no tensor, and changed no state"), (lambda x: 3, "not int"), (lambda x: (x, 3), "output 'output1' is int"),
    (lambda x: (), "no tensor"), (lambda x: {"a": (x, x)}, "output 'a' is tuple"), (lambda x: (None,), "no tensor"),
])
def test_other_results_are_refused(build: Callable[[Any], Any], text: str) -> None:
    with pytest.raises(tg.TraceError, match=text):
        tg.trace(build, x=ROW)


# Python's operators and indexing


x, y = np.arange(1, 9, dtype=np.float32).reshape(2, 4), np.float32([2, -3, 0.5, 4])
OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "arithmetic": lambda x, y: (x + y) * 2 - 1 / y + (-x) / 3, "reflected": lambda x, y: 2 - x + 3 * y - 4 / x,
    "power": lambda x, y: x**2 + 2.0**y,
    "floor": lambda x, y: (x // 2) + (x % 3) + 7 // x, "abs": lambda x, y: abs(y) + x, "matmul": lambda x, y: x @ x.T,
    "array_on_the_left": lambda x, y: np.ones(4, np.float32) + x * np.full((2, 4), 3, np.float32),
    "array_minus": lambda x, y: np.full(4, 9, np.float32) - x, "array_divided": lambda x, y: np.full(4, 9, np.float32) / x,
    "array_matmul": lambda x, y: np.eye(2, dtype=np.float32) @ x, "numpy_number": lambda x, y: np.float32(3) * x,
    "array_compared": lambda x, y: np.zeros(4, np.float32) < y, "sum": lambda x, y: sum([x, y, x]),
    "compare": lambda x, y: ((x > y) & (x >= 3)) | ~(x < y) ^ (x <= 2), "equal": lambda x, y: (x == 3) | (x != y),
    "rows": lambda x, y: list(x)[1] - x[0], "unpacked": lambda x, y: (lambda a, b: a * b)(*x),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_mean_what_they_mean_in_numpy(name: str) -> None:
    graph = tg.trace(OPERATORS[name], x=tg.f32[2, 4], y=tg.f32[4])
    np.testing.assert_allclose(run(graph, x=x, y=y), OPERATORS[name](x, y), rtol=1e-6)


CUBE = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
INDICES: list[Any] = [
    0, -1, slice(None), slice(1, None), slice(None, -1), slice(None, None, 2), slice(None, None, -1), slice(2, 0, -1), ..., None,
    (0, 1), (slice(None), 2), (..., -1), (..., None), (None, 0), (0, None), (slice(0, 2), None, 1), (0, ..., 0),
    (None, ..., None),
    (slice(None), None, slice(1, 3), None, 2), (slice(5, 9),), (0, 1, 2), (slice(None), np.array([3, 0, 0])),
    np.array([[0, 1], [2, 2]]),
    (..., np.array([1, 2])), (slice(1, 3), np.array([0, 3])), (), [0, 2], (slice(None), [3, -1], 0), [],
    # several index tensors, side by side
    (np.array([0, 2]), np.array([-1, 1])), (0, np.array([0, 2])), (np.array([[0], [2]]), np.array([1, -4]), slice(1, None)),
    (slice(0, 2), np.array([1, 2]), np.array([4, -5])), (..., np.array([1, 2]), 3), (np.array([1]), 2, np.array([[0], [1]])),
    # masks
    np.array([True, False, True]), (slice(None), np.array([False, True, True, False])), (..., [True, False, True, True, False]),
    np.arange(12).reshape(3, 4) % 3 == 0, (slice(1, None), np.arange(20).reshape(4, 5) % 7 < 2), np.ones((3, 4, 5), bool),
    (np.array([False, True, True]), slice(1, 3)), np.zeros(3, bool),
]


@pytest.mark.parametrize("index", INDICES, ids=repr)
def test_indexing_is_numpys(index: Any) -> None:
    graph = tg.trace(lambda x: x[index] * 1.0, x=tg.f32[3, 4, 5])
    assert np.array_equal(run(graph, x=CUBE), CUBE[index])
    symbolic = tg.trace(lambda x: x[index] * 1.0, x=tg.f32[tg.dim("A", min=3, max=3), 4, 5])
    assert np.array_equal(run(symbolic, x=CUBE), CUBE[index])


@pytest.mark.parametrize(("index", "text"), [
    ((0, 0, 0, 0), "too many indices"), ((..., 0, ...), "too many indices"), (7, "index 7 is outside of axis 0, of size 3"),
    ((0, -5), "index -5 is outside of axis 1, of size 4"), ("a", "str"), (1.5, "float"), (["a"], "integers or booleans"),
    ((0, slice(None), np.array([0])), "must stand side by side"),
    ((np.array([0]), None, np.array([0])), "must stand side by side"),
    ((np.array([0]), None), "mixed with None"), ((np.ones(3, bool), None), "mixed with slices only"),
    ((np.ones(3, bool), np.array([0])), "a mask cannot be mixed with other index tensors"),
    (np.ones(4, bool), r"mask \[4\] does not fit tensor f32\[3, 4, 5\] from axis 0 on: 4 != 3"),
    (np.array(True), "tg.where"), ((0, np.ones((4, 5), bool)), "mixed with slices only"), (True, "bool"),
])
def test_other_indices_are_refused(index: Any, text: str) -> None:
    with pytest.raises(tg.TGraphError, match=text):
        tg.trace(lambda x: x[index], x=tg.f32[3, 4, 5])


@pytest.mark.parametrize("target", ["numpy", "cpu"])
@pytest.mark.parametrize(("build", "mask"), [
    (lambda x, m: x[m], [[True, False, True], [False, False, True]]),
    (lambda x, m: x[m, 1:] + x[m][:, :1], [[True] * 3, [False] * 3]),
    (lambda x, m: x[:, m], [False, True, True]), (lambda x, m: x[m].sum(axis=0), [False, True]),
    (lambda x, m: x[m], [False, False]),
    (lambda x, m: (x * 2)[m] - x[m], np.arange(24).reshape(2, 3, 4) % 5 == 0),
])
def test_a_mask_as_an_index(build: Callable[..., Any], mask: Any, target: str) -> None:
    mask, x = np.asarray(mask), np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    dims = {(2, 3): (B, S), (3,): (S,), (2,): (B,), (2, 3, 4): (B, S, 4)}[mask.shape]
    graph = tg.trace(lambda x, m: build(x, m), x=tg.f32[B, S, 4], m=tg.bool_[dims])
    tg.verify(graph)
    assert ops(graph).count("unpack") == 1 and str(tg.parse(str(graph))) == str(graph)
    assert np.array_equal(tg.compile(graph, target, cache=False)(x, mask), build(x, mask))


def test_two_masks_have_sizes_of_their_own() -> None:
    graph = tg.trace(lambda x, m, n: (x[m], x[n]), x=tg.f32[S], m=tg.bool_[S], n=tg.bool_[tg.dim("T")])
    assert [str(v.type) for _, v in graph.outputs] == ["f32[N]", "f32[N1]"] and "where S == T" in str(graph)


@pytest.mark.parametrize("target", ["numpy", "cpu"])
def test_index_tensors_are_checked_at_run_time(target: str) -> None:
    graph = tg.trace(lambda x, i, j: x[i, j], x=tg.f32[B, S, 4], i=tg.i64[3], j=tg.i32[3])
    exe = tg.compile(graph, target, cache=False)
    x, i, j = np.arange(24, dtype=np.float32).reshape(2, 3, 4), np.array([0, -1, 1]), np.array([2, 0, -3], np.int32)
    assert np.array_equal(exe(x, i, j), x[i, j])
    with pytest.raises(tg.InputError, match=r"(?s)index 3 at \[0\] is outside of -3 .. 2.*test_trace.py:\d+"):
        exe(x, i, j + np.int32(1))


def test_the_last_token_of_each_row() -> None:
    graph = tg.trace(lambda x, n: x[tg.range(stop=x.shape[0]), n - 1], x=tg.f32[B, S, 4], n=tg.i64[B])
    x = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    assert np.array_equal(run(graph, x=x, n=np.array([3, 1])), x[[0, 1], [2, 0]])


def test_an_element_that_may_not_be_there_is_checked_at_run_time() -> None:
    graph = tg.trace(lambda x: x[2], x=tg.f32[B])
    assert run(graph, x=np.float32([1, 2, 3])) == 3
    with pytest.raises(tg.InputError, match=r"index 2 .* outside"):
        run(graph, x=np.float32([1]))


@pytest.mark.parametrize("build", [
    lambda x: x if x.sum() > 0 else -x, lambda x: next(x for _ in range(10) if x[0] == 1), lambda x: x and x, lambda x: not x,
    lambda x: (x > 0.0) or x, lambda x: 1.0 if x in [1, 2] else x, lambda x: float(x.sum()), lambda x: range(x),
    lambda x: np.asarray(x) + 1,
    lambda x: int(x), lambda x: [0, 1][x],
])
def test_a_value_is_not_known_while_tracing(build: Callable[[Any], Any]) -> None:
    with pytest.raises(tg.TraceError, match=r"(?s)tensor .* is not known while tracing.*at .*test_trace.py:\d+"):
        tg.trace(build, x=tg.f32[4])


def test_while_on_a_tensor() -> None:
    def model(x: Any) -> Any:
        while x.sum() > 1.0:
            x = x / 2
        return x

    with pytest.raises(tg.TraceError, match=r"if, while, and, or, not .* tg\.where"):
        tg.trace(model, x=tg.f32[4])


def test_a_length_that_is_symbolic_is_not_known() -> None:
    with pytest.raises(tg.TraceError, match="length"):
        tg.trace(lambda x: len(x), x=ROW)


def test_an_op_outside_of_a_trace() -> None:
    with pytest.raises(tg.TraceError, match=r"softmax\(\) builds a graph"):
        tg.softmax(np.ones(3))


def test_a_tensor_of_another_trace() -> None:
    kept: list[Any] = []
    tg.trace(lambda x: kept.append(x) or x, x=ROW)
    with pytest.raises(tg.OpError, match="belongs to another trace"):
        tg.trace(lambda y: y + kept[0], y=ROW)
    with pytest.raises(tg.TGraphError, match=r"belongs to another trace|outside|only be called"):
        kept[0] + 1.0


def test_a_trace_inside_of_a_trace() -> None:
    def outer(x: Any) -> Any:
        inner = tg.trace(lambda z: tg.exp(z), z=ROW)
        assert ops(inner) == ["exp"]
        return x + 1.0

    assert ops(tg.trace(outer, x=ROW)) == ["add"]


def test_a_failed_trace_leaves_nothing_behind() -> None:
    with pytest.raises(ZeroDivisionError):
        tg.trace(lambda x: 1 / 0, x=ROW)
    with pytest.raises(tg.TraceError, match="builds a graph"):
        tg.exp(np.ones(2))


# Dims


def test_dims_are_numbers_too() -> None:
    graph = tg.trace(lambda x: x.sum(axis=1) / x.shape[1] + x.shape[0] // 2, x=tg.f32[B, S])
    assert np.allclose(run(graph, x=x), x.mean(axis=1) + 1)


def test_unknown_equalities_become_constraints() -> None:
    graph = tg.trace(lambda x, y: x + y, x=tg.f32[B, S], y=tg.f32[B, tg.dim("T")])
    assert "where S == T" in str(graph)
    with pytest.raises(tg.InputError, match=r"S of x is 2, T of y is 3"):
        run(graph, x=np.ones((1, 2), np.float32), y=np.ones((1, 3), np.float32))


# Modules


class Inner(nn.Module):
    def __init__(self) -> None:
        self.linear = nn.Linear(4, 4)

    def __call__(self, x: Any) -> Any:
        return tg.relu(self.linear(x))  # the line of relu


class Outer(nn.Module):
    def __init__(self) -> None:
        self.blocks = [Inner(), Inner()]
        self.head = {"out": nn.Linear(4, 2, bias=False)}
        self.scale = nn.Parameter(tg.f32[4])

    def __call__(self, x: Any) -> Any:
        for block in self.blocks:
            x = block(x)
        return self.head["out"](x * self.scale)


def test_names_and_scopes_are_paths_of_attributes() -> None:
    graph = tg.trace(Outer(), x=ROW)
    assert graph.name == "outer"
    assert list(graph.parameters) == ["blocks.0.linear.weight", "blocks.0.linear.bias", "blocks.1.linear.weight",
                                      "blocks.1.linear.bias",
                                      "scale", "head.out.weight"]
    assert [(n.op.name, n.provenance.scope) for n in graph.nodes] == [
        ("linear", "blocks.0.linear"), ("relu", "blocks.0"), ("linear", "blocks.1.linear"), ("relu", "blocks.1"), ("mul", ""),
        ("linear", "head.out")]
    relu = graph.nodes[1].provenance.locations[0]
    assert (relu.name, relu.line) == (Path(__file__).name,
                                      Inner.__call__.__wrapped__.__code__.co_firstlineno + 1)  # type: ignore[attr-defined]
    assert f"relu(%0) : f32[B, 4]  in blocks.0 at {Path(__file__).name}:{relu.line}" in graph.text(scopes=True, locations=True)


def test_errors_name_scope_and_line() -> None:
    with pytest.raises(tg.OpError, match=r"(?s)linear\(f32\[B, 5\], .*in blocks.0.linear at .*test_trace.py:\d+"):
        tg.trace(Outer(), x=tg.f32[B, 5])


def test_a_module_in_a_function_is_named_after_its_variable() -> None:
    encoder = Inner()
    graph = tg.trace(lambda x: encoder(x) + 1.0, x=ROW)
    assert list(graph.parameters) == ["encoder.linear.weight", "encoder.linear.bias"]
    assert {n.provenance.scope for n in graph.nodes} == {"encoder.linear", "encoder", ""}


def test_a_method_traces_with_the_names_of_its_module() -> None:
    model = nn.Embedding(10, 4)
    assert list(tg.trace(model.__call__, indices=tg.i64[B]).parameters) == ["weight"]


def test_shared_parameters_have_one_name_and_aliases() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4, bias=False)
            self.second.weight = self.first.weight

        def __call__(self, x: Any) -> Any:
            return self.second(self.first(x))

    model = Tied()
    assert list(model.parameters()) == ["first.weight", "first.bias"]
    assert model.aliases() == {"second.weight": "first.weight"}
    graph = tg.trace(model, x=ROW)
    assert list(graph.parameters) == ["first.weight", "first.bias"]
    assert graph.weights.aliases == {"second.weight": "first.weight"}
    data = {"first.weight": np.eye(4, dtype=np.float32), "first.bias": np.ones(4, np.float32)}
    model.load_weights(data | {"second.weight": np.eye(4, dtype=np.float32)})
    assert np.allclose(run(tg.trace(model, x=ROW), x=x), x + 1)


def test_a_module_that_is_used_twice_has_one_scope() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            self.a = self.b = Inner()

        def __call__(self, x: Any) -> Any:
            return self.b(self.a(x))

    graph = tg.trace(Twice(), x=ROW)
    assert len(graph.parameters) == 2
    assert {n.provenance.scope for n in graph.nodes} == {"a", "a.linear"}


def test_a_parameter_that_belongs_nowhere() -> None:
    def model(x: Any) -> Any:
        return x * nn.Parameter(tg.f32[4])

    with pytest.raises(tg.OpError, match="not an attribute of a traced module"):
        tg.trace(model, x=ROW)


def test_initial_values_depend_on_the_name_alone() -> None:
    first, second = (tg.trace(Outer(), x=ROW) for _ in range(2))
    for name in first.parameters:
        assert np.array_equal(first.weights[name], second.weights[name])
    assert not np.array_equal(first.weights["blocks.0.linear.weight"], first.weights["blocks.1.linear.weight"])


def test_loading_is_strict() -> None:
    model = nn.Linear(4, 2)
    with pytest.raises(tg.WeightsError) as raised:
        model.load_weights({"weight": np.ones((4, 2), np.float32), "gamma": np.ones(2, np.float32)})
    for text in ("bias", "gamma", "weight", "f32[2, 4]"):
        assert text in str(raised.value)


def test_a_module_without_call() -> None:
    class Empty(nn.Module):
        pass

    with pytest.raises(TypeError, match="Empty defines no __call__"):
        tg.trace(Empty(), x=ROW)


def test_an_inherited_call_is_one_scope() -> None:
    class Child(Inner):
        def __call__(self, x: Any) -> Any:
            return super().__call__(x) + 1.0

    graph = tg.trace(Child(), x=ROW)
    assert [n.provenance.scope for n in graph.nodes] == ["linear", "", ""]


# Sizes as numbers


@pytest.mark.parametrize("dtype", [tg.f32, tg.f16, tg.i32])
def test_a_size_stands_on_either_side_of_an_operator(dtype: tg.DType) -> None:
    operators = (operator.add, operator.sub, operator.mul, operator.floordiv, operator.mod, operator.truediv, operator.lt,
                 operator.le, operator.gt, operator.ge, operator.eq, operator.ne, *([operator.pow] if dtype.is_float else []))
    x = np.arange(1, 7).reshape(2, 3).astype(dtype.numpy)
    for op in operators:
        for model, expected in ((lambda x, op=op: op(S, x), op(3, x)), (lambda x, op=op: op(x, S), op(x, 3))):
            if op is operator.truediv and not dtype.is_float:
                expected = np.trunc(expected)  # integers round towards zero
            graph = tg.trace(model, x=dtype[B, S])
            assert graph.outputs[0][1].dtype == (tg.bool_ if expected.dtype == bool else dtype)
            assert np.allclose(run(graph, x=x), expected, rtol=2e-3), op


def test_numbers_made_of_sizes_take_the_type_of_the_tensor() -> None:
    x = np.arange(1, 7).reshape(2, 3)
    for dtype in (tg.f32, tg.f16, tg.f64):
        for model, expected in (
            (lambda x: x * (1.0 / S), x / 3), (lambda x: (1 / S) * x, x / 3), (lambda x: x * S ** -0.5, x * 3 ** -0.5),
            (lambda x: (S + 0.5) * x, 3.5 * x), (lambda x: x - B / S, x - 2 / 3), (lambda x: 2.0 ** S + x, 8 + x),
            (lambda x: x * -(S / 2), -1.5 * x), (lambda x: x + (1 - 2 * (S / B) / (B + 0.5)), x + 1 - 2 * 1.5 / 2.5),
            (lambda x: tg.where(x > 2.0, S * 0.5, x), np.where(x > 2, 1.5, x)),
        ):
            graph = tg.trace(model, x=dtype[B, S])
            assert {n.result.dtype for n in graph.nodes} <= {dtype, tg.bool_}
            assert np.allclose(run(graph, x=x.astype(dtype.numpy)), expected, atol=1e-2 if dtype == tg.f16 else 1e-6)
    assert str(1.0 / (S + 1) * 2) == "(1.0 / (S+1)) * 2"


# Names


@pytest.mark.parametrize(("name", "expected"), [
    ("ViT", "vit"), ("MobileViTBlock", "mobile_vit_block"), ("BEiT", "beit"), ("MoELayer", "moe_layer"), ("ALBERT", "albert"),
    ("BERTModel", "bert_model"), ("BertLayer", "bert_layer"), ("RoBERTa", "ro_berta"), ("GPT2", "gpt2"),
    ("GPT2LMHead", "gpt2_lm_head"),
    ("T5Encoder", "t5_encoder"), ("Conv2d", "conv2d"), ("Conv2DTranspose", "conv2d_transpose"), ("LayerA", "layer_a"),
    ("MyMLP", "my_mlp"), ("_Block", "_block"), ("__X", "__x"), ("Linear_A", "linear_a"), ("Größe", "größe"), ("step", "step")])
def test_names_of_classes(name: str, expected: str) -> None:
    model = type(name, (nn.Module,), {"__call__": lambda self, x: x + 1.0})()
    assert tg.trace(model, x=ROW).name == expected


def test_arguments_may_have_any_name() -> None:
    names = ("self", "name", "op", "out", "repeats", "feeds", "function", "target")
    graph = tg.trace(lambda self, name, op, out, repeats, feeds, function, target: self + 1.0, **dict.fromkeys(names, ROW))
    assert [i.name for i in graph.inputs] == list(names) and graph.name == "main"
    feeds = {name: np.full((2, 4), i, np.float32) for i, name in enumerate(names)}
    for target in ("numpy", "cpu"):
        exe = tg.compile(graph, target)
        assert np.array_equal(exe(**feeds), feeds["self"] + 1)
    assert exe.profile(**feeds).rows

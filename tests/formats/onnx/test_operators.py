"""Operators where ONNX's own node cases do not look: values at the ends of a range, symbolic sizes, ops of a user's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper

import tgraph as tg
from tgraph.cli import main
from tgraph.formats import import_onnx
from tgraph.formats.onnx.registry import IMPORTERS, importer

TYPES = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.float64): TensorProto.DOUBLE, np.dtype(np.int64): TensorProto.INT64,
         np.dtype(np.int32): TensorProto.INT32}


def graph_of(op: str, operands: dict[str, tuple[Any, list[Any]]], opset: int = 18, domain: str = "", constants: Any = None,
             outputs: int = 1, **attributes: Any) -> tg.Graph:
    """operands: type and shape of each; sizes by name are symbolic."""
    names = [f"y{i}" for i in range(outputs)]
    made = helper.make_graph([helper.make_node(op, list(operands), names, domain=domain, **attributes)], "node",
                             [helper.make_tensor_value_info(n, TYPES[np.dtype(d)], s) for n, (d, s) in operands.items()],
                             [helper.make_empty_tensor_value_info(name) for name in names])
    opsets = [helper.make_opsetid("", opset), *([helper.make_opsetid(domain, 1)] if domain else [])]
    return import_onnx(helper.make_model(made, opset_imports=opsets, ir_version=10), inputs=constants)


def run(graph: tg.Graph, *arrays: Any) -> Any:
    return tg.compile(graph, target="numpy", level="O0")(*arrays)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("op", "function", "low", "high"), [
    ("Atan", np.arctan, -1e6, 1e6), ("Asin", np.arcsin, -1, 1), ("Acos", np.arccos, -1, 1), ("Sinh", np.sinh, -8, 8),
    ("Asinh", np.arcsinh, -1e4, 1e4), ("Acosh", np.arccosh, 1, 1e4), ("Atanh", np.arctanh, -0.999, 0.999),
    ("Tan", np.tan, -1.5, 1.5),
])
def test_angles(dtype: Any, op: str, function: Callable[..., Any], low: float, high: float) -> None:
    """Relative errors over the whole range, near 0 too, where differences cancel."""
    small = np.geomspace(1e-6, 1, 200)
    x = np.concatenate([np.linspace(low, high, 1001), small, -small, [low, high]])
    x = x[(x >= low) & (x <= high)].astype(dtype)
    y = run(graph_of(op, {"x": (dtype, [len(x)])}, 22), x)
    want = function(x.astype(np.float64))
    # the root of x^2 - 1 near 1, and 1 - x near 1, lose digits of x itself
    slack = 64 if op in ("Acosh", "Acos", "Atanh") else 8
    assert np.abs(y - want).max() <= slack * np.finfo(dtype).eps * max(1, np.abs(want).max())
    near = np.abs(want) > 0
    if op in ("Atan", "Asin", "Sinh", "Asinh", "Tan"):
        assert (np.abs(y - want)[near] / np.abs(want)[near]).max() <= 16 * np.finfo(dtype).eps


@pytest.mark.parametrize(("op", "x", "want"), [
    ("Atan", [np.inf, -np.inf, 0.0], [np.pi / 2, -np.pi / 2, 0.0]), ("Asin", [1.0, -1.0, 2.0], [np.pi / 2, -np.pi / 2, np.nan]),
    ("Acos", [1.0, -1.0, -2.0], [0.0, np.pi, np.nan]), ("Sinh", [np.inf, -np.inf, 0.0], [np.inf, -np.inf, 0.0]),
    ("Asinh", [np.inf, -np.inf, 0.0], [np.inf, -np.inf, 0.0]),
])
def test_ends_of_angles(op: str, x: list[float], want: list[float]) -> None:
    y = run(graph_of(op, {"x": (np.float32, [3])}, 22), np.array(x, np.float32))
    assert np.allclose(y, want, atol=1e-6, equal_nan=True)


def test_powers_of_integers() -> None:
    x, y = np.array([2, -3, 10], np.int64), np.array([10, 5, 0], np.int64)
    assert np.array_equal(run(graph_of("Pow", {"x": (np.int64, [3]), "y": (np.int64, [3])}), x, y), x**y)


def test_a_remainder_has_the_sign_of_what_is_divided() -> None:
    """0 too, as C's fmod has it."""
    values = np.meshgrid([-6, -5, -0.0, 0, 5, 6, np.inf, np.nan], [-3, 3, 0, -np.inf, np.inf])
    x, y = (np.array(a, np.float32).ravel() for a in values)
    found = run(graph_of("Mod", {"x": (np.float32, [40]), "y": (np.float32, [40])}, fmod=1), x, y)
    with np.errstate(invalid="ignore"):
        want = np.fmod(x, y)
    assert np.array_equal(found, want, equal_nan=True)
    assert np.array_equal(np.signbit(found[want == 0]), np.signbit(want[want == 0]))


@pytest.mark.parametrize(("mask", "gone"), [([0, -np.inf, 0], [1]), ([-np.inf] * 3, [0, 1, 2]), ([1.5, -2.0, 0.25], [])])
def test_a_mask_of_minus_infinity_excludes(mask: list[float], gone: list[int]) -> None:
    """And a query that sees no key gives zeros."""
    numbers = np.random.default_rng(1)
    q, k, v = (numbers.standard_normal((1, 1, n, 4)).astype(np.float32) for n in (2, 3, 3))
    m = np.array([mask, [0, 0, 0]], np.float32)
    v[:, :, gone] = np.where(len(gone) == 3, v[:, :, gone], 1e30)
    shapes = {"q": [1, 1, 2, 4], "k": [1, 1, 3, 4], "v": [1, 1, 3, 4], "m": [2, 3]}
    types = {name: (np.float32, shape) for name, shape in shapes.items()}
    y = run(graph_of("Attention", types, 23), q, k, v, m)[0, 0, 0]
    scores = np.exp(q[0, 0, 0] @ k[0, 0].T / 2 + np.array(mask))
    want = (scores[:, None] * np.where(scores[:, None] > 0, v[0, 0], 0)).sum(0) / max(scores.sum(), 1e-30)
    assert np.allclose(y, want, rtol=1e-4, atol=1e-5)


def test_attention_of_a_symbolic_cache() -> None:
    """Positions go on after the cache, whose length only a call decides."""
    numbers = np.random.default_rng(2)
    shape: Callable[[str], list[Any]] = lambda length: ["B", 2, length, 4]
    types = {n: (np.float32, shape(s)) for n, s in (("q", "S"), ("k", "S"), ("v", "S"), ("", "S"), ("pk", "P"), ("pv", "P"))}
    made = helper.make_graph(
        [helper.make_node("Attention", list(types), ["y", "k2", "v2"], is_causal=1)], "node",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, (_, s) in types.items() if n],
        [helper.make_empty_tensor_value_info(n) for n in ("y", "k2", "v2")])
    graph = import_onnx(helper.make_model(made, opset_imports=[helper.make_opsetid("", 23)], ir_version=10))
    q, k, v = (numbers.standard_normal((3, 2, 6, 4)).astype(np.float32) for _ in range(3))
    empty = np.zeros((3, 2, 0, 4), np.float32)
    whole = run(graph, q, k, v, empty, empty)
    part = run(graph, q[:, :, 4:], k[:, :, 4:], v[:, :, 4:], k[:, :, :4], v[:, :, :4])
    assert np.allclose(part.y, whole.y[:, :, 4:], atol=1e-5) and np.array_equal(part.k2, k)


@pytest.mark.parametrize("opset", [23, 24, 25])
def test_a_softcap_is_the_ops(opset: int) -> None:
    """It bounds the scores before the mask is added, in all versions."""
    numbers = np.random.default_rng(3)
    shapes = {"q": ["B", 2, "S", 4], "k": ["B", 2, "T", 4], "v": ["B", 2, "T", 4], "m": ["S", "T"]}
    types: dict[str, tuple[Any, list[Any]]] = {name: (np.float32, shape) for name, shape in shapes.items()}
    graph = graph_of("Attention", types, opset, softcap=0.5, scale=2.0)
    (attention,) = [n for n in graph.nodes if n.op.name == "attention"]
    assert (attention.attrs["softcap"], attention.attrs["scale"]) == (0.5, 2.0)
    assert not any(n.op.name in ("matmul", "softmax", "tanh") for n in graph.nodes)
    q, k, v = (numbers.standard_normal((1, 2, n, 4)).astype(np.float32) for n in (3, 5, 5))
    m = np.where(numbers.random((3, 5)) < 0.3, -np.inf, numbers.standard_normal((3, 5))).astype(np.float32)
    m[:, 0] = 0
    scores = np.exp(0.5 * np.tanh(2.0 * q @ k.swapaxes(-1, -2) / 0.5) + m)
    assert np.allclose(run(graph, q, k, v, m), scores / scores.sum(-1, keepdims=True) @ v, atol=1e-5)


@pytest.mark.parametrize(("given", "causal", "window"), [
    ({"left_window_size": 2, "is_causal": 1}, True, (2, -1)), ({"left_window_size": 1, "right_window_size": 3}, False, (1, 3)),
    ({"right_window_size": 0}, True, None), ({"left_window_size": -1}, False, None)], ids=str)
def test_a_window_is_the_ops(given: dict[str, int], causal: bool, window: Any) -> None:
    types: dict[str, tuple[Any, list[Any]]] = {name: (np.float32, ["B", 2, "S", 4]) for name in "qkv"}
    (attention,) = graph_of("Attention", types, 25, **given).nodes
    assert (attention.op.name, attention.attrs["causal"], attention.attrs["window"]) == ("attention", causal, window)


@pytest.mark.parametrize("reverse", [0, 1])
@pytest.mark.parametrize("exclusive", [0, 1])
@pytest.mark.parametrize("size", [1, 2, 7, 8])
def test_running_products(size: int, exclusive: int, reverse: int) -> None:
    x = np.random.default_rng(size).integers(1, 4, (2, size)).astype(np.int64)
    types = {"x": (np.int64, [2, size]), "axis": (np.int64, [])}
    y = run(graph_of("CumProd", types, 26, constants={"axis": np.array(1)}, reverse=reverse, exclusive=exclusive), x)
    ordered = x[:, ::-1] if reverse else x
    want = np.cumprod(np.concatenate([np.ones((2, 1), np.int64), ordered], 1), 1)
    want = want[:, :-1] if exclusive else want[:, 1:]
    assert np.array_equal(y, want[:, ::-1] if reverse else want)


@pytest.fixture
def own_op() -> Iterator[None]:
    @importer("MyNorm", domain="my.domain")
    def my_norm(node: Any, x: Any, weight: Any) -> Any:
        return tg.rms_norm(x, weight, epsilon=node.attribute("epsilon", 1e-6))

    yield
    del IMPORTERS["my.domain", "MyNorm"]


def test_an_op_of_ones_own(own_op: None) -> None:
    types = {"x": (np.float32, ["B", 8]), "w": (np.float32, [8])}
    graph = graph_of("MyNorm", types, domain="my.domain")
    x = np.ones((2, 8), np.float32) * 3
    assert np.allclose(run(graph, x, np.ones(8, np.float32)), 1.0, atol=1e-5)


def test_an_op_that_is_not_known() -> None:
    with pytest.raises(tg.FormatError, match=r"my\.domain\.MyNorm .*not known"):
        graph_of("MyNorm", {"x": (np.float32, ["B", 8])}, domain="my.domain")


@pytest.mark.parametrize(("op", "opset", "says"), [
    ("Loop", 22, "is a loop"), ("RoiAlign", 16, "reads images at places that are computed"),
    ("BitwiseNot", 18, "bits of integers"), ("RandomNormalLike", 22, "is random")])
def test_what_is_refused_says_what_to_do(op: str, opset: int, says: str) -> None:
    with pytest.raises(tg.FormatError, match=says):
        graph_of(op, {"x": (np.float32, [2, 3])}, opset)


def test_the_table_of_onnx_ops_is_current() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "onnx.md").read_text(encoding="utf-8")
    assert page.endswith(CliRunner().invoke(main, ["ops", "--onnx"]).stdout), "the end of the page: tgraph ops --onnx"

"""Arithmetic on shapes, as exporters write it, disappears into sizes while a model is imported; what it computes stays."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, helper, numpy_helper
from onnx_models import BOOL, F32, I64, encoder, expected, model, node, numbers

import tgraph as tg
from tgraph.formats import import_onnx
from tgraph.ir.graph import Graph
from tgraph.reference.interpreter import Interpreter


def compare(made: ModelProto, *all_feeds: Mapping[str, np.ndarray]) -> Graph:
    """The graph of a model, which computes what ONNX Runtime does."""
    graph = import_onnx(made)
    for feeds in all_feeds:
        found = Interpreter(graph, faithful=True).run(dict(feeds))
        for array, wanted in zip(found.values(), expected(made, feeds), strict=True):
            assert array.shape == wanted.shape and array.dtype == wanted.dtype
            np.testing.assert_allclose(array, wanted, rtol=1e-5, atol=1e-6)
    return graph


def ops(graph: Graph) -> list[str]:
    return [n.op.name for n in graph.nodes]


def output_type(graph: Graph) -> str:
    return str(graph.outputs[0][1].type)


def x(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def feeds(batch: int, length: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(batch)
    mask = np.arange(length)[None, :] < length - np.arange(batch)[:, None]
    return {"ids": rng.integers(0, 20, (batch, length)), "mask": mask.astype(np.int64)}


@pytest.mark.parametrize("legacy", [True, False], ids=["flattened grid", "joined grid"])
def test_encoder(legacy: bool) -> None:
    graph = compare(encoder(2, legacy_mask=legacy), feeds(2, 5), feeds(3, 7))
    assert [str(d) for d in graph.inputs[0].shape] == ["batch", "length"] and not graph.constraints
    assert ops(graph).count("gather") == 1 and not {"dim_size", "range", "concat", "slice"} & set(ops(graph))
    optimized = tg.optimize(graph, "O3")
    attentions = [n for n in optimized.nodes if n.op.name == "attention"]
    assert len(attentions) == 2
    for attention in attentions:
        mask = attention.operands[3]
        assert mask is not None and mask.dtype.is_bool and mask.type.rank == 2 and attention.operands[4] is None
        assert attention.attrs["empty_row"] == "uniform"


def test_sizes_that_are_given() -> None:
    graph = import_onnx(encoder(1), dims={"batch": 2, "length": 5})
    assert graph.inputs[0].shape == (2, 5) and not graph.symbols
    np.testing.assert_allclose(Interpreter(graph, faithful=True).run(feeds(2, 5))["x1"], expected(encoder(1), feeds(2, 5))[0],
                               rtol=1e-5, atol=1e-6)
    (attention,) = [n for n in tg.optimize(graph, "O3").nodes if n.op.name == "attention"]
    assert attention.operands[3] is not None and attention.operands[4] is None


def test_reshape_by_gathered_sizes() -> None:
    made = model(
        [node("Shape", "x", "s"), node("Gather", "s i", "b"), node("Unsqueeze", "b i0", "b1"), node("Slice", "s one two", "t"),
         node("Mul", "t two", "twice"), node("Div", "twice two", "once"), node("Concat", "b1 once minus four", "shape", axis=0),
         node("Reshape", "x shape", "y")],
        {"x": (F32, ["B", "S", 12])}, {"y": (F32, None)},
        {"i": np.array(0, np.int64), "i0": numbers(0), "one": numbers(1), "two": numbers(2), "minus": numbers(-1),
         "four": numbers(4)})
    graph = compare(made, {"x": x(2, 3, 12)}, {"x": x(1, 1, 12)})
    assert ops(graph) == ["reshape"] and output_type(graph) == "f32[B, S, 3, 4]"


def test_expand_by_minus_one() -> None:
    """torch.expand(-1, H, -1, -1): where the wanted size is -1, that of the tensor."""
    made = model(
        [node("Shape", "x", "s"), node("Shape", "wanted", "rank"),
         node("ConstantOfShape", "rank", "ones", value=numpy_helper.from_array(numbers(1))),
         node("Mul", "ones minus", "minuses"), node("Equal", "wanted minuses", "same"),
         node("Where", "same ones wanted", "shape"),
         node("Expand", "x shape", "y")],
        {"x": (F32, ["B", 1, "S", 2])}, {"y": (F32, None)}, {"wanted": numbers(-1, 4, -1, -1), "minus": np.array(-1, np.int64)})
    graph = compare(made, {"x": x(2, 1, 3, 2)})
    assert ops(graph) == ["expand"] and output_type(graph) == "f32[B, 4, S, 2]"


def test_causal_mask_of_ranges() -> None:
    made = model(
        [node("Shape", "q", "s"), node("Gather", "s two", "n", axis=0), node("Range", "zero n one", "p"),
         node("Unsqueeze", "p a0", "row"), node("Unsqueeze", "p a1", "column"), node("LessOrEqual", "row column", "kept"),
         node("Where", "kept none low", "bias"), node("Transpose", "k", "kt", perm=[0, 1, 3, 2]),
         node("MatMul", "q kt", "dots"),
         node("Add", "dots bias", "masked"), node("Softmax", "masked", "weights"), node("MatMul", "weights v", "y")],
        {name: (F32, ["B", 2, "S", 4]) for name in "qkv"}, {"y": (F32, None)},
        {"two": np.array(2, np.int64), "zero": np.array(0, np.int64), "one": np.array(1, np.int64), "a0": numbers(0),
         "a1": numbers(1),
         "none": np.array(0, np.float32), "low": np.array(-np.inf, np.float32)})
    graph = compare(made, {name: x(2, 2, 5, 4) + i for i, name in enumerate("qkv")})
    (attention,) = tg.optimize(graph, "O3").nodes
    assert attention.op.name == "attention" and attention.attrs["causal"] and attention.operands[3] is None


def test_weights_that_are_nan_are_zero() -> None:
    """scaled_dot_product_attention with a mask of -inf, as torch's exporters decompose it."""
    made = model(
        [node("Where", "mask none low", "bias"), node("Transpose", "k", "kt", perm=[0, 1, 3, 2]), node("Sqrt", "scale", "root"),
         node("Mul", "q root", "qs"), node("Mul", "kt root", "ks"), node("MatMul", "qs ks", "dots"),
         node("Add", "dots bias", "masked"),
         node("Softmax", "masked", "soft"), node("IsNaN", "soft", "bad"), node("Where", "bad none soft", "weights"),
         node("MatMul", "weights v", "y")],
        {**{name: (F32, ["B", 2, "S", 4]) for name in "qkv"}, "mask": (BOOL, ["B", 1, "S", "S"])}, {"y": (F32, None)},
        {"none": np.array(0, np.float32), "low": np.array(-np.inf, np.float32), "scale": np.array(0.5, np.float32)})
    mask = np.tri(5, dtype=bool)[None, None].repeat(2, 0)
    mask[1, 0, 2] = False
    given = {**{name: x(2, 2, 5, 4) + i for i, name in enumerate("qkv")}, "mask": mask}
    graph = compare(made, given)
    (attention,) = tg.optimize(graph, "O3").nodes
    assert attention.attrs["empty_row"] == "zero" and attention.operands[3] is not None
    found = tg.compile(graph, target="numpy").run(given)["y"]
    np.testing.assert_allclose(found, expected(made, given)[0], rtol=1e-5, atol=1e-6)


def _branch(name: str, *nodes: Any) -> Any:
    return helper.make_graph(list(nodes), name, [], [helper.make_tensor_value_info(f"{name}_y", F32, None)])


def test_branch_on_a_size() -> None:
    """torch's squeeze(0): no symbolic size is 1, as in broadcasting."""
    made = model(
        [node("Shape", "x", "s"), node("Gather", "s zero", "n", axis=0), node("Equal", "n one", "single"),
         node("If", "single", "y", then_branch=_branch("then", node("Squeeze", "x a0", "then_y")),
              else_branch=_branch("else", node("Relu", "x", "else_y")))],
        {"x": (F32, ["B", 3])}, {"y": (F32, None)}, {"zero": np.array(0, np.int64), "one": np.array(1, np.int64),
                                                     "a0": numbers(0)})
    assert ops(compare(made, {"x": x(2, 3)})) == ["relu"]
    graph = import_onnx(made, dims={"B": 1})
    assert ops(graph) == ["squeeze"] or ops(graph) == ["reshape"]


def test_comparison_that_holds_everywhere() -> None:
    """position >= 0 and position < S are known, and `and` with them does nothing but broadcast."""
    made = model(
        [node("Shape", "m", "s"), node("Gather", "s one", "n", axis=0), node("Range", "zero n one", "p"),
         node("GreaterOrEqual", "p zero", "a"),
         node("Less", "p n", "b"), node("And", "a b", "c"), node("And", "c m", "y")],
        {"m": (BOOL, ["B", "S"])}, {"y": (BOOL, None)}, {"zero": np.array(0, np.int64), "one": np.array(1, np.int64)})
    assert ops(compare(made, {"m": np.eye(3, dtype=bool)})) == []


@pytest.mark.parametrize("start, stop", [(0, 4), (2, 6), (-2, 0)])
def test_gather_by_positions(start: int, stop: int) -> None:
    made = model([node("Range", "start stop one", "p"), node("Unsqueeze", "p a0", "q"), node("Gather", "x q", "y", axis=1)],
                 {"x": (F32, ["B", 6])}, {"y": (F32, None)},
                 {"start": np.array(start, np.int64), "stop": np.array(stop, np.int64), "one": np.array(1, np.int64),
                  "a0": numbers(0)})
    compare(made, {"x": x(2, 6)})


def test_position_table_is_sliced() -> None:
    """position_ids[:, :S] of a buffer 0, 1, ... reads the first rows of the table of positions."""
    made = model(
        [node("Shape", "ids", "s"), node("Gather", "s a1", "n", axis=0), node("Slice", "positions a0 n a1", "p"),
         node("Gather", "table p", "e"), node("Gather", "words ids", "w"), node("Add", "w e", "y")],
        {"ids": (I64, ["B", "S"])}, {"y": (F32, None)},
        {"positions": np.arange(16)[None], "a0": numbers(0), "a1": numbers(1), "table": x(16, 4), "words": x(9, 4)})
    graph = compare(made, {"ids": np.array([[1, 2, 3], [4, 5, 6]])}, {"ids": np.arange(8)[None]})
    assert "slice" in ops(graph) and ops(graph).count("gather") == 1 and not graph.constants
    with pytest.raises(tg.TGraphError, match="S"):
        tg.compile(graph, target="numpy").run({"ids": np.zeros((1, 17), np.int64)})


def test_types_of_a_buffer_of_zeros() -> None:
    made = model(
        [node("Shape", "ids", "s"), node("Gather", "s a1", "n", axis=0), node("Slice", "zeros a0 n a1", "t"),
         node("Expand", "t s", "types"),
         node("Gather", "table types", "e"), node("Gather", "words ids", "w"), node("Add", "w e", "y")],
        {"ids": (I64, ["B", "S"])}, {"y": (F32, None)},
        {"zeros": np.zeros((1, 16), np.int64), "a0": numbers(0), "a1": numbers(1), "table": x(2, 4), "words": x(9, 4)})
    graph = compare(made, {"ids": np.array([[1, 2, 3], [4, 5, 6]])})
    assert ops(graph).count("gather") == 1


def test_sizes_of_one_batch_under_several_names() -> None:
    made = model([node("Add", "x y", "z"), node("Mul", "z w", "r")],
                 {"x": (F32, ["batch", "a"]), "y": (F32, ["batch_1", "b"]), "w": (F32, ["n", "b"])}, {"r": (F32, None)})
    graph = compare(made, {"x": x(2, 3), "y": x(2, 3), "w": x(2, 3)})
    assert len({i.shape for i in graph.inputs}) == 1 and not graph.constraints
    assert [str(d) for d in graph.inputs[2].shape] == ["batch", "a"]


def test_sizes_that_reach_a_tensor() -> None:
    """A size that is multiplied into elements stays, as a number that a call knows."""
    made = model([node("Shape", "x", "s"), node("Gather", "s one", "n", axis=0), node("Cast", "n", "f", to=F32),
                  node("Div", "x f", "y")],
                 {"x": (F32, ["B", "S"])}, {"y": (F32, None)}, {"one": np.array(1, np.int64)})
    assert ops(compare(made, {"x": x(2, 3)}, {"x": x(2, 5)})).count("dim_size") == 1


def test_positions_that_are_elements() -> None:
    """Positions become numbers where something computes with them."""
    made = model(
        [node("Shape", "x", "s"), node("Gather", "s one", "n", axis=0), node("Range", "zero n one", "p"),
         node("Unsqueeze", "p a0", "q"),
         node("Mul", "q two", "r"), node("Add", "r n", "t"), node("Expand", "t s", "u"), node("Cast", "u", "f", to=F32),
         node("Add", "x f", "y")],
        {"x": (F32, ["B", "S"])}, {"y": (F32, None)},
        {"zero": np.array(0, np.int64), "one": np.array(1, np.int64), "two": np.array(2, np.int64), "a0": numbers(0)})
    compare(made, {"x": x(2, 3)}, {"x": x(1, 5)})


def test_overlapping_windows() -> None:
    """x[s + k] of an unfolded convolution: windows that overlap are no view."""
    made = model(
        [node("Shape", "x", "s"), node("Gather", "s one", "n", axis=0), node("Sub", "n two", "m"),
         node("Range", "zero m one", "p"),
         node("Unsqueeze", "p a0", "row"), node("Add", "row offsets", "at"), node("Gather", "x at", "y", axis=1)],
        {"x": (F32, ["B", "S"])}, {"y": (F32, None)},
        {"zero": np.array(0, np.int64), "one": np.array(1, np.int64), "two": np.array(2, np.int64), "a0": numbers(0),
         "offsets": numbers(0, 1, 2)[:, None]})
    assert "gather" in ops(compare(made, {"x": x(2, 5)}, {"x": x(1, 3)}))


def test_rows_and_columns_swapped() -> None:
    """x[column, row] is a transpose, x[row, row] no view at all."""
    def made(first: str, second: str) -> ModelProto:
        return model(
            [node("Shape", "x", "s"), node("Gather", "s zero", "n", axis=0), node("Gather", "s one", "m", axis=0),
             node("Range", "zero n one", "r"), node("Range", "zero m one", "c"), node("Unsqueeze", "r a1", "rr"),
             node("Expand", "rr s", "row"),
             node("Unsqueeze", "c a0", "cc"), node("Expand", "cc s", "column"), node("Unsqueeze", f"{first} last", "u"),
             node("Unsqueeze", f"{second} last", "v"), node("Concat", "u v", "at", axis=-1), node("GatherND", "x at", "y")],
            {"x": (F32, ["N", "N"])}, {"y": (F32, None)},
            {"zero": np.array(0, np.int64), "one": np.array(1, np.int64), "a0": numbers(0), "a1": numbers(1),
             "last": numbers(-1)})

    assert ops(compare(made("row", "column"), {"x": x(3, 3)})) == []
    assert ops(compare(made("column", "row"), {"x": x(3, 3)})) == ["transpose"]
    assert "gather" in ops(compare(made("row", "row"), {"x": x(3, 3)}))


def test_an_erf_of_doubles_is_not_computed_in_f32() -> None:
    """The onnx package computes it so, whatever the element type."""
    double = helper.TensorProto.DOUBLE
    made = model([node("Erf", "c", "e"), node("Add", "e x", "y")], {"x": (double, [2])}, {"y": (double, [2])},
                 {"c": np.array([0.5, 1.0])})
    found = Interpreter(import_onnx(made)).run({"x": np.zeros(2)})["y"]
    assert found.tolist() == pytest.approx([math.erf(0.5), math.erf(1.0)], rel=1e-15)


@pytest.mark.parametrize("number", ["INT8", "UINT8", "INT32", "INT64"])
def test_a_cast_of_floats_beyond_integers_is_the_op_s(number: str) -> None:
    """C leaves it open, and CPUs differ: while importing it is computed as it is later."""
    to = getattr(helper.TensorProto, number)
    odd = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, 3.7], np.float32)
    made = model([node("Cast", "c", "known", to=to), node("Cast", "x", "y", to=to), node("CastLike", "c y", "like")],
                 {"x": (F32, [6])}, {"y": (to, [6]), "known": (to, [6]), "like": (to, [6])}, {"c": odd})
    found = Interpreter(import_onnx(made)).run({"x": odd})
    assert found["known"].tolist() == found["like"].tolist() == found["y"].tolist()


def test_what_makes_a_size_stays_though_nothing_reads_it() -> None:
    """The lesser branch of a Where whose condition is known decides how many rows there are."""
    made = model([node("NonZero", "m", "nz"), node("Transpose", "nz", "rows"), node("GatherND", "x rows", "some"),
                  node("Where", "never some other", "y")],
                 {"m": (helper.TensorProto.BOOL, ["N"]), "x": (F32, ["N", 2]), "other": (F32, [1, 2])}, {"y": (F32, None)},
                 {"never": np.array([False])})
    feeds = {"m": np.array([True, False, True]), "x": x(3, 2), "other": x(1, 2)}
    assert Interpreter(import_onnx(made)).run(feeds)["y"].tolist() == [feeds["other"][0].tolist()] * 2


@pytest.mark.parametrize("op", ["Div", "Mod", "fmod"])
@pytest.mark.parametrize("divisor", [3, -3])
def test_quotients_of_sizes_and_negative_numbers(op: str, divisor: int) -> None:
    """Div goes towards 0, Mod has the sign of the divisor, with fmod that of what is divided; sizes are floored elsewhere."""
    options = {"fmod": 1} if op == "fmod" else {}
    made = model([node("Shape", "x", "s"), node("Concat", "seven s", "sizes", axis=0), node("Neg", "s", "less"),
                  *(node("Mod" if op == "fmod" else op, f"{of} by", to, **options)
                    for of, to in (("sizes", "first"), ("less", "second"))),
                  node("Concat", "first second", "y", axis=0)],
                 {"x": (F32, ["N"])}, {"y": (I64, None)}, {"seven": numbers(-7), "by": numbers(divisor)})
    compare(made, *({"x": x(size)} for size in (1, 6, 8)))


def test_a_number_over_a_size() -> None:
    made = model([node("Shape", "x", "s"), node("Div", "less s", "first"), node("Mod", "less s", "second"),
                  node("Concat", "first second", "y", axis=0)],
                 {"x": (F32, ["N"])}, {"y": (I64, None)}, {"less": numbers(-3)})
    compare(made, *({"x": x(size)} for size in (1, 2, 7)))

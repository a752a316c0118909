"""Export to ONNX: the standard's checker takes it, ONNX Runtime computes the same, and reading it back gives the same graph."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx.reference import ReferenceEvaluator

import tgraph as tg
from tests.ops.sample import Sample
from tests.ops.samples import SAMPLES
from tgraph import nn
from tgraph.cli.models import BUILT_IN
from tgraph.formats import import_onnx
from tgraph.formats.onnx.export import to_model
from tgraph.formats.onnx.writing.writer import tensor
from tgraph.reference import Interpreter, compare, generate_inputs
from tgraph.reference.tolerance import tolerance
from tgraph.testing.others import pairs_saturate

B, S, T = tg.dims("B S T")
OPSETS = (13, 17, 20, 23)
onnxruntime.set_default_logger_severity(4)


def whole(graph: tg.Graph, opset: int) -> onnx.ModelProto:
    """The model with its weights; it passes the standard's checker, shapes and types inferred."""
    model, arrays = to_model(graph, opset)
    model.graph.initializer.extend(tensor(name, array) for name, array in arrays.items())
    onnx.checker.check_model(model, full_check=True)
    return model


def agrees(graph: tg.Graph, results: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray], loss: float = 1.0) -> bool:
    types = [v.dtype for v in (*graph.inputs, *(v for _, v in graph.outputs)) if v.dtype.is_float]
    allowed = max((tolerance(d) for d in types), default=0.0) * loss
    return all(results[n].shape == expected[n].shape and results[n].dtype == expected[n].dtype
               and compare(results[n], expected[n], allowed if v.dtype.is_float else 0.0).ok for n, v in graph.outputs)


def run_onnxruntime(model: onnx.ModelProto, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray] | None:
    """What ONNX Runtime gives; None if it has no kernel for an op of these types.

    Without its optimisations: in 1.32 they make 0 of 1 - x / y * y where that is not 0.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return dict(zip([o.name for o in model.graph.output], session.run(None, dict(feeds))))
    except Exception as error:  # its own classes
        if any(words in str(error) for words in ("NOT_IMPLEMENTED", "bfloat16", "Numpy_type", "does not support double")):
            return None
        raise


# floats beyond a type, which C leaves open; an index into nothing; rows whose squares overflow, which only our kernels measure
# again
UNDEFINED = ("cast_saturate", "pad_rows_no_rows", "layer_norm_size", "rms_norm_size")
# numbers for which ONNX Runtime's kernels are not those of the reference: sums of huge ones, of many, and of none; NaN; recurrent
# layers whose sequences are empty, where it loses the first state, or no step or row at all, where 1.32 crashes; attention of
# no queries or sequences, or of a negative scale, which it refuses; -0.0, of which its Where makes 0.0; products of unsigned
# bytes without VNNI
ODD = re.compile("floor_div_zeros|mod_zeros|nan|clip|long|nothing|empty|huge|gelu_tanh_f64|no_query|no_batch|softcap_scale" + (
    "|integer_linear_unsigned" if pairs_saturate() else ""))
CASES = [(s, OPSETS[i % 4]) for i, s in enumerate(SAMPLES) if not s.name.startswith(UNDEFINED)]


@pytest.mark.parametrize(("sample", "opset"), CASES, ids=lambda v: v.name if isinstance(v, Sample) else str(v))
def test_every_op(sample: Sample, opset: int) -> None:
    graph = sample.graph()
    model = whole(graph, opset)
    feeds = sample.feeds()
    with np.errstate(all="ignore"):
        expected = Interpreter(graph, faithful=True).run(feeds)
        again = import_onnx(model)
        assert agrees(graph, Interpreter(again, faithful=True).run(feeds), expected, sample.loss * 8)
    found = None if ODD.search(sample.name) else run_onnxruntime(model, feeds)
    assert found is None or agrees(graph, found, expected, sample.loss * 8)


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("name", ["bert-tiny", "transformer"])
def test_models_come_back_whole(name: str, opset: int) -> None:
    graph = BUILT_IN[name]()
    model = whole(graph, opset)
    feeds = generate_inputs(graph)
    expected = Interpreter(graph, faithful=True, weights=graph.weights).run(feeds)
    found = run_onnxruntime(model, feeds)
    assert found is not None and agrees(graph, found, expected)
    again = import_onnx(model)
    names = [p for p in graph.parameters if p in again.parameters]
    assert len(names) == len(graph.parameters)
    # what is looked up by a known number in one is a slice in the other
    apart = ("embedding", "gather", "range", "slice", "squeeze")
    fused = [sorted(n.op.name for n in tg.optimize(g, "O3").nodes if n.op.name not in apart) for g in (graph, again)]
    assert fused[0] == fused[1]
    assert [str(i.type).partition(".")[0] for i in again.inputs] == [str(i.type).partition(".")[0] for i in graph.inputs]


@pytest.mark.parametrize("opset", OPSETS)
def test_capped_attention_comes_back(opset: int) -> None:
    """As one node from opset 23 on, and before in nodes that are one op again."""
    heads = tg.f32[B, 2, S, 4]
    graph = tg.trace(lambda q, k, v: tg.attention(q, k, v, causal=True, softcap=0.75), q=heads, k=heads, v=heads)
    model, feeds = whole(graph, opset), generate_inputs(graph)
    expected = Interpreter(graph, faithful=True).run(feeds)
    found = run_onnxruntime(model, feeds)
    assert found is not None and agrees(graph, found, expected)
    capped = [a.f for n in model.graph.node for a in n.attribute if n.op_type == "Attention" and a.name == "softcap"]
    assert capped == ([0.75] if opset >= 23 else [])
    (attention,) = tg.optimize(import_onnx(model), "O3").nodes
    assert attention.op.name == "attention" and attention.attrs["softcap"] == 0.75 and attention.attrs["causal"]


@pytest.mark.parametrize("opset", [17, 23, 25])
@pytest.mark.parametrize("window", [(2, 0), (1, 3), (-1, 2)])
def test_windows_come_back(window: tuple[int, int], opset: int) -> None:
    """As attributes from opset 25 on, and before as comparisons that are a window again."""
    heads = tg.f32[B, 2, S, 4]
    graph = tg.trace(lambda q, k, v: tg.attention(q, k, v, window=window), q=heads, k=heads, v=heads)
    model, feeds = whole(graph, opset), generate_inputs(graph)
    expected = Interpreter(graph, faithful=True).run(feeds)
    found = dict(zip(expected, ReferenceEvaluator(model).run(None, dict(feeds))))
    assert agrees(graph, found, expected)
    assert any(n.op_type == "Attention" for n in model.graph.node) == (opset >= 25)
    (attention,) = tg.optimize(import_onnx(model), "O3").nodes
    (before,) = graph.nodes
    assert (attention.op, attention.attrs["causal"], attention.attrs["window"]) == (
        before.op, before.attrs["causal"], before.attrs["window"]) and attention.operands[3:] == (None, None, None)


@pytest.mark.parametrize("keys", [5, S])
@pytest.mark.parametrize("opset", [20, 23, 25])
def test_a_bias_that_all_keys_share_is_of_all_keys(opset: int, keys: Any) -> None:
    """From opset 24 on keys beyond the last one of a mask are excluded, where other axes of 1 are broadcast."""
    heads = tg.f32[B, 2, keys, 4]
    graph = tg.trace(lambda q, k, v, bias: tg.attention(q, k, v, bias=bias), q=heads, k=heads, v=heads, bias=tg.f32[B, 1, 1, 1])
    model, feeds = whole(graph, opset), generate_inputs(graph)
    expected = Interpreter(graph, faithful=True).run(feeds)
    assert agrees(graph, dict(zip(expected, ReferenceEvaluator(model).run(None, dict(feeds)))), expected)
    assert agrees(graph, dict(zip(expected, Interpreter(import_onnx(model), faithful=True).run(feeds).values())), expected)


def test_files(tmp_path: Path) -> None:
    graph = tg.trace(nn.Linear(64, 64), x=tg.f32[B, 2 * S, 64])
    graph.dump(tmp_path / "m.onnx")
    graph.dump(tmp_path / "beside.onnx", external=True, opset=17)
    assert (tmp_path / "beside.onnx.data").stat().st_size >= 64 * 64 * 4 > (tmp_path / "beside.onnx").stat().st_size
    x = np.ones((2, 6, 64), "f")
    for name in ("m", "beside"):
        onnx.checker.check_model(str(tmp_path / f"{name}.onnx"), full_check=True)
        again = tg.read(tmp_path / f"{name}.onnx")
        assert np.array_equal(again.weights["weight"], graph.weights["weight"])
        session = onnxruntime.InferenceSession(str(tmp_path / f"{name}.onnx"), providers=["CPUExecutionProvider"])
        assert np.allclose(session.run(None, {"x": x})[0], tg.reference.run(again, {"x": x})["output"], atol=1e-5)
    for bad, problem in ((12, "opset 12 cannot be written; there is 13 to"), (999, "opset 999")):
        with pytest.raises(tg.FormatError, match=problem):
            graph.dump(tmp_path / "x.onnx", opset=bad)


def test_programs_are_several_files(tmp_path: Path) -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            self.linear = nn.Linear(4, 4)

        def encode(self, x: Any) -> Any:
            return self.linear(x)

        def score(self, x: Any, y: Any) -> Any:
            return tg.softmax(self.linear(x) @ y.T)

    program = tg.trace_program(Model(), encode=tg.f32[B, 4], score=(tg.f32[B, 4], tg.f32[S, 4]))
    program.dump(tmp_path / "m.onnx")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.encode.onnx", "m.score.onnx"]
    assert tg.read(tmp_path / "m.score.onnx").name == "score"


def test_calls_are_put_in_place_and_ragged_sizes_come_from_what_makes_them() -> None:
    def rows(x: Any, mask: Any) -> Any:
        indices, offsets = tg.unpack(mask)
        return {"rows": tg.gather(tg.reshape(x, shape=(B * S, 4)), indices) * 2.0, "offsets": offsets,
                "count": tg.range(stop=indices.shape[0])}

    graph = tg.trace(rows, x=tg.f32[B, S, 4], mask=tg.bool_[B, S])
    model = whole(graph, 17)
    feeds = {"x": np.arange(24, dtype="f").reshape(2, 3, 4), "mask": np.array([[True, False, True], [False, True, False]])}
    found = run_onnxruntime(model, feeds)
    assert found is not None and agrees(graph, found, tg.reference.run(graph, feeds, faithful=True))
    called = tg.parse("function $f(%x: f32[N]) -> (y: f32[N]) {\n  %0 = neg(%x)\n  return (y: %0)\n}\n"
                      "graph g(%x: f32[B]) -> (y: f32[B]) {\n  %0 = call $f(%x)\n  %1 = call $f(%0)\n  return (y: %1)\n}\n")
    assert [n.op_type for n in whole(called, 17).graph.node] == ["Neg", "Neg", "Identity"]


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("dtype", [tg.i8, tg.u8], ids=str)
def test_casts_to_8_bits_saturate(dtype: tg.DType, opset: int) -> None:
    """ONNX leaves open what Cast makes of what a type cannot hold. A clip to the ends of the type is gone at O1."""
    ends = np.iinfo(dtype.numpy)
    graph = tg.trace(lambda x: {"plain": tg.cast(x, dtype=dtype), "clipped": tg.cast(
        tg.clip(tg.round(x), float(ends.min), float(ends.max)), dtype=dtype)}, x=tg.f32[B])
    feeds = {"x": np.array([-np.inf, -1e9, -300, -129, -5, 0.5, 127.4, 129, 255.4, 256, 300, 1e9, np.inf], "f4")}
    expected = tg.reference.run(graph, feeds, faithful=True)
    found = run_onnxruntime(whole(tg.optimize(graph, "O1"), opset), feeds)
    assert found is not None and agrees(graph, found, expected)


def test_outputs_keep_their_names() -> None:
    """Also those that a node would have, by the op of ONNX that it is."""
    graph = tg.trace(lambda x: {"Relu": tg.relu(x), "Neg": -tg.relu(x), "constant": x * 2.5}, x=tg.f32[B])
    assert [o.name for o in whole(graph, 17).graph.output] == ["Relu", "Neg", "constant"]


def test_what_cannot_be_written() -> None:
    graph = tg.parse("graph g(%x: f32[2]) -> (y: f32[2]) {\n  param @w: f32[2]\n  %0 = add(%x, @w)\n  return (y: %0)\n}\n")
    with pytest.raises(tg.FormatError, match="no data for parameter w"):
        to_model(graph)

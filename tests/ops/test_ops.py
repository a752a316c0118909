"""The table of ops: complete definitions, NumPy meaning equal to the formula, decompositions equal to their op."""

from __future__ import annotations

import numpy as np
import pytest

import tgraph as tg
import tgraph.ops
from passes.manager import optimize
from tests.ops.sample import FLOATS, Sample
from tests.ops.samples import SAMPLES
from tgraph.ir.builder import Builder
from tgraph.ir.dims import evaluate
from tgraph.ir.registry import OPS, Op
from tgraph.reference.interpreter import Interpreter
from tgraph.reference.tolerance import compare

BUILT_IN = {name: op for name, op in OPS.items() if op.infer.__module__.startswith("tgraph.ops")}
every_op = pytest.mark.parametrize("op", BUILT_IN.values(), ids=BUILT_IN)
every_sample = pytest.mark.parametrize("sample", SAMPLES, ids=lambda s: s.name)
# One rounding of a result, and of the few values between: the unit in the last place of each type, times four.
ROUNDING = {"f64": 1e-12, "f32": 4 * 2.0**-23, "f16": 4 * 2.0**-11, "bf16": 4 * 2.0**-8}


@every_op
def test_an_op_is_completely_defined(op: Op) -> None:
    assert callable(op.infer)
    first = op.doc.split("\n")[0]
    assert first.endswith(".") and 8 <= len(first) < 120, first
    assert op.summary == first
    if op.name != "call":  # the interpreter runs the body of a call
        assert callable(op.numpy)
        assert any(s.op == op.name for s in SAMPLES), (
            f"{op.name} has no sample: add a row to UNARY or BINARY in tests/ops/samples_pointwise.py if it is elementwise, "
            "else a Sample to the file of its kind, tests/ops/samples_*.py")


@every_op
def test_an_op_is_a_function_of_the_package(op: Op) -> None:
    function = getattr(tg, op.name)
    assert function.__name__ == op.name
    assert function.__doc__.startswith(op.doc)
    with pytest.raises(tg.TraceError, match=op.name):
        function()


def test_sample_names_are_unique() -> None:
    names = [s.name for s in SAMPLES]
    assert len(names) == len(set(names))


@every_sample
def test_reference_is_the_formula(sample: Sample) -> None:
    graph = sample.graph()
    assert sample.op in {n.op.name for n in graph.nodes}
    outputs = Interpreter(graph).run(sample.feeds())
    expected = sample.expected()
    assert len(outputs) == len(expected)
    for (name, value), array in zip(graph.outputs, expected):
        assert outputs[name].dtype == (np.float64 if value.dtype.is_float else value.dtype.numpy)
        comparison = compare(outputs[name], array, 1e-11 if value.dtype.is_float else 0.0)
        assert comparison.ok, f"{name}: error {comparison.error:.1e}\n{outputs[name]}\nexpected\n{array}"


@every_sample
def test_faithful_reference_rounds_to_its_types(sample: Sample) -> None:
    graph = sample.graph()
    outputs = Interpreter(graph, faithful=True).run(sample.feeds())
    for (name, value), array in zip(graph.outputs, sample.expected()):
        assert outputs[name].dtype == value.dtype.numpy
        # what the graph computes with f16 or bf16 anywhere is as exact as that
        allowed = max((ROUNDING[v.dtype.name] for v in (*graph.inputs, value) if v.dtype.is_float), default=0.0)
        with np.errstate(all="ignore"):
            rounded = array.astype(value.dtype.numpy).astype(np.float64) if value.dtype.is_float else array
        comparison = compare(outputs[name], rounded, allowed * 8 * sample.loss if value.dtype.is_float else 0.0)
        assert comparison.ok, f"{name}: error {comparison.error:.1e}\n{outputs[name]}\nexpected\n{rounded}"


@every_sample
def test_cost_evaluates(sample: Sample) -> None:
    graph = sample.graph()
    sizes = dict(sample.sizes) | {name: 3 for name in graph.symbols if name not in sample.sizes}
    for node in graph.nodes:
        assert evaluate(node.flops, sizes) >= 0
    if OPS[sample.op].elementwise or sample.op in ("matmul", "linear", "attention", "softmax"):
        node = next(n for n in graph.nodes if n.op.name == sample.op)
        elements = evaluate(node.results[0].type.size, sizes)
        assert evaluate(node.flops, sizes) >= (0 if "no_inner" in sample.variant or "no_key" in sample.variant else elements)


@pytest.mark.parametrize("sample", [s for s in SAMPLES if OPS[s.op].composite], ids=lambda s: s.name)
def test_a_composite_is_its_decomposition(sample: Sample) -> None:
    whole, parts = sample.graph(), sample.graph()
    for node in parts.nodes:
        if node.op.name != sample.op:
            continue
        made = node.op.decompose(Builder(parts), *node.operands, **node.attrs)
        for old, new in zip(node.results, made if isinstance(made, tuple) else (made,)):
            assert new.type == old.type
            parts.replace(old, new)
        parts.erase(node)
    tg.verify(parts)
    assert sample.op not in {n.op.name for n in parts.nodes}
    feeds = sample.feeds()
    expected, outputs = Interpreter(whole).run(feeds), Interpreter(parts).run(feeds)
    # nothing is rounded but the literals of the decomposition (0.044715, 1 / sqrt(d)), which have the operands' type
    shortest = max((ROUNDING[i.dtype.name] for i in whole.inputs if i.dtype.is_float), default=0.0)
    for name, value in whole.outputs:
        assert compare(outputs[name], expected[name], shortest if value.dtype.is_float else 0.0).ok, name


@pytest.mark.parametrize("dtype", [tg.f16, tg.bf16])
@pytest.mark.parametrize("op", ["softmax", "log_softmax", "layer_norm", "rms_norm"])
def test_a_decomposition_has_the_range_of_its_op(op: str, dtype: tg.DType) -> None:
    """Squares and exponentials of half precisions overflow, and f16 has no number for an epsilon of 1e-12."""
    x = np.asarray([[3000.0, -2500.0, 1.0, 0.0] * 3, [0.0] * 12, [7.0] * 11 + [7.25]]).astype(dtype.numpy)
    options = {"epsilon": 1e-12} if "norm" in op else {}
    graph = tg.trace(lambda x: getattr(tg, op)(x, **options), dtype[3, 12])
    parts = optimize(graph, "decompose")
    assert op not in {n.op.name for n in parts.nodes}
    (expected,), (found,) = (Interpreter(g, faithful=True).run({g.inputs[0].name: x}).values() for g in (graph, parts))
    np.testing.assert_allclose(found.astype(np.float64), expected.astype(np.float64), rtol=ROUNDING[dtype.name])


@pytest.mark.parametrize("dtype", [tg.f16, tg.bf16])
@pytest.mark.parametrize(("op", "options"), [
    ("sigmoid", {}), ("silu", {}), ("gelu", {}), ("gelu", {"approximate": "tanh"}), ("quick_gelu", {}), ("softplus", {})])
def test_the_tail_of_an_activation_is_not_lost_in_its_parts(op: str, options: dict[str, str], dtype: tg.DType) -> None:
    """1 + tanh(-3) has two digits of bf16, 1 + e^-8 none, and e^12 is infinite in f16."""
    x = -np.linspace(0, 12, 97).astype(dtype.numpy)
    graph = tg.trace(lambda x: getattr(tg, op)(x, **options), dtype[97])
    parts = optimize(graph, "decompose")
    assert op not in {n.op.name for n in parts.nodes}
    (expected,), (found,) = (Interpreter(g, faithful=True).run({g.inputs[0].name: x}).values() for g in (graph, parts))
    unit = 12 * 2.0**-24 if dtype == tg.f16 else 0.0  # numbers of f16 below 6e-5 are 2^-24 from each other, and x times that
    y, r = (a.astype(np.float64) for a in (found, expected))
    np.testing.assert_allclose(y, r, rtol=2 * ROUNDING[dtype.name], atol=unit)


@pytest.mark.parametrize(("dtype", "bias"), [(tg.f16, -60_000), (tg.bf16, -90_112)])
def test_parts_of_halves_are_summed_before_they_are_rounded(dtype: tg.DType, bias: float) -> None:
    """90,600 is infinite in f16, and 24 off in bf16."""
    def model(x: tg.Tensor, weight: tg.Tensor, small: tg.Tensor, bias: tg.Tensor) -> tuple[tg.Tensor, tg.Tensor]:
        y, _ = tg.rnn(x, weight, small[None], bias, activation="relu")
        return y, tg.scatter(small, np.array([[0, 0]]), x[0], axis=-1, reduction="mul")

    graph = tg.trace(model, x=dtype[1, 1, 2], weight=dtype[1, 1, 2], small=dtype[1, 1], bias=dtype[1, 1])
    values = {"x": [[[300, 300]]], "weight": [[[300, 2]]], "small": [[2.0**-10]], "bias": [[bias]]}
    feeds = {name: np.asarray(array, dtype.numpy) for name, array in values.items()}
    expected, found = (Interpreter(g, faithful=True).run(feeds) for g in (graph, optimize(graph, "decompose")))
    for y, r in zip(found.values(), expected.values()):
        assert np.isfinite(r.astype(np.float64)).all()
        np.testing.assert_allclose(y.astype(np.float64), r.astype(np.float64), rtol=ROUNDING[dtype.name])


@pytest.mark.parametrize("target", ["numpy", "cpu"])
def test_a_size_that_a_type_cannot_hold_wraps_around(target: str) -> None:
    size = tg.dim("B")
    graph = tg.trace(lambda x: [tg.dim_size(size=size, dtype=dtype) for dtype in (tg.u8, tg.i8, tg.i64, tg.f32)], tg.f32[size])
    found = tg.compile(graph, target).run({graph.inputs[0].name: np.zeros(300, np.float32)})
    assert [y.item() for y in found.values()] == [44, 44, 300, 300.0]


@every_sample
def test_canonical_attributes_stay_as_they_are(sample: Sample) -> None:
    graph = sample.graph()
    for node in graph.nodes:
        again = node.op.bind_attributes(node.attrs)
        assert again == dict(node.attrs)
        if node.op.canonical is not None:
            assert {**again, **node.op.canonical([v and v.type for v in node.operands], again)} == again
    assert tg.parse(str(graph)) == graph


REDUCTIONS = ("reduce_sum", "reduce_mean", "reduce_max", "reduce_min", "reduce_prod")
ZEROS = np.zeros((2, 1, 4), np.int64)
SPELLINGS = {  # for x: f32[2, 1, 4]
    **{n: (lambda x, n=n: getattr(tg, n)(x, axis=1), lambda x, n=n: getattr(tg, n)(x, axis=-2))
       for n in ("softmax", "log_softmax", "argmax", "cumsum", "argsort")},
    **{n: (lambda x, n=n: getattr(tg, n)(x, axes=(0, 1)), lambda x, n=n: getattr(tg, n)(x, axes=(-2, -3))) for n in REDUCTIONS},
    "squeeze": (lambda x: tg.squeeze(x, axes=(1,)), lambda x: tg.squeeze(x, axes=-2)),
    "unsqueeze": (lambda x: tg.unsqueeze(x, axes=(1,)), lambda x: tg.unsqueeze(x, axes=(-3,))),
    "slice": (lambda x: x[..., 1:3], lambda x: tg.slice(x, starts=(-3,), stops=(-1,), axes=(2,))),
    "split": (lambda x: tg.split(x, sizes=2, axis=2)[0], lambda x: tg.split(x, sizes=(2, 2), axis=-1)[0]),
    "concat": (lambda x: tg.concat(x, x, axis=1), lambda x: tg.concat(x, x, axis=-2)),
    "gather": (lambda x: tg.gather(x, np.array([0]), axis=1), lambda x: tg.gather(x, np.array([0]), axis=-2)),
    **{n: (lambda x, n=n: getattr(tg, n)(x, x, np.array(0), axis=1), lambda x, n=n: getattr(tg, n)(x, x, np.array(0), axis=-2))
       for n in ("update_slice", "update_in_place")},
    "transpose": (lambda x: tg.transpose(x, perm=(2, 0, 1)), lambda x: tg.transpose(x, perm=(-1, 0, -2))),
    "reshape": (lambda x: tg.reshape(x, shape=(-1, 2)), lambda x: tg.reshape(x, shape=(4, 2))),
    "attention": (lambda x: tg.attention(*[x.reshape(1, 2, 1, 4)] * 3),
                  lambda x: tg.attention(*[x.reshape(1, 2, 1, 4)] * 3, scale=0.5)),
    "ragged_attention": (lambda x: tg.ragged_attention(x, x, x, np.array([0, 2])),
                         lambda x: tg.ragged_attention(x, x, x, np.array([0, 2]), scale=0.5)),
    "topk": (lambda x: tg.topk(x, 2, axis=2)[0], lambda x: tg.topk(x, k=2)[0]),
    "take_along_axis": (lambda x: tg.take_along_axis(x, ZEROS, axis=1), lambda x: tg.take_along_axis(x, ZEROS, axis=-2)),
    "scatter": (lambda x: tg.scatter(x, ZEROS, x, axis=1), lambda x: tg.scatter(x, ZEROS, x, axis=-2)),
    "einsum": (lambda x: tg.einsum(x, equation="abc -> cab"), lambda x: tg.einsum(x, equation="abc->cab")),
}


def test_all_ops_with_several_spellings_are_listed() -> None:
    assert set(SPELLINGS) == {name for name, op in BUILT_IN.items() if op.canonical is not None}


@pytest.mark.parametrize("name", SPELLINGS)
def test_attributes_have_one_spelling(name: str) -> None:
    first, second = (tg.trace(f, name="g", x=tg.f32[2, 1, 4]) for f in SPELLINGS[name])
    assert str(first) == str(second)


def test_samples_cover_the_element_types() -> None:
    """The ops that take every float have a sample of each."""
    for name in ("exp", "gelu", "softmax", "layer_norm", "matmul", "linear", "attention", "add", "where"):
        taken = {t.dtype.name for s in SAMPLES if s.op == name for t in s.specs.values()}
        assert {d.name for d in FLOATS} <= taken, name

"""`compile(..., precision=, weights=)`: what is stored, what stays the same, how far results lie from the reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tgraph as tg
from targets.base.registry import backend_of
from targets.base.target import Target
from targets.cpu.kernels.dot_choice import integer_dot
from targets.lowering.pipeline import kernel_graph
from tests.targets.feature_sets import FEATURE_SETS, each_feature_set, run_only_here
from tests.targets.weight_storage import prepared_bytes, weight_bits
from tgraph.cli.demo import SENTENCES
from tgraph.models.bert import Bert, BertConfig
from tgraph.models.sentence import encode_batch, load_minilm
from tgraph.reference import generate_inputs, run
from tgraph.reference.tolerance import TOLERANCES, compare

B, S = tg.dims("B S")
CONFIG = BertConfig(vocab_size=50, hidden_size=48, num_hidden_layers=2, num_attention_heads=2, intermediate_size=80,
                    max_position_embeddings=16)
HALVES = {"f16": tg.f16, "bf16": tg.bf16}


@pytest.fixture(scope="module")
def graph() -> tg.Graph:
    return tg.trace(Bert(CONFIG), name="bert", input_ids=tg.i64[B, S], mask=tg.bool_[B, S])


def signature(graph: tg.Graph) -> object:
    return [(i.name, i.type) for i in graph.inputs], [(n, v.type) for n, v in graph.outputs]


@pytest.mark.parametrize("dtype", HALVES)
def test_weights_in_half_precision(graph: tg.Graph, dtype: str) -> None:
    exe = tg.compile(graph, weights=dtype)
    matrices = [v.type for _, v in exe.prepare.outputs if v.type.rank >= 2]
    assert matrices and all(t.dtype == HALVES[dtype] for t in matrices)
    assert signature(exe.kernels) == signature(graph)
    feeds = generate_inputs(graph)
    expected, found = run(graph, feeds), exe.run(feeds)
    for name in expected:
        comparison = compare(found[name], expected[name], TOLERANCES[HALVES[dtype]][0])
        assert comparison.ok and comparison.error > 1e-6, comparison


def test_other_weights_are_narrowed_as_well(graph: tg.Graph) -> None:
    exe = tg.compile(graph, weights="bf16")
    feeds = generate_inputs(graph)
    before = exe.run(feeds)
    exe.load_weights({name: -np.asarray(graph.weights[name]) for name in graph.parameters})
    after = exe.run(feeds)
    assert any(not np.array_equal(before[name], after[name]) for name in before)


AVX2 = FEATURE_SETS.get("AVX2", "cpu")


@pytest.mark.skipif(AVX2 == "cpu", reason="another architecture")
def test_given_integers_are_shifted_and_those_quantised_here_are_not() -> None:
    """These are small but for few, also behind views and in rows that were picked; given ones may be large throughout."""
    weight = np.random.default_rng(0).standard_normal((24, 32)).astype("f4")
    padded = tg.trace(lambda x, mask: tg.zero_padding(tg.linear(x, weight), mask), x=tg.f32[B, S, 32], mask=tg.bool_[B, S])
    for passes in ("O3", "remove-padding,O3"):
        assert multiplied(tg.compile(tg.optimize(padded, passes), AVX2, weights="i8")) == {tg.i8}
    for given in (tg.i8, tg.u8):
        graph = tg.trace(lambda x: tg.integer_linear(x, np.ones((24, 32), "i1")), x=given[B, S, 32])
        assert multiplied(tg.compile(graph, AVX2)) == {tg.u8}


def multiplied(exe: tg.Executable) -> set[tg.DType]:
    """The types of x in products of integers."""
    nodes = [node for function in exe.kernels.functions.values() for node in function.nodes]
    return {node.inputs[0].dtype for node in nodes if node.op.name == "integer_linear"}


@each_feature_set
def test_products_of_8_bit_integers(graph: tg.Graph, cpu: str) -> None:
    """What the kernels compute is what the optimised graph says, integer by integer."""
    exe = tg.compile(graph, cpu, weights="i8")
    matrices = [v for _, v in exe.prepare.outputs if v.type.rank >= 2 and v.shape[-1] != 1]
    assert matrices and all(v.dtype == tg.i8 for v in matrices)
    # beside them there are factors and biases in f32, and the sums of the weights where an instruction takes x shifted
    sums = {tg.i32} if integer_dot(exe.target.has, exe.target.vector_bits).unsigned else set()
    assert {v.dtype for _, v in exe.prepare.outputs} == {tg.i8, tg.f32} | sums
    assert signature(exe.kernels) == signature(graph)
    run_only_here(cpu)
    feeds = generate_inputs(graph)
    said, found = run(exe.optimized, feeds, faithful=True), exe.run(feeds)
    for name in said:
        assert compare(found[name], said[name], 5e-3).ok  # a sum rounded otherwise may move an activation to the next integer
    assert tg.check(exe)


@each_feature_set
def test_weights_of_4_bits(graph: tg.Graph, cpu: str) -> None:
    """Kernels read them as they are kept, and compute what the optimised graph says of them."""
    exe = tg.compile(graph, cpu, weights="i4")
    (found,) = weight_bits(exe.kernels)
    assert found == ("linear", 4)
    kept = prepared_bytes(exe)
    weights = sum(v.type.size for v in graph.parameters.values() if v.type.rank == 2)
    assert set(kept) == {"u8", "bf16", "i8", "f32"} and kept["u8"] < weights  # half of it, and what fills panels and blocks up
    assert signature(exe.kernels) == signature(graph)
    run_only_here(cpu)
    for sizes in ({"B": 1, "S": 1}, {"B": 2, "S": 5}):
        feeds = generate_inputs(graph, sizes)
        said, got = run(exe.optimized, feeds, faithful=True), exe.run(feeds)
        for name in said:
            assert compare(got[name], said[name], 1e-5).ok
    assert tg.check(exe)


@pytest.mark.parametrize("options", ["bits=4,block=3", "bits=4,block=64", "bits=2,block=32", "bits=2,block=8"])
def test_blocks_of_any_size(options: str) -> None:
    """Those of whole words, and others, which are read number by number, their scales in bf16 as well."""
    weight = np.random.default_rng(0).standard_normal((40, 70)).astype(np.float32)
    graph = tg.trace(lambda x: tg.linear(x, weight), x=tg.f32[B, 70])
    exe = tg.compile(graph, passes=f"quantize-products{{{options}}}")
    assert set(prepared_bytes(exe)) == {"u8", "bf16"}
    for rows in (1, 5, 30):
        feeds = generate_inputs(graph, {"B": rows})
        (want,), (got,) = run(exe.optimized, feeds, faithful=True).values(), exe.run(feeds).values()
        assert compare(got, want, 1e-5).ok


@pytest.mark.parametrize("options", ["bits=3", "bits=4,block=0"])
def test_blocks_that_there_are_not(graph: tg.Graph, options: str) -> None:
    with pytest.raises(tg.PassError, match="bits is one of 2, 4, 8 and block at least 1, got"):
        tg.optimize(graph, f"quantize-products{{{options}}}")


def test_weights_of_4_bits_in_a_bundle(graph: tg.Graph, tmp_path: Path) -> None:
    exe, feeds = tg.compile(graph, weights="i4"), generate_inputs(graph)
    exe.save(tmp_path / "m.tgc")
    again = tg.load(tmp_path / "m.tgc")
    assert {v.dtype for _, v in again.prepare.outputs} >= {tg.u8, tg.bf16}
    assert all(np.array_equal(again.run(feeds)[name], y) for name, y in exe.run(feeds).items())
    assert tg.parse(str(exe.optimized)) == exe.optimized


@each_feature_set
def test_every_layout_of_integers_means_the_same(graph: tg.Graph, cpu: str) -> None:
    """Instructions that take x as u8 get it shifted, and the excess taken off: exactly what was asked for."""
    optimized = tg.compile(graph, "numpy", weights="i8").optimized
    target = Target.parse(cpu)
    kernels = kernel_graph(optimized, target)
    packed = [n for f in kernels.functions.values() for n in f.nodes if n.op.name == "integer_linear"]
    shifted = not target.has("amx-int8") and (target.has("avxvnni") or target.has("avx512vnni"))
    assert packed and all((n.inputs[0].dtype == tg.u8) == shifted for n in packed)
    feeds = generate_inputs(graph)
    expected, found = run(optimized, feeds), run(kernels, feeds)
    for name in expected:
        assert compare(found[name], expected[name], 1e-9).ok


@pytest.mark.parametrize(("precision", "weights"), [("bf16", "f32"), ("f16", "f32"), ("f32", "f16"), ("bf16", "i8"),
                                                    ("bf16", "i4"), ("f16", "bf16")])
def test_reduced_executables_check(graph: tg.Graph, precision: str, weights: str) -> None:
    exe = tg.compile(graph, precision=precision, weights=weights)
    assert signature(exe.kernels) == signature(graph)
    report = tg.check(exe)
    assert report, str(report)


def test_the_tolerance_of_a_check_follows_the_precision(graph: tg.Graph) -> None:
    allowed = [{c.tolerance for _, _, c in tg.check(tg.compile(graph, "numpy", weights=w)).outputs}
               for w in ("f32", "f16", "bf16", "i8", "i4")]
    assert allowed == [{1e-4}, {1e-2}, {5e-2}, {1e-1}, {4e-1}]


def test_accuracy_against_f32(graph: tg.Graph) -> None:
    exact, reduced = (tg.accuracy(tg.compile(graph, "numpy", weights=w), sizes=[{"B": 2, "S": 5}]) for w in ("f32", "i8"))
    assert [(r.sizes, r.output) for r in reduced.rows] == [({"B": 2, "S": 5}, "hidden"), ({"B": 2, "S": 5}, "pooled")]
    assert all(r.max_error == 0 and r.cosine == 1 for r in exact.rows)
    assert all(0 < r.mean_error < r.max_error < 0.1 and 0.99 < r.lowest_cosine <= r.cosine < 1 for r in reduced.rows)
    assert "max error" in str(reduced) and "pooled" in str(reduced)


def test_the_sentence_model_keeps_what_sentences_mean() -> None:
    model, tokenizer = load_minilm()
    graph = tg.trace(model, input_ids=tg.i64[B, S].range(0, 30522), mask=tg.bool_[B, S])
    ids, mask = encode_batch(tokenizer, SENTENCES)
    for weights, least in (("bf16", 0.9999), ("i8", 0.995), ("i4", 0.95)):
        [row] = tg.accuracy(tg.compile(graph, weights=weights), {"input_ids": ids, "mask": mask}).rows
        assert row.lowest_cosine > least, (weights, row)


# precision="auto"

def test_auto_takes_the_fastest_within_the_tolerance(graph: tg.Graph) -> None:
    exe = tg.compile(graph, precision="auto", tolerance=0.1)
    assert exe.choice is not None and [(t.precision, t.weights) for t in exe.choice.trials] == [("f32", "i8")]
    assert exe.choice.taken.error < 0.1 and 'weights="i8"' in str(exe.choice)
    alike = tg.compile(graph, weights="i8")
    assert str(exe.kernels) == str(alike.kernels) and alike.choice is None
    tight = tg.compile(graph, precision="auto", tolerance=1e-3).choice
    assert tight is not None and len(tight.trials) > 1 and "too large for" in str(tight)
    assert all(trial.error > 1e-3 for trial in tight.trials[:-1]) and tight.taken.error <= 1e-3


def test_auto_is_f32_where_nothing_else_will_do(graph: tg.Graph) -> None:
    exe = tg.compile(graph, precision="auto", tolerance=1e-12)
    assert exe.choice is not None and (exe.choice.taken.precision, exe.choice.taken.weights) == ("f32", "f32")
    assert str(exe.kernels) == str(tg.compile(graph).kernels)
    assert tg.compile(graph, "numpy", precision="auto", tolerance=0.5).choice.taken.weights == "f32"


def test_the_error_of_auto_is_that_of_the_kernels(graph: tg.Graph) -> None:
    exe = tg.compile(graph, precision="auto", tolerance=0.1)
    feeds = generate_inputs(graph)
    found, exact = exe.run(feeds), run(graph, feeds)
    error = max(compare(found[name], exact[name], 0.0).error for name in exact)
    assert exe.choice is not None and error == pytest.approx(exe.choice.taken.error, rel=0.2)


def test_auto_of_a_program_and_of_whole_numbers() -> None:
    """All graphs count, and an output of integers must be the same."""
    class Scorer(tg.nn.Module):
        def __init__(self) -> None:
            self.layer = tg.nn.Linear(48, 64)

        def scores(self, x: tg.Tensor) -> tg.Tensor:
            return self.layer(x)

        def best(self, x: tg.Tensor) -> tg.Tensor:
            return tg.cast(self.layer(x) * 1e4, dtype=tg.i64)

    x = tg.f32[tg.dim("B"), 48]
    exe = tg.compile(tg.trace_program(Scorer(), scores={"x": x}, best={"x": x}), precision="auto", tolerance=0.5)
    assert exe.choice is not None and exe.choice is exe.graphs["best"].choice
    assert exe.choice.trials[0].weights == "i8" and exe.choice.trials[0].error >= 1.0  # some of ten thousand steps differ
    alone = tg.compile(tg.trace(Scorer().scores, x=x), precision="auto", tolerance=0.5).choice
    assert alone is not None and alone.taken.weights == "i8"


@pytest.mark.parametrize(("options", "words"), [
    ({"precision": "auto"}, "an error that you state"),
    ({"precision": "auto", "tolerance": 0.0}, "an error that you state"),
    ({"precision": "auto", "tolerance": float("nan")}, "an error that you state"),
    ({"precision": "auto", "tolerance": 0.1, "weights": "i8"}, 'leave out weights="i8"'),
    ({"tolerance": 0.1}, 'is for precision="auto"'),
    ({"precision": "fast"}, "precision='fast'"),
])
def test_options_of_auto_that_do_not_go_together(graph: tg.Graph, options: dict[str, Any], words: str) -> None:
    with pytest.raises(tg.PassError, match=words):
        tg.compile(graph, **options)


@pytest.mark.parametrize(("cpu", "ways"), [
    ("cpu:x86-64-v3", ["f32 i8", "f32 f16", "f32 bf16", "f32 f32"]),
    ("cpu:znver4", ["f32 i8", "bf16 f32", "f32 f16", "f32 bf16", "f32 f32"]),
    ("cpu:sapphirerapids,-amx-tile", ["f32 i8", "f32 f16", "f32 bf16", "f32 f32"]),
    ("cpu:sapphirerapids", ["f32 i8", "bf16 f32", "f32 f16", "f32 bf16", "f32 f32"]),
    ("cuda:sm_90", ["f16 f32", "bf16 f32", "f32 f32"]),
    ("numpy", ["f32 f32"]),
])
def test_ways_by_target(cpu: str, ways: list[str]) -> None:
    target = Target.parse(cpu)
    assert [" ".join(way) for way in backend_of(target).fastest_first(target)] == ways

"""Every variant of attention becomes one `attention` op that means the same: models, six by hand, random ones."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tgraph as tg
from passes import run_pipeline
from passes.rewriting import RewriteReport, reporting
from passes.transforms.fuse_attention import FuseAttention
from tgraph.ir.builder import Builder
from tgraph.models.bert import Bert, BertConfig
from tgraph.reference import generate_inputs, run

sys.path.insert(0, str(Path(__file__).parent))

from golden import FOLDER, apply, read

B, S, T = tg.dims("B S T")
HEADS, HEAD_DIM = 4, 8
BACK = "canonicalize,cse,fuse-softmax,fuse-layer-norm,fuse-gelu,fuse-attention"
SMALL = BertConfig(vocab_size=50, hidden_size=32, num_hidden_layers=3, num_attention_heads=HEADS, intermediate_size=64,
                   max_position_embeddings=16)


def count(graph: tg.Graph) -> Counter[str]:
    return Counter(node.op.name for node in graph.nodes)


def assert_same(before: tg.Graph, after: tg.Graph, feeds: dict[str, np.ndarray], tolerance: float = 1e-6) -> None:
    expected, found = run(before, feeds), run(after, feeds)
    for name, r in expected.items():
        np.testing.assert_allclose(found[name], r, atol=tolerance * max(1.0, np.nanmax(np.abs(r), initial=0)), rtol=0)


# Models taken apart

@pytest.fixture(scope="module")
def primitives() -> tg.Graph:
    """BERT in primitives: no softmax, layer_norm, gelu, linear or attention is left."""
    graph = tg.trace(Bert(SMALL), input_ids=tg.i64[B, S], mask=tg.bool_[B, S])
    apart = run_pipeline(graph, "decompose", verify_each=True)[0]
    assert not any(node.op.composite for node in apart.nodes)
    return apart


def test_bert_in_primitives_comes_back(primitives: tg.Graph) -> None:
    back = run_pipeline(primitives, BACK, verify_each=True)[0]
    found = count(back)
    layers = SMALL.num_hidden_layers
    assert (found["attention"], found["gelu"], found["layer_norm"]) == (layers, layers, 2 * layers + 1)
    assert not {"softmax", "exp", "where", "erf", "sqrt", "less_or_equal"} & set(found)
    for node in back.nodes:
        if node.op.name == "attention":
            assert node.operands[3] is back.inputs[1], "the mask as it was fed, [B, S]"
            assert node.attrs["empty_row"] == "zero"
    feeds = generate_inputs(primitives, seed=1)
    feeds["mask"][-1] = False
    assert_same(primitives, back, feeds)


def test_bert_in_primitives_gets_one_projection_a_layer(primitives: tg.Graph) -> None:
    back = run_pipeline(primitives, f"{BACK},fuse-bias-activation,fuse-qkv,cse,dce", verify_each=True)[0]
    splits = [node for node in back.nodes if node.op.name == "split"]
    assert len(splits) == SMALL.num_hidden_layers
    for node in splits:
        assert node.inputs[0].node.op.name == "linear"  # type: ignore[attr-defined]
        readers = {r.op.name for result in node.results for r in result.users}
        assert readers == {"reshape"}
    assert_same(primitives, back, generate_inputs(primitives, seed=2))


def test_fused_attention_knows_where_it_comes_from(primitives: tg.Graph) -> None:
    back = run_pipeline(primitives, BACK)[0]
    scopes = [node.provenance.scope for node in back.nodes if node.op.name == "attention"]
    assert scopes == [f"encoder.layer.{i}.attention.self" for i in range(SMALL.num_hidden_layers)]


# Six variants

def heads(x: Any) -> Any:
    return tg.transpose(tg.reshape(x, shape=(*x.shape[:2], HEADS, HEAD_DIM)), perm=(0, 2, 1, 3))


def merged(x: Any) -> Any:
    return tg.reshape(tg.transpose(x, perm=(0, 2, 1, 3)), shape=(x.shape[0], x.shape[2], HEADS * HEAD_DIM))


def by_einsum(q: Any, k: Any, v: Any, mask: Any) -> Any:
    """Masked by addition."""
    q, k, v = (tg.reshape(x, shape=(*x.shape[:2], HEADS, HEAD_DIM)) for x in (q, k, v))
    scores = tg.einsum(q * HEAD_DIM**-0.5, k, equation="bqhd,bkhd->bqhk")
    added = (1.0 - tg.cast(mask, dtype=tg.f32)) * -10000.0
    weights = tg.softmax(scores + tg.unsqueeze(added, axes=(1, 2)))
    context = tg.einsum(weights, v, equation="bqhk,bkhd->bqhd")
    return tg.reshape(context, shape=(q.shape[0], q.shape[1], HEADS * HEAD_DIM))


def with_transposed_scores(q: Any, k: Any, v: Any, mask: Any) -> Any:
    """One column a query: k q^T, softmax downwards, v^T times the weights."""
    q, k, v = heads(q), heads(k), heads(v)
    scores = tg.matmul(k, tg.transpose(q, perm=(0, 1, 3, 2))) / HEAD_DIM**0.5
    scores = tg.where(tg.unsqueeze(mask, axes=(1, 3)), scores, -1e38)
    e = tg.exp(scores - tg.reduce_max(scores, axes=(-2,), keepdims=True))
    weights = e / tg.reduce_sum(e, axes=(-2,), keepdims=True)
    context = tg.matmul(tg.transpose(v, perm=(0, 1, 3, 2)), weights)  # [B, H, D, S]
    return tg.reshape(tg.transpose(context, perm=(0, 3, 1, 2)), shape=(q.shape[0], q.shape[2], HEADS * HEAD_DIM))


def by_selection_and_addition(q: Any, k: Any, v: Any, mask: Any) -> Any:
    """Causality added as -inf, padding selected away."""
    q, k, v = heads(q) * HEAD_DIM**-0.25, heads(k) * HEAD_DIM**-0.25, heads(v)
    rows, columns = tg.range(stop=q.shape[2]), tg.range(stop=k.shape[2])
    later = tg.greater(tg.unsqueeze(columns, axes=(0,)), tg.unsqueeze(rows, axes=(1,)))
    allowed = tg.unsqueeze(mask, axes=(1, 2))
    scores = tg.matmul(q, tg.transpose(k, perm=(0, 1, 3, 2))) + tg.where(later, float("-inf"), 0.0)
    return merged(tg.matmul(tg.softmax(tg.where(allowed, scores, float("-inf"))), v))


def head_by_head(q: Any, k: Any, v: Any, mask: Any) -> Any:
    """No axis of heads: parts of the last axis, joined again."""
    allowed = tg.unsqueeze(mask, axes=(1,))
    made = []
    for one_q, one_k, one_v in zip(*[tg.split(x, sizes=HEADS) for x in (q, k, v)]):
        scores = tg.matmul(one_q, tg.transpose(one_k, perm=(0, 2, 1))) * 0.25
        made.append(tg.matmul(tg.softmax(tg.where(allowed, scores, float("-inf"))), one_v))
    return tg.concat(*made, axis=-1)


def by_division(q: Any, k: Any, v: Any, mask: Any) -> Any:
    """Heads folded into the batch, as a batched product of rank 3 wants them."""
    def folded(x: Any) -> Any:
        return tg.reshape(heads(x), shape=(x.shape[0] * HEADS, x.shape[1], HEAD_DIM))

    scores = tg.matmul(folded(q), tg.transpose(folded(k), perm=(0, 2, 1))) / 3.0
    scores = tg.reshape(scores, shape=(q.shape[0], HEADS, q.shape[1], k.shape[1]))
    padded = tg.logical_not(tg.unsqueeze(mask, axes=(1, 2)))
    weights = tg.softmax(tg.where(padded, -3e38, scores))
    weights = tg.reshape(weights, shape=(q.shape[0] * HEADS, q.shape[1], k.shape[1]))
    context = tg.reshape(tg.matmul(weights, folded(v)), shape=(q.shape[0], HEADS, q.shape[1], HEAD_DIM))
    return merged(context)


def with_k_transposed_first(q: Any, k: Any, v: Any, mask: Any) -> Any:
    """k goes to [B, H, D, T] at once, in one transpose."""
    k = tg.transpose(tg.reshape(k, shape=(*k.shape[:2], HEADS, HEAD_DIM)), perm=(0, 2, 3, 1))
    allowed = tg.unsqueeze(mask, axes=(1, 2))
    weights = tg.softmax(tg.where(allowed, tg.matmul(heads(q), k * 0.5), -1e30))
    return merged(tg.matmul(tg.where(allowed, weights, 0.0), heads(v)))


VARIANTS = [by_einsum, with_transposed_scores, by_selection_and_addition, head_by_head, by_division,
             with_k_transposed_first]
COMPILED = [by_selection_and_addition, head_by_head]


def traced(variant: Callable[..., Any]) -> tg.Graph:
    wide = HEADS * HEAD_DIM
    return tg.trace(variant, q=tg.f32[B, S, wide], k=tg.f32[B, T, wide], v=tg.f32[B, T, wide], mask=tg.bool_[B, T])


def feeds_for(graph: tg.Graph, empty: bool, seed: int = 0) -> dict[str, np.ndarray]:
    feeds = generate_inputs(graph, {"B": 3, "S": 5, "T": 7}, seed)
    feeds["mask"][-1] = not empty
    return feeds


@pytest.mark.parametrize("prefix", ["", "decompose,"], ids=["as_written", "in_primitives"])
@pytest.mark.parametrize("variant", VARIANTS, ids=lambda f: f.__name__)
def test_each_variant_becomes_one_attention(variant: Callable[..., Any], prefix: str) -> None:
    graph = traced(variant)
    fused = run_pipeline(graph, f"{prefix}canonicalize,cse,fuse-softmax,fuse-attention,cse,dce", verify_each=True)[0]
    found = count(fused)
    assert found["attention"] == 1
    assert not {"softmax", "matmul", "einsum", "concat", "exp", "greater", "less_or_equal"} & set(found)
    for empty in (False, True):
        assert_same(graph, fused, feeds_for(graph, empty))


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda f: f.__name__)
def test_each_variant_is_softmax_of_the_products(variant: Callable[..., Any]) -> None:
    """The graph as written means what NumPy says attention is."""
    graph = traced(variant)
    feeds = feeds_for(graph, empty=False)
    scale = {head_by_head: 0.25, by_division: 1 / 3, with_k_transposed_first: 0.5}.get(variant, HEAD_DIM**-0.5)
    q, k, v = (feeds[n].astype(np.float64).reshape(3, -1, HEADS, HEAD_DIM) for n in "qkv")
    allowed = np.broadcast_to(feeds["mask"][:, None, None, :], (3, 1, 5, 7))
    if variant is by_selection_and_addition:
        allowed = allowed & np.tri(5, 7, dtype=bool)
    e = np.exp(np.einsum("bihd,bjhd->bhij", q, k) * scale) * allowed
    expected = np.einsum("bhij,bjhd->bihd", e / e.sum(-1, keepdims=True), v).reshape(3, 5, -1)
    np.testing.assert_allclose(next(iter(run(graph, feeds).values())), expected, atol=1e-6)


@pytest.mark.parametrize("variant", COMPILED, ids=lambda f: f.__name__)
def test_fused_variants_compile(variant: Callable[..., Any]) -> None:
    graph = traced(variant)
    feeds = feeds_for(graph, empty=False)
    exe = tg.compile(graph, target="cpu", passes="canonicalize,cse,fuse-softmax,fuse-attention,cse,dce")
    expected = next(iter(run(graph, feeds).values()))
    np.testing.assert_allclose(exe(**feeds), expected, atol=1e-5)


# Rows without a key, and reasons

MASKED = sorted(p for p in (FOLDER / "fuse_attention").glob("*.tg")
                if not p.stem.startswith("not_") and "bool[" in p.read_text(encoding="utf-8").split("{")[0])


@pytest.mark.parametrize("path", MASKED, ids=lambda p: p.stem)
def test_rows_without_a_key_mean_the_same(path: Path) -> None:
    before, after = apply(read(path))
    for name, parameter in before.parameters.items():
        data = np.random.default_rng(0).normal(size=parameter.shape).astype(parameter.dtype.numpy)
        for graph in (before, after):
            graph.weights.set(name, data)
    feeds = generate_inputs(before, seed=3)
    for name, value in feeds.items():
        if value.dtype == bool:
            value[-1] = name == "pad"
    assert_same(before, after, feeds)


def test_every_near_miss_says_why() -> None:
    reasons = set()
    for path in sorted((FOLDER / "fuse_attention").glob("not_*.tg")):
        report = RewriteReport()
        with reporting(report):
            FuseAttention().apply(tg.parse(read(path).before))
        assert not report.rewrites
        reasons |= {(path.stem, miss.reason) for miss in report.misses.values()}
    assert len({reason for _, reason in reasons}) >= 16
    mild = "masked scores become -10000, not -1e+30 or less; finite-mask takes it as a mask"
    assert ("not_mild_fill", mild) in reasons
    assert {("not_bias_before_cap", "a bias is added to the scores before they are capped"),
            ("not_mask_before_cap", "scores are masked before they are capped, which lets excluded keys in again"),
            ("not_fed_scale_before_cap", "scores are multiplied by what only a run knows before they are capped"),
            ("not_capped_twice", "the scores are capped twice"),
            ("not_cap_before_fed_scale", "capped scores are multiplied by what only a run knows"),
            ("not_capped_weights", "the weights are read by tanh, not by a product")} <= reasons


# Random variants

@st.composite
def variant(draw: st.DrawFn) -> tuple[tg.Graph, str]:
    """A graph of attention, drawn decision by decision, and what becomes of its masks: "mask", "bias" or nothing, ""."""
    graph = tg.Graph("g")
    b = Builder(graph)
    group = draw(st.sampled_from([1, 1, 2]))
    shapes = {"q": (HEADS, S), "k": (HEADS // group, T), "v": (HEADS // group, T)}
    views = {}
    for name, (number, length) in shapes.items():
        order = draw(st.permutations(["h", "s", "d"]))
        sizes = {"h": number, "s": length, "d": HEAD_DIM}
        x = graph.input(name, tg.f32[(B, *(sizes[c] for c in order))])
        x = b.transpose(x, perm=(0, *(1 + order.index(c) for c in "hsd")))
        if name != "v" and draw(st.booleans()):
            x = draw(st.sampled_from([lambda x: b.mul(x, 0.5), lambda x: b.div(x, 4.0), b.neg]))(x)
        if group > 1 and name != "q":
            x = b.reshape(b.expand(b.unsqueeze(x, axes=(2,)), shape=(B, HEADS // group, group, length, HEAD_DIM)),
                          shape=(B, HEADS, length, HEAD_DIM))
        views[name] = x
    q, k, v = (views[n] for n in "qkv")
    flipped = draw(st.booleans())  # keys go down
    swap = (0, 1, 3, 2)
    scores = b.matmul(k, b.transpose(q, perm=swap)) if flipped else b.matmul(q, b.transpose(k, perm=swap))

    def laid(x: Any) -> Any:
        return b.transpose(x, perm=swap) if flipped else x

    mask = graph.input("mask", tg.bool_[B, T])
    conditions = []
    if draw(st.booleans()):
        conditions.append(laid(b.unsqueeze(mask, axes=(1, 2))))
    if draw(st.booleans()):
        rows, columns = b.unsqueeze(b.range(stop=S), axes=(1,)), b.unsqueeze(b.range(stop=T), axes=(0,))
        since, distance = b.greater(columns, b.sub(rows, 3)), b.abs(b.sub(columns, rows))
        limits = [b.less_or_equal(columns, rows), since, b.logical_and(b.less(columns, b.add(rows, 2)), since),
                  b.less(distance, b.constant(2, tg.i64))]
        conditions.append(laid(b.unsqueeze(draw(st.sampled_from(limits)), axes=(0, 1))))
    fill = draw(st.sampled_from([-np.inf, -1e32]))
    steps = draw(st.permutations(["scale", "fed scale", "cap", "bias", "mask", "mask"]))
    masked = []
    product, bare = scores, True  # bare: neither capped, biased nor masked
    for step in steps:
        if step == "scale" and (not masked or fill == -np.inf):
            scores = b.neg(scores) if not masked and draw(st.booleans()) else b.mul(scores, 0.25)
        elif step == "fed scale" and scores is product and draw(st.booleans()):
            fed = graph.input("t", tg.f32[draw(st.sampled_from([(), (HEADS, 1, 1), (S,) if flipped else (S, 1)]))])
            scores = b.mul(scores, fed) if draw(st.booleans()) else b.div(scores, fed)
        elif step == "cap" and bare and not any(i.name == "t" for i in graph.inputs) and draw(st.booleans()):
            cap = draw(st.sampled_from([-0.5, 2.0, 30.0]))
            scores, bare = b.mul(b.tanh(b.div(scores, cap)), cap), False
        elif step == "bias" and not masked and draw(st.booleans()):
            bare = False
            bias = graph.input("bias", tg.f32[HEADS, S, T])
            scores = draw(st.sampled_from([b.add, b.sub]))(laid(b.unsqueeze(bias, axes=(0,)) if flipped else bias), scores)
        elif step == "mask" and conditions:
            condition, bare = conditions.pop(), False
            masked.append(condition)
            if draw(st.booleans()):
                scores = b.where(b.logical_not(condition), b.constant(fill, tg.f32), scores)
            else:
                scores = b.where(condition, scores, b.constant(fill, tg.f32))
    weights = b.softmax(scores, axis=-2 if flipped else -1)
    # a bias that is fed may hold a finite fill
    kind = "bias" if masked and fill != -np.inf and any(i.name == "bias" for i in graph.inputs) else "mask"
    if masked and draw(st.booleans()):
        kind = "mask" if kind == "mask" else ""
        both = masked[0] if len(masked) == 1 else b.logical_and(*masked)
        weights = b.where(both, weights, b.constant(0.0, tg.f32))
    made = b.matmul(b.transpose(v, perm=swap), weights) if flipped else b.matmul(weights, v)
    graph.set_outputs([("y", made)])
    return graph, kind


@given(variant(), st.booleans())
def test_random_variants(drawn: tuple[tg.Graph, str], canonical: bool) -> None:
    graph, kind = drawn
    pipeline = "canonicalize,cse,fuse-attention" if canonical else "fuse-attention"
    fused = run_pipeline(graph, pipeline, verify_each=True)[0]
    assert count(fused)["attention"] == bool(kind)
    if kind:
        left = set(count(fused))
        assert not {"softmax", "matmul", "expand"} & left and ("where" in left) == (kind == "bias")
    for empty in (False, True):
        feeds = feeds_for(graph, empty)
        assert_same(graph, fused, feeds)
        if "bias" in feeds:  # queries whose keys are filled by the bias: all, or all but the first
            for row, (start, fill) in enumerate([(0, -1e32), (1, -1e32), (0, 2e3), (1, -np.inf)]):
                feeds["bias"].reshape(-1, feeds["bias"].shape[-1])[row, start:] = fill
            assert_same(graph, fused, feeds)

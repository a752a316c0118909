"""Blocked attention against the plain formula in f64: masks, causality, grouped heads, biases, empty rows, sizes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

tvm = pytest.importorskip("tvm")

from tvm.script.ir_builder import IRBuilder  # noqa: E402
from tvm.script.ir_builder import tirx as T  # noqa: E402

from targets.base.target import Target  # noqa: E402
from targets.codegen.attention import AttentionSpec  # noqa: E402
from targets.cpu.kernels.attention import AttentionTile, attention  # noqa: E402
from targets.cpu.kernels.lane_blocks import int64  # noqa: E402
from tests.targets.feature_sets import each_feature_set, registers, widest  # noqa: E402
from tgraph.ir.errors import CompileError  # noqa: E402
from tgraph.ops.attention import attend  # noqa: E402

SCALE = 0.3
SMALL = AttentionTile(keys=4, values=3, key_block=20, query_block=32)  # many blocks, tails everywhere


def attention_kernel(
    head_dim=16,
    value_dim=16,
    *,
    group=1,
    masked="",
    biased=False,
    causal=False,
    shifted=False,
    empty_row="zero",
    softcap=0.0,
    left=None,
    right=None,
    tile=None,
    fixed=None,
):
    """q [B, H, Sq, D], k [B, H / group, Sk, D], v, then mask, bias [H, Sq, Sk], offset [1] if any, y."""
    with IRBuilder() as builder, T.prim_func():
        T.func_name("main")
        b, h, hk, sq, sk = fixed or [T.int64() for _ in range(5)]
        q = T.arg("q", T.buffer((b, h, sq, head_dim), "float32"))
        k = T.arg("k", T.buffer((b, hk, sk, head_dim), "float32"))
        v = T.arg("v", T.buffer((b, hk, sk, value_dim), "float32"))
        options = {}
        if masked:
            shape = {"keys": (b, sk), "queries": (b, sq, sk), "heads": (b, h, sq, sk)}[masked]
            mask = T.arg("mask", T.buffer(shape, "bool"))
            pick = {"keys": lambda b, h, i, j: (b, j), "queries": lambda b, h, i, j: (b, i, j)}.get(
                masked, lambda *at: at
            )
            options = {"mask": lambda *at: mask[pick(*at)], "key_padding": masked == "keys"}
        if biased:
            bias = T.arg("bias", T.buffer((h, sq, sk), "float32"))
            options["bias"] = lambda b, h, i, j: bias[h, i, j]
        if shifted:
            offset = T.arg("offset", T.buffer((1,), "int64"))
            options["offset"] = offset[0]
        y = T.arg("y", T.buffer((b, h, sq, value_dim), "float32"))
        T.func_attr({"tirx.noalias": True})
        attention(AttentionSpec(
            batch=int64(b), heads=int64(h), group=group, queries=int64(sq), keys=int64(sk), head_dim=head_dim,
            value_dim=value_dim, dtype="float32",
            load_q=lambda b, h, i, d: q[b, h, i, d], load_k=lambda b, h, j, d: k[b, h, j, d],
            load_v=lambda b, h, j, d: v[b, h, j, d], scale=SCALE,
            store=lambda b, h, i, d, value: T.buffer_store(y, value, [b, h, i, d]),
            left=left, right=0 if causal else right, empty_row=empty_row, softcap=softcap, **options), tile)
    return builder.get()


def fused_kernel(heads: int, head_dim: int):
    """x [B, S, 3 * heads * head_dim] as one projection leaves it, mask [B, S] -> twice the value, [B, S, width]."""
    width = heads * head_dim
    with IRBuilder() as builder, T.prim_func():
        T.func_name("main")
        b, s = T.int64(), T.int64()
        x = T.arg("x", T.buffer((b, s, 3 * width), "float32"))
        mask = T.arg("mask", T.buffer((b, s), "bool"))
        y = T.arg("y", T.buffer((b, s, width), "float32"))
        T.func_attr({"tirx.noalias": True})
        part = lambda n: lambda b, h, i, d: x[b, i, n * width + h * head_dim + d]
        attention(AttentionSpec(
            batch=b, heads=int64(heads), group=1, queries=s, keys=s, head_dim=head_dim, value_dim=head_dim, dtype="float32",
            load_q=part(0), load_k=part(1), load_v=part(2), scale=SCALE,
            mask=lambda b, h, i, j: mask[b, j], key_padding=True,
            store=lambda b, h, i, d, value: T.buffer_store(y, value * T.float32(2.0), [b, i, h * head_dim + d])))
    return builder.get()


def reference(q, k, v, *, mask=None, bias=None, causal=False, offset=0, empty_row="zero", softcap=0.0, left=None,
              right=None):
    group = q.shape[1] // max(k.shape[1], 1)
    q, k, v = (x.astype("float64") for x in (q, np.repeat(k, group, 1), np.repeat(v, group, 1)))
    scores = q @ np.swapaxes(k, -1, -2) * SCALE
    if softcap:
        scores = softcap * np.tanh(scores / softcap)
    if bias is not None:
        scores = scores + bias
    allowed = np.ones(scores.shape, bool)
    distance = np.arange(scores.shape[3]) - np.arange(scores.shape[2])[:, None] - offset
    right = 0 if causal else right
    allowed &= distance <= (np.inf if right is None else right)
    allowed &= -distance <= (np.inf if left is None else left)
    if mask is not None:
        allowed &= mask[:, None, None] if mask.ndim == 2 else mask[:, None] if mask.ndim == 3 else mask
    scores = np.where(allowed, scores, -np.inf)
    with np.errstate(invalid="ignore"):
        powers = np.exp(scores - scores.max(-1, keepdims=True, initial=-np.inf))
        weights = powers / powers.sum(-1, keepdims=True)
    filler = {"zero": 0.0, "uniform": 1 / max(scores.shape[3], 1), "nan": np.nan}[empty_row]
    return np.where(allowed.any(-1, keepdims=True), weights, filler) @ v


TABLE = {
    "plain": {},
    "plain64": {"head_dim": 64, "value_dim": 64},
    "small_tile": {"tile": SMALL},
    "odd": {"head_dim": 5, "value_dim": 3},
    "wide_value": {"head_dim": 24, "value_dim": 80},
    "known": {"fixed": (2, 3, 3, 17, 40)},
    "known_few": {"fixed": (2, 3, 3, 2, 40)},
    "grouped": {"group": 3, "causal": True},
    "causal_shifted": {"causal": True, "shifted": True, "tile": SMALL},
    "keys_zero": {"masked": "keys"},
    "keys_uniform": {"masked": "keys", "empty_row": "uniform", "tile": SMALL, "value_dim": 19},
    "keys_causal": {"masked": "keys", "causal": True, "tile": SMALL},
    "queries_nan": {"masked": "queries", "empty_row": "nan", "tile": SMALL},
    "queries_uniform": {"masked": "queries", "empty_row": "uniform"},
    "bias": {"biased": True, "tile": SMALL},
    "capped": {"softcap": 0.5, "tile": SMALL},
    "capped_keys": {"softcap": 0.5, "masked": "keys", "causal": True, "head_dim": 5, "value_dim": 3},
    "capped_everything": {
        "softcap": 0.8, "masked": "heads", "biased": True, "causal": True, "shifted": True, "group": 2, "tile": SMALL,
    },
    "window": {"left": 9, "causal": True, "shifted": True, "tile": SMALL},
    "window_keys": {"left": 30, "right": 11, "masked": "keys", "empty_row": "uniform", "head_dim": 5, "value_dim": 3},
    "window_after": {"left": 3, "empty_row": "nan", "shifted": True, "group": 2, "tile": SMALL},
    "window_before": {"right": 5, "tile": SMALL},
    "window_everything": {
        "left": 20, "right": 0, "softcap": 0.8, "masked": "heads", "biased": True, "shifted": True, "group": 2, "tile": SMALL,
    },
    "everything": {
        "masked": "heads", "biased": True, "causal": True, "shifted": True, "group": 2, "empty_row": "uniform",
        "tile": SMALL,
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def kernels(build):
    return build(
        {name: attention_kernel(**options) for name, options in TABLE.items()} | {"fused": fused_kernel(3, 16)}
    )


def run(kernels, name, b=2, h=6, sq=17, sk=40, mask=None, offset=0, tweak=None, tolerance=1e-5):
    """Runs kernel `name` on seeded inputs and compares with the formula; returns the result."""
    options = TABLE[name]
    dims = options.get("head_dim", 16), options.get("value_dim", 16)
    rng = np.random.default_rng(b + 10 * sq + 1000 * sk)
    hk = h // options.get("group", 1)
    q, k, v = (
        rng.standard_normal(s, "float32") for s in ((b, h, sq, dims[0]), (b, hk, sk, dims[0]), (b, hk, sk, dims[1]))
    )
    bias = rng.standard_normal((h, sq, sk), "float32") if options.get("biased") else None
    if tweak is not None:
        tweak(q, k, v, bias)
    extra = [x for x in (mask, bias) if x is not None] + [np.array([offset], "int64")] * options.get("shifted", False)
    got = kernels(name, q, k, v, *extra, out=((b, h, sq, dims[1]), "float32"))
    chosen = {key: options[key] for key in ("causal", "empty_row", "softcap", "left", "right") if key in options}
    want = reference(q, k, v, mask=mask, bias=bias, offset=offset, **chosen)
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)
    return got


SIZES = [(1, 1), (1, 40), (1, 300), (2, 133), (4, 128),
         (5, 64), (16, 16), (17, 1), (31, 131), (32, 132), (33, 133), (70, 300), (128, 128)]


@pytest.mark.parametrize(("sq", "sk"), SIZES)
@pytest.mark.parametrize(
    "name", ["plain", "plain64", "small_tile", "odd", "wide_value", "grouped", "causal_shifted", "bias",
             "capped", "window", "window_after", "window_before"]
)
def test_lengths(kernels, name, sq, sk):
    run(kernels, name, sq=sq, sk=sk)


def test_sizes_known_when_compiled(kernels):
    run(kernels, "known", b=2, h=3, sq=17, sk=40)
    run(kernels, "known_few", b=2, h=3, sq=2, sk=40)


@pytest.mark.parametrize(("b", "h", "sq"), [(0, 6, 5), (2, 0, 5), (2, 6, 0), (0, 6, 1), (2, 0, 1)])
@pytest.mark.parametrize("name", ["plain", "causal_shifted", "small_tile"])
def test_sizes_of_zero(kernels, name, b, h, sq):
    assert run(kernels, name, b=b, h=h, sq=sq).size == 0


@pytest.mark.parametrize("sq", [1, 17])
@pytest.mark.parametrize("name", ["plain", "keys_zero", "keys_uniform", "queries_nan", "causal_shifted", "everything"])
def test_no_keys_at_all(kernels, name, sq):
    masked = TABLE[name].get("masked")
    shape = {"keys": (2, 0), "queries": (2, sq, 0), "heads": (2, 6, sq, 0)}.get(masked)
    mask = None if shape is None else np.ones(shape, bool)
    got = run(kernels, name, sq=sq, sk=0, mask=mask)
    assert (got == 0).all()


@pytest.mark.parametrize("offset", [-20, -3, 0, 5, 23, 100, -(2**40), 2**40])
@pytest.mark.parametrize("name", ["causal_shifted", "window", "window_after"])
def test_offsets(kernels, name, offset):
    run(kernels, name, sq=37, sk=60, offset=offset)
    run(kernels, name, sq=3, sk=60, offset=offset)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("heads", [1, 3])
def test_causal_tasks_cover_every_block(kernels, batch, heads):
    for name in ("causal_shifted", "window"):
        run(kernels, name, b=batch, h=heads, sq=450, sk=450)


def key_masks(b: int, sk: int) -> np.ndarray:
    """Right padding, left padding, holes, one key, none: one a batch, in turn."""
    keys, holes = np.arange(sk), np.random.default_rng(5).random(sk) < 0.5
    kinds = [keys < sk // 3, keys > sk // 2, holes, keys == sk - 1, keys < 0]
    return np.array([kinds[row % len(kinds)] for row in range(b)])


@pytest.mark.parametrize("name", ["keys_zero", "keys_uniform", "keys_causal", "capped_keys", "window_keys"])
@pytest.mark.parametrize("sk", [3, 40, 150])
@pytest.mark.parametrize("sq", [1, 17])
def test_key_padding(kernels, name, sk, sq):
    got = run(kernels, name, b=6, sq=sq, sk=sk, mask=key_masks(6, sk))
    assert (got[4] == 0).all() == (TABLE[name].get("empty_row") != "uniform")


@pytest.mark.parametrize("name", ["queries_nan", "queries_uniform"])
@pytest.mark.parametrize(("sq", "sk"), [(5, 3), (33, 47), (40, 150)])
def test_masks_of_queries_with_empty_rows(kernels, name, sq, sk):
    mask = np.random.default_rng(sk).random((2, sq, sk)) < 0.4
    mask[0, sq // 2] = False
    mask[1, -1] = False
    run(kernels, name, sq=sq, sk=sk, mask=mask)


@pytest.mark.parametrize("offset", [-4, 2, 40])
def test_everything_at_once(kernels, offset):
    mask = np.random.default_rng(9).random((2, 6, 33, 61)) < 0.3
    for name in ("everything", "capped_everything", "window_everything"):
        run(kernels, name, sq=33, sk=61, mask=mask, offset=offset)


@given(
    b=st.integers(1, 3),
    sq=st.integers(1, 4) | st.integers(1, 70),
    sk=st.integers(1, 90),
    offset=st.integers(-80, 80),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_any_sizes_masks_and_offsets(kernels, b, sq, sk, offset, seed):
    rng = np.random.default_rng(seed)
    run(kernels, "causal_shifted", b=b, h=1 + seed % 5, sq=sq, sk=sk, offset=offset)
    run(kernels, "window", b=b, h=2, sq=sq, sk=sk, offset=offset)
    run(kernels, "window_keys", b=b, h=2, sq=sq, sk=sk, mask=rng.random((b, sk)) < rng.random())
    run(kernels, "keys_causal", b=b, h=2, sq=sq, sk=sk, mask=rng.random((b, sk)) < rng.random())
    mask = rng.random((b, 4, sq, sk)) < rng.random()
    for name in ("everything", "capped_everything", "window_everything"):
        run(kernels, name, b=b, h=4, sq=sq, sk=sk, mask=mask, offset=offset)


def test_excluded_scores_do_not_leak(kernels):
    def poison(q, k, v, bias):
        k[:, :, 30:] = np.nan

    mask = np.repeat(np.arange(40)[None] < 30, 2, 0)
    assert np.isfinite(run_poisoned(kernels, "keys_zero", mask, poison)).all()
    assert np.isfinite(run_poisoned(kernels, "queries_nan", np.repeat(mask[:, None], 17, 1), poison)).all()


def run_poisoned(kernels, name, mask, poison):
    rng = np.random.default_rng(3)
    q, k, v = (rng.standard_normal((2, 6, s, 16), "float32") for s in (17, 40, 40))
    clean = kernels(name, q, k, v, mask, out=((2, 6, 17, 16), "float32"))
    poison(q, k, v, None)
    got = kernels(name, q, k, v, mask, out=((2, 6, 17, 16), "float32"))
    np.testing.assert_array_equal(got, clean)
    return got


@pytest.mark.parametrize(("sq", "offset"), [(37, -5), (37, 0), (37, 20), (3, -1), (3, 20), (3, 120)])
@pytest.mark.parametrize("name", [n for n, o in TABLE.items() if {"masked", "causal", "left", "right"} & o.keys()])
def test_excluded_keys_take_no_part(kernels, name, sq, offset):
    """Whatever their keys and values hold; what allowed keys hold goes into the results, NaN and infinities too."""
    options, (b, h, sk) = TABLE[name], (5, 6, 150)
    rng = np.random.default_rng(offset + 50)
    dims, hk = (options.get("head_dim", 16), options.get("value_dim", 16)), h // options.get("group", 1)
    shapes = (b, h, sq, dims[0]), (b, hk, sk, dims[0]), (b, hk, sk, dims[1])
    q, k, v = (rng.standard_normal(shape, "float32") for shape in shapes)
    masks = {"keys": key_masks(b, sk), "queries": rng.random((b, sq, sk)) < 0.3, "heads": rng.random((b, h, sq, sk)) < 0.3}
    mask = masks.get(options.get("masked"))
    bias = rng.standard_normal((h, sq, sk), "float32") if options.get("biased") else None
    for j, number in ((10, np.nan), (30, np.inf), (31, -np.inf), (100, np.nan), (149, -np.inf)):
        v[:, :, j, j % dims[1]] = number
    k[0, :, 101, 0], k[1, :, 11, 0] = np.nan, np.inf
    if not options.get("shifted"):
        offset = 0
    extra = [x for x in (mask, bias) if x is not None] + [np.array([offset], "int64")] * options.get("shifted", False)
    got = kernels(name, q, k, v, *extra, out=((b, h, sq, dims[1]), "float32"))
    with np.errstate(invalid="ignore"):
        want = attend(*(x.astype("float64") for x in (q, k, v)), mask, bias, np.array(offset), scale=SCALE,
                      causal=options.get("causal", False), empty_row=options.get("empty_row", "zero"),
                      softcap=options.get("softcap", 0.0),
                      window=tuple(options.get(side, -1) for side in ("left", "right")))
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
    assert sq < 5 or (np.isfinite(want).any() and not np.isfinite(want).all())


@pytest.mark.parametrize("sq", [4, 17])
def test_nan_and_infinite_scores_follow_the_formula(kernels, sq):
    def nan_query(q, k, v, bias):
        q[0, 0, 3, 0] = np.nan

    assert np.isnan(run(kernels, "plain", sq=sq, tweak=nan_query)[0, 0, 3]).all()

    def minus_infinity(q, k, v, bias):
        bias[:, :, 5:20] = -np.inf
        bias[0, 2] = -np.inf

    got = run(kernels, "bias", sq=sq, tweak=minus_infinity)
    assert np.isnan(got[:, 0, 2]).all() and np.isfinite(got[:, 1:]).all()

    def plus_infinity(q, k, v, bias):
        bias[1, 3, 9] = np.inf

    with np.errstate(invalid="ignore"):
        assert np.isnan(run(kernels, "bias", sq=sq, tweak=plus_infinity)[:, 1, 3]).all()


def test_large_scores_do_not_overflow(kernels):
    def loud(q, k, v, bias):
        q *= 100

    # scores near 1,000 are themselves good to 1e-4 in f32
    for sq in (2, 20):
        assert np.isfinite(run(kernels, "plain", sq=sq, sk=300, tweak=loud, tolerance=1e-3)).all()


@pytest.mark.parametrize(("b", "s"), [(1, 1), (2, 19), (3, 140)])
def test_fused_projection_and_epilogue(kernels, b, s):
    rng = np.random.default_rng(s)
    x, mask = rng.standard_normal((b, s, 144), "float32"), rng.random((b, s)) < 0.7
    got = kernels("fused", x, mask, out=((b, s, 48), "float32"))
    q, k, v = (x[..., n * 48 : n * 48 + 48].reshape(b, s, 3, 16).transpose(0, 2, 1, 3) for n in range(3))
    want = 2 * reference(q, k, v, mask=mask).transpose(0, 2, 1, 3).reshape(b, s, 48)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_bit_identical_at_any_number_of_threads(kernels):
    configure = tvm.get_global_func("runtime.config_threadpool")
    results = []
    mask = np.random.default_rng(1).random((2, 6, 150, 201)) < 0.5
    few = mask[:, :, :3].copy()
    try:
        for threads in (1, 2):
            configure(1, threads)
            everything = run(kernels, "everything", sq=150, sk=201, mask=mask, offset=60)
            window = run(kernels, "window", sq=600, sk=601)
            one = run(kernels, "plain64", b=1, h=1, sq=1, sk=500)
            three = run(kernels, "everything", sq=3, sk=201, mask=few, offset=198)
            results.append([run(kernels, "plain64", sq=150, sk=201), everything, window, one, three])
    finally:
        configure(1, 2)
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("lanes", [4, 16])
def test_few_queries_in_vectors_of_any_width(build, lanes):
    """Every length of a vector's tail, of dims and of keys."""
    tile = AttentionTile(lanes=lanes)
    names = ("plain", "plain64", "odd", "wide_value", "everything", "capped_keys", "window")
    made = build({name: attention_kernel(**{**TABLE[name], "tile": tile}) for name in names})
    for sq, sk in ((1, 7), (2, 16), (3, 77), (4, 300)):
        rng = np.random.default_rng(sk)
        for name in names:
            shape = {"heads": (2, 6, sq, sk), "keys": (2, sk)}.get(TABLE[name].get("masked"))
            mask = None if shape is None else rng.random(shape) < 0.5
            run(made, name, sq=sq, sk=sk, mask=mask, offset=sk - sq if TABLE[name].get("shifted") else 0)


@pytest.mark.parametrize("softcap", [2.0**-126, 1e-20, 1e20, 2.0**127])
def test_any_softcap(build, softcap):
    """A tiny one makes all keys equal, a large one is none."""
    made = build({"main": attention_kernel(softcap=softcap)})
    rng = np.random.default_rng(4)
    q, k, v = (rng.standard_normal((1, 1, 9, 16), "float32") for _ in range(3))
    q[0, 0, 2] = 0.0
    want = reference(q, k, v, softcap=softcap)
    np.testing.assert_allclose(made("main", q, k, v, out=((1, 1, 9, 16), "float32")), want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("softcap", [0.0, 50.0])
@each_feature_set
def test_loops_are_vector_code(build, cpu, softcap):
    target = Target.parse(cpu)
    tile = AttentionTile.for_target(target.vector_bits, target.vector_registers, target.l1_bytes, target.l2_bytes)
    for fixed in (None, (1, 4, 4, 1, 99)):  # any number of queries, and few
        assembly = build({"main": attention_kernel(64, 64, tile=tile, softcap=softcap, fixed=fixed)}, cpu).assembly()
        if target.has("fma"):
            assert assembly.count("vfmadd") > 24
            assert widest(target) in registers(assembly)
        assert "expf" not in assembly and "tanhf" not in assembly


def test_tiles_fit_the_registers_and_the_cache():
    avx2 = AttentionTile.for_target(256, 16, 32 * 1024, 512 * 1024)
    assert (avx2.keys, avx2.values, avx2.key_block) == (6, 6, 132)
    avx512 = AttentionTile.for_target(512, 32, 32 * 1024, 1024 * 1024)
    assert avx512.keys == 8 and avx512.key_block == 128
    assert AttentionTile.for_target(128, 4, 0, 0).keys == 1
    wide = avx2.fitting(1024, 1024)
    assert wide.key_block * (1024 + 1024) * 4 <= avx2.cache_bytes and wide.key_block % wide.keys == 0
    assert avx2.fitting(10**6, 10**6).key_block == avx2.keys


def test_errors_name_the_rule():
    with pytest.raises(CompileError, match="zero, uniform, nan, not 'ones'"):
        attention_kernel(empty_row="ones")
    with pytest.raises(CompileError, match="key_padding describes a mask"):
        one = int64(1)
        AttentionSpec(batch=one, heads=one, group=1, queries=one, keys=one, head_dim=1, value_dim=1, dtype="float32",
                      load_q=min, load_k=min, load_v=min, store=min, scale=1.0, key_padding=True)

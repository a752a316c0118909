"""Samples of products: matmul, linear, einsum, panels, attention with all its masks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import tgraph as tg
from tests.ops.sample import FLOATS, NUMBERS, SIZES, Sample, integers, values

B, S, T = tg.dims("B S T")
RNG = np.random.default_rng(7)
WEIGHT, BIAS = RNG.standard_normal((70, 33)).astype(np.float32), RNG.standard_normal(70).astype(np.float32)
SMALL = integers(0, 3)
BYTES, SIGNED = (RNG.integers(low, low + 256, (70, 100)).astype(d) for low, d in ((0, np.uint8), (-128, np.int8)))


def numbers(packed: np.ndarray, bits: int) -> np.ndarray:
    """The numbers of few bits in bytes, the lowest first, as Python's integers have them."""
    text = [[f"{byte:08b}" for byte in row] for row in packed.tolist()]
    return np.array([[int(byte[i - bits:i or None], 2) for byte in row for i in range(0, -8, -bits)] for row in text])


def blocks(bits: int, block: int, depth: int, zero: bool, scale: bool = True) -> list[Sample]:
    """`dequantize` by itself, from inputs, and as the weight of products of few and of many rows, from constants."""
    count = -(-depth // block)
    packed = BYTES[:, :-(-depth * bits // 8)]
    scales = RNG.standard_normal((70, count)).astype(np.float32) / 9 if scale else np.float32(0.03)
    zeros = RNG.integers(0, 2**bits, (70, count)).astype(np.float32) if zero else np.float32(2 ** (bits - 1))
    attributes = {"depth": depth, "block": block, "bits": bits}

    def weight(q: np.ndarray, s: Any, z: Any) -> np.ndarray:
        each = lambda x: np.repeat(x, block, 1)[:, :depth] if np.ndim(x) else x
        return (numbers(q.astype(int), bits)[:, :depth] - each(z)) * each(s)

    name = f"{bits}_{block}_{depth}" + ("" if scale else "_one_scale")
    found = [Sample("dequantize", f"product{rows}_{name}", lambda x: tg.linear(
        x, tg.dequantize(packed, scales, zeros, **attributes), BIAS), {"x": tg.f32[rows, depth]},
        lambda x: np.inner(x, weight(packed, scales, zeros)) + BIAS) for rows in (1, 3, 40)]
    if zero and scale:
        found.append(Sample("dequantize", f"fed_{bits}_{block}_{depth}", lambda q, s, z: tg.dequantize(q, s, z, **attributes),
                            {"q": tg.u8[70, packed.shape[1]], "s": tg.f32[70, count], "z": tg.f32[70, count]}, weight,
                            {"q": integers(0, 256)}))
    return found


def products() -> list[Sample]:
    many = lambda x, y: np.einsum("...ik,...kj->...ij", x, y)
    pairs = {
        "plain": (tg.f32[S, 17], tg.f32[17, 35]), "batch": (tg.f32[B, 3, S, 4], tg.f32[B, 3, 4, T]),
        "left_batch": (tg.f32[B, S, 4], tg.f32[4, 18]), "right_batch": (tg.f32[S, 4], tg.f32[B, 4, 5]),
        "cross": (tg.f32[B, 1, S, 4], tg.f32[3, 4, T]), "symbolic_inner": (tg.f32[B, 3, S], tg.f32[B, S, 2]),
        "vectors": (tg.f32[1, S], tg.f32[S, 1]), "tall": (tg.f32[130, 8], tg.f32[8, 50]),
    }
    found = [Sample("matmul", k, tg.matmul, {"x": x, "y": y}, many) for k, (x, y) in pairs.items()]
    found += [
        Sample("matmul", "no_rows", tg.matmul, {"x": tg.f32[B, S], "y": tg.f32[S, T]}, lambda x, y: np.zeros((0, 3)), {},
               {"B": 0, "S": 4, "T": 3}),
        Sample("matmul", "no_inner", tg.matmul, {"x": tg.f32[B, S], "y": tg.f32[S, T]}, lambda x, y: np.zeros((2, 3)), {},
               {"B": 2, "S": 0, "T": 3}),
        Sample("matmul", "transposed", lambda x, y: x @ tg.transpose(y, perm=(0, 2, 1)) * 0.5 + 1.0,
               {"x": tg.f32[B, S, 4], "y": tg.f32[B, T, 4]}, lambda x, y: np.einsum("bsk,btk->bst", x, y) / 2 + 1),
        Sample("matmul", "known_right", lambda x: x @ WEIGHT.T.copy(), {"x": tg.f32[B, S, 33]}, lambda x: np.inner(x, WEIGHT)),
        Sample("matmul", "known_left", lambda x: tg.matmul(WEIGHT, x), {"x": tg.f32[33, S]}, lambda x: np.inner(WEIGHT, x.T)),
        Sample("matmul", "same_twice", lambda x: x @ x, {"x": tg.f32[S, S]}, lambda x: np.linalg.matrix_power(x, 2)),
        Sample("linear", "known", lambda x: tg.linear(x, WEIGHT, BIAS), {"x": tg.f32[B, S, 33]},
               lambda x: np.tensordot(x, WEIGHT, (-1, 1)) + BIAS),
        Sample("linear", "known_no_bias", lambda x: tg.linear(x, WEIGHT), {"x": tg.f32[S, 33]}, lambda x: np.inner(x, WEIGHT)),
        Sample("linear", "known_vector", lambda x: tg.linear(x, WEIGHT, BIAS), {"x": tg.f32[33]},
               lambda x: np.inner(WEIGHT, x) + BIAS),
        Sample("linear", "epilogue", lambda x, r: tg.gelu(tg.linear(x, WEIGHT, BIAS)) + r,
               {"x": tg.f32[B, S, 33], "r": tg.f32[B, S, 70]},
               lambda x, r: gelu(np.inner(x, WEIGHT) + BIAS) + r),
        Sample("linear", "of_sum", lambda x, y: tg.linear(x + y, WEIGHT), {"x": tg.f32[S, 33], "y": tg.f32[S, 33]},
               lambda x, y: np.inner(x, WEIGHT) + np.inner(y, WEIGHT)),
        Sample("linear", "of_slice", lambda x: tg.linear(x[:, 0], WEIGHT), {"x": tg.f32[B, S, 33]},
               lambda x: np.inner(x[:, 0], WEIGHT)),
        Sample("linear", "no_rows", lambda x: tg.linear(x, WEIGHT), {"x": tg.f32[B, S, 33]}, lambda x: np.zeros((0, 4, 70)), {},
               {"B": 0, "S": 4}),
        Sample("linear", "fed_weight", tg.linear, {"x": tg.f32[B, S, 9], "w": tg.f32[5, 9], "b": tg.f32[5]},
               lambda x, w, b: np.einsum("bsi,oi->bso", x, w) + b),
        Sample("linear", "fed_vector", tg.linear, {"x": tg.f32[9], "w": tg.f32[5, 9], "b": tg.f32[5]}, lambda x, w, b: w @ x + b),
        Sample("linear", "one_column", lambda x: tg.linear(x, WEIGHT[:1]), {"x": tg.f32[S, 33]},
               lambda x: np.inner(x, WEIGHT[:1])),
        Sample("linear", "deep", lambda x: tg.linear(x, DEEP), {"x": tg.f32[S, 800]}, lambda x: np.inner(x, DEEP)),
        Sample("linear", "many_rows", lambda x: tg.linear(x, WEIGHT, BIAS), {"x": tg.f32[300, 33]},
               lambda x: np.inner(x, WEIGHT) + BIAS),
        Sample("pack_panels", "tail", lambda w: tg.pack_panels(w, width=4), {"w": tg.f32[10, 3]},
               lambda w: np.stack([np.vstack([w, np.zeros((2, 3))])[i:i + 4].T for i in (0, 4, 8)])),
        Sample("unpack_panels", "tail", lambda p: tg.unpack_panels(p, rows=10), {"p": tg.f32[3, 5, 4]},
               lambda p: np.concatenate([p[0].T, p[1].T, p[2].T])[:10]),
        Sample("unpack_panels", "back", lambda w: tg.unpack_panels(tg.pack_panels(w, width=4), rows=10), {"w": tg.f32[10, 3]},
               lambda w: w),
    ]
    eights = {"x": integers(-127, 128), "w": integers(-127, 128)}
    found += [
        Sample("pack_panels", "groups", lambda w: tg.pack_panels(w, width=2, group=2), {"w": tg.i8[3, 3]},
               lambda w: np.array([[[w[:2, :2], np.c_[w[:2, 2], [0, 0]]], [[w[2, :2], [0, 0]], [[w[2, 2], 0], [0, 0]]]]])[0]),
        Sample("unpack_panels", "groups", lambda w: tg.unpack_panels(tg.pack_panels(w, width=4, group=4), rows=10, depth=7),
               {"w": tg.i8[10, 7]}, lambda w: w),
        Sample("integer_linear", "known", lambda x: tg.integer_linear(x, INTEGERS), {"x": tg.i8[B, S, 33]},
               lambda x: np.inner(x.astype(int), INTEGERS), {"x": integers(-127, 128)}),
        Sample("integer_linear", "unsigned", lambda x: tg.integer_linear(x, INTEGERS), {"x": tg.u8[S, 33]},
               lambda x: np.inner(x.astype(int), INTEGERS), {"x": integers(0, 256)}),
        Sample("integer_linear", "epilogue", lambda x, s: tg.relu(tg.cast(tg.integer_linear(x, INTEGERS), dtype=tg.f32) * s),
               {"x": tg.i8[S, 33], "s": tg.f32[S, 1]}, lambda x, s: np.maximum(np.inner(x.astype(int), INTEGERS) * s, 0),
               {"x": integers(-127, 128)}),
        Sample("integer_linear", "vector", lambda x: tg.integer_linear(x, INTEGERS), {"x": tg.i8[33]},
               lambda x: np.inner(x.astype(int), INTEGERS)),
        Sample("integer_linear", "fed_weight", tg.integer_linear, {"x": tg.i8[S, 9], "w": tg.i8[5, 9]},
               lambda x, w: np.inner(x.astype(int), w), eights),
        Sample("integer_linear", "no_rows", lambda x: tg.integer_linear(x, INTEGERS), {"x": tg.i8[S, 33]},
               lambda x: np.zeros((0, 70)), {}, {"S": 0}),
        *(Sample("quantize_rows", name, build, {"x": type}, quantized, make) for name, type, build, make in (
            ("rows", tg.f32[B, S, 40], tg.quantize_rows, {}),
            ("vector", tg.f32[7], tg.quantize_rows, {}),
            ("f16", tg.f16[S, 40], tg.quantize_rows, {}),
            ("bf16", tg.bf16[S, 40], tg.quantize_rows, {}),
            ("zeros", tg.f32[S, 3], tg.quantize_rows, {"x": values(0.0, 0.0, 0.0, 1e-36, -2e-36, 0.0, 5.0, -5.0, 2.5)}),
            ("of_sum", tg.f32[S, 20], lambda x: tg.quantize_rows(x + x), {}),
        )),
    ]
    found += [*blocks(8, 100, 100, zero=True), *blocks(8, 100, 100, zero=False, scale=False), *blocks(4, 32, 100, zero=True),
              *blocks(4, 16, 37, zero=False), *blocks(2, 16, 70, zero=True)]
    found += [Sample("quantize_blocks", name, lambda x, a=attributes: tg.quantize_blocks(x, **a), {"x": type},
                     lambda x, a=attributes: in_blocks(x, **a), make, {"S": 0} if name == "no_rows" else SIZES)
              for name, type, attributes, make in (
        ("whole", tg.f32[3, 64], {}, {}), ("ragged", tg.f32[5, 37], {"block": 16}, {}), ("rows", tg.f32[S, 33], {}, {}),
        ("2_bits", tg.f16[3, 9], {"block": 4, "bits": 2}, {}), ("8_bits", tg.bf16[3, 9], {"block": 9, "bits": 8}, {}),
        ("no_rows", tg.f32[S, 33], {}, {}),
        ("ties", tg.f32[2, 6], {"block": 3}, {"x": values(4.0, -4.0, 0.25, 0.0, 0.0, 1e-36, -8.0, 8.0, 2.5, 8.0, 3.5, -0.5)}))]
    found += [
        Sample("dequantize", "signed", lambda x: tg.linear(x, tg.dequantize(SIGNED, np.float32(0.125), depth=100, block=100)),
               {"x": tg.f32[B, S, 100]}, lambda x: np.inner(x, SIGNED * 0.125)),
        *(Sample("dequantize", d.name, lambda q, s: tg.dequantize(q, s, depth=4, block=2), {"q": tg.i8[3, 4], "s": d[3, 2]},
                 lambda q, s: q * np.repeat(s, 2, 1), {"q": integers(-128, 128)}) for d in FLOATS),
    ]
    for d in NUMBERS:
        make = {} if d.is_float else {"x": SMALL, "y": SMALL}
        found.append(Sample("matmul", d.name, tg.matmul, {"x": d[3, 7], "y": d[7, 5]}, many, make))
        found.append(Sample("pack_panels", d.name, lambda w: tg.pack_panels(w, width=2), {"w": d[3, 2]},
                            lambda w: np.array([w[:2].T.tolist(), [[v, 0] for v in w[2].tolist()]])))
        table = RNG.integers(0, 3, (6, 7)).astype(d.numpy)
        if d is not tg.f32:
            found.append(Sample("linear", d.name, lambda x, w=table: tg.linear(x, w), {"x": d[3, 7]},
                                lambda x, w=table: np.einsum("ij,oj->io", x, w.astype(x.dtype)),
                                {} if d.is_float else {"x": SMALL}))
    return found


def in_blocks(x: np.ndarray, block: int = 32, bits: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Integers of few bits, number by number, as the text of their bytes, and the scales of blocks."""
    x, top = x.astype(np.float32), 2**bits
    scales = np.zeros((len(x), -(-x.shape[1] // block)), np.float32)
    rows = []
    for row, scale in zip(x, scales):
        text = ""
        for k, value in enumerate(row):
            if k % block == 0:
                part = row[k:k + block]
                peak = min(part) if -min(part) >= max(part) else max(part)
                scale[k // block] = 0 if abs(peak) < 1e-35 else peak / np.float32(-top // 2)
            q = value / scale[k // block] if scale[k // block] else 0.0
            text = f"{min(round(float(q)) + top // 2, top - 1):0{bits}b}" + text
        rows.append(int(text, 2).to_bytes(-(-len(text) // 8), "little"))
    return np.array([list(row) for row in rows], np.uint8).reshape(len(x), -(-x.shape[1] * bits // 8)), scales


INTEGERS = RNG.integers(-127, 128, (70, 33)).astype(np.int8)


def quantized(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of at most 127, and what their elements are worth."""
    x = x.astype(np.float32) * np.float32(2 if x.shape[-1] == 20 else 1)  # "of_sum"
    peak = np.abs(x).max(-1, keepdims=True)
    step = np.float32(127) / np.where(peak < 1e-35, np.float32(np.inf), peak)
    return np.round(x * step).astype(np.int8), peak / np.float32(127)


DEEP = RNG.standard_normal((20, 800)).astype(np.float32) / 20


def gelu(x: np.ndarray) -> np.ndarray:
    return x * np.vectorize(math.erfc)(-x / math.sqrt(2)) / 2


def sums() -> list[Sample]:
    equations: dict[str, tuple[str, list[tg.TensorType]]] = {
        "scores": ("bhqd,bhkd->bhqk", [tg.f32[B, 2, S, 4], tg.f32[B, 2, T, 4]]), "trace_rows": ("ij->i", [tg.f32[B, S]]),
        "implicit": ("ij,jk", [tg.f32[B, S], tg.f32[S, 4]]), "outer": ("i,j->ij", [tg.f32[B], tg.f32[S]]),
        "dot": ("i,i->", [tg.f32[S], tg.f32[S]]), "transpose": ("ijk->kij", [tg.f32[B, S, 3]]),
        "batch_vector": ("bij,bj->bi", [tg.f32[B, S, 4], tg.f32[B, 4]]),
        "three": ("ij,jk,kl->il", [tg.f32[B, 3], tg.f32[3, 4], tg.f32[4, S]]),
        "all": ("ij->", [tg.f32[B, S]]), "merge_heads": ("bhsd,hdo->bso", [tg.f32[B, 2, S, 4], tg.f32[2, 4, 6]]),
        "elementwise": ("ij,ij->ji", [tg.f32[B, S], tg.f32[B, S]]), "summed_alone": ("ij,k->k", [tg.f32[B, S], tg.f32[3]]),
    }
    found = []
    for name, (equation, types) in equations.items():
        specs = dict(zip("xyz", types))
        found.append(Sample("einsum", name, lambda *xs, e=equation: tg.einsum(*xs, equation=e), specs,
                            lambda *xs, e=equation: slow_einsum(e, xs)))
    found += [Sample("einsum", d.name, lambda x, y: tg.einsum(x, y, equation="ij,jk->ki"), {"x": d[3, 4], "y": d[4, 2]},
                     lambda x, y: (x @ y).T, {} if d.is_float else {"x": SMALL, "y": SMALL}) for d in NUMBERS]
    return found


def slow_einsum(equation: str, operands: tuple[np.ndarray, ...]) -> np.ndarray:
    """Every product of elements, one by one."""
    left, arrow, result = equation.partition("->")
    terms = left.split(",")
    if not arrow:
        result = "".join(sorted(c for c in set(left) - {","} if left.count(c) == 1))
    sizes = {c: n for t, x in zip(terms, operands) for c, n in zip(t, x.shape)}
    total = np.zeros([sizes[c] for c in result])
    for position in np.ndindex(*sizes.values()):
        at = dict(zip(sizes, position))
        total[tuple(at[c] for c in result)] += math.prod(x[tuple(at[c] for c in t)] for t, x in zip(terms, operands))
    return total


def attend(q: np.ndarray, k: np.ndarray, v: np.ndarray, allowed: Any = None, bias: Any = None, scale: float | None = None,
           empty: float | None = 0.0, cap: float = math.inf) -> np.ndarray:
    """Attention one query at a time, over the keys that it may see; `empty` fills a query without any (None: mean of v)."""
    batch, heads, queries, _ = q.shape
    keys, group = k.shape[2], heads // k.shape[1]
    full = (batch, heads, queries, keys)
    allowed = np.broadcast_to(True if allowed is None else allowed, full)
    bias = np.broadcast_to(0.0 if bias is None else bias, full)
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    result = np.zeros((batch, heads, queries, v.shape[3]))
    for b, h, i in np.ndindex(batch, heads, queries):
        seen = np.flatnonzero(allowed[b, h, i])
        keys_of, values_of = k[b, h // group], v[b, h // group]
        if not len(seen):
            result[b, h, i] = values_of.mean(axis=0) if empty is None else empty
            continue
        bound = (lambda s: s) if cap == math.inf else lambda s: cap * math.tanh(s / cap)
        scores = np.array([bound(q[b, h, i] @ keys_of[j] * scale) + bias[b, h, i, j] for j in seen])
        weights = np.exp(scores - np.logaddexp.reduce(scores))
        result[b, h, i] = weights @ values_of[seen]
    return result


def qkv(heads: int = 2, kv_heads: int = 2, d: int = 8, dv: int = 8, dtype: tg.DType = tg.f32, queries: Any = S,
        keys: Any = T) -> dict[str, tg.TensorType]:
    return {"q": dtype[B, heads, queries, d], "k": dtype[B, kv_heads, keys, d], "v": dtype[B, kv_heads, keys, dv]}


LENGTHS = {"B": 2, "S": 5, "T": 19}
EMPTY_MASK = values(*[False] * 19, *[True, False, True])  # the first row of [B, T] has no key


def causal(queries: int, keys: int, offset: int = 0) -> np.ndarray:
    return np.tril(np.ones((queries, keys), bool), offset)


def band(queries: int, keys: int, left: int, right: int, offset: int = 0) -> np.ndarray:
    """Which keys lie in a window; -1 does not limit a side."""
    distance = np.arange(keys) - np.arange(queries)[:, None] - offset
    return (distance <= (keys + queries if right < 0 else right)) & (-distance <= (keys + queries + offset if left < 0 else left))


def attentions() -> list[Sample]:
    def make(variant: str, specs: dict[str, tg.TensorType], expect: Any, feed: Any = None, sizes: Any = None,
             **attrs: Any) -> Sample:
        names = list(specs)
        build = lambda *xs, a=attrs: tg.attention(**dict(zip(names, xs)), **a)
        return Sample("attention", variant, build, specs, expect, feed or {}, sizes or LENGTHS)

    mask2, mask3 = {"mask": tg.bool_[B, T]}, {"mask": tg.bool_[B, S, T]}
    found = [
        make("plain", qkv(), attend),
        make("scale", qkv(d=4, dv=6), lambda q, k, v: attend(q, k, v, scale=0.3), scale=0.3),
        make("odd_sizes", qkv(heads=1, kv_heads=1, d=5, dv=3), attend),
        make("grouped", qkv(heads=6, kv_heads=2), attend),
        make("one_key_head", qkv(heads=4, kv_heads=1), attend),
        make("long", qkv(queries=33, keys=130, d=16, dv=16), attend),
        make("one_query", qkv(queries=1), attend),
        make("no_query", qkv(queries=S), lambda q, k, v: np.zeros((2, 2, 0, 8)), sizes={"B": 2, "S": 0, "T": 4}),
        make("no_batch", qkv(), lambda q, k, v: np.zeros((0, 2, 5, 8)), sizes={"B": 0, "S": 5, "T": 4}),
        make("no_key", qkv(), lambda q, k, v: np.zeros((2, 2, 5, 8)), sizes={"B": 2, "S": 5, "T": 0}),
        make("mask_keys", qkv() | mask2, lambda q, k, v, m: attend(q, k, v, m[:, None, None])),
        make("mask_pairs", qkv() | mask3, lambda q, k, v, m: attend(q, k, v, m[:, None])),
        make("mask_rank4", qkv() | {"mask": tg.bool_[B, 2, S, T]}, attend),
        make("mask_rank4_head", qkv() | {"mask": tg.bool_[1, 2, 1, T]}, attend),
        make("mask_rank4_query", qkv() | {"mask": tg.bool_[B, 1, S, 1]}, attend),
        make("mask_one_batch", qkv() | {"mask": tg.bool_[1, T]}, lambda q, k, v, m: attend(q, k, v, m)),
        make("bias", qkv() | {"bias": tg.f32[B, 2, S, T]}, lambda q, k, v, b: attend(q, k, v, bias=b)),
        make("bias_shared", qkv() | {"bias": tg.f32[2, S, T]}, lambda q, k, v, b: attend(q, k, v, bias=b)),
        make("bias_pairs", qkv() | {"bias": tg.f32[S, T]}, lambda q, k, v, b: attend(q, k, v, bias=b)),
        make("bias_number", qkv() | {"bias": tg.f32[()]}, lambda q, k, v, b: attend(q, k, v)),
        make("bias_and_mask", qkv() | mask2 | {"bias": tg.f32[1, 2, 1, T]}, lambda q, k, v, m,
             b: attend(q, k, v, m[:, None, None], b)),
        make("causal", qkv(queries=T), lambda q, k, v: attend(q, k, v, causal(19, 19)), causal=True),
        make("causal_cross", qkv(), lambda q, k, v: attend(q, k, v, causal(5, 19)), causal=True),
        make("causal_offset", qkv() | {"offset": tg.i64[()]}, lambda q, k, v, o: attend(q, k, v, causal(5, 19, 14)),
             {"offset": values(14)}, causal=True),
        make("causal_behind", qkv() | {"offset": tg.i32[()]}, lambda q, k, v, o: attend(q, k, v, causal(5, 19, -2)),
             {"offset": values(-2)}, causal=True),
        make("causal_mask", qkv(queries=T) | mask2, lambda q, k, v, m: attend(q, k, v, causal(19, 19) & m[:, None, None]),
             causal=True),
        make("window", qkv(queries=T), lambda q, k, v: attend(q, k, v, band(19, 19, 3, 2)), window=(3, 2)),
        make("window_causal_mask", qkv(heads=4, queries=T) | mask2,
             lambda q, k, v, m: attend(q, k, v, band(19, 19, 4, 0) & m[:, None, None]), causal=True, window=(4, -1)),
        make("window_after", qkv(), lambda q, k, v: attend(q, k, v, band(5, 19, -1, 3)), window=(-1, 3)),
        make("window_before_offset", qkv() | {"offset": tg.i64[()]}, lambda q, k, v, o: attend(q, k, v, band(5, 19, 2, -1, 15)),
             {"offset": values(15)}, window=(2, -1)),
        make("window_long", qkv(queries=300, keys=400, d=16, dv=16) | {"offset": tg.i64[()], "mask": tg.bool_[B, 300, 400]},
             lambda q, k, v, o, m: attend(q, k, v, band(300, 400, 40, 0, 100) & m[:, None], cap=1.0), {"offset": values(100)},
             window=(40, 0), softcap=1.0),
        make("softcap", qkv(), lambda q, k, v: attend(q, k, v, cap=0.5), softcap=0.5),
        make("softcap_scale", qkv(d=4, dv=6), lambda q, k, v: attend(q, k, v, scale=-1.3, cap=2.0), scale=-1.3, softcap=2),
        make("softcap_bias_causal_mask", qkv(heads=4, queries=T) | mask2 | {"bias": tg.f32[4, T, T]}, lambda q, k, v, m,
             b: attend(q, k, v, causal(19, 19) & m[:, None, None], b, cap=0.7), softcap=0.7, causal=True),
        make("softcap_long", qkv(queries=33, keys=300, d=16, dv=16) | {"mask": tg.bool_[B, 33, 300]},
             lambda q, k, v, m: attend(q, k, v, m[:, None], cap=1.0), softcap=1.0),
        make("causal_grouped", qkv(heads=4, queries=T), lambda q, k, v: attend(q, k, v, causal(19, 19)), causal=True),
    ]
    for mode, fill in (("zero", 0.0), ("uniform", None), ("nan", math.nan)):
        found += [
            make(f"empty_{mode}", qkv() | mask2, lambda q, k, v, m, f=fill: attend(q, k, v, m[:, None, None], empty=f),
                 {"mask": EMPTY_MASK}, empty_row=mode),
            make(f"empty_{mode}_pairs", qkv() | mask3, lambda q, k, v, m, f=fill: attend(q, k, v, m[:, None], empty=f),
                 {"mask": EMPTY_MASK}, empty_row=mode),
            make(f"empty_{mode}_window", qkv() | mask2 | {"offset": tg.i64[()]},
                 lambda q, k, v, m, o, f=fill: attend(q, k, v, band(5, 19, 1, 1, 16) & m[:, None, None], empty=f),
                 {"mask": EMPTY_MASK, "offset": values(16)}, window=(1, 1), empty_row=mode),
            make(f"empty_{mode}_causal", qkv() | {"offset": tg.i64[()]},
                 lambda q, k, v, o, f=fill: attend(q, k, v, causal(5, 19, -2), empty=f), {"offset": values(-2)}, causal=True,
                 empty_row=mode),
        ]
    found += [make(d.name, qkv(dtype=d) | mask2, lambda q, k, v, m: attend(q, k, v, m[:, None, None])) for d in FLOATS]
    found += [make(f"softcap_{d.name}", qkv(dtype=d) | mask2, lambda q, k, v, m: attend(q, k, v, m[:, None, None], cap=0.5),
                   softcap=0.5) for d in FLOATS]
    heads = lambda x: x.reshape(x.shape[0], x.shape[1], 2, 4).transpose(0, 2, 1, 3)
    found.append(Sample("attention", "through_views",
                        lambda q, k, v: tg.attention(heads(q), heads(k), heads(v)).transpose(0, 2, 1, 3).reshape(q.shape),
                        {"q": tg.f32[B, S, 8], "k": tg.f32[B, T, 8], "v": tg.f32[B, T, 8]},
                        lambda q, k, v: attend(heads(q), heads(k), heads(v)).transpose(0, 2, 1, 3).reshape(q.shape), {}, LENGTHS))
    return found


PRODUCTS = [*products(), *sums(), *attentions()]

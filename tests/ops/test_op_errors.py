"""Wrong uses of every op: the error names the op, the operands with their shapes, the rule, and the line of the user."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tgraph as tg
from tests.ops.sample import FLOATS
from tests.ops.samples_pointwise import UNARY
from tgraph.ir.registry import OPS

B, S, T = tg.dims("B S T")
X, Y, M, I = tg.f32[2, 3, 4], tg.f32[2, 5, 4], tg.bool_[2, 3], tg.i64[2, 3]  # noqa: E741
ROWS = (tg.f32[7, 4, 8], tg.f32[7, 2, 8], tg.f32[7, 2, 5])
QKV = (tg.f32[2, 4, 3, 8], tg.f32[2, 4, 5, 8], tg.f32[2, 4, 5, 8])

# op: wrong uses, each (types, build, what the message must say)
WRONG: dict[str, list[tuple[tuple[tg.TensorType, ...], Any, str]]] = {
    "add": [((X, Y), lambda x, y: x + y, "do not broadcast"), ((X, tg.f16[4]), lambda x, y: x + y, "no implicit promotion"),
            ((M, M), lambda x, y: x + y, "needs numbers"), ((tg.f32[S], tg.f32[S + 1]), lambda x, y: x + y, "S != S+1"),
            ((X,), lambda x: tg.add(x), "operand 'y' is missing"), ((X,), lambda x: tg.add(x, x, x), "takes 2 operands, got 3"),
            ((X,), lambda x: tg.add(x, x, axis=1), "unknown attribute 'axis'"), ((X,), lambda x: x + "1", "expected a tensor"),
            ((tg.i8[3],), lambda x: x + 1000, "1000"), ((tg.u8[3],), lambda x: x + 1000, "1000")],
    "sub": [((X, I), lambda x, y: x - y, "no implicit promotion")],
    "mul": [((X, Y), lambda x, y: y * x, "do not broadcast")],
    "div": [((M, M), lambda x, y: x / y, "needs numbers")],
    "floor_div": [((M, M), lambda x, y: x // y, "needs numbers")],
    "mod": [((M, M), lambda x, y: x % y, "needs numbers")],
    "pow": [((I, I), lambda x, y: x**y, "floating-point")],
    "maximum": [((M, M), tg.maximum, "needs numbers")],
    "minimum": [((X, Y), tg.minimum, "do not broadcast")],
    **{name: [((I,), getattr(tg, name), "floating-point")] if dtypes == FLOATS else [((M,), getattr(tg, name), "needs numbers")]
       for name, (dtypes, *_) in UNARY.items()},
    **{name: [((I,), getattr(tg, name), "floating-point")] for name in
       ("isnan", "isinf", "softmax", "log_softmax", "layer_norm", "rms_norm", "reduce_mean")},
    **{name: [((M,), getattr(tg, name), "needs numbers")] for name in
       ("clip", "reduce_sum", "reduce_max", "reduce_min", "reduce_prod", "argmax", "cumsum")},
    **{name: [((X, I), getattr(tg, name), "no implicit promotion"), ((X, Y), getattr(tg, name), "do not broadcast")] for name in
       ("equal", "not_equal", "less", "less_or_equal", "greater", "greater_or_equal")},
    **{name: [((X, X), getattr(tg, name), "boolean")] for name in ("logical_and", "logical_or", "logical_xor")},
    "logical_not": [((X,), lambda x: ~x, "boolean")],
    "where": [((X, X, X), tg.where, "boolean"), ((M, X, I), tg.where, "no implicit promotion"),
              ((M, X, X), tg.where, "do not broadcast")],
    "cast": [((X,), lambda x: tg.cast(x), "attribute 'dtype' is missing"), ((X,), lambda x: x.astype("f33"), "must be a dtype"),
             ((X,), lambda x: x.astype(np.complex64), "must be a dtype"),
             ((X,), lambda x: x.astype(float), "write tg.f64 or tg.f32")],
    "matmul": [((X, X), lambda x, y: x @ y, "inner dimensions must agree: 4 != 3"),
               ((X, tg.f32[3]), lambda x, y: x @ y, "inner dimensions must agree: 4 != 3"),
               ((X, tg.f32[()]), lambda x, y: x @ y, "rank 2 or more"), ((M, M), lambda x, y: x @ y, "needs numbers"),
               ((tg.f32[3, 2, 4], tg.f32[2, 4, 2]), lambda x, y: x @ y, "do not broadcast")],
    "linear": [((X, tg.f32[4, 3]), tg.linear, "`in` axis"), ((X, tg.f32[4]), tg.linear, "weight must be [out, in]"),
               ((X, tg.f32[5, 4], tg.f32[4]), tg.linear, "`out` size"),
               ((X, tg.f32[5, 4], tg.f32[1, 5]), tg.linear, "bias must be [out]"),
               ((tg.f32[()], tg.f32[5, 4]), tg.linear, "rank 1 or more"), ((tg.f16[2, 4], tg.f32[5, 4]), tg.linear, "promotion")],
    "attention": [
        ((X, X, X), tg.attention, "q must be [batch, heads, length, head_dim]"),
        (QKV[:2], tg.attention, "operand 'v' is missing"),
        ((*QKV[:2], tg.f32[2, 4, 6, 8]), tg.attention, "lengths of k and v"),
        ((tg.f32[2, 4, 3, 7], *QKV[1:]), tg.attention, "head_dim"),
        ((tg.f32[2, 3, 3, 8], *QKV[1:]), tg.attention, "multiple of the key heads"),
        ((tg.f32[3, 4, 3, 8], *QKV[1:]), tg.attention, "batch"),
        ((*QKV, tg.f32[2, 5]), tg.attention, "boolean"), ((*QKV, tg.bool_[2, 3]), tg.attention, "mask bool[2, 3] must broadcast"),
        *[((tg.f32[B, 4, S, 8], tg.f32[B, 4, T, 8], tg.f32[B, 4, T, 8], tg.bool_[mask]), tg.attention, rule) for mask, rule in (
            ((S, T), "S is not known to be B: rank 2 is [B, Sk]; if the mask is [Sq, Sk], as its sizes say it is, write mask[N"),
            ((T, T), "T is not known to be B: rank 2 is [B, Sk]; if the mask is [Sq, Sk], write mask[None]"),
            ((4, S, T), "4 is not known to be B; write mask[None] for a mask [H, Sq, Sk]"),
            ((S, 1, S, T), "the first axis of mask bool[S, 1, S, T] is the batch, and S is not known to be B"))],
        ((tg.f32[1, 4, S, 8],) * 3 + (tg.bool_[S, S],), tg.attention, "S is not known to be 1: rank 2 is [B, Sk]"),
        ((*QKV, tg.bool_[5]), tg.attention, "mask must be [B, Sk]"), ((*QKV, tg.bool_[2, 4, 5, 3]), tg.attention, "(axis 2)"),
        ((*QKV, tg.f32[3, 3, 5]), lambda q, k, v, b: tg.attention(q, k, v, bias=b), "bias f32[3, 3, 5] must broadcast"),
        ((*QKV, tg.i64[()]), lambda q, k, v, o: tg.attention(q, k, v, offset=o), "causal=True"),
        ((*QKV, tg.i64[1]), lambda q, k, v, o: tg.attention(q, k, v, offset=o, causal=True), "offset is one integer"),
        (QKV, lambda *x: tg.attention(*x, empty_row="none"), 'must be one of "zero", "uniform", "nan", got'),
        (QKV, lambda *x: tg.attention(*x, window=(1,)), "window is (left, right), each a number of keys below 2^31"),
        (QKV, lambda *x: tg.attention(*x, window=(1, 2, 3)), "got (1, 2, 3)"),
        (QKV, lambda *x: tg.attention(*x, window=(-2, 0)), "got (-2, 0)"),
        (QKV, lambda *x: tg.attention(*x, window=(0, 2**31)), "got (0, 2147483648)"),
        (QKV, lambda *x: tg.attention(*x, window=(1, 2.5)), "attribute 'window' must be "),
        ((*QKV, tg.i64[()]), lambda q, k, v, o: tg.attention(q, k, v, offset=o, window=(-1, -1)), "causal=True or a window"),
        (QKV, lambda *x: tg.attention(*x, softcap=-1.0), "attribute 'softcap' must be "),
        (QKV, lambda *x: tg.attention(*x, softcap=math.nan), "attribute 'softcap' must be "),
        (QKV, lambda *x: tg.attention(*x, softcap=math.inf), "attribute 'softcap' must be "),
        (QKV, lambda *x: tg.attention(*x, softcap=1e-39), "a number that f32 holds in full precision, got 1e-39"),
        (QKV, lambda *x: tg.attention(*x, softcap=1e39), "a number that f32 holds in full precision, got 1e+39"),
        (QKV, lambda *x: tg.attention(*x, scale="1"), "attribute 'scale' must be a finite number or none"),
        (QKV, lambda *x: tg.attention(*x, scale=True), "attribute 'scale' must be a finite number or none"),
        ((tg.f32[2, 4, 3, S], tg.f32[2, 4, 5, S], QKV[2]), tg.attention, "scale has no default")],
    "ragged_attention": [
        ((*QKV, tg.i64[3]), tg.ragged_attention, "q must be [rows, heads, head_dim]"),
        (ROWS, tg.ragged_attention, "operand 'offsets' is missing"),
        ((*ROWS, tg.f32[3]), tg.ragged_attention, "offsets must be integers"),
        ((*ROWS, tg.i64[()]), tg.ragged_attention, "offsets must be [sequences + 1]"),
        ((tg.f32[6, 4, 8], *ROWS[1:], tg.i64[3]), tg.ragged_attention, "the rows of q and k must agree"),
        ((tg.f32[7, 3, 8], *ROWS[1:], tg.i64[3]), tg.ragged_attention, "multiple of the key heads"),
        ((*ROWS[:2], tg.f32[7, 4, 8], tg.i64[3]), tg.ragged_attention, "the heads of k and v"),
        ((tg.f32[7, 4, 9], *ROWS[1:], tg.i64[3]), tg.ragged_attention, "head_dim"),
        ((*ROWS, tg.i64[3], tg.f32[7]), tg.ragged_attention, "boolean"),
        ((*ROWS, tg.i64[3], tg.bool_[6]), tg.ragged_attention, "the rows of q and the mask"),
        ((*ROWS, tg.i64[3], tg.bool_[7, 1]), tg.ragged_attention, "mask must be [rows]"),
        ((*ROWS, tg.i64[3]), lambda *x: tg.ragged_attention(*x, window=(-2, 0)), "window is (left, right)"),
        ((*ROWS, tg.i64[3]), lambda *x: tg.ragged_attention(*x, softcap=-1), "attribute 'softcap' must be "),
        ((*ROWS, tg.i64[3]), lambda *x: tg.ragged_attention(*x, softcap=1e39), "got 1e+39"),
        ((*ROWS, tg.i64[3]), lambda *x: tg.ragged_attention(*x, empty_row="none"), 'one of "zero", "uniform", "nan"')],
    "softmax": [((X,), lambda x: tg.softmax(x, axis=3), "axis 3 is not within -3 .. 2"), ((tg.f32[()],), tg.softmax, "axis -1"),
                ((X,), lambda x: tg.softmax(x, axis=True), "got True"),
                ((X,), lambda x: tg.softmax(x, axis=1.0), "got 1.0")],
    "log_softmax": [((X,), lambda x: tg.log_softmax(x, axis=-4), "axis -4")],
    "layer_norm": [((X, tg.f32[3]), tg.layer_norm, "size of the last axis"),
                   ((X, tg.f32[1, 4]), tg.layer_norm, "weight must have rank 1"),
                   ((X,), lambda x: tg.layer_norm(x, epsilon=-1.0), "epsilon"),
                   ((tg.f32[()],), tg.layer_norm, "at least one axis")],
    "rms_norm": [((X, tg.f32[3]), tg.rms_norm, "size of the last axis"),
                 ((X,), lambda x: tg.rms_norm(x, epsilon="small"), "epsilon")],
    "gelu": [((X,), lambda x: tg.gelu(x, approximate="fast"), 'must be one of "none", "tanh", got')],
    "clip": [((X,), lambda x: tg.clip(x, min=2, max=1), "empty interval"),
             ((X,), lambda x: tg.clip(x, min="0"), "a number or none"), ((tg.i32[3],), lambda x: tg.clip(x, min=0.5), "0.5"),
             ((tg.i8[3],), lambda x: tg.clip(x, max=1000), "1000"), ((X,), lambda x: tg.clip(x, max=math.nan), "nan")],
    "reshape": [((X,), lambda x: x.reshape(5, 5), "keep the number of elements"),
                ((X,), lambda x: x.reshape(-1, -1), "only one size"),
                ((X,), lambda x: x.reshape(7, -1), "does not divide"), ((X,), lambda x: x.reshape(-2, 12), "-2"),
                ((X,), lambda x: x.reshape("a"), "must be a tuple of sizes"),
                ((X,), lambda x: x.reshape(0, -1), "-1 has no value")],
    "transpose": [((X,), lambda x: x.transpose(0), "no permutation"), ((X,), lambda x: x.transpose(0, 3), "axis 3"),
                  ((tg.f32[3, 4],), lambda x: x.transpose(-2, -1), "write swapaxes(0, 1) or permute(0, 1)"),
                  ((X,), lambda x: x.transpose(0, 1, 1), "no permutation"),
                  ((X,), lambda x: tg.transpose(x, perm=1), "no permutation"), ((X,), lambda x: x.transpose(0, 1, 3), "axis 3")],
    "expand": [((X,), lambda x: tg.expand(x, shape=(2, 3, 5)), "cannot expand"),
               ((X,), lambda x: tg.expand(x, shape=(3, 4)), "lower rank")],
    "squeeze": [((X,), lambda x: tg.squeeze(x, axes=(0,)), "must have size 1"),
                ((X,), lambda x: tg.squeeze(x, axes=(0, -3)), "one axis twice")],
    "unsqueeze": [((X,), lambda x: tg.unsqueeze(x, axes=(5,)), "axis 5"),
                  ((X,), lambda x: tg.unsqueeze(x, axes="a"), "attribute 'axes' must be a tuple of integers")],
    "concat": [((X, Y), lambda x, y: tg.concat(x, y, axis=0), "sizes of axis 1 must agree"),
               ((X, M), lambda x, y: tg.concat(x, y, axis=0), "promotion"),
               ((X, tg.f32[2, 3]), lambda x, y: tg.concat(x, y, axis=0), "differ in rank"),
               ((X,), lambda x: tg.concat(axis=0), "at least one"),
               ((X,), lambda x: tg.concat(x, x), "attribute 'axis' is missing")],
    "split": [((X,), lambda x: tg.split(x, sizes=3), "does not divide into 3"),
              ((X,), lambda x: tg.split(x, sizes=(1, 2)), "must add up"),
              ((X,), lambda x: tg.split(x, sizes=0), "cannot split into 0"),
              ((X,), lambda x: tg.split(x, sizes=()), "number of parts"),
              ((X,), lambda x: tg.split(x, sizes=(-1, 5)), "-1 is no size")],
    "slice": [((X,), lambda x: x[:, :, ::0], "a step is an integer other than 0"),
              ((tg.f32[S],), lambda x: x[1:T], "cannot tell whether T >= 1: no input has the dim T"),
              ((tg.f32[S],), lambda x: x[-S:], "counts from the end, unless it is 0"),
              ((X,), lambda x: x[:, 0.5:], "a tuple of sizes (integers or dims)"),
              ((X,), lambda x: tg.slice(x, starts=(0,), stops=(1, 2), axes=(0,)), "one length"),
              ((X,), lambda x: tg.slice(x, starts=(0, 0), stops=(1, 2), axes=(0, -3)), "sliced twice")],
    "pad": [((X,), lambda x: tg.pad(x, before=(1,), after=(1,)), "one size an axis"),
            ((X,), lambda x: tg.pad(x, before=(-1, 0, 0), after=(0, 0, 0)), "not negative"),
            ((tg.i8[3],), lambda x: tg.pad(x, before=(1,), after=(1,), value=1000), "1000")],
    "gather": [((X, X), tg.gather, "indices must be integers"), ((X, I), lambda x, i: tg.gather(x, i, axis=3), "axis 3"),
               ((X, X), lambda x, y: x[y], "indices must be integers")],
    "rotary": [((I, I, I), tg.rotary, "floating-point"), ((X, tg.f16[2], tg.f16[2]), tg.rotary, "promotion"),
               ((tg.f32[3], tg.f32[3], tg.f32[3]), tg.rotary, "even last axis of known size"),
               ((tg.f32[S], tg.f32[S], tg.f32[S]), tg.rotary, "even last axis of known size"),
               ((X, tg.f32[4], tg.f32[3]), tg.rotary, "the last axis of sin must be 4 or 2"),
               ((X, tg.f32[5, 2], tg.f32[2]), tg.rotary, "do not broadcast"),
               ((X, tg.f32[2, 2, 3, 2], tg.f32[2]), tg.rotary, "cos must broadcast to x"),
               ((tg.f32[1, 4], tg.f32[2], tg.f32[3, 2]), tg.rotary, "sin must broadcast to x"),
               ((X, tg.f32[2], tg.f32[2]), lambda x, c, s: tg.rotary(x, c, s, interleaved=1), "true or false")],
    "embedding": [((X, X), tg.embedding, "indices must be integers"), ((I, tg.f32[()]), tg.embedding, "rank 1 or more")],
    "one_hot": [((X,), lambda x: tg.one_hot(x, depth=3), "integers"),
                ((I,), lambda x: tg.one_hot(x, depth=3, dtype="f"), "must be a dtype"),
                ((I,), lambda x: tg.one_hot(x, depth=-1), "-1")],
    "range": [((X,), lambda x: tg.range(stop=-3), "negative"), ((X,), lambda x: tg.range(stop=2.5), "an integer or a dim")],
    "full": [((X,), lambda x: tg.full(shape=(2,), value="a"), "attribute 'value' must be a number"),
             ((X,), lambda x: tg.full(shape=(-2,), value=0.0), "negative"),
             ((X,), lambda x: tg.full(shape=(2,), value=1000, dtype=tg.i8), "1000")],
    "dim_size": [((X,), lambda x: tg.dim_size(size="B"), "an integer or a dim")],
    "reduce_sum": [((X,), lambda x: x.sum(axis=(0, 0)), "one axis twice"), ((X,), lambda x: x.sum(axis=5), "axis 5"),
                   ((X,), lambda x: x.sum(axis="all"), "must be a tuple of integers or none")],
    "argmax": [((X,), lambda x: tg.argmax(x, axis=4), "axis 4")],
    "cumsum": [((X,), lambda x: tg.cumsum(x, axis=4), "axis 4")],
    "take_along_axis": [((X, X), lambda x, i: tg.take_along_axis(x, i, axis=1), "indices must be integers"),
                        ((X, I), lambda x, i: tg.take_along_axis(x, i, axis=1), "must have the rank of x, 3"),
                        ((X, tg.i64[2, 3, 5]), lambda x, i: tg.take_along_axis(x, i, axis=1), "sizes of x but along the axis"),
                        ((X, I), tg.take_along_axis, "write axis=-1 for the last")],
    "scatter": [((X, X), lambda x, u: tg.scatter(x, u, u, 1), "indices must be integers"),
                ((X, tg.i64[2, 2, 4], X), lambda x, i, u: tg.scatter(x, i, u, axis=1), "must have one shape"),
                ((X, tg.i64[2, 3, 4], tg.f16[2, 3, 4]), lambda x, i, u: tg.scatter(x, i, u, axis=1), "promotion"),
                ((X, tg.i64[2, 3, 4], X), tg.scatter, "is called as scatter(x, indices, updates, axis)"),
                ((X, tg.i64[2, 3, 4], X), lambda x, i, u: tg.scatter(x, i, u, 1, reduction="mean"), "must be one of"),
                ((M, I, M), lambda x, i, u: tg.scatter(x, i, u, 1, reduction="add"), "needs numbers")],
    "argsort": [((X,), lambda x: tg.argsort(x, axis=4), "axis 4"),
                ((X,), lambda x: tg.argsort(x, descending=1), "true or false")],
    "topk": [((X,), lambda x: tg.topk(x, 5), "cannot take 5 elements of axis -1"), ((X,), lambda x: tg.topk(x, -1), "at least 0"),
             ((X,), lambda x: tg.topk(x, 2.0), "an integer")],
    "zero_padding": [((X, X), tg.zero_padding, "boolean"), ((X, tg.bool_[2, 4]), tg.zero_padding, "axes of the mask first"),
                     ((tg.f32[2], M), tg.zero_padding, "axes of the mask first")],
    "number_rows": [((X,), tg.number_rows, "boolean")],
    "pad_rows": [((X, X), tg.pad_rows, "positions must be integers"), ((X, tg.u8[3]), tg.pad_rows, "negative"),
                 ((tg.f32[()], I), tg.pad_rows, "rank 1 or more")],
    "unpack": [((X,), tg.unpack, "boolean"), ((tg.bool_[2],), tg.unpack, "mask must be [B, S]")],
    "einsum": [((X, Y), lambda x, y: tg.einsum(x, y, equation="abc,abd->cd"), "axes 'b' must agree"),
               ((X,), lambda x: tg.einsum(x, equation="a->b"), "is in no operand"),
               ((X,), lambda x: tg.einsum(x, equation="ab->a"), "names 2 axes"),
               ((X,), lambda x: tg.einsum(x, equation="aac->a"), "repeats a letter"),
               ((X,), lambda x: tg.einsum(x, equation="a?c"), "equation must be like"),
               ((X, X), lambda x, y: tg.einsum(x, y, equation="abc->a"), "names 1 operands, got 2")],
    "pack_panels": [((X,), lambda x: tg.pack_panels(x, width=4), "weight must be [out, in]"),
                    ((tg.f32[4, 4],), lambda x: tg.pack_panels(x, width=0), "attribute 'width' must be an integer of at least 1"),
                    ((tg.f32[4, 4],), lambda x: tg.pack_panels(x, width=4, group=0), "'group' must be an integer of at least 1")],
    "quantize_rows": [((I,), tg.quantize_rows, "floating-point"), ((tg.f64[2, 4],), tg.quantize_rows, "f64 is not quantised"),
                      ((tg.f32[()],), tg.quantize_rows, "rank 1 or more")],
    "quantize_blocks": [((tg.i8[4, 4],), tg.quantize_blocks, "floating-point"),
                        ((tg.f64[2, 4],), tg.quantize_blocks, "f64 is not quantised"),
                        ((tg.f32[4],), tg.quantize_blocks, "must be a weight [out, in]"),
                        ((tg.f32[2, 4],), lambda x: tg.quantize_blocks(x, bits=3), "2, 4 or 8 bits"),
                        ((tg.f32[2, 4],), lambda x: tg.quantize_blocks(x, block=0), "'block' must be an integer of at least 1"),
                        ((tg.f32[4, tg.dim("K")],), tg.quantize_blocks, "columns must be known")],
    "integer_linear": [((X, tg.i8[5, 4]), tg.integer_linear, "x must be i8 or u8"),
                       ((tg.i8[2, 4], tg.u8[5, 4]), tg.integer_linear, "weight i8"),
                       ((tg.i8[2, 4], tg.i8[4]), tg.integer_linear, "weight must be [out, in]"),
                       ((tg.u8[2, 3], tg.i8[5, 4]), tg.integer_linear, "`in` axis")],
    "dequantize": [((tg.u8[2, 4], tg.i32[2, 1]), lambda q, s: tg.dequantize(q, s, depth=4, block=4), "floating-point"),
                   ((tg.u8[2, 4], tg.f32[2, 1]), lambda q, s: tg.dequantize(q, s, depth=4, block=4, bits=3), "2, 4 or 8 bits"),
                   ((tg.i8[2, 4], tg.f32[2, 1]), lambda q, s: tg.dequantize(q, s, depth=8, block=8, bits=4), "packed must be u8"),
                   ((tg.u8[2, 4], tg.f32[2, 1]), lambda q, s: tg.dequantize(q, s, depth=6, block=8, bits=4), "6 numbers of 4"),
                   ((tg.u8[2, 4], tg.f32[3, 1]), lambda q, s: tg.dequantize(q, s, depth=4, block=4), "scale has a row"),
                   ((tg.u8[2, 4], tg.f32[2, 1]), lambda q, s: tg.dequantize(q, s, depth=4, block=2), "scale has a column"),
                   ((tg.u8[2, 4], tg.f32[2, 1], tg.f16[2, 1]), lambda q, s, z: tg.dequantize(q, s, z, depth=4, block=4),
                    "zero must be f32")],
    "unpack_panels": [((X,), lambda x: tg.unpack_panels(x, rows=99), "do not fill"),
                      ((tg.i8[1, 2, 4, 2],), lambda x: tg.unpack_panels(x, rows=4, depth=6), "depth of 6 is more than"),
                      ((M,), lambda x: tg.unpack_panels(x, rows=2), "panels must be")],
    "call": [((X,), lambda x: tg.call(x, function=3), "must be a graph")],
    "update_slice": [((X, X, tg.i64[1]), lambda *xs: tg.update_slice(*xs, axis=1), "start is one integer"),
                     ((X, X, tg.f32[()]), lambda *xs: tg.update_slice(*xs, axis=1), "integer"),
                     ((X, M, tg.i64[()]), lambda *xs: tg.update_slice(*xs, axis=1), "f32"),
                     ((tg.f32[4, 3], tg.f32[5, 3], tg.i64[()]), lambda *xs: tg.update_slice(*xs, axis=0), "must fit into"),
                     ((tg.f32[4, 3], tg.f32[2, 2], tg.i64[()]), lambda *xs: tg.update_slice(*xs, axis=0), "but along axis 0"),
                     ((tg.f32[4, 3], tg.f32[3], tg.i64[()]), lambda *xs: tg.update_slice(*xs, axis=0), "the rank of x")],
    **{name: [((tg.f32[2, 3], tg.f32[1, gates * 4, 8], tg.f32[1, gates * 4, 4]), getattr(tg, name), "x must be [B, T, I]"),
              ((tg.f32[2, 3, 8], tg.f32[gates * 4, 8], tg.f32[1, gates * 4, 4]), getattr(tg, name), "weight must be [1, "),
              ((tg.f32[2, 3, 7], tg.f32[1, gates * 4, 8], tg.f32[1, gates * 4, 4]), getattr(tg, name), "the last axis of x")]
       for name, gates in (("rnn", 1), ("gru", 3), ("lstm", 4))},
    **{f"{name}_scan": [((tg.f32[2, 3], tg.f32[1, gates * 4, 4]), getattr(tg, f"{name}_scan"), "x must be [B, T, ")]
       for name, gates in (("rnn", 1), ("gru", 3), ("lstm", 4))},
    "pack_gates": [((X,), lambda x: tg.pack_gates(x, gates=0, width=4), "attribute 'gates' must be an integer of at least 1"),
                   ((tg.f32[1, 7, 4],), lambda x: tg.pack_gates(x, gates=4, width=4), "weight must be [directions, 4 H, K]")],
    "unpack_gates": [((X,), lambda x: tg.unpack_gates(x, gates=4, hidden=4), "panels must be"),
                     ((tg.f32[1, 1, 8, 32],), lambda x: tg.unpack_gates(x, gates=4, hidden=9), "do not fill the panels")],
    "update_in_place": [((tg.f32[4, 3], tg.f32[3], tg.i64[()]), lambda *xs: tg.update_in_place(*xs, axis=0), "the rank of x")],
}
CASES = [pytest.param(op, types, build, text, id=f"{op}{number}") for op, wrong in WRONG.items() for number,
         (types, build, text) in enumerate(wrong)]


@pytest.mark.parametrize(("op", "types", "build", "text"), CASES)
def test_a_wrong_use_is_explained(op: str, types: tuple[tg.TensorType, ...], build: Any, text: str) -> None:
    with pytest.raises(tg.OpError) as raised:
        tg.trace(lambda *xs: build(*xs), *types)
    message = str(raised.value)
    assert message.startswith(f"{op}("), message
    assert text in message
    assert raised.value.op == op
    line = raised.value.provenance.locations[0]
    assert Path(line.file).name == Path(__file__).name
    assert f"{line.file}:{line.line}" in message
    for type in types[:1]:
        if op not in ("range", "full", "dim_size") and "at least one" not in text:
            assert str(type.dtype) in message.split(": ")[0]


def test_every_op_has_a_wrong_use() -> None:
    built_in = {name for name, op in OPS.items() if op.infer.__module__.startswith("tgraph.ops")}
    assert set(WRONG) == built_in, "add a use that the op refuses to WRONG; elementwise ops of one operand have it by their UNARY"


def test_the_line_is_that_of_the_op() -> None:
    def model(x: tg.Tensor, y: tg.Tensor) -> tg.Tensor:
        z = tg.exp(x)
        return z + y  # the wrong line

    with pytest.raises(tg.OpError) as raised:
        tg.trace(model, X, Y)
    assert raised.value.provenance.locations[0].line == model.__code__.co_firstlineno + 2
    assert "add(f32[2, 3, 4], f32[2, 5, 4])" in str(raised.value)

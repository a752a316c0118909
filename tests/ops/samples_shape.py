"""Samples of the ops that move, select or make elements."""

from __future__ import annotations

from typing import Any

import numpy as np

import tgraph as tg
from tests.ops.sample import EVERY, INTEGERS, NUMBERS, Sample, integers, values

B, S, T = tg.dims("B S T")
L = tg.dim("L", min=4, max=6)
RAGGED = {"B": 2, "S": 5, "T": 3, "L": 5}
TABLE = np.arange(24, dtype=np.float32).reshape(6, 4)


def sample(op: str, variant: str, build: Any, specs: dict[str, tg.TensorType], expect: Any, make: Any = None) -> Sample:
    return Sample(op, variant, build, specs, expect, make or {}, RAGGED)


def views() -> list[Sample]:
    def split_heads(x: Any) -> Any:
        return x.reshape(x.shape[0], x.shape[1], 2, 4)

    flat = lambda x, *shape: np.array(x.ravel().tolist(), x.dtype).reshape(shape)
    found = [
        sample("reshape", "heads", split_heads, {"x": tg.f32[B, S, 8]}, lambda x: np.stack(np.split(x, 2, axis=-1), axis=2)),
        sample("reshape", "flatten", lambda x: x.reshape(-1), {"x": tg.f32[B, S, 3]}, np.ravel),
        sample("reshape", "minus_one", lambda x: x.reshape(x.shape[0], -1), {"x": tg.f32[B, 2, 6]}, lambda x: flat(x, 2, 12)),
        sample("reshape", "to_rank0", lambda x: x.reshape(()), {"x": tg.f32[1, 1]}, lambda x: x[0, 0]),
        sample("reshape", "empty", lambda x: x.reshape(0, 4), {"x": tg.f32[2, 0]}, lambda x: np.zeros((0, 4))),
        sample("transpose", "reverse", tg.transpose, {"x": tg.f32[B, S, 4]}, lambda x: np.einsum("abc->cba", x)),
        sample("transpose", "heads", lambda x: x.transpose(0, 2, 1, 3), {"x": tg.f32[B, S, 2, 4]},
               lambda x: np.swapaxes(x, 1, 2)),
        sample("transpose", "negative", lambda x: tg.transpose(x, perm=(-1, 0, -2)), {"x": tg.f32[B, S, 4]},
               lambda x: np.moveaxis(x, -1, 0)),
        sample("transpose", "split_and_back", lambda x: x.reshape(x.shape[0], 4, 3).transpose(1, 0, 2).reshape(4, -1),
               {"x": tg.f32[B, 12]}, lambda x: np.concatenate([x[:, 3 * i:3 * i + 3].ravel() for i in range(4)]).reshape(4, -1)),
        sample("transpose", "rank0", tg.transpose, {"x": tg.f32[()]}, lambda x: x),
        sample("transpose", "empty", tg.transpose, {"x": tg.f32[0, 3]}, lambda x: np.zeros((3, 0))),
        sample("expand", "batch", lambda x, y: tg.expand(x, shape=(y.shape[0], *x.shape)), {"x": tg.f32[S, 3], "y": tg.f32[B]},
               lambda x, y: np.stack([x] * y.size)),
        sample("expand", "ones", lambda x, y: tg.expand(x, shape=(y.shape[0], 4, x.shape[1])),
               {"x": tg.f32[1, S], "y": tg.f32[B]},
               lambda x, y: np.tile(x, (y.size, 4, 1))),
        sample("expand", "number", lambda x: tg.expand(x, shape=(2, 3)), {"x": tg.f32[()]}, lambda x: np.full((2, 3), x)),
        sample("expand", "empty", lambda x: tg.expand(x, shape=(0, 3)), {"x": tg.f32[1, 3]}, lambda x: np.zeros((0, 3))),
        sample("squeeze", "middle", lambda x: tg.squeeze(x, axes=(1, -1)), {"x": tg.f32[B, 1, S, 1]}, lambda x: x[:, 0, :, 0]),
        sample("unsqueeze", "ends", lambda x: tg.unsqueeze(x, axes=(0, -1)), {"x": tg.f32[B, S]}, lambda x: x[None, :, :, None]),
        sample("unsqueeze", "one", lambda x: tg.unsqueeze(x, axes=1), {"x": tg.f32[B, S]}, lambda x: x[:, None]),
    ]
    for d in (tg.f16, tg.bf16, tg.i8, tg.bool_):
        found.append(sample("expand", d.name, lambda x: tg.expand(x, shape=(3, 20)), {"x": d[3, 1]},
                            lambda x: np.repeat(x, 20, 1)))
        found.append(sample("expand", f"number_{d.name}", lambda x: tg.expand(x, shape=(2, 20)), {"x": d[()]},
                            lambda x: np.full((2, 20), x)))
    for d in EVERY:  # a kernel that only moves must keep every type as it is
        found.append(sample("transpose", d.name, tg.transpose, {"x": d[3, 7]}, lambda x: np.einsum("ab->ba", x)))
    return found


def pieces() -> list[Sample]:
    """Slices, splits, concatenations and padding."""
    cuts: dict[str, tuple[tg.TensorType, Any]] = {
        "first": (tg.f32[B, 6], lambda x: x[:, :4]), "inner": (tg.f32[B, 9], lambda x: x[:, 2:-3]),
        "step": (tg.f32[B, 9], lambda x: x[:, 1::3]), "reverse": (tg.f32[B, 9], lambda x: x[:, ::-1]),
        "back": (tg.f32[9, 3], lambda x: x[7:2:-2]), "clipped": (tg.f32[4], lambda x: x[-10:10]),
        "nothing": (tg.f32[4, 2], lambda x: x[3:1]), "two_axes": (tg.f32[6, B, 8], lambda x: x[1:5, :, 3:]),
        "symbolic": (tg.f32[B, L, 2], lambda x: x[:, 1:4]), "symbolic_rest": (tg.f32[L, 2], lambda x: x[3:]),
        "symbolic_last": (tg.f32[B, L], lambda x: x[..., :-1]), "integer": (tg.f32[B, 3, 4], lambda x: x[:, 1]),
        "last": (tg.f32[B, 3, 4], lambda x: x[..., -1]), "new_axes": (tg.f32[B, 3, 4], lambda x: x[None, :, 0, None]),
        "before_the_start": (tg.f32[4], lambda x: x[-9::-1]), "back_to_start": (tg.f32[4], lambda x: x[2::-2]),
        "back_from_beyond": (tg.f32[4], lambda x: x[9:-9:-3]), "back_nothing": (tg.f32[4], lambda x: x[1:2:-1]),
        "back_of_empty": (tg.f32[0, 2], lambda x: x[::-1]), "symbolic_back": (tg.f32[L, S], lambda x: x[::-1, ::-1]),
        "symbolic_back_to": (tg.f32[L], lambda x: x[3:0:-2]),
        "none_first": (tg.f32[3, 4], lambda x: x[0, None, ..., 1:2]),
    }
    found = [sample("slice", k, f, {"x": t}, f) for k, (t, f) in cuts.items()]  # indexing is NumPy's own
    take = lambda x, a, b: np.take(x, np.arange(a, b), axis=-1)
    found += [
        sample("slice", "explicit", lambda x: tg.slice(x, starts=(1, -3), stops=(None, None), axes=(0, -1), steps=(2, 1)),
               {"x": tg.f32[5, 7]}, lambda x: x[[1, 3]][:, [4, 5, 6]]),
        sample("split", "equal", lambda x: tg.split(x, sizes=3), {"x": tg.f32[B, 9]},
               lambda x: (take(x, 0, 3), take(x, 3, 6), take(x, 6, 9))),
        sample("split", "sizes", lambda x: tg.split(x, sizes=(1, 4, 2), axis=0), {"x": tg.f32[7, B]},
               lambda x: (x[:1], x[1:5], x[5:])),
        sample("split", "with_empty", lambda x: tg.split(x, sizes=(0, 4), axis=-1), {"x": tg.f32[B, 4]},
               lambda x: (take(x, 0, 0), x)),
        sample("split", "symbolic", lambda x: tg.split(x, sizes=(1, x.shape[0] - 1), axis=0), {"x": tg.f32[L, 2]},
               lambda x: (x[:1], x[1:])),
        sample("split", "qkv", lambda x: tuple(p.transpose(1, 0) for p in tg.split(x, sizes=2)), {"x": tg.f32[S, 8]},
               lambda x: (x.T[:4], x.T[4:])),
        sample("concat", "last", lambda x, y: tg.concat(x, y, axis=-1), {"x": tg.f32[B, S, 3], "y": tg.f32[B, S, 5]},
               lambda x, y: np.dstack([x, y])),
        sample("concat", "symbolic", lambda x, y: tg.concat(x, y, x, axis=0), {"x": tg.f32[B, 3], "y": tg.f32[S, 3]},
               lambda x, y: np.vstack([x, y, x])),
        sample("concat", "single", lambda x: tg.concat(x, axis=0), {"x": tg.f32[B]}, lambda x: x),
        sample("concat", "empty_part", lambda x, y: tg.concat(x, y, axis=1), {"x": tg.f32[2, 0], "y": tg.f32[2, 3]},
               lambda x, y: y),
        sample("concat", "of_sums", lambda x, y: tg.concat(x + y, x * 2.0, axis=1), {"x": tg.f32[B, 3], "y": tg.f32[B, 3]},
               lambda x, y: np.hstack([y + x, x + x])),
        sample("pad", "both", lambda x: tg.pad(x, before=(1, 0), after=(0, 2), value=-1.5), {"x": tg.f32[B, 3]},
               lambda x: np.vstack([np.full(5, -1.5), np.column_stack([x, np.full((len(x), 2), -1.5)])])),
        sample("pad", "nothing", lambda x: tg.pad(x, before=(0, 0), after=(0, 0)), {"x": tg.f32[B, 3]}, lambda x: x),
        sample("pad", "rank0", lambda x: tg.pad(x, before=(), after=(), value=4.0), {"x": tg.f32[()]}, lambda x: x),
        sample("pad", "empty", lambda x: tg.pad(x, before=(2, 1), after=(0, 0), value=4.0), {"x": tg.f32[0, 2]},
               lambda x: np.full((2, 3), 4.0)),
        sample("pad", "symbolic", lambda x: tg.pad(x, before=(0, x.shape[0]), after=(1, 0)), {"x": tg.f32[B, S]},
               lambda x: np.pad(x, ((0, 1), (len(x), 0)))),
    ]
    for d in EVERY:
        found.append(sample("pad", d.name, lambda x: tg.pad(x, before=(1,), after=(2,), value=1.0), {"x": d[5]},
                            lambda x: np.r_[np.ones(1, x.dtype), x, np.ones(2, x.dtype)]))
        found.append(sample("concat", d.name, lambda x, y: tg.concat(x, y, axis=0), {"x": d[5], "y": d[3]},
                            lambda x, y: np.append(x, y)))
    return found


def lookups() -> list[Sample]:
    rows = integers(0, 6)
    found = [
        sample("gather", "rows", tg.gather, {"x": tg.f32[6, 4], "i": tg.i64[B, S]}, lambda x, i: x[i], {"i": integers(-6, 6)}),
        sample("gather", "inner", lambda x, i: tg.gather(x, i, axis=1), {"x": tg.f32[B, 6, 3], "i": tg.i64[T]},
               lambda x, i: x[:, i], {"i": integers(-6, 6)}),
        sample("gather", "last", lambda x, i: tg.gather(x, i, axis=-1), {"x": tg.f32[B, 6], "i": tg.i32[2, 2]},
               lambda x, i: x[..., i], {"i": integers(-6, 6)}),
        sample("gather", "number", lambda x, i: tg.gather(x, i, axis=0), {"x": tg.f32[S, 3], "i": tg.i64[()]},
               lambda x, i: x[int(i)], {"i": values(-1)}),
        sample("gather", "none", tg.gather, {"x": tg.f32[6, 4], "i": tg.i64[0]}, lambda x, i: np.zeros((0, 4))),
        sample("gather", "by_tensor_index", lambda x, i: x[:, i], {"x": tg.f32[B, 6], "i": tg.i64[S]}, lambda x, i: x[:, i],
               {"i": rows}),
        sample("gather", "wide_index", lambda x, i: x[..., i, 1:3], {"x": tg.f32[B, 6, 4], "i": tg.i64[2]},
               lambda x, i: x[:, i][:, :, 1:3], {"i": rows}),
        sample("gather", "first_token", lambda x: x[:, 0], {"x": tg.f32[B, S, 4]}, lambda x: x[:, 0]),
        sample("gather", "last_token", lambda x: x[:, -1], {"x": tg.f32[B, S, 4]}, lambda x: x[:, -1]),
        sample("embedding", "tokens", tg.embedding, {"i": tg.i64[B, S], "t": tg.f32[6, 4]}, lambda i, t: t[i], {"i": rows}),
        sample("embedding", "table_known", lambda i: tg.embedding(i, TABLE), {"i": tg.i64[B, S]}, lambda i: TABLE[i],
               {"i": rows}),
        sample("embedding", "rank1_table", tg.embedding, {"i": tg.i64[S], "t": tg.f32[6]}, lambda i, t: t[i], {"i": rows}),
        sample("embedding", "rank3_table", tg.embedding, {"i": tg.i64[S], "t": tg.f32[6, 2, 3]}, lambda i, t: t[i], {"i": rows}),
        sample("embedding", "number", tg.embedding, {"i": tg.i64[()], "t": tg.f32[6, 2]}, lambda i, t: t[int(i)],
               {"i": values(3)}),
        sample("embedding", "positions", lambda x: tg.embedding(tg.range(stop=x.shape[1]), TABLE) + x, {"x": tg.f32[B, S, 4]},
               lambda x: x + TABLE[:5]),
        sample("embedding", "none", tg.embedding, {"i": tg.i64[0], "t": tg.f32[6, 2]}, lambda i, t: np.zeros((0, 2))),
        sample("one_hot", "f32", lambda i: tg.one_hot(i, depth=4), {"i": tg.i64[B, S]},
               lambda i: np.where(((i >= 0) & (i < 4))[..., None], np.eye(4)[np.clip(i, 0, 3)], 0), {"i": integers(-2, 6)}),
        sample("one_hot", "symbolic", lambda i, x: tg.one_hot(i, depth=x.shape[0]), {"i": tg.i64[S], "x": tg.f32[T]},
               lambda i, x: np.eye(x.size)[i], {"i": integers(0, 3)}),
    ]
    for d in EVERY:
        found.append(sample("one_hot", f"to_{d.name}", lambda i, d=d: tg.one_hot(i, depth=3, dtype=d), {"i": tg.i32[5]},
                            lambda i: (np.eye(3)[i]).astype(bool if i is None else float), {"i": integers(0, 3)}))
        found.append(sample("embedding", f"of_{d.name}", tg.embedding, {"i": tg.i64[5], "t": d[6, 3]}, lambda i, t: t[i],
                            {"i": rows}))
    for d in INTEGERS:
        low = 0 if d.kind == "uint" else -6
        found.append(sample("gather", f"by_{d.name}", tg.gather, {"x": tg.f32[6, 4], "i": d[5]}, lambda x, i: x[i],
                            {"i": integers(low, 6)}))
        found.append(sample("embedding", f"by_{d.name}", tg.embedding, {"i": d[5], "t": tg.f32[6, 4]}, lambda i, t: t[i],
                            {"i": rows}))
    return found


def updates() -> list[Sample]:
    def expect(x: np.ndarray, value: np.ndarray, start: np.ndarray, axis: int = 0) -> np.ndarray:
        rows = np.moveaxis(x, axis, 0)
        after = rows[int(start) + value.shape[axis]:]
        return np.moveaxis(np.concatenate([rows[:int(start)], np.moveaxis(value, axis, 0), after]), 0, axis)

    specs = {"x": tg.f32[B, 2, S, 4], "value": tg.f32[B, 2, T, 4], "start": tg.i64[()]}
    cache = lambda *parts: tg.update_slice(*parts, axis=2)
    rows = lambda *parts: tg.update_slice(*parts, axis=0)
    of_cache = lambda x, value, start: expect(x, value, start, 2)
    found = [
        sample("update_slice", "cache", cache, specs, of_cache, {"start": values(1)}),
        sample("update_slice", "to_the_end", cache, specs, of_cache, {"start": values(2)}),
        sample("update_slice", "last_axis", lambda *parts: tg.update_slice(*parts, axis=-1),
               {"x": tg.f32[S, 19], "value": tg.f32[S, 17], "start": tg.i32[()]}, lambda *parts: expect(*parts, 1),
               {"start": values(2)}),
        sample("update_slice", "whole", rows, {"x": tg.f32[4], "value": tg.f32[4], "start": tg.i64[()]}, expect,
               {"start": values(0)}),
        sample("update_slice", "nothing", rows, {"x": tg.f32[4, 3], "value": tg.f32[0, 3], "start": tg.i64[()]}, expect,
               {"start": values(4)}),
        sample("update_slice", "computed",
               lambda x, value, start: tg.relu(tg.update_slice(x * 2.0, tg.neg(value), start + 1, axis=0)),
               {"x": tg.f32[6, 3], "value": tg.f32[2, 3], "start": tg.i64[()]},
               lambda x, value, start: np.maximum(expect(x * 2, -value, start + 1), 0), {"start": values(2)}),
        sample("update_in_place", "of_an_input", lambda *parts: tg.update_in_place(*parts, axis=2), specs, of_cache,
               {"start": values(1)}),
    ]
    for d in EVERY:
        found.append(sample("update_slice", d.name, rows, {"x": d[5], "value": d[2], "start": tg.u8[()]}, expect,
                            {"start": values(3)}))
    return found


def made() -> list[Sample]:
    """Tensors that depend on sizes alone; they need a tensor beside them that has the sizes."""
    found = [
        sample("range", "symbolic", lambda x: tg.range(stop=x.shape[0]), {"x": tg.f32[S]}, lambda x: np.array([0, 1, 2, 3, 4])),
        sample("range", "start", lambda x: tg.range(start=-2, stop=x.shape[0], dtype=tg.i32), {"x": tg.f32[S]},
               lambda x: np.array([-2, -1, 0, 1, 2, 3, 4])),
        sample("range", "beside", lambda x: x + tg.range(stop=x.shape[1], dtype=tg.f32), {"x": tg.f32[B, S]},
               lambda x: x + np.cumsum(np.ones_like(x), axis=1) - 1),
        sample("full", "symbolic", lambda x: tg.full(shape=(x.shape[0], 3), value=2.5), {"x": tg.f32[B]},
               lambda x: np.repeat([[2.5] * 3], x.size, 0)),
        sample("full", "infinity", lambda x: tg.full(shape=(x.shape[0],), value=float("-inf")), {"x": tg.f32[B]},
               lambda x: np.repeat(-np.inf, x.size)),
        sample("dim_size", "mean", lambda x: tg.reduce_sum(x, axes=(1,)) / tg.dim_size(size=x.shape[1], dtype=tg.f32),
               {"x": tg.f32[B, S]}, lambda x: np.average(x, axis=1)),
        sample("dim_size", "operator", lambda x: x * x.shape[1] + x.shape[0] * x.shape[1], {"x": tg.f32[B, S]},
               lambda x: 5 * x + 10),
        sample("dim_size", "static", lambda x: tg.dim_size(size=7) + tg.dim_size(size=x.shape[0] * 2), {"x": tg.f32[B]},
               lambda x: np.array(11)),
    ]
    for d in NUMBERS:
        found.append(sample("range", d.name, lambda x, d=d: tg.range(stop=x.shape[0], dtype=d), {"x": tg.f32[S]},
                            lambda x: np.arange(x.size)))
        found.append(sample("dim_size", d.name, lambda x, d=d: tg.dim_size(size=x.shape[0], dtype=d), {"x": tg.f32[S]},
                            lambda x: np.array(x.size)))
    for d in EVERY:
        found.append(sample("full", d.name, lambda x, d=d: tg.full(shape=(x.shape[0],), value=1, dtype=d), {"x": tg.f32[S]},
                            lambda x: np.ones(x.size)))
    return found


SHAPES = [*views(), *pieces(), *lookups(), *updates(), *made()]

"""Samples of attention over packed rows."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

import tgraph as tg
from tests.ops.sample import FLOATS, Sample, values
from tests.ops.samples_product import attend, band, causal

B, S, N, M = tg.dims("B S N M")
SEQUENCES = (0, 3, 3, 20, 21, 21)  # five sequences, two of them empty
KEYS = values(*[True, False, True], *[False] * 17, True)  # of the second that has rows, no key may be attended


def attend_ragged(q: np.ndarray, k: np.ndarray, v: np.ndarray, offsets: np.ndarray, mask: Any = None, order: bool = False,
                  sides: tuple[int, int] = (-1, -1), **options: Any) -> np.ndarray:
    """`attend` for each sequence by itself."""
    result = np.zeros((*q.shape[:2], v.shape[2]))
    for start, stop in itertools.pairwise(offsets.tolist()):
        heads = [x[start:stop].transpose(1, 0, 2)[None] for x in (q, k, v)]
        seen = np.broadcast_to(True if mask is None else mask[start:stop], (stop - start,) * 2)
        allowed = (seen & causal(*seen.shape) if order else seen) & band(*seen.shape, *sides)
        result[start:stop] = attend(*heads, allowed, **options)[0].transpose(1, 0, 2)
    return result


def ragged() -> list[Sample]:
    def make(variant: str, specs: dict[str, tg.TensorType], expect: Any = attend_ragged, offsets: Any = SEQUENCES, rows: int = 21,
             feed: Any = None, **attrs: Any) -> Sample:
        names = list(specs)
        build = lambda *xs, a=attrs: tg.ragged_attention(**dict(zip(names, xs)), **a)
        return Sample("ragged_attention", variant, build, specs, expect, {"offsets": values(*offsets), **(feed or {})},
                      {"M": len(offsets), "N": rows})

    def packed(heads: int = 2, kv_heads: int = 2, d: int = 8, dv: int = 8, dtype: tg.DType = tg.f32) -> dict[str, tg.TensorType]:
        return {"q": dtype[N, heads, d], "k": dtype[N, kv_heads, d], "v": dtype[N, kv_heads, dv], "offsets": tg.i64[M]}

    mask = {"mask": tg.bool_[N]}
    found = [
        make("plain", packed()),
        make("scale", packed(d=4, dv=6), lambda *xs: attend_ragged(*xs, scale=0.3), scale=0.3),
        make("odd_sizes", packed(heads=1, kv_heads=1, d=5, dv=3)),
        make("grouped", packed(heads=6, kv_heads=2)),
        make("long", packed(d=16, dv=16), offsets=(0, 150, 190, 460), rows=460),
        make("int32", packed() | {"offsets": tg.i32[M]}),
        make("mask", packed() | mask),
        make("causal", packed(), lambda *xs: attend_ragged(*xs, order=True), causal=True),
        make("causal_mask", packed() | mask, lambda *xs: attend_ragged(*xs, order=True), causal=True),
        make("causal_long", packed(heads=4), lambda *xs: attend_ragged(*xs, order=True), (0, 1, 300, 333), 333, causal=True),
        make("softcap", packed() | mask, lambda *xs: attend_ragged(*xs, cap=0.5), softcap=0.5),
        make("window", packed(heads=4), lambda *xs: attend_ragged(*xs, sides=(2, 5)), window=(2, 5)),
        make("window_causal_long", packed() | mask, lambda *xs: attend_ragged(*xs, sides=(20, 0)), (0, 1, 300, 333), 333,
             window=(20, 0)),
        make("softcap_causal", packed(heads=4), lambda *xs: attend_ragged(*xs, order=True, cap=0.5, scale=2.0), scale=2.0,
             causal=True, softcap=0.5),
        make("no_sequence", packed(), lambda *xs: np.zeros((0, 2, 8)), (0,), 0),
        make("no_row", packed(), lambda *xs: np.zeros((0, 2, 8)), (0, 0, 0), 0),
    ]
    for mode, fill in (("zero", 0.0), ("uniform", None), ("nan", math.nan)):
        found += [
            make(f"empty_{mode}", packed() | mask, lambda *xs, f=fill: attend_ragged(*xs, empty=f), feed={"mask": KEYS},
                 empty_row=mode),
            make(f"empty_{mode}_causal", packed() | mask, lambda *xs, f=fill: attend_ragged(*xs, order=True, empty=f),
                 feed={"mask": KEYS}, causal=True, empty_row=mode),
        ]
    found += [make(d.name, packed(dtype=d) | mask) for d in FLOATS]
    found.append(Sample("ragged_attention", "of_a_mask", padded_rows, {"x": tg.f32[B, S, 24], "m": tg.bool_[B, S]},
                        lambda x, m: np.where(m[:, :, None], attend(*heads_of(x), m[:, None, None]).swapaxes(1, 2).reshape(
                            *m.shape, 8), 0.0), sizes={"B": 3, "S": 7}))
    return found


def heads_of(x: np.ndarray) -> list[np.ndarray]:
    """Query, key and value [B, 2, S, 4] that lie beside each other in x [B, S, 24]."""
    return [part.reshape(*x.shape[:2], 2, 4).swapaxes(1, 2) for part in np.split(x, 3, axis=-1)]


def padded_rows(x: tg.Tensor, m: tg.Tensor) -> tg.Tensor:
    """Attention of the rows that `m` keeps, read in place from a projection's, and put back."""
    indices, offsets = tg.unpack(m, name="N6")
    rows = tg.gather(x.reshape(-1, 24), indices)
    q, k, v = (part.reshape(rows.shape[0], 2, 4) for part in tg.split(rows * 1.0, sizes=3, axis=-1))
    return tg.pad_rows(tg.ragged_attention(q, k, v, offsets).reshape(rows.shape[0], 8), tg.number_rows(m))


RAGGED = ragged()

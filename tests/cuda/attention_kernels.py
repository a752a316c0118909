"""Attention kernels for tests: built over plain tensors, run on NumPy arrays, and what they are to give."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
from emulator.launch import ARCH

from targets.base.tvm_api import Buffer, Expr, IRBuilder, IRModule, PrimFunc, T, int64, tirx, tvm
from targets.codegen.attention import AttentionSpec
from targets.codegen.scalar import cast, hold, to_store
from targets.cuda.build import PIPELINE
from targets.cuda.kernels.attention import attention
from tgraph.ops.attention import attend

TYPES = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16, "float32": np.float32}
SCALE = 0.3


class Tensor:
    """A tensor parameter, read and written at an index of one position an axis; bf16 is held as f32."""

    def __init__(self, name: str, shape: tuple[Any, ...], dtype: str) -> None:
        self.shape, self.dtype = shape, dtype
        self.buffer: Buffer = T.arg(name, T.buffer(shape, dtype))

    def at(self, *index: Expr) -> Expr:
        place: Expr = int64(0)
        for position, size in zip(index, self.shape):
            place = place * (int64(size) if isinstance(size, int) else size) + position
        return place

    def flat(self) -> Buffer:
        size = int64(1)
        for extent in self.shape:
            size = size * extent
        return T.decl_buffer((size,), self.dtype, data=self.buffer.data)


def _reader(tensor: Tensor, flat: Buffer, computed: bool, order: Any) -> Any:
    def load(*at: Expr) -> Expr:
        index = order(*at)
        element = flat[tensor.at(*index)]
        value = cast(element, "float32") if tensor.dtype == "bfloat16" else element
        if computed:  # something that no plain copy can give
            return tirx.Select(index[-1] >= int64(0), value, tirx.const(0, value.ty.dtype))
        return value

    return load


def kernel(head_dim: int = 16, value_dim: int = 16, *, dtype: str = "float16", group: int = 1, masked: str = "",
           biased: bool = False, causal: bool = False, shifted: bool = False, ragged: bool = False, computed: bool = False,
           whole: bool = True, scale: float = SCALE, **options: Any) -> PrimFunc:
    """q [B, H, Sq, D], k [B, H / group, Sk, D], v, then mask, bias [H, Sq, Sk], offset [1] if any, y.

    ragged: q [N, H, D], k, v, offsets [M], mask [N] if masked, y. computed: operands cannot be copied; whole: results can.
    """
    with IRBuilder() as builder, T.prim_func():
        T.func_name("main")
        b, h, hk, sq, sk = (tirx.Var(name, "int64") for name in ("b", "h", "hk", "sq", "sk"))
        shape = (lambda heads, rows, dim: (sq, heads, dim)) if ragged else lambda heads, rows, dim: (b, heads, rows, dim)
        order = (lambda b, h, i, d: (i, h, d)) if ragged else lambda *at: at
        q, k, v = (Tensor(name, shape(*sizes), dtype) for name, sizes in (
            ("q", (h, sq, head_dim)), ("k", (hk, sk, head_dim)), ("v", (hk, sk, value_dim))))
        if ragged:
            bounds = T.arg("offsets", T.buffer((b,), "int64"))
            options["sequence"] = lambda b: (bounds[b], bounds[b + int64(1)] - bounds[b])
        if masked:
            form = (sq,) if ragged else {"keys": (b, sk), "queries": (b, sq, sk), "heads": (b, h, sq, sk)}[masked]
            mask = T.arg("mask", T.buffer(form, "bool"))
            pick = (lambda b, h, i, j: (j,)) if ragged else {
                "keys": lambda b, h, i, j: (b, j), "queries": lambda b, h, i, j: (b, i, j), "heads": lambda *at: at}[masked]
            options |= {"mask": lambda *at: mask[pick(*at)], "key_padding": masked == "keys"}
        if biased:
            bias = T.arg("bias", T.buffer((h, sq, sk), "float32"))
            options["bias"] = lambda b, h, i, j: bias[h, i, j]
        if shifted:
            offset = T.arg("offset", T.buffer((1,), "int64"))
            options["offset"] = offset[0]
        y = Tensor("y", shape(h, sq, value_dim), dtype)
        T.func_attr({"tirx.noalias": True, "tirx.is_scheduled": True, "global_symbol": "main"})
        reads = {f"load_{name}": _reader(t, t.flat(), computed, order) for name, t in (("q", q), ("k", k), ("v", v))}
        written = y.flat()

        def store(b: Expr, h: Expr, i: Expr, d: Expr, value: Expr) -> None:
            at = y.at(*order(b, h, i, d))
            T.buffer_store(written, to_store(hold(value, dtype), dtype, at), [at])

        place = (lambda b, h, i, d: written[y.at(*order(b, h, i, d))]) if whole else None
        tile = options.pop("tile", None)
        attention(AttentionSpec(
            batch=b - int64(1) if ragged else b, heads=h, group=group, queries=sq, keys=sk, head_dim=head_dim,
            value_dim=value_dim, dtype=dtype, **reads, store=store, place=place, scale=scale,
            **({"right": 0} if causal else {}), **options), tile)
    return builder.get()


class Attention:
    """A kernel of some options, compiled; called with arrays, it gives y."""

    def __init__(self, **options: Any) -> None:
        self.options = options
        target = tvm.target.Target(ARCH)
        with target:
            self.library = tvm.compile(IRModule({"main": kernel(**options)}), target=target, tir_pipeline=PIPELINE)

    @property
    def dtype(self) -> Any:
        return TYPES[self.options.get("dtype", "float16")]

    def __call__(self, q: np.ndarray, *others: np.ndarray) -> np.ndarray:
        y = np.full((*q.shape[:-1], self.options.get("value_dim", 16)), 77, q.dtype)
        tensors = [tvm.runtime.tensor(np.ascontiguousarray(array), tvm.cuda(0)) for array in (q, *others, y)]
        self.library["main"](*tensors)
        return tensors[-1].numpy()

    def operands(self, b: int, h: int, sq: int, sk: int) -> list[np.ndarray]:
        """q, k and v of a seed that follows from the sizes."""
        rng, hk = np.random.default_rng(b + 10 * sq + 1000 * sk), h // self.options.get("group", 1)
        d, dv = self.options.get("head_dim", 16), self.options.get("value_dim", 16)
        return [rng.standard_normal(shape).astype(self.dtype) for shape in ((b, h, sq, d), (b, hk, sk, d), (b, hk, sk, dv))]

    def mask(self, b: int, h: int, sq: int, sk: int) -> np.ndarray | None:
        """A random one of the kernel's form, of which some rows keep nothing."""
        form = self.options.get("masked")
        if not form:
            return None
        rng = np.random.default_rng(sq + 7 * sk)
        mask = rng.random({"keys": (b, sk), "queries": (b, sq, sk), "heads": (b, h, sq, sk)}[form]) < 0.4
        mask[1:2, ..., :] &= form != "keys"
        if form != "keys":
            mask[..., : sq // 3, :] &= rng.random(mask[..., : sq // 3, :1].shape) < 0.5
        return mask

    def expected(self, q: np.ndarray, k: np.ndarray, v: np.ndarray, mask: Any, bias: Any, offset: int = 0) -> np.ndarray:
        """What the op means, in f64."""
        chosen = {"causal": self.options.get("causal", False), "empty_row": self.options.get("empty_row", "zero"),
                  "softcap": self.options.get("softcap", 0.0),
                  "window": tuple(self.options.get(side, -1) for side in ("left", "right"))}
        wide = [x.astype(np.float64) for x in (q, k, v)]
        with np.errstate(all="ignore"):
            return attend(*wide, mask, bias, np.array(offset),
                          scale=self.options.get("scale", SCALE), **chosen)

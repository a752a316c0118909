"""Numbers stored as 8-bit integers, (q - zero) scale, in all their variants, and products of them in integers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from passes.products import PROJECTIONS, missed
from passes.rewriting import current_report, erase_dead
from tgraph.ir.analysis import is_prepared, prepared
from tgraph.ir.builder import Builder
from tgraph.ir.dims import DimLike
from tgraph.ir.dtypes import DType, i8, i32, u8
from tgraph.ir.graph import Graph
from tgraph.ir.values import Constant, Node, Result, Value

LONGEST = 2**31 // 255**2  # terms of a sum of products of differences of 8-bit integers that i32 surely holds


@dataclass(frozen=True)
class Quantized:
    """(q - zero) scale; zero (None: 0) and scale (None: 1) broadcast to the shape of q, whose elements are u8 or i8."""

    q: Value
    zero: Value | None
    scale: Value | None


def read_quantized(graph: Graph, value: Value) -> Quantized | None:
    """What a value stands for if it is made of 8-bit integers: q as another type, q - zero, and each times a scale."""
    for shifted, scale in _either_order(value, "mul"):
        found = _shifted(graph, shifted)
        if found is not None and found.q.shape == value.shape:
            return Quantized(found.q, found.zero, scale)
    found = _shifted(graph, value)
    return found if found is not None and found.q.shape == value.shape else None


def _shifted(graph: Graph, value: Value) -> Quantized | None:
    """q as another type, q - zero, or q + c for a constant c, which is what becomes of q - c."""
    q = _integers(value)
    if q is not None:
        return Quantized(q, None, None)
    for difference, zero in _either_order(value, "sub")[:1]:
        if (q := _integers(difference)) is not None:
            return Quantized(q, zero, None)
    for term, c in _either_order(value, "add"):
        if (q := _integers(term)) is not None and isinstance(c, Constant) and c.data is not None:
            return Quantized(q, graph.constant(-c.data, c.dtype), None)
    return None


def _either_order(value: Value, op: str) -> list[tuple[Value, Value]]:
    """The operands, in both orders, of an op of two that makes a value; nothing if another one makes it."""
    if not isinstance(value, Result) or value.node.op.name != op:
        return []
    x, y = value.node.inputs
    return [(x, y), (y, x)]


def _integers(value: Value) -> Value | None:
    """The 8-bit integers that a cast makes a value of."""
    if not isinstance(value, Result) or value.node.op.name != "cast" or value.node.inputs[0].dtype not in (i8, u8):
        return None
    return value.node.inputs[0]


def one_number(b: Builder, value: Value | None) -> Value | None:
    """A value of one element, as a number of rank 0. (None stays None.)"""
    return value if value is None else _reshaped(b, value, ())


def _reshaped(b: Builder, value: Value, shape: Sequence[DimLike]) -> Value:
    """A value in another shape; constants stay constants."""
    if value.shape == tuple(shape):
        return value
    if isinstance(value, Constant) and value.data is not None:
        return b.constant(value.data.reshape(shape), value.dtype)
    made: Value = b.reshape(value, shape=tuple(shape))
    return made


@dataclass(frozen=True)
class QuantizedWeight:
    """A weight [out, in] as integers; zero and scale (None: 0 and 1) are one number, or one an output channel, [out, 1]."""

    q: Value
    zero: Value | None
    scale: Value | None


@dataclass(frozen=True)
class QuantizedMatrix:
    """A `Quantized` matrix, whose zero and scale do not differ within an output channel; [in, out] if `transposed`."""

    found: Quantized
    transposed: bool

    def as_weight(self, b: Builder) -> QuantizedWeight:
        """The same as [out, in], by nodes that depend on the matrix alone."""
        q, zero, scale = self.found.q, self.found.zero, self.found.scale
        q = b.transpose(q, perm=(1, 0)) if self.transposed else q
        zero, scale = (v if v is None else _reshaped(b, v, () if v.type.size == 1 else (q.shape[0], 1)) for v in (zero, scale))
        return QuantizedWeight(q, zero, scale)


def read_matrix(graph: Graph, weight: Value, transposed: bool) -> QuantizedMatrix | str:
    """A matrix [out, in], [in, out] if transposed, made of 8-bit integers; or the reason why it is none."""
    if isinstance(weight, Result) and weight.node.op.name == "transpose":
        transposed = transposed != (tuple(weight.node.attrs["perm"]) == (1, 0))
        weight = weight.node.inputs[0]
    if isinstance(weight, Result) and weight.node.op.name == "dequantize":
        q, scale, zero = weight.node.operands
        attrs = weight.node.attrs
        assert q is not None
        found: Quantized | None = Quantized(q, zero, scale) if attrs["bits"] == 8 and attrs["block"] >= attrs["depth"] else None
    else:
        found = read_quantized(graph, weight)
    if found is None:
        return "the weight is not made of 8-bit integers with a scale for a channel"
    for part in (found.zero, found.scale):
        inner = 0 if transposed else 1  # the axis of the matrix within a channel
        if part is not None and part.type.rank > 1 - inner and part.shape[inner - 2] != 1:
            return "scale or zero point differ within a channel"
    return QuantizedMatrix(found, transposed)


def integer_product(b: Builder, x: Value, x_zero: Value | None, weight: QuantizedWeight) -> Value:
    """(x - x_zero) (q - zero)^T in i32, by a product of x, u8 or i8, with integers of 8 bits as they are.

    x_zero: one integer of any type, or one a row, [..., 1]. With q u8, q - 128 takes its place. Then
    (x - x_zero) (q - zero)^T = x q^T - x_zero sum(q) - (sum(x) - x_zero K) zero, sums over the K columns, all modulo 2^32.
    """
    q, zero, x_zero = weight.q, _as_i32(b, weight.zero), _as_i32(b, x_zero)
    if q.dtype == u8:
        q, zero = b.cast(b.sub(b.cast(q, dtype=i32), 128), dtype=i8), _less(b, zero, 128)
    made: Value = b.integer_linear(x, q)
    if x_zero is not None:
        made = b.sub(made, b.mul(x_zero, b.reduce_sum(b.cast(q, dtype=i32), axes=(1,))))
    if zero is not None:
        sums = b.reduce_sum(b.cast(x, dtype=i32), axes=(x.type.rank - 1,), keepdims=True)
        sums = sums if x_zero is None else b.sub(sums, b.mul(x_zero, q.shape[1]))
        made = b.sub(made, b.mul(sums, zero if zero.type.rank == 0 else _reshaped(b, zero, zero.shape[:1])))
    return made


def _less(b: Builder, value: Value | None, number: int) -> Value | None:
    """value - number; None for 0."""
    if value is not None and not (isinstance(value, Constant) and value.data is not None):
        made: Value = b.sub(value, number)
        return made
    data = np.asarray(0 if value is None else value.data, np.int32) - number  # type: ignore[union-attr]
    return b.constant(data, i32) if data.any() else None


def _as_i32(b: Builder, value: Value | None) -> Value | None:
    """A zero point, in any type, as i32; None for 0."""
    if isinstance(value, Constant) and value.data is not None:
        return b.constant(value.data, i32) if value.data.any() else None
    if value is None or value.dtype == i32:
        return value
    source = _integers(value)
    made: Value = b.cast(value if source is None else source, dtype=i32)
    return made


def whole(value: Value | None) -> bool:
    """Whether a zero point is known to be made of integers of 9 bits at most."""
    if value is None or value.dtype in (i8, u8):
        return True
    if isinstance(value, Constant):
        return value.data is not None and bool((np.abs(value.data) <= 255).all() and (value.data == np.rint(value.data)).all())
    if isinstance(value, Result) and value.node.op.traits.view is not None:
        return all(whole(v) for v in value.node.inputs)
    return _integers(value) is not None


def rewrite_products(graph: Graph, rule: str, product: Callable[[Graph, Node], Value | str], dtype: DType) -> None:
    """Put `product(graph, node)` in the place of each product in `dtype` with a weight, or report why it gives none.

    A weight is a matrix that is known before the inputs.
    """
    parameter_only = prepared(graph)
    for node in graph.nodes:
        if node not in graph or node.op.name not in PROJECTIONS or node in parameter_only or node.result.dtype != dtype:
            continue
        weight = node.inputs[1]
        made: Value | str = "the weight is no matrix that is known before the inputs"
        if weight.type.rank == 2 and is_prepared(weight, parameter_only):
            made = product(graph, node)
        if isinstance(made, str):
            missed(rule, node, made)
            continue
        graph.replace(node.result, made)
        erase_dead(graph, [node], above=True)
        current_report().rewrote(rule, [node], [made])

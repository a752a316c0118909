"""Pieces of graphs that passes are made for: norms, activations and attention in primitives, products, calls."""

from __future__ import annotations

import math
import random

import numpy as np

from tgraph.ir.builder import Builder
from tgraph.ir.dims import dim
from tgraph.ir.dtypes import bool_, f16, f32, f64
from tgraph.ir.graph import Graph
from tgraph.ir.location import Location, Provenance
from tgraph.ir.values import Value

B, S = dim("B"), dim("S", min=1, max=64)
H = 8  # hidden size of all values


class Pieces:
    """Adds one piece after another; every piece takes and gives values f32[B, S, H]."""

    def __init__(self, generator: random.Random, graph: Graph | None = None):
        self.random = generator
        self.graph = Graph("random") if graph is None else graph
        self.values: list[Value] = [self.graph.input("x", f32[B, S, H])]
        self.mask = self.graph.input("mask", bool_[B, S]) if self.flag() else None
        self.b = Builder(self.graph)
        self.made = 0
        self.functions: dict[str, Graph] = {}

    def piece(self) -> None:
        kind = self.random.choice(PIECES)
        self.made += 1
        self.b = Builder(self.graph, Provenance((f"piece.{self.made}.{kind}",), (Location("random.py", self.made),)))
        made = getattr(self, kind)(self.random.choice(self.values))
        self.values += made if isinstance(made, list) else [made]

    def flag(self) -> bool:
        return self.random.random() < 0.5

    def weight(self, *shape: int) -> Value:
        name = self.random.choice(["a", "b", "c"]) if self.flag() else f"w{self.made}.{len(self.graph.parameters)}"
        return self.graph.parameter(f"{name}{'x'.join(map(str, shape))}", f32[shape])

    # Pieces

    def unary(self, x: Value) -> Value:
        op = self.random.choice(["relu", "tanh", "sigmoid", "neg", "abs", "gelu", "silu", "softplus"])
        return getattr(self.b, op)(x)

    def binary(self, x: Value) -> Value:
        y = self.random.choice(self.values)
        return getattr(self.b, self.random.choice(["add", "sub", "mul", "maximum"]))(self.b.tanh(x), y)

    def scalar(self, x: Value) -> Value:
        number = self.random.choice([0.0, 1.0, -1.0, 0.5, 2.0, 0.125])
        op = self.random.choice(["add", "sub", "mul"] + (["div"] if number else []))
        return getattr(self.b, op)(x, number) if self.flag() or op in ("sub", "div") else getattr(self.b, op)(number, x)

    def constant(self, x: Value) -> Value:
        factor = self.b.constant(np.float32(self.random.choice([1, 2, -3])))
        c = self.b.mul(np.linspace(-1, 1, H, dtype=np.float32), factor)
        return self.b.add(x, c) if self.flag() else self.b.mul(x, c)

    def product(self, x: Value) -> Value:
        if self.flag():
            return self.b.linear(x, self.weight(H, H), self.weight(H) if self.flag() else None)
        y = self.b.matmul(x, self.b.transpose(self.weight(H, H)) if self.flag() else self.weight(H, H))
        return self.b.add(y, self.weight(H)) if self.flag() else y

    def parallel_products(self, x: Value) -> list[Value]:
        return [self.product(x) for _ in range(self.random.randint(2, 3))]

    def softmax(self, x: Value) -> Value:
        axis = self.random.choice([-1, -2])
        if self.flag():
            return self.b.softmax(x, axis=axis)
        shifted = self.b.sub(x, self.b.reduce_max(x, axes=(axis,), keepdims=True)) if self.flag() else self.b.tanh(x)
        e = self.b.exp(shifted)
        return self.b.div(e, self.b.reduce_sum(e, axes=(axis,), keepdims=True))

    def layer_norm(self, x: Value) -> Value:
        epsilon = self.random.choice([1e-12, 1e-5, 0.5])
        if self.flag():
            return self.b.layer_norm(x, self.weight(H), self.weight(H), epsilon=epsilon)
        mean = self.b.reduce_mean(x, axes=(-1,), keepdims=True)
        d = self.b.sub(x, mean)
        square = self.b.mul(d, d) if self.flag() else self.b.pow(d, 2.0)
        variance = self.b.add(self.b.reduce_mean(square, axes=(-1,), keepdims=True), max(epsilon, 1e-3))
        y = self.b.div(d, self.b.sqrt(variance)) if self.flag() else self.b.mul(d, self.b.rsqrt(variance))
        return self.b.add(self.b.mul(y, self.weight(H)), self.weight(H)) if self.flag() else y

    def rms_norm(self, x: Value) -> Value:
        mean = self.b.reduce_mean(self.b.mul(x, x), axes=(-1,), keepdims=True)
        y = self.b.mul(x, self.b.rsqrt(self.b.add(mean, 1e-3)))
        return self.b.mul(y, self.weight(H)) if self.flag() else y

    def gelu_in_primitives(self, x: Value) -> Value:
        if self.flag():
            inner = self.b.erf(self.b.div(x, math.sqrt(2.0)) if self.flag() else self.b.mul(x, math.sqrt(0.5)))
        else:
            cube = self.b.mul(0.044715, self.b.mul(x, self.b.mul(x, x)))
            inner = self.b.tanh(self.b.mul(math.sqrt(2 / math.pi), self.b.add(x, cube)))
        return self.b.mul(self.b.mul(x, 0.5), self.b.add(inner, 1.0))

    def silu_in_primitives(self, x: Value) -> Value:
        if self.flag():
            return self.b.mul(x, self.b.sigmoid(x))
        return self.b.div(x, self.b.add(1.0, self.b.exp(self.b.neg(x))))

    def moved(self, x: Value) -> Value:
        """There and back, or only looking so."""
        kind = self.random.randint(0, 4)
        b = self.b
        if kind == 0:
            return b.reshape(b.reshape(x, shape=(B * S, H)), shape=(B, S, H))
        if kind == 1:
            return b.transpose(b.relu(b.transpose(x, perm=(0, 2, 1))), perm=(0, 2, 1))
        if kind == 2:
            return b.reshape(b.transpose(x, perm=(0, 1, 2)), shape=(B, S, H))
        if kind == 3:
            return b.squeeze(b.unsqueeze(x, axes=(1,)), axes=(1,))
        return b.cast(b.cast(x, dtype=self.random.choice([f16, f64, f32])), dtype=f32)

    def cut(self, x: Value) -> Value:
        if self.flag():
            parts = self.b.split(x, sizes=(3, 5), axis=-1)
            return self.b.concat(*(parts if self.flag() else parts[::-1]), axis=-1)
        left = self.b.slice(x, starts=(0,), stops=(4,), axes=(-1,))
        return self.b.concat(left, self.b.slice(x, starts=(4,), stops=(H,), axes=(-1,)), axis=-1)

    def masked(self, x: Value) -> Value:
        if self.mask is None:
            return self.b.add(x, x)
        if self.flag():
            return self.b.zero_padding(x, self.mask)
        return self.b.where(self.b.unsqueeze(self.mask, axes=(2,)), x, self.b.constant(np.float32(0)))

    def attention(self, x: Value) -> Value:
        heads = self.random.choice([1, 2])
        size = H // heads
        b = self.b
        q, k, v = (b.transpose(b.reshape(self.product(x), shape=(B, S, heads, size)), perm=(0, 2, 1, 3)) for _ in range(3))
        if self.flag():
            y = b.attention(q, k, v, self.mask if self.flag() else None, causal=self.flag())
        else:
            if self.flag():
                q = b.div(q, math.sqrt(size))
            scores = b.matmul(q, b.transpose(k, perm=(0, 1, 3, 2)))
            if self.flag():
                scores = b.mul(scores, 1 / math.sqrt(size))
            elif self.flag():  # a temperature that only a run knows
                scores = b.div(scores, b.exp(b.reduce_mean(b.tanh(x))))
            fill = b.constant(np.float32(self.random.choice([-1e30, float(np.finfo(np.float32).min), -np.inf])))
            if self.flag():  # what else is added, with the same fill, or fed, which may hold it
                if self.flag():
                    rows, columns = b.unsqueeze(b.range(stop=S), axes=(1,)), b.unsqueeze(b.range(stop=S), axes=(0,))
                    also = b.where(b.less_or_equal(columns, rows), b.constant(np.float32(0)), fill)
                else:
                    fed = [i for i in self.graph.inputs if i.name == "bias"]
                    also = fed[0] if fed else self.graph.input("bias", f32[B, 1, S, S])
                scores = b.add(scores, also)
            if self.mask is not None and self.flag():
                keys = b.unsqueeze(self.mask, axes=(1, 2))
                if self.flag():
                    scores = b.where(keys, scores, fill)
                else:
                    scores = b.add(scores, b.mul(b.sub(1.0, b.cast(keys, dtype=f32)), -10000.0))
            y = b.matmul(b.softmax(scores), v)
        return b.reshape(b.transpose(y, perm=(0, 2, 1, 3)), shape=(B, S, H))

    def rotary(self, x: Value) -> Value:
        b, interleaved, half = self.b, self.flag(), H // 2
        angles = np.linspace(0, 1, half, dtype=np.float32) * np.float32(self.made)
        if self.flag():
            return b.rotary(x, np.cos(angles), np.sin(angles), interleaved=interleaved)
        if interleaved:
            first, second = (b.slice(x, starts=(i,), stops=(H,), axes=(-1,), steps=(2,)) for i in (0, 1))
        else:
            first, second = b.split(x, sizes=2)

        def joined(*parts: Value) -> Value:
            if not interleaved:
                return b.concat(*parts, axis=-1)
            return b.reshape(b.concat(*[b.unsqueeze(p, axes=(-1,)) for p in parts], axis=-1), shape=(B, S, H))

        if self.flag():
            cos, sin = np.cos(angles), np.sin(angles)
            return joined(b.sub(b.mul(first, cos), b.mul(second, sin)), b.add(b.mul(sin, first), b.mul(second, cos)))
        twice = np.concatenate([angles, angles]) if self.flag() else np.linspace(0, 2, H, dtype=np.float32)
        return b.add(b.mul(x, np.cos(twice)), b.mul(joined(b.neg(second), first), np.sin(twice)))

    def called(self, x: Value) -> Value:
        """A function of a product, softmax or SiLU in primitives; several calls may share it."""
        kind = self.random.choice(["product", "softmax", "silu"])
        if kind not in self.functions:
            function = self.functions[kind] = Graph(kind)
            inner = Builder(function)
            y = function.input("x", f32[dim("N"), dim("M"), H])
            if kind == "product":
                made = inner.add(inner.linear(y, function.input("w", f32[H, H])), 0.0)
            elif kind == "softmax":
                e = inner.exp(inner.tanh(y))
                made = inner.div(e, inner.reduce_sum(e, axes=(-1,), keepdims=True))
            else:
                made = inner.mul(y, inner.sigmoid(y))
            function.set_outputs([("y", made)])
        more = [self.weight(H, H)] if kind == "product" else []
        return self.b.call(x, *more, function=self.functions[kind])

    def residual(self, x: Value) -> Value:
        return self.layer_norm(self.b.add(x, self.random.choice(self.values)))


PIECES = sorted(name for name in vars(Pieces) if not name.startswith("_") and name not in ("piece", "flag", "weight"))

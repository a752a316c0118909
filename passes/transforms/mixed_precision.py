"""Mixed precision: products in half precision, all else in single precision."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from passes.algebra.magnitudes import LargeConstants
from passes.base import Pass, register_pass
from passes.functions import rewrite_functions
from passes.products import missed
from passes.rewriting import current_report, erase_dead
from tgraph.ir.analysis import is_prepared, prepared
from tgraph.ir.builder import Builder
from tgraph.ir.dtypes import DType, bf16, f16, f32
from tgraph.ir.errors import PassError
from tgraph.ir.graph import Graph
from tgraph.ir.location import NOWHERE
from tgraph.ir.registry import OPS
from tgraph.ir.values import Constant, Node, Result, Value

HALVES = {"f16": f16, "bf16": bf16}


@register_pass
@dataclass(frozen=True)
class MixedPrecision(Pass):
    """x W^T = f32(half(x) half(W)^T) for every f32 product of tensors that depend on inputs; half is f16 or bf16.

    Products (linear, matmul, attention, ragged_attention) take halves and return halves; inside they sum in f32, as their
    definitions say. Norms, softmax, reductions, elementwise ops and einsum stay in f32, and so do inputs, outputs and
    parameters. View ops between two products (such as splitting heads) move halves. `keep` lists products to leave in
    f32: `keep=attention+matmul`.

    An f16 above 65504 is infinite. With f16 a product stays in f32 if a constant beyond that reaches it by view ops, sums,
    scales and selections alone, and so does attention with an additive bias, which may be a mask of -1e9, unless it is a
    constant within the range. Parameters and inputs are taken to fit; `tg.check` tells. Functions that are called are
    rewritten each by itself: the operands and results of calls stay f32.

    activations=True: results of norms, activations, sums and products of elements on halves, and of embeddings, are rounded
    to halves as well, which halves the memory that a GPU moves.
    """

    effect = "rounds"
    dtype: str = "f16"
    keep: str = ""
    activations: bool = False

    def apply(self, graph: Graph) -> None:
        if self.dtype not in HALVES:
            raise PassError(f"mixed-precision: dtype is {' or '.join(HALVES)}, got {self.dtype!r}")
        kept = [name for name in self.keep.split("+") if name]
        products = sorted(name for name, op in OPS.items() if op.traits.precision == "product")
        if unknown := [name for name in kept if name not in products]:
            raise PassError(f"mixed-precision: keep lists {', '.join(products)}, joined by +; got {', '.join(unknown)}")
        parameter_only = prepared(graph)
        rewrite_functions(graph, lambda body: self._lower(body, prepared(body), kept), lambda call: call not in parameter_only)
        self._lower(graph, prepared(graph), kept)

    def _lower(self, graph: Graph, parameter_only: set[Node], kept: Collection[str]) -> None:
        """Rewrite the products of one graph, but not of functions that it calls."""
        lowering = _Lowering(graph, HALVES[self.dtype], parameter_only)
        for node in graph.nodes:
            product = node.op.traits.precision == "product"
            if node in parameter_only or not (product or (self.activations and lowering.continues(node))):
                continue
            rule = f"{node.op.name}(...) = f32({node.op.name}({self.dtype}(...)))"
            reason = f"{node.op.name} is to be kept" if node.op.name in kept else lowering.reason_to_keep(node)
            if reason is not None:
                missed(rule, node, reason)
                continue
            before = node.inputs
            new = lowering.product(node)
            erase_dead(graph, [node, *_movers(before)])
            current_report().rewrote(rule, [node], new)


class _Lowering:
    """Half-precision copies of the values of one graph, each made once."""

    def __init__(self, graph: Graph, half: DType, parameter_only: set[Node]):
        self.graph, self.half, self.parameter_only = graph, half, parameter_only
        self._twins: dict[Value, Value] = {}
        self._movers: set[Node] = set()  # view ops known to move only halves
        self._large = LargeConstants(float(np.finfo(np.float16).max))

    def continues(self, node: Node) -> bool:
        """Whether the result of a node that reads halves may be kept as halves: it computes in f32 inside, and rounds once."""
        traits = node.op.traits
        if len(node.results) != 1 or node.result.dtype != f32:
            return False
        if traits.lookup is not None and traits.precision is None:
            return is_prepared(node.inputs[traits.lookup.table], self.parameter_only)
        floats = [v for v in node.inputs if v.dtype == f32]
        return traits.precision == "activation" and any(self._widened(v) is not None for v in floats)

    def reason_to_keep(self, node: Node) -> str | None:
        """The reason why a product must stay in its precision, or None."""
        if node.result.dtype != f32:
            return f"it is computed in {node.result.dtype}"
        if self.half is f16:
            if node.op.name == "attention" and not isinstance(node.operands[4], Constant | None):
                return "its additive bias may exceed the range of f16"
            for value in node.inputs:
                if (number := self._large.reaching(value)) is not None:
                    return f"the constant {number:g} reaches it, and f16 ends at {self._large.limit:g}"
        return None

    def product(self, node: Node) -> list[Value]:
        """Compute a product in half precision; its readers get the result cast to f32."""
        operands = [self.twin(v) if v is not None and v.dtype == f32 else v for v in node.operands]
        made = self.graph.insert(node.op, operands, node.attrs, node.provenance)
        wide = Builder(self.graph, node.provenance).cast(made, dtype=f32)
        self.graph.replace(node.result, wide)
        return [wide]

    def twin(self, value: Value) -> Value:
        """A value rounded to half precision: if view ops alone made it of halves, the same view ops on those halves."""
        pending = [value]
        while pending:
            current = pending[-1]
            source = self._widened(current)
            if current in self._twins:
                pending.pop()
            elif source is not None:
                self._twins[current] = source
            elif not isinstance(current, Result) or not self._moves_halves(current.node):
                self._twins[current] = self._rounded(current)
            elif left := [v for v in current.node.inputs if v not in self._twins]:
                pending += reversed(left)
            else:
                node = current.node
                made = self.graph.insert(node.op, [self._twins[v] for v in node.inputs], node.attrs, node.provenance)
                self._twins.update(zip(node.results, made if isinstance(made, tuple) else (made,)))
        return self._twins[value]

    def _moves_halves(self, node: Node) -> bool:
        """Whether a node, and view ops before it, only move results of products in halves."""
        pending, seen = [node], {node}
        while pending:
            mover = pending.pop()
            if mover in self._movers:
                continue
            if not _moves(mover) or mover in self.parameter_only:
                return False
            for operand in mover.inputs:
                if self._widened(operand) is None:
                    if not isinstance(operand, Result):
                        return False
                    if operand.node not in seen:
                        seen.add(operand.node)
                        pending.append(operand.node)
        self._movers |= seen
        return True

    def _widened(self, value: Value) -> Value | None:
        """The half-precision value that a value was cast from, or None."""
        if isinstance(value, Result) and value.node.op.name == "cast" and value.node.inputs[0].dtype == self.half:
            return value.node.inputs[0]
        return None

    def _rounded(self, value: Value) -> Value:
        b = Builder(self.graph, value.node.provenance if isinstance(value, Result) else NOWHERE)
        made: Value = b.cast(value, dtype=self.half)
        if is_prepared(value, self.parameter_only) and isinstance(made, Result):
            self.parameter_only.add(made.node)
        return made


def _moves(node: Node) -> bool:
    """Whether round(f(x)) = f(round(x)), since the node only moves elements."""
    return node.op.traits.view is not None


def _movers(values: Sequence[Value]) -> list[Node]:
    """The casts and view ops behind values, which may have no reader left."""
    found: dict[Node, None] = {}
    pending = [v.node for v in values if isinstance(v, Result)]
    while pending:
        node = pending.pop()
        if node not in found and (_moves(node) or node.op.name == "cast"):
            found[node] = None
            pending += [v.node for v in node.inputs if isinstance(v, Result)]
    return list(found)

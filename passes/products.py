"""Products with a parameter-only weight, in all variants: linear(x, W), matmul(x, W), each with a bias added after it."""

from __future__ import annotations

from dataclasses import dataclass

from passes.matching import Miss
from passes.rewriting import current_report
from tgraph.ir.analysis import is_prepared
from tgraph.ir.builder import Builder
from tgraph.ir.graph import Graph
from tgraph.ir.location import Provenance
from tgraph.ir.values import Node, Value

PROJECTIONS = ("linear", "matmul")  # the ops that compute a product with a weight


@dataclass(frozen=True)
class Projection:
    """x W^T + b, computed by `nodes`, the last one first. `transposed`: `weight` is [in, out], as in a `matmul`."""

    x: Value
    weight: Value
    bias: Value | None
    transposed: bool
    nodes: tuple[Node, ...]

    @property
    def result(self) -> Value:
        return self.nodes[0].result

    @property
    def provenance(self) -> Provenance:
        return Provenance.merge(n.provenance for n in reversed(self.nodes))

    def weight_rows(self, b: Builder) -> Value:
        """The weight as [out, in]."""
        made: Value = b.transpose(self.weight) if self.transposed else self.weight
        return made


def projection(graph: Graph, node: Node, parameter_only: set[Node]) -> Projection | str:
    """The projection that a `linear` or `matmul` computes, with a bias that is added after it; or the reason why it is none."""
    x, weight = node.operands[:2]
    assert x is not None and weight is not None
    bias = node.operands[2] if node.op.name == "linear" else None
    if not is_prepared(weight, parameter_only):
        return "the weight is not known before the inputs"
    if bias is not None and not is_prepared(bias, parameter_only):
        return "the bias is not known before the inputs"
    if weight.type.rank != 2:
        return f"the weight has rank {weight.type.rank}, not 2"
    if is_prepared(x, parameter_only):
        return "the product does not depend on an input"
    found = Projection(x, weight, bias, node.op.name == "matmul", (node,))
    added = added_bias(graph, node, parameter_only) if bias is None else None
    return found if added is None else Projection(x, weight, added[1], found.transposed, (added[0], node))


def added_bias(graph: Graph, product: Node, parameter_only: set[Node]) -> tuple[Node, Value] | None:
    """The `add` that alone reads a product, and the parameter-only bias [columns] that it adds; None if there is none."""
    if len(product.result.uses) != 1 or graph.is_output(product.result):
        return None
    user = product.result.users[0]
    if user.op.name != "add":
        return None
    other = user.inputs[1] if user.inputs[0] is product.result else user.inputs[0]
    fits = other.type.rank == 1 and other.shape == product.result.shape[-1:]
    return (user, other) if fits and is_prepared(other, parameter_only) else None


def missed(rule: str, root: Node, reason: str, matched: int = 1) -> None:
    """Report why a rule in plain code did not apply at a node."""
    current_report().missed(Miss(rule, root, matched, root, reason))

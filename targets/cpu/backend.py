"""The CPU: products read weights in panels, kernels become machine code through LLVM."""

from __future__ import annotations

from targets.base.backend import Backend
from targets.base.target import Target
from targets.base.tvm_api import T, int64
from targets.cpu.build import build
from targets.cpu.emitters import FAMILIES, pointwise
from targets.cpu.emitters.linear import panels_for
from targets.cpu.emitters.quantized import integer_tile
from targets.lowering import canonical
from tgraph.ir.graph import Graph
from tgraph.ir.values import Node, Result


def _arrange(graph: Graph, target: Target) -> None:
    canonical.products_to_linear(graph)
    canonical.pack_weights(graph, lambda dtype: panels_for(target, dtype))
    integers = integer_tile(target)
    canonical.pack_integers(graph, integers.columns, integers.dot.group, integers.dot.unsigned)


def _accepts(node: Node) -> bool:
    if node.op.name in ("linear", "integer_linear"):
        weight = canonical.narrow(node.inputs[1])
        return isinstance(weight, Result) and weight.node.op.name == "unpack_panels"
    return True


BACKEND = Backend(FAMILIES, pointwise.emit, lambda extent: T.serial(int64(0), extent), _arrange, _accepts, build)

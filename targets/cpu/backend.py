"""The CPU: products read weights in panels, kernels become machine code through LLVM."""

from __future__ import annotations

from targets import canonical
from targets.backend import Backend
from targets.kernels.cpu.families import FAMILIES, pointwise
from targets.kernels.cpu.families.linear import panels_for
from targets.kernels.cpu.families.quantized import integer_tile
from targets.target import Target
from targets.tvm_api import IRModule, T, int64, llvm_target, relax, relax_passes, tvm
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


def _build(module: IRModule, target: Target) -> relax.VMExecutable:
    where = llvm_target(target.mcpu, target.changes)
    return tvm.compile(module, target=where, relax_pipeline=tvm.transform.Sequential(relax_passes()))


BACKEND = Backend(FAMILIES, pointwise.emit, lambda extent: T.serial(int64(0), extent), _arrange, _accepts, _build)

"""GPUs of NVIDIA: products read weights as checkpoints have them, kernels become machine code through CUDA source."""

from __future__ import annotations

from targets.base.backend import Backend
from targets.base.target import Target
from targets.codegen.attention import ATTENTION
from targets.codegen.vector_math import by_cuda
from targets.cuda.build import build
from targets.cuda.emitters import FAMILIES, attention, pointwise
from targets.cuda.kernels.device import each
from targets.lowering import canonical
from tgraph.ir.graph import Graph
from tgraph.ir.values import Node


def _arrange(graph: Graph, target: Target) -> None:
    canonical.products_to_linear(graph)


def _accepts(node: Node) -> bool:
    return node.op.name not in ATTENTION or attention.fits(node)


BACKEND = Backend(FAMILIES, pointwise.emit, each, _arrange, _accepts, build, by_cuda, "local")

"""The backend of NVIDIA's GPUs."""

from __future__ import annotations

from collections.abc import Mapping

from passes.base import Pass
from targets.base.backend import Backend, Emitters
from targets.base.target import Target
from targets.base.tvm_api import IRModule, relax
from targets.codegen.access import READ, reads, repeats
from targets.codegen.attention import suits_kernels
from targets.codegen.scalar import SCALAR
from targets.codegen.vector_math import by_cuda
from targets.cuda import levels
from targets.cuda.build import build
from targets.cuda.compilers import compiler
from targets.cuda.emitters import FAMILIES, attention, pointwise
from targets.cuda.engine import CudaEngine
from targets.cuda.kernels.device import each
from targets.cuda.machine import gpu_arch
from targets.cuda.pack_recurrent import PackRecurrent
from targets.cuda.resources import ResourceTable
from targets.cuda.runtime import host_arch, problem, runs
from targets.cuda.triton import binary as triton
from targets.cuda.weights import DeviceWeights
from targets.lowering.lower import Lowered
from targets.lowering.pipeline import to_kernels
from targets.lowering.products_to_linear import ProductsToLinear
from targets.lowering.stages import Plan
from targets.runtime.engine import Engine
from targets.runtime.library import Library
from tgraph.ir.program import Program
from tgraph.ir.values import Node


class CudaBackend(Backend):
    """GPUs: products read weights as checkpoints have them, kernels become machine code through CUDA source."""

    kind = "cuda"
    emitters = Emitters(FAMILIES, pointwise.emit, each, reads, repeats, by_cuda, "local", (SCALAR, READ))
    half_activations = True
    loads_libraries = False  # one that is saved may not be loaded on a machine without a GPU
    levels = levels.LEVELS

    def parse(self, detail: str) -> Target:
        return Target(self.kind, arch=gpu_arch(detail))

    def obstacle(self, target: Target) -> str:
        here = host_arch()
        if not here:
            return str(problem())
        return "" if runs(target.arch, here) else f"this machine's GPU is cuda:{here}, which does not run its code"

    def lowering(self, target: Target) -> list[Pass]:
        return to_kernels(target, [ProductsToLinear(), PackRecurrent()])

    def accepts(self, node: Node) -> bool:
        return not node.op.traits.attention or (suits_kernels(node) and attention.fits(node))

    def fastest_first(self, target: Target) -> list[tuple[str, str]]:
        return [("f16", "f32"), ("bf16", "f32"), ("f32", "f32")]  # tensor cores take halves of either kind at one rate

    def facts(self, target: Target) -> dict[str, str]:
        return {"CUDA compiler": compiler().name, "Triton": triton.state() if triton.available(target) else "none"}

    def build(self, module: IRModule, target: Target) -> relax.VMExecutable:
        return build(module, target)

    def engines(self, program: Program, target: Target, plans: Mapping[str, Plan], library: Library | None) -> dict[str, Engine]:
        assert library is not None
        weights = DeviceWeights()
        return {name: CudaEngine(graph, plans[name], library, target.arch, weights) for name, graph in program.graphs.items()}

    def source(self, lowered: Lowered, level: str) -> str:
        return levels.text(lowered, level)

    def library_source(self, library: Library, level: str) -> str | None:
        return levels.library_sass(library) if level == "sass" else None

    def resources(self, lowered: Lowered) -> ResourceTable:
        return levels.resources(lowered)


BACKEND = CudaBackend()

"""The CPU's backend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from passes.base import Pass
from targets.base.backend import Backend, Emitters
from targets.base.schedules import load_schedules, schedule_file
from targets.base.target import Target
from targets.base.tvm_api import IRModule, T, host_features, int64, relax
from targets.base.yardstick import Yardstick
from targets.codegen.access import READ, reads, repeats
from targets.codegen.attention import suits_kernels
from targets.codegen.scalar import SCALAR
from targets.cpu import tile_permission
from targets.cpu.build import build
from targets.cpu.emitters import FAMILIES, READ_PANELS, pointwise
from targets.cpu.engine import CpuEngine
from targets.cpu.instruction_sets import refused
from targets.cpu.machine import cpu_target, missing_on_host
from targets.cpu.pack_weights import PackWeights
from targets.cpu.precision import fastest_first, not_faster
from targets.lowering.canonical import in_panels, packed
from targets.lowering.pipeline import to_kernels
from targets.lowering.products_to_linear import ProductsToLinear
from targets.lowering.stages import Plan
from targets.runtime.engine import Engine
from targets.runtime.library import Library
from tgraph.ir.program import Program
from tgraph.ir.values import Node


class CpuBackend(Backend):
    """CPUs: products read weights in panels, kernels become machine code through LLVM."""

    kind = "cpu"
    oldest = ", such as cpu:x86-64-v3"
    emitters = Emitters(FAMILIES, pointwise.emit, lambda extent: T.serial(int64(0), extent), reads, repeats,
                        tables=(SCALAR, READ))

    def parse(self, detail: str) -> Target:
        target = cpu_target(detail)
        return replace(target, schedules=load_schedules(schedule_file(target.name)))

    def missing(self, target: Target) -> frozenset[str]:
        return missing_on_host(target)

    def refused(self, missing: frozenset[str]) -> str:
        return tile_permission.refusal() if missing & refused(host_features()) else ""

    def lowering(self, target: Target) -> list[Pass]:
        return to_kernels(target, [ProductsToLinear(), PackWeights(str(target))])

    def accepts(self, node: Node) -> bool:
        if FAMILIES[node.op.name] in READ_PANELS:
            return in_panels(packed(node.inputs[1]))
        return not node.op.traits.attention or suits_kernels(node)

    def no_faster(self, target: Target, precision: str) -> str:
        return not_faster(target, precision)

    def fastest_first(self, target: Target) -> list[tuple[str, str]]:
        return fastest_first(target)

    def build(self, module: IRModule, target: Target) -> relax.VMExecutable:
        return build(module, target)

    def probe(self, target: Target, threads: int) -> Yardstick | None:
        from targets.cpu.probe import measure

        return measure(target, threads, tries=3)

    def rates(self, target: Target, threads: int) -> dict[str, float]:
        from targets.cpu.probe import peaks

        return peaks(target, threads, tries=5)

    def engines(self, program: Program, target: Target, plans: Mapping[str, Plan], library: Library | None) -> dict[str, Engine]:
        assert library is not None
        return {name: CpuEngine(graph, plans[name], library, target) for name, graph in program.graphs.items()}


BACKEND = CpuBackend()

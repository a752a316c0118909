"""A target of one's own: portable C, compiled by whatever C compiler a machine has.

    python examples/own_target.py
    tgraph --plugin examples/own_target.py targets
    tgraph --plugin examples/own_target.py check bert-tiny --target c

It takes the CPU's kernels without their vectors, and TVM's generator of C. A target is a Backend: which machines there are, the
passes down to a graph of kernel calls, the emitters of kernels, the code, and what runs it.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tvm.tirx import compilation_pipeline
from tvm.tirx.op import call_pure_extern, register_intrin_lowering

import tgraph as tg
from passes.base import Pass, register_pass
from targets.base.target import Target
from targets.base.tvm_api import IRModule, PrimFunc, relax, relax_passes, tvm
from targets.codegen.lanes import without_vectors
from targets.cpu.backend import CpuBackend
from targets.cpu.build import pipeline
from targets.cpu.emitters import FAMILIES
from targets.lowering.lower import Lowered
from targets.lowering.pipeline import to_kernels
from tgraph import nn
from tgraph.ir.builder import Builder
from tgraph.ir.graph import Graph

PIPELINE = "portable_c"
KERNELS = ("reduce_sum", "reduce_mean", "reduce_max", "reduce_min", "reduce_prod", "argmax", "cumsum")  # the rest is decomposed
# what TVM's generator writes for numbers that C spells otherwise
HEADER = "#include <math.h>\n#define inff INFINITY\n#define nanf NAN\n#define inf ((double)INFINITY)\n#define nan ((double)NAN)\n"
compilation_pipeline.register_tir_pipeline(PIPELINE, lambda: pipeline("c++"))
register_intrin_lowering("tirx.fabs", target="c", f=lambda x: call_pure_extern(
    x.ty.dtype, "fabsf" if x.ty.dtype == "float32" else "fabs", *x.args))


@register_pass
@dataclass(frozen=True)
class ProductsToSums(Pass):
    """x W = sum over k of x[m, k] W[k, n]: a reduction, which reads the products as it adds them."""

    effect = "rounds"

    def apply(self, graph: Graph) -> None:
        for node in graph.nodes:
            if node.op.name == "matmul":
                b = Builder(graph, node.provenance)
                x, w = node.inputs
                products = b.mul(b.unsqueeze(x, axes=(-1,)), b.unsqueeze(w, axes=(-3,)))
                graph.replace(node.result, b.reduce_sum(products, axes=(-2,)))
                graph.erase(node)


class PortableC(CpuBackend):
    """The CPU's kernels as C."""

    kind = "c"
    summary = "portable C, compiled by this machine's C compiler"
    levels = ("c",)
    emitters = replace(CpuBackend.emitters, families={op: emit for op, emit in FAMILIES.items() if op in KERNELS})

    def parse(self, detail: str) -> Target:
        return Target(self.kind)

    def missing(self, target: Target) -> frozenset[str]:
        return frozenset()

    def lowering(self, target: Target) -> list[Pass]:
        return to_kernels(target, [ProductsToSums()])

    def build(self, module: IRModule, target: Target) -> relax.VMExecutable:
        functions = {name: without_vectors(f) if isinstance(f, PrimFunc) else f for name, f in module.functions.items()}
        return tvm.compile(IRModule(functions), target=tvm.target.Target("c"), tir_pipeline=PIPELINE,
                           relax_pipeline=tvm.transform.Sequential(relax_passes()))

    def image(self, lowered: Lowered) -> np.ndarray:
        with tempfile.TemporaryDirectory() as folder:
            header, library = Path(folder) / "numbers.h", Path(folder) / "library.so"
            header.write_text(HEADER)
            options = ["-O3", "-include", str(header)]
            lowered.executable.export_library(str(library), cc=os.environ.get("CC", "cc"), options=options)
            return np.fromfile(library, np.uint8)

    def source(self, lowered: Lowered, level: str) -> str:
        return str(lowered.executable.mod.imports[0].inspect_source("c"))


tg.targets.register_backend(PortableC())

if __name__ == "__main__":
    B, S = tg.dims("B S")
    graph = tg.trace(nn.EncoderLayer(64, heads=4, hidden=128), x=tg.f32[B, S, 64], mask=tg.bool_[B, S])
    executable = tg.compile(graph, "c")
    print(executable, tg.check(executable), sep="\n")
    with tempfile.TemporaryDirectory() as folder:
        executable.save(Path(folder) / "layer.tgc")
        print(tg.load(Path(folder) / "layer.tgc"))
    print(executable.source("c")[-400:])

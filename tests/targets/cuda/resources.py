"""What all ops and models become for a GPU; `python -m tests.targets.cuda.resources` prints the full table, without a GPU;
`... resources sm_90 f16 bf16` a part of it."""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import tgraph as tg
from targets.cuda.resources import Resources
from tests.cuda.test_models import RAGGED, Heads, model
from tests.targets.test_lowering import BATCHES, joint
from tgraph.ir.values import Node
from tgraph.models.bert import Bert
from tgraph.models.transformer import Transformer

ARCHITECTURES, PRECISIONS = ("sm_80", "sm_90"), ("f32", "f16", "bf16")
PRODUCTS = {"linear", "matmul", "attention", "ragged_attention"}
_KERNEL = re.compile(r'extern "C" __global__ void (?:__launch_bounds__\([^)]*\) )?(\w+)\(')
LEAST = 64  # columns and depth from which a product of halves is for tensor cores


@dataclass(frozen=True)
class Compiled:
    """One graph for one GPU: its kernels' resources, and those kernels of products in halves that use no tensor core."""

    name: str
    arch: str
    precision: str
    kernels: list[Resources]
    products: int
    without_tensor_cores: list[str]

    @property
    def spilled(self) -> list[Resources]:
        return [k for k in self.kernels if k.spilled]


def graphs() -> Iterator[tuple[str, tg.Graph, str | None]]:
    """Names, graphs, and passes (None: those of O3)."""
    yield from ((name, joint(samples), "") for name, samples in BATCHES)
    yield "Bert", model(Heads), None
    yield "Transformer", model(Transformer), None
    yield "Bert without padding", model(Bert), RAGGED


def compiled(name: str, graph: tg.Graph, passes: str | None, arch: str, precision: str) -> Compiled:
    exe = tg.compile(graph, f"cuda:{arch}", passes=passes, precision=precision, cache=False)
    wide = [symbol for symbol, function in exe.kernels.functions.items() if any(map(_wide, function.nodes))]
    parts = _KERNEL.split(exe.source("cuda")) if wide else []
    fast = [name for name, body in zip(parts[1::2], parts[2::2]) if "tg_mma_" in body]
    lacking = [symbol for symbol in wide if not any(name.startswith(f"kernel_{symbol}_") for name in fast)]
    return Compiled(name, arch, precision, list(exe.resources()), len(wide), lacking)


def _wide(node: Node) -> bool:
    """Whether a node is a product in halves that is large enough for tensor cores."""
    if node.op.name not in PRODUCTS or node.inputs[0].dtype.bits != 16 or not node.inputs[0].dtype.is_float:
        return False
    if "attention" in node.op.name:
        return True
    n, k = node.result.shape[-1], node.inputs[0].shape[-1]
    return isinstance(n, int) and isinstance(k, int) and n >= LEAST and k >= LEAST


def main(chosen: Sequence[str] = ()) -> int:
    """Prints a line for each that is chosen; gives 1 if a kernel spills or a product lacks tensor cores."""
    architectures, precisions = ([c for c in known if c in chosen] or known for known in (ARCHITECTURES, PRECISIONS))
    print(f"{'graph':<28} {'for':<6} {'in':<5} {'kernels':>7} {'registers':>9} {'spilled':>7} {'products':>8} {'no mma':>6}")
    bad = 0
    for (name, graph, passes), arch, precision in itertools.product(list(graphs()), architectures, precisions):
        found = compiled(name, graph, passes, arch, precision)
        most = max((k.registers for k in found.kernels), default=0)
        print(f"{name:<28} {arch:<6} {precision:<5} {len(found.kernels):>7} {most:>9} {len(found.spilled):>7} "
              f"{found.products:>8} {len(found.without_tensor_cores):>6}", flush=True)
        for kernel in found.spilled:
            print(f"  {kernel.kernel} spills {kernel.spilled} bytes")
        for symbol in found.without_tensor_cores:
            print(f"  {symbol} has no tensor-core instruction")
        bad += len(found.spilled) + len(found.without_tensor_cores)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

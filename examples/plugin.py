"""An op, a pass and two kernels of one's own, in a file outside of tgraph.

    tgraph --plugin examples/plugin.py ops hard_swish
    python examples/plugin.py
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import targets
import tgraph as tg
from passes import Pass, register_pass
from targets.base.tvm_api import int64, tirx
from targets.codegen.anchor import epilogue, find_anchor
from targets.cpu.emitters.pointwise import parallel_loop
from tgraph.ir.builder import Builder


@tg.op(elementwise=True)
def hard_swish(x: tg.TensorType) -> tg.TensorType:
    """x min(max(x + 3, 0), 6) / 6 (arXiv:1905.02244)."""
    return x


@hard_swish.reference
def _(x):
    return x * np.clip(x + 3, 0, 6) / 6


@hard_swish.decomposition
def _(b, x):
    return b.div(b.mul(x, b.clip(b.add(x, 3.0), min=0.0, max=6.0)), 6.0)


@targets.scalar_kernel("hard_swish")
def _(x):
    """One expression: every kernel can have it in its epilogue."""
    number = lambda value: tirx.const(value, "float32")
    return x * tirx.Max(tirx.Min(x + number(3.0), number(6.0)), number(0.0)) * number(1 / 6)


@tg.op(along=-1)
def reverse(x: tg.TensorType) -> tg.TensorType:
    """The last axis backwards: y[..., i] = x[..., n - 1 - i]."""
    return x


@reverse.reference
def _(x):
    return x[..., ::-1]


@targets.kernel("reverse")
def _(builder, target):
    """A kernel with loops of its own."""
    node = find_anchor(builder, "reverse")
    x, finish = node.inputs[0], epilogue(builder, node)
    rows, columns = x.type.size // x.shape[-1], x.shape[-1]

    def row(r):
        with targets.base.tvm_api.T.serial(int64(0), builder.size(columns)) as j:
            last = builder.size(columns) - int64(1)
            finish(((rows, r), (columns, j)), builder.access.load(x, ((rows, r), (columns, last - j))))

    parallel_loop(builder.size(rows), builder.size(x.type.size), row)


@register_pass
@dataclass(frozen=True)
class SwishToHardSwish(Pass):
    """silu(x) = hard_swish(x), roughly."""

    effect = "changes-meaning"

    def apply(self, graph: tg.Graph) -> None:
        for node in [n for n in graph.nodes if n.op.name == "silu"]:
            graph.replace(node.result, Builder(graph, node.provenance).hard_swish(node.inputs[0]))
            graph.erase(node)


if __name__ == "__main__":
    B, S = tg.dims("B S")
    graph = tg.trace(lambda x: tg.reverse(tg.silu(x) + 1.0), x=tg.f32[B, S])
    hard = tg.optimize(graph, "swish-to-hard-swish")
    print(hard)
    assert tg.parse(str(hard)) == hard
    print(tg.check(tg.compile(hard)))

"""Whether all that has a kernel of its own in a model is in one: attention, normalisations, activations."""

from __future__ import annotations

from collections import Counter

import tgraph as tg
from tgraph.ir.graph import Node
from tgraph.ir.values import Parameter

COMPOSITE = ("attention", "layer_norm", "rms_norm", "gelu", "silu", "rotary")
PARTS = ("softmax", "exp", "erf", "sqrt", "rsqrt", "reduce_mean")  # what these are made of


def assert_fused(exe: tg.Executable, traced: tg.Graph) -> None:
    """The kernels compute each composite op of the traced model as often as it has it, and nothing that such an op is made of."""
    wanted = Counter(node.op.name for node in traced.nodes if node.op.name in COMPOSITE and not of_parameters(node))
    found: Counter[str] = Counter()
    for kernel in exe.explain():
        assert kernel.kernel != "(not built)" and not set(kernel.ops) & set(PARTS), kernel
        for op in kernel.ops:
            if op in COMPOSITE:
                found[op] += kernel.calls
    assert wanted == found


def of_parameters(node: Node) -> bool:
    """Whether an op is applied to parameters alone, so that it runs before all calls."""
    return all(isinstance(value, Parameter) for value in node.operands if value is not None)

"""How wide the weights are that products read, in a graph of kernel calls; and what an executable keeps of them."""

from __future__ import annotations

from collections import Counter

import tgraph as tg
from targets.lowering.canonical import packed
from tgraph.ir.values import Input, Node, Result, Value


def weight_bits(kernels: tg.Graph) -> Counter[tuple[str, int]]:
    """How often a product of a kind reads weights of so many bits an element: {("linear", 4): 12, ("integer_linear", 8): 2}.

    A product of two values that are computed in every call has none.
    """
    found: Counter[tuple[str, int]] = Counter()
    for call in (n for n in kernels.nodes if "function" in n.attrs):
        function = call.attrs["function"]
        for node in function.nodes:
            if node.op.contract is None or node.op.traits.attention:
                continue
            stored = _stored(node.inputs[1])
            if stored is None:
                continue
            source = call.inputs[function.inputs.index(stored)]
            if not isinstance(source, Input) and not (isinstance(source, Result) and "function" in source.node.attrs):
                found[node.op.name, _bits(node, stored)] += 1
    return found


def _stored(weight: Value) -> Input | None:
    """The operand of the kernel that a product's weight is read from, through panels and views."""
    value = packed(weight)
    while isinstance(value, Result) and value.node.op.traits.view is not None:
        value = value.node.inputs[0]
    return value if isinstance(value, Input) else None


def _bits(node: Node, stored: Input) -> int:
    """The bits of one weight: those of an integer within a byte, or of the element that is stored."""
    weight = node.inputs[1]
    if isinstance(weight, Result) and weight.node.op.name == "dequantize":
        return int(weight.node.attrs["bits"])
    return stored.dtype.bits


def prepared_bytes(exe: tg.Executable) -> Counter[str]:
    """The bytes that an executable keeps of weights, by element type."""
    found: Counter[str] = Counter()
    for _, value in exe.prepare.outputs:
        found[value.dtype.name] += int(value.type.nbytes)  # type: ignore[arg-type]
    return found

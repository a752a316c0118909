"""Kernel calls taken apart: the nodes that one stands for, where they come from, and an estimate of the time of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from targets.base.yardstick import Yardstick
from targets.codegen.signature import function_symbols
from targets.lowering.stages import call_sizes
from tgraph.ir.dims import evaluate
from tgraph.ir.graph import Graph
from tgraph.ir.location import Provenance
from tgraph.ir.traffic import bytes_by_node
from tgraph.ir.values import Node

NOMINAL = Yardstick(peak=10.0, bandwidth=1.0, threads=1)  # whose proportion is a machine's, where nothing is measured
NARROW = {"i8": "i8", "u8": "i8", "bf16": "bf16"}  # types that machines have instructions for, by that of a factor


@dataclass(frozen=True)
class NodeTime:
    """A node of a kernel call, and its part of the call's time.

    share: from 0 to 1; where a call has several nodes it is estimated, in proportion to the least time that the roofline
    allows each of them: max(flops / peak, bytes / bandwidth). bytes: those that enter or leave the kernel by this node.
    where: lines of the user's code. multiplies: of a product of bf16 or 8-bit integers which, "bf16" or "i8"; else "".
    """

    op: str
    scope: str
    where: str
    share: float
    flops: int
    bytes: int
    multiplies: str = ""

    @property
    def narrow(self) -> dict[str, int]:
        """The operations of products of a narrow type, by type."""
        return {self.multiplies: self.flops} if self.multiplies else {}


def multiplies(node: Node) -> str:
    """The narrow type that a node's products are of; "" for none."""
    return NARROW.get(str(node.inputs[0].dtype), "") if node.op.contract is not None else ""


def nodes_of(graph: Graph, call: Node, sizes: Mapping[str, int], origins: Origins, best: Yardstick | None) -> list[NodeTime]:
    """The nodes of a call of a kernel, or of a node that runs on the host, which is its own only one."""
    function = call.attrs.get("function")
    if not isinstance(function, Graph):
        nbytes = evaluate(call.nbytes, sizes)
        return [NodeTime(call.op.name, call.provenance.scope, _where(call.provenance), 1.0, evaluate(call.flops, sizes), nbytes)]
    inner = dict(zip(function_symbols(function), (evaluate(size, sizes) for size in call_sizes(graph, call))))
    traffic = bytes_by_node(function, inner)
    nodes = function.nodes
    flops = [evaluate(node.flops, inner) for node in nodes]
    parts = [NodeTime(node.op.name, origin.scope, _where(origin), 1.0, count, traffic[node], multiplies(node))
             for node, count, origin in zip(nodes, flops, origins.of(call))]
    shares = split([(best or NOMINAL).least_seconds(part.flops, part.bytes, part.narrow) for part in parts])
    return [replace(part, share=share) for part, share in zip(parts, shares)]


def split(weights: Sequence[float]) -> list[float]:
    """Shares in proportion to weights; equal ones if all are zero."""
    total = sum(weights)
    return [w / total for w in weights] if total else [1 / len(weights)] * len(weights)


class Origins:
    """Where the nodes of each call come from.

    Equal groups of nodes share one function, whose nodes keep the scopes of the group that it was made of. The scopes of a call
    stand in the same order as those of that group, so that the n-th of one is the n-th of the other.
    """

    def __init__(self, calls: Iterable[Node]):
        self._scopes: dict[str, tuple[str, ...]] = {}  # by function, those of the group that it was made of
        for call in calls:
            function = call.attrs.get("function")
            if isinstance(function, Graph) and function.name not in self._scopes:
                own = {scope for node in function.nodes for scope in node.provenance.scopes}
                if own == set(call.provenance.scopes):
                    self._scopes[function.name] = call.provenance.scopes

    def of(self, call: Node) -> list[Provenance]:
        """The origin of each node of the function that a call applies; that of the whole call where it cannot be told apart."""
        function: Graph = call.attrs["function"]  # type: ignore[assignment]
        whole, known = call.provenance, self._scopes.get(function.name, ())
        here = dict(zip(known, whole.scopes)) if len(known) == len(whole.scopes) else {}
        lines = set(whole.locations)
        found = []
        for node in function.nodes:
            scopes = tuple(here[s] for s in node.provenance.scopes if s in here)
            locations = tuple(line for line in node.provenance.locations if line in lines)
            found.append(Provenance(scopes or whole.scopes, locations or whole.locations))
        return found


def _where(origin: Provenance) -> str:
    return ", ".join(str(location) for location in origin.locations)

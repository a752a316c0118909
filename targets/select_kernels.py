"""The last graph pass: groups of nodes become calls of kernels, `call $linear_gelu(...)`.

First every anchor (a product, attention, a normalisation, a reduction) takes along what follows it element by element and what
its family can read on the fly; then what is left over is fused into pointwise kernels. Equal groups share a function.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from passes.dce import Dce
from passes.inline import Inline
from passes.outline import Functions, outline
from targets import canonical
from targets.backend import Backend, backend_of
from targets.kernels.access import READ
from targets.kernels.attention import ATTENTION
from targets.kernels.scalar import SCALAR
from targets.stages import DECIDE, can_stay
from targets.target import Target
from tgraph.ir.analysis import arranged, is_convex, prepared
from tgraph.ir.errors import CompileError
from tgraph.ir.graph import Graph
from tgraph.ir.values import Node, Result, Value

LONGEST = 12  # nodes that an anchor takes along after itself
VIEWS = canonical.VIEWS | canonical.CREATED
# what the families of products read on the fly: attention reads each element once, or once a block of queries
READABLE = {"linear": VIEWS, "matmul": VIEWS, **dict.fromkeys(ATTENTION, VIEWS | {"rotary", "cast"})}
MOVED = {"reshape", "squeeze", "unsqueeze", "transpose"}  # views that an anchor's family can write through


@dataclass(frozen=True)
class Grouping:
    """One graph on its way into kernels.

    `taken` are the nodes that belong to one, `ready` the prepare part, `hosted` what the host runs.
    """

    graph: Graph
    backend: Backend
    ready: set[Node]
    taken: set[Node]
    hosted: set[Node]

    def kernel(self, anchor: Node) -> set[Node]:
        """The nodes that go into the anchor's kernel."""
        group = {anchor}
        family = anchor.op.name
        for value in anchor.inputs:
            self._take_producers(value, group, READABLE.get(family))
        if len(anchor.results) == 1:
            self._take_followers(anchor, group, views=family in ATTENTION)
        return group

    def pointwise(self, root: Node) -> set[Node]:
        """The nodes that go into one loop with `root`, the last of them."""
        group = {root}
        for value in root.inputs:
            self._take_producers(value, group)
        return group

    def _free(self, node: Node) -> bool:
        return node not in self.taken and node not in self.ready and node not in self.hosted

    def _take_producers(self, value: Value, group: set[Node], names: Collection[str] | None = None) -> None:
        """Take the nodes behind a value that can be read on the fly and nothing else reads; with `names`, these ops only."""
        if not isinstance(value, Result) or value.node in group or not self._free(value.node):
            return
        node = value.node
        readable = (node.op.elementwise or node.op.name in READ) if names is None else (
            node.op.name in names or canonical.widens(node))
        alone = len(node.results) == 1 and not self.graph.is_output(value) and set(value.users) <= group
        if readable and alone and node.op.name not in self.backend.families:
            group.add(node)
            for operand in node.inputs:
                self._take_producers(operand, group, names)

    def _take_followers(self, anchor: Node, group: set[Node], views: bool) -> None:
        value: Value = anchor.result
        for _ in range(LONGEST):
            users = value.users
            if len(users) != 1 or self.graph.is_output(value) or not self._free(users[0]):
                return
            user = users[0]
            elementwise = user.op.elementwise and user.result.shape == value.shape
            if not elementwise and not (views and user.op.name in MOVED):
                return
            if not is_convex(self.graph, {*group, user}):
                return
            group.add(user)
            for operand in user.inputs:
                if operand is not value:
                    self._take_producers(operand, group, VIEWS)
            value = user.result


def select_kernels(graph: Graph, target: Target) -> Graph:
    """A graph whose nodes are calls of kernels, nodes of the prepare part, and those that the host runs."""
    result = graph.copy()
    Inline().apply(result)
    backend = backend_of(target)
    backend.arrange(result, target)
    canonical.decompose(result, lambda node: _has_kernel(node, backend))
    backend.arrange(result, target)  # products that came out of compositions
    canonical.split_to_slices(result)
    Dce().apply(result)
    canonical.copy_views(result)
    hosted = {n for n in result.nodes if n.op.name in DECIDE and not (n.op.name in backend.families and can_stay(result, n))}
    grouping = Grouping(result, backend, prepared(result, canonical.KERNEL_READS), set(), hosted)
    groups: list[set[Node]] = []
    for node in result.nodes:
        if node.op.name in backend.families and node not in grouping.ready and node not in hosted:
            groups.append(grouping.kernel(node))
            grouping.taken.update(groups[-1])
    for node in reversed(result.nodes):
        if node not in grouping.taken and node not in grouping.ready and node not in hosted:
            if not (node.op.elementwise or node.op.name in READ):
                raise CompileError(f"op {node.op.name} has neither a kernel nor a decomposition for target {target}; "
                                   f"give it one with @{node.op.name}.decomposition")
            groups.append(grouping.pointwise(node))
            grouping.taken.update(groups[-1])
    functions: Functions = {}
    for group in groups:
        outline(result, group, _name(result, group), functions)
    result.prune()
    return result


def _has_kernel(node: Node, backend: Backend) -> bool:
    name = node.op.name
    if name in ATTENTION and not _suits_kernels(node):
        return False
    if name in backend.families:
        return backend.accepts(node)
    return name in READ or (node.op.elementwise and name in SCALAR)


def _suits_kernels(attention: Node) -> bool:
    """They compute in f32, with rows of known sizes."""
    return attention.inputs[0].dtype.name != "f64" and all(isinstance(v.shape[-1], int) for v in attention.inputs[:3])


def _name(graph: Graph, group: set[Node]) -> str:
    """The ops that compute something, in order: `linear_gelu_add`."""
    silent = canonical.VIEWS | canonical.CREATED | {"cast", "concat"}
    names = [n.op.name for n in arranged(graph, group)]
    shown = [n for n in names if n not in silent] or names
    return "_".join(dict.fromkeys(shown[:5])) + ("_etc" if len(shown) > 5 else "")

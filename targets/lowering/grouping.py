"""Which nodes go into one kernel: an anchor or a last node, what it reads on the fly, and what follows element by element.

A kernel computes each of its nodes once for an element of its result, if all that read it read it at one index. What is read at
several, or computed again for many elements of the result (because it is broadcast, or looked up), joins only if it is
cheaper made than read; else it gets a kernel of its own. So compile time is linear in nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from targets.base.backend import Emitters
from targets.lowering import canonical
from tgraph.ir.analysis import is_convex
from tgraph.ir.dims import compare
from tgraph.ir.graph import Graph
from tgraph.ir.values import Node, Result, Value

LONGEST = 12  # nodes that an anchor takes along after itself
LARGEST, MOST_WORK = 64, 400  # nodes of a kernel, and machine instructions an element: code for registers and for LLVM
MANY = 8  # views of one value that may each make a kernel of a product its own
WRITTEN_THROUGH = ("permute", "regroup")  # views that an anchor's family can write through
CHEAP = 8  # instructions an element that cost no more than to write it and to read it back
Wanted = Callable[[Node], bool]


@dataclass
class Group:
    """The nodes of a kernel to be."""

    nodes: set[Node]
    work: int = 0  # an element
    repeated: dict[Node, int] = field(default_factory=dict)  # computed again for several elements: the work up to there
    index: dict[Node, object] = field(default_factory=dict)  # the same for nodes that are computed at one index

    def add(self, node: Node) -> None:
        self.nodes.add(node)
        self.work += node.op.work

    def index_of(self, value: Result) -> object:
        """Where its readers read a value: the same for values that are read at one index, None if they read it at several."""
        readers = value.users
        if len(value.uses) == 1 and not readers[0].op.elementwise:
            return value
        if not all(u.op.elementwise for u in readers):
            return None
        places = {(self.index.get(u, u), u.result.shape) for u in readers}
        if len(places) > 1:
            return None
        index, shape = places.pop()
        return index if value.shape == shape else (index, value.shape)

    @property
    def full(self) -> bool:
        return len(self.nodes) >= LARGEST or self.work >= MOST_WORK


@dataclass(frozen=True)
class Grouping:
    """One graph on its way into kernels.

    `taken` are the nodes that belong to one, `parameter_only` the prepare part, `hosted` what the host runs. `single`: nodes that
    stay alone, because a kernel with more than them could not be built.
    """

    graph: Graph
    emitters: Emitters
    parameter_only: set[Node]
    taken: set[Node]
    hosted: set[Node]
    single: Collection[Node] = ()

    def kernel(self, anchor: Node) -> set[Node]:
        """The nodes that go into the anchor's kernel."""
        group = Group({anchor})
        self._take_producers(anchor.inputs, group, _readable(anchor))
        if len(anchor.results) == 1:
            self._take_followers(anchor, group, views=anchor.op.traits.attention)
        return group.nodes

    def pointwise(self, root: Node) -> set[Node]:
        """The nodes that go into one loop with `root`, the last of them."""
        group = Group({root}, root.op.work)
        self._take_producers(root.inputs, group)
        return group.nodes

    def _free(self, node: Node) -> bool:
        return node not in self.taken and node not in self.parameter_only and node not in self.hosted

    def _take_producers(self, values: Sequence[Value], group: Group, wanted: Wanted | None = None) -> None:
        """Take the nodes behind values that can be read on the fly and nothing else reads; with `wanted`, those only."""
        pending = list(reversed(values))
        while pending and not group.full:
            value = pending.pop()
            if isinstance(value, Result) and value.node not in group.nodes and self._joins(value, group, wanted):
                group.add(value.node)
                pending += reversed(value.node.inputs)

    def _joins(self, value: Result, group: Group, wanted: Wanted | None) -> bool:
        node, readers = value.node, value.users
        if not self._free(node) or node.op.name in self.emitters.families or len(node.results) > 1:
            return False
        readable = self.emitters.readable(node) if wanted is None else (wanted(node) or canonical.widens(node))
        if wanted is canonical.is_free and node.op.traits.view != "layout" and _has_many_views(node):
            return False
        if not readable or self.graph.is_output(value) or not group.nodes.issuperset(readers):
            return False
        free = canonical.is_free(node) or canonical.widens(node)
        if not free and (node in self.single or not group.nodes.isdisjoint(self.single)):
            return False
        index = group.index_of(value)
        again = 0 if free else node.op.work
        if index is None:  # once for each reader
            work = [sum(group.repeated.get(u, 0) for u in readers) + again]
        else:
            work = [group.repeated.get(u, 0) + again for u in readers if u in group.repeated or self._repeats(u, value)]
        if work and max(work) > CHEAP:
            return False
        if work:
            group.repeated[node] = max(work)
        group.index[node] = value if index is None else index
        return True

    def _take_followers(self, anchor: Node, group: Group, views: bool) -> None:
        value: Value = anchor.result
        for _ in range(LONGEST):
            users = value.users
            if len(users) != 1 or self.graph.is_output(value) or not self._free(users[0]) or group.full:
                return
            user = users[0]
            elementwise = user.op.elementwise and user.result.shape == value.shape and anchor not in self.single
            if not elementwise and not (views and user.op.traits.view in WRITTEN_THROUGH):
                return
            if not is_convex(self.graph, {*group.nodes, user}):
                return
            group.add(user)
            self._take_producers([v for v in user.inputs if v is not value], group, canonical.is_free)
            value = user.result


    def _repeats(self, reader: Node, value: Value) -> bool:
        """Whether a node may read one element of a value for several elements of its result."""
        if reader.op.elementwise:
            return compare(value.type.size, reader.result.type.size) != "equal"
        return self.emitters.repeating(reader.op)


def _readable(anchor: Node) -> Wanted | None:
    """What an anchor's family reads on the fly: a product views; attention, which reads each element once, or once a block of
    queries, also what turns or converts it; the others all that can be read at an index (None).
    """
    if anchor.op.traits.attention:
        return lambda node: canonical.is_free(node) or node.op.name == "rotary" or node.op.name == "cast"
    return canonical.is_free if anchor.op.contract is not None and anchor.op.traits.precision == "product" else None


def _has_many_views(node: Node) -> bool:
    """Whether a view is one of many of its operand, such as the steps of a loop over time that was written out.

    Kernels of products take long to compile, and each view would make one of its own.
    """
    return any(len(value.uses) > MANY for value in node.inputs)

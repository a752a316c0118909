"""Which nodes share a kernel: an anchor or a last node, what it computes as it reads, and what follows element by element.

A kernel computes a node once for an element of its result, if all readers in the kernel read it at one index. A node that would
be computed more than once (because readers read it at several indices, or because it is broadcast, looked up, or packed by each
worker of a product) joins the kernel only if computing it again costs no more than reading it; else it gets a kernel of its own.
So compile time is linear in nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from targets.base.backend import Emitters
from targets.lowering.canonical import is_free, widens
from tgraph.ir.analysis import is_convex
from tgraph.ir.dims import compare
from tgraph.ir.graph import Graph
from tgraph.ir.values import Node, Result, Value

MAX_FOLLOWERS = 12  # nodes after an anchor
MAX_NODES, MAX_WORK = 64, 400  # of a kernel, work in machine instructions an element: more is hard on registers and on LLVM
MANY_VIEWS = 8  # views of one value from which on they are not read through by products
WRITTEN_THROUGH = ("permute", "regroup")  # views that the kernels of attention can write through
CHEAP = 8  # machine instructions an element that cost no more than to write it and to read it back
PACKED = 16  # the same where it is computed again for each worker, and not for each element: what a product packs

Readable = Callable[[Node], bool]  # whether a kernel computes a node as it reads


@dataclass
class Group:
    """The nodes of one kernel, as it grows. `work`: machine instructions for an element of the result."""

    nodes: set[Node]
    work: int = 0
    recomputed: dict[Node, int] = field(default_factory=dict)  # nodes computed more than once: the work each time, up to there
    packed: set[Node] = field(default_factory=set)  # those of them that only a product's packing computes again
    index: dict[Node, object] = field(default_factory=dict)  # where a node is computed: the same key for the same index

    def add(self, node: Node) -> None:
        self.nodes.add(node)
        self.work += node.op.work

    def index_of(self, value: Result) -> object:
        """A key of the index at which all readers read a value; None if they read it at several."""
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
        return len(self.nodes) >= MAX_NODES or self.work >= MAX_WORK


@dataclass(frozen=True)
class Grouping:
    """The choice of kernels for one graph.

    taken: nodes that have a kernel. parameter_only: the prepare part. on_host: nodes that the host runs. single: nodes that stay
    alone, because a kernel with more than them could not be built.
    """

    graph: Graph
    emitters: Emitters
    parameter_only: set[Node]
    taken: set[Node]
    on_host: set[Node]
    single: Collection[Node] = ()

    def needs_kernel(self, node: Node) -> bool:
        """Whether a node has no kernel yet, and needs one."""
        return node not in self.taken and node not in self.parameter_only and node not in self.on_host

    def kernel(self, anchor: Node) -> set[Node]:
        """The nodes that go into the anchor's kernel."""
        group = Group({anchor})
        self._take_producers(anchor.inputs, group, self._readable(anchor))
        if len(anchor.results) == 1:
            self._take_followers(anchor, group)
        return group.nodes

    def pointwise(self, root: Node) -> set[Node]:
        """The nodes that go into one loop with `root`, the last of them."""
        group = Group({root}, root.op.work)
        self._take_producers(root.inputs, group, self.emitters.readable)
        return group.nodes

    def _readable(self, anchor: Node) -> Readable:
        """What the anchor's family computes as it reads.

        A product or a recurrence reads through views; attention, which reads each element once, or once for a block of queries,
        also computes rotary embeddings and casts; the other families all that can be read at an index.
        """
        if anchor.op.traits.attention:
            return lambda node: is_free(node) or node.op.name == "rotary" or node.op.name == "cast"
        is_product = anchor.op.contract is not None and anchor.op.traits.precision == "product"
        return _read_through if is_product or anchor.op.traits.recurrence else self.emitters.readable

    def _take_producers(self, values: Sequence[Value], group: Group, readable: Readable) -> None:
        """Take what computes the values, as far as the kernel can compute it as it reads."""
        pending = list(reversed(values))
        while pending and not group.full:
            value = pending.pop()
            if not isinstance(value, Result) or value.node in group.nodes or not self._can_join(value, group, readable):
                continue
            index = group.index_of(value)
            again = self._recomputed_work(value, group, index)
            packed = again is not None and index is not None and self._only_packed(value, group)
            if again is not None and again > (PACKED if packed else CHEAP):
                continue
            if again is not None:
                group.recomputed[value.node] = again
            if packed:
                group.packed.add(value.node)
            group.index[value.node] = value if index is None else index
            group.add(value.node)
            pending += reversed(value.node.inputs)

    def _can_join(self, value: Result, group: Group, readable: Readable) -> bool:
        """Whether a group's kernel can compute a value as it reads, and nothing else needs it."""
        node = value.node
        if not self.needs_kernel(node) or node.op.name in self.emitters.families or len(node.results) > 1:
            return False
        if not readable(node) or self.graph.is_output(value) or not group.nodes.issuperset(value.users):
            return False
        return _costs_nothing(node) or (node not in self.single and group.nodes.isdisjoint(self.single))

    def _recomputed_work(self, value: Result, group: Group, index: object) -> int | None:
        """The work each time that a value is computed again for another element; None if it is computed once for each."""
        again = 0 if _costs_nothing(value.node) else value.node.op.work
        if index is None:  # once for each reader
            return sum(group.recomputed.get(u, 0) for u in value.users) + again
        repeated = [u for u in value.users if u in group.recomputed or self._repeats(u, value)]
        return max((group.recomputed.get(u, 0) + again for u in repeated), default=None)

    def _repeats(self, reader: Node, value: Value) -> bool:
        """Whether a node may read one element of a value for several elements of its result."""
        if reader.op.elementwise:
            return compare(value.type.size, reader.result.type.size) != "equal"
        return reader.op.contract is not None or self.emitters.repeating(reader.op)  # a product packs what it reads

    def _only_packed(self, value: Result, group: Group) -> bool:
        """Whether all that computes a value again is the packing of a product, once for each worker."""
        def packs(reader: Node) -> bool:
            one_by_one = reader in group.packed and reader.op.traits.view != "repeat" and not self._repeats(reader, value)
            return reader.op.contract is not None or one_by_one

        return all(packs(reader) for reader in value.users)

    def _take_followers(self, anchor: Node, group: Group) -> None:
        """Take what follows the anchor element by element, and after attention the views through which it can write."""
        value: Value = anchor.result
        for _ in range(MAX_FOLLOWERS):
            users = value.users
            if len(users) != 1 or self.graph.is_output(value) or not self.needs_kernel(users[0]) or group.full:
                return
            user = users[0]
            elementwise = user.op.elementwise and user.result.shape == value.shape and anchor not in self.single
            if not elementwise and not (anchor.op.traits.attention and user.op.traits.view in WRITTEN_THROUGH):
                return
            if not is_convex(self.graph, {*group.nodes, user}):
                return
            group.add(user)
            self._take_producers([v for v in user.inputs if v is not value], group, lambda n: self._read_beside(n, anchor))
            value = user.result

    def _read_beside(self, node: Node, anchor: Node) -> bool:
        """Whether what follows an anchor computes a node as it reads it: a view, or a cheap op on what is broadcast alone.

        What such an op reads is smaller than what it makes, so that it would cost more to write that and to read it back, or it
        is small itself, and no kernel of its own is worth it.
        """
        if not (node.op.elementwise and node.op.work <= CHEAP and self.emitters.readable(node)):
            return _read_through(node)
        return all(compare(v.type.size, anchor.result.type.size) != "equal" for v in node.inputs)


def _costs_nothing(node: Node) -> bool:
    return is_free(node) or widens(node)


def _read_through(node: Node) -> bool:
    """Whether kernels of products read through a node: a view or a widened weight.

    Not through one of many views of a value, such as the steps of an unrolled loop over time: kernels of products take long to
    compile, and each view would make another one.
    """
    many = any(len(value.uses) > MANY_VIEWS for value in node.inputs)
    return widens(node) or (is_free(node) and (node.op.traits.view == "layout" or not many))

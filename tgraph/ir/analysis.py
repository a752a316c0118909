"""Questions about a graph's shape: order, liveness, dominance, the longest chain, and parts that stand alone."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from .dims import evaluate
from .values import Constant, Node, Parameter, Result, Value

if TYPE_CHECKING:
    import networkx

    from .graph import Graph

SPREAD = 2**20  # bytes of a result that may be kept although it is made of less

def to_networkx(graph: Graph) -> networkx.DiGraph:
    """The nodes and their dependences; each edge carries the first `value` that flows, and all of them as `values`."""
    import networkx

    result = networkx.DiGraph(name=graph.name)
    for node in graph.nodes:
        result.add_node(node, op=node.op.name)
        for value in dict.fromkeys(node.inputs):
            if not isinstance(value, Result):
                continue
            if result.has_edge(value.node, node):
                result.edges[value.node, node]["values"] += (value,)
            else:
                result.add_edge(value.node, node, value=value, values=(value,))
    return result


def topological_order(graph: Graph, key: Callable[[Node], int] | None = None) -> list[Node]:
    """An order with operands before users; among nodes that are free, the smallest `key` first (default: canonical)."""
    import networkx

    if key is None:
        return graph.nodes
    position = {node: i for i, node in enumerate(graph.nodes)}
    return list(networkx.lexicographical_topological_sort(to_networkx(graph), key=lambda n: (key(n), position[n])))


def liveness(graph: Graph, order: Sequence[Node] | None = None) -> dict[Value, tuple[int, int]]:
    """For each value, the positions in `order` where it is defined and last used.

    Inputs, parameters and constants are defined at -1; outputs are used at len(order), after the last node. A
    result that nothing reads ends where it starts.
    """
    nodes = graph.nodes if order is None else list(order)
    intervals: dict[Value, tuple[int, int]] = dict.fromkeys(graph.inputs, (-1, -1))
    for position, node in enumerate(nodes):
        for value in node.inputs:
            intervals[value] = intervals.get(value, (-1, -1))[0], position
        for result in node.results:
            intervals[result] = position, position
    for _, value in graph.outputs:
        intervals[value] = intervals.get(value, (-1, -1))[0], len(nodes)
    return intervals


def dominators(graph: Graph) -> dict[Node, Node | None]:
    """The nearest node that every path from the inputs goes through; None if there is none."""
    return _immediate(graph, forward=True)


def post_dominators(graph: Graph) -> dict[Node, Node | None]:
    """The nearest node that every path to an output (or to a dead end) goes through; None if there is none."""
    return _immediate(graph, forward=False)


def _immediate(graph: Graph, forward: bool) -> dict[Node, Node | None]:
    import networkx

    dag = to_networkx(graph)
    read_outside = {v.node for _, v in graph.outputs if isinstance(v, Result)}
    if forward:
        # A leaf operand is a path of its own from the inputs, unless it is data that is always there.
        ends = {n for n in dag if not dag.in_degree(n) or any(v in graph.inputs for v in n.inputs)}
    else:
        dag = dag.reverse(copy=False)
        ends = {n for n in dag if not dag.in_degree(n)} | read_outside
    flow = networkx.DiGraph(dag.edges)
    flow.add_nodes_from(dag)
    flow.add_edges_from(("root", node) for node in ends)
    if not ends:
        return {}
    nearest = networkx.immediate_dominators(flow, "root")
    return {n: None if nearest[n] == "root" else nearest[n] for n in graph.nodes}


def critical_path(graph: Graph, sizes: Mapping[str, int] | None = None,
                  cost: Callable[[Node], float] | None = None) -> tuple[list[Node], float]:
    """The chain of dependent nodes that costs most, and its cost (default: FLOPs at `sizes`)."""
    import networkx

    known = {} if sizes is None else dict(sizes)

    def flops(node: Node) -> float:
        return float(evaluate(node.flops, known))

    price = flops if cost is None else cost
    dag = to_networkx(graph)
    if not dag:
        return [], 0.0
    paths = networkx.DiGraph()
    for node in dag:
        paths.add_edge("start", node, weight=price(node) if not dag.in_degree(node) else 0.0)
        for above in dag.predecessors(node):
            paths.add_edge(above, node, weight=price(node))
    chain = networkx.dag_longest_path(paths, weight="weight")[1:]
    return chain, sum(price(node) for node in chain)


def is_convex(graph: Graph, nodes: Collection[Node]) -> bool:
    """Whether no path leaves the set and comes back, so that it can run as one."""
    inside = set(nodes)
    above = _ancestors_within(inside)
    enters = {n for n in inside if any(isinstance(v, Result) and v.node not in inside for v in n.inputs)}
    # A path that leaves at `n` cannot come back at what `n` depends on: that would be a cycle.
    leaves = [n for n in inside if any(u not in inside for r in n.results for u in r.users) and enters - above[n]]
    if not leaves:
        return True
    entered = {m for n in leaves for m in enters - above[n]}
    down = [u for n in leaves for r in n.results for u in r.users if u not in inside]
    up = [v.node for n in entered for v in n.inputs if isinstance(v, Result) and v.node not in inside]
    seen_down, seen_up = set(down), set(up)
    while down and up:  # from both ends, in turns, until one of them is exhausted
        for step, seen, stack in ((_readers(down.pop()), seen_down, down), (_sources(up.pop()), seen_up, up)):
            for node in step:
                if node in inside:
                    return False
                if node not in seen:
                    seen.add(node)
                    stack.append(node)
    return True


def _readers(node: Node) -> list[Node]:
    return [u for r in node.results for u, _ in r.uses]


def _sources(node: Node) -> list[Node]:
    return [v.node for v in node.inputs if isinstance(v, Result)]


def _ancestors_within(inside: set[Node]) -> dict[Node, set[Node]]:
    """For each node of a set, itself and those that it depends on by paths within the set."""
    found: dict[Node, set[Node]] = {}
    for node in order_within(inside, inside):
        found[node] = {node}.union(*(found[n] for n in _sources(node) if n in inside))
    return found


def order_within(inside: set[Node], roots: Iterable[Node]) -> list[Node]:
    """The roots and what they need within the set: operands first, depth first, looking at nothing outside."""
    done: dict[Node, None] = {}
    for root in roots:
        stack = [root]
        while stack:
            node = stack[-1]
            below = [n for n in _sources(node) if n in inside and n not in done]
            if below and node not in done:
                stack.append(below[0])
            else:
                done[stack.pop()] = None
    return list(done)


def prepared(graph: Graph, but: Collection[str] = ()) -> set[Node]:
    """The prepare part: nodes whose results depend on parameters and constants alone, not on inputs or sizes.

    Ops named in `but`, and what depends on them, stay out of it; and so does what is large and cheaper made than read, such as a
    table of the distances between positions: it would be kept in memory and in bundles.
    """
    found: set[Node] = set()
    for node in graph.nodes:
        leaves = all(isinstance(v, (Parameter, Constant)) or (isinstance(v, Result) and v.node in found)
                     for v in node.inputs)
        static = all(isinstance(d, int) for r in node.results for d in r.shape)
        if node.inputs and leaves and static and node.op.name not in but and not _spreads(node):
            found.add(node)
    return found


def _spreads(node: Node) -> bool:
    """Whether an elementwise op or a view that repeats makes much of little: over 1 MiB, and four times what it reads."""
    if not (node.op.elementwise or node.op.traits.view == "repeat"):
        return False
    made, read = (sum(int(v.type.nbytes) for v in values) for values in (node.results, node.inputs))  # type: ignore[arg-type]
    return made > SPREAD and made > 4 * read


def is_prepared(value: Value, nodes: Collection[Node]) -> bool:
    """Whether a value is known before any input: a leaf with data, or made by one of the `prepared` nodes."""
    return isinstance(value, (Parameter, Constant)) or (isinstance(value, Result) and value.node in nodes)

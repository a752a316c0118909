"""Graph analyses: order, liveness, dominators, the critical path, convex sets of nodes, and the prepare part."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from .dims import evaluate
from .values import Constant, Node, Parameter, Result, Value

if TYPE_CHECKING:
    import networkx

    from .graph import Graph

SPREAD = 2**20  # bytes of a result that is kept in the prepare part however little it is computed from


def to_networkx(graph: Graph) -> networkx.DiGraph[Node]:
    """The nodes and their dependences as a networkx graph; an edge has the first `value` that flows, and all as `values`."""
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
    """The nodes with operands before users; of several that could come next, the one with the smallest `key`.

    Without a `key`, the order of the graph's text.
    """
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
    """The most expensive chain of dependent nodes, and its cost (default: FLOPs at `sizes`)."""
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
    """Whether no path leaves a set of nodes and comes back into it, so that the set can run as one."""
    inside = set(nodes)
    above = _ancestors_within(inside)
    entries = {n for n in inside if any(source not in inside for source in _sources(n))}
    # A path that leaves at `n` cannot come back at what `n` depends on: that would be a cycle.
    returns = {n: entries - above[n] for n in inside if any(reader not in inside for reader in _readers(n))}
    down = _walk_outside([n for n, back in returns.items() if back], _readers, inside)
    up = _walk_outside(set().union(*returns.values()), _sources, inside)
    return not any(back_below or back_above for back_below, back_above in zip(down, up))  # as long as the shorter walk


def _walk_outside(starts: Iterable[Node], step: Callable[[Node], list[Node]], inside: set[Node]) -> Iterator[bool]:
    """Walk from nodes of a set to all nodes outside that `step` leads to; yields for each whether it leads back inside."""
    stack = [*dict.fromkeys(n for start in starts for n in step(start) if n not in inside)]
    seen = set(stack)
    while stack:
        reached = step(stack.pop())
        yield any(n in inside for n in reached)
        stack += dict.fromkeys(n for n in reached if n not in seen)
        seen.update(reached)


def _readers(node: Node) -> list[Node]:
    return [u for r in node.results for u, _ in r.uses]


def _sources(node: Node) -> list[Node]:
    return [v.node for v in node.inputs if isinstance(v, Result)]


def _ancestors_within(inside: set[Node]) -> dict[Node, set[Node]]:
    """For each node of a set, itself and the nodes that it depends on by paths within the set."""
    found: dict[Node, set[Node]] = {}
    for node in order_within(inside, inside):
        found[node] = {node}.union(*(found[n] for n in _sources(node) if n in inside))
    return found


def order_within(inside: Collection[Node], roots: Iterable[Node]) -> list[Node]:
    """The roots and what they depend on by paths within a set, each node after its operands; nothing outside is looked at."""
    done: dict[Node, None] = {}
    for root in roots:
        stack = [root]
        while stack:
            pending = next((n for n in _sources(stack[-1]) if n in inside and n not in done), None)
            if pending is not None:
                stack.append(pending)
            else:
                done[stack.pop()] = None
    return list(done)


def prepared(graph: Graph, but: Collection[str] = ()) -> set[Node]:
    """The prepare part: nodes whose results depend on parameters and constants alone, not on inputs or symbolic sizes.

    Ops named in `but`, and what depends on them, are left out. So are large results that are cheaper to compute than to read,
    such as a table of the distances between positions: they would take memory, and space in bundles.
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
    """Whether an elementwise op or an expansion has a result of over 1 MiB that is four times as large as its operands."""
    if not (node.op.elementwise or node.op.traits.view == "repeat"):
        return False
    made, read = (sum(int(v.type.nbytes) for v in values) for values in (node.results, node.inputs))  # type: ignore[arg-type]
    return made > SPREAD and made > 4 * read


def is_prepared(value: Value, nodes: Collection[Node]) -> bool:
    """Whether a value is known before any input: a parameter, a constant, or a result of one of the `prepared` nodes."""
    return isinstance(value, (Parameter, Constant)) or (isinstance(value, Result) and value.node in nodes)

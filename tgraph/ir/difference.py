"""The difference of two graphs: which nodes of one are also in the other, and what was added, removed or changed."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from .graph import Graph
from .names import attribute
from .printer import node_lines
from .tables import html_table
from .values import Constant, Input, Node, Parameter, Result, Value

Kind = Literal["added", "removed", "changed"]


@dataclass(frozen=True)
class Change:
    """One entry of a difference: the text in the first graph, in the second, or in both; `where` is the scope and line."""

    kind: Kind
    before: str = ""
    after: str = ""
    where: str = ""


@dataclass
class Difference:
    """What differs between two graphs of one name; true if anything does. `same` counts the nodes that are in both."""

    name: str
    signature: list[Change] = field(default_factory=list)
    nodes: list[Change] = field(default_factory=list)
    functions: list[Difference] = field(default_factory=list)
    same: int = 0

    def __bool__(self) -> bool:
        return bool(self.signature or self.nodes or self.functions)

    def _repr_html_(self) -> str:
        rows = [(c.kind, c.before, c.after, c.where) for c in (*self.signature, *self.nodes)]
        title = f"{self.name}: {self.same} nodes the same, {len(rows) or 'no'} changes"
        return html_table(title, ("", "before", "after", "where"), rows) + "".join(f._repr_html_() for f in self.functions)

    def count(self, kind: Kind) -> int:
        """Nodes of that kind of change."""
        return sum(c.kind == kind for c in self.nodes)


def difference(a: Graph, b: Graph) -> Difference:
    """Compare two graphs: a node is the same if it applies the same op to the same operands, wherever it stands.

    Names of values, scopes, lines and the parameters' data do not count, as in `==`; it is empty if and only if a == b.
    """
    found = Difference(a.name)
    if a == b:
        found.same = len(a)
        return found
    if a.name != b.name:
        found.signature.append(Change("changed", f"graph {a.name}", f"graph {b.name}"))
    found.signature += _named("input", *({i.name: str(i.type.with_shape(i.shape)) for i in g.inputs} for g in (a, b)))
    found.signature += _named("param", {n: str(p.type) for n, p in a.parameters.items()},
                              {n: str(p.type) for n, p in b.parameters.items()})
    found.signature += _named("output", {n: str(v.type) for n, v in a.outputs}, {n: str(v.type) for n, v in b.outputs})
    found.signature += _named("state", *({n: str(t) for n, t in g.states.items()} for g in (a, b)))
    found.signature += _named("where", *(dict.fromkeys((f"{x} == {y}" for x, y in g.constraints), "") for g in (a, b)))
    found.signature += _named("where", *(dict.fromkeys((f"{x} >= {y}" for x, y in g.inequalities), "") for g in (a, b)))
    pairs = match(a, b)
    found.same, found.nodes = _nodes(a, b, pairs)
    found.signature += _returned(a, b, pairs)
    ours, theirs = a.functions, b.functions
    found.functions = [d for n in ours if n in theirs and (d := difference(ours[n], theirs[n]))]
    found.signature += _named("function", dict.fromkeys(ours, ""), dict.fromkeys(theirs, ""))
    if not found:  # bounds of dims, aliases, or the same nodes in another order
        for line in list(difflib.unified_diff(str(a).splitlines(), str(b).splitlines(), n=0, lineterm=""))[2:]:
            text = line[1:].strip()
            if line[0] in "+-":
                found.signature.append(Change("removed", text) if line[0] == "-" else Change("added", "", text))
    return found


def match(a: Graph, b: Graph) -> dict[Node, Node]:
    """Match nodes of `a` with nodes of `b` that have the same op; each is matched at most once.

    First match nodes that compute the same from the leaves; then, from the outputs upwards, the producers of matching values;
    then, of what is left, the longest common runs of equal ops; last, nodes whose neighbours are matched.
    """
    pairs: dict[Node, Node] = {}
    taken: set[Node] = set()

    def pair(x: Node, y: Node) -> None:
        pairs[x] = y
        taken.add(y)

    known: dict[str, int] = {}
    theirs: dict[int, list[Node]] = {}
    for node, key in _keys(b, known).items():
        theirs.setdefault(key, []).append(node)
    for node, key in _keys(a, known).items():
        if theirs.get(key):
            pair(node, theirs[key].pop(0))
    stack = [(v, w) for (n, v) in a.outputs for (m, w) in b.outputs if n == m]
    while stack:
        v, w = stack.pop()
        if not (isinstance(v, Result) and isinstance(w, Result)) or v.node.op is not w.node.op:
            continue
        if v.node not in pairs and w.node not in taken:
            pair(v.node, w.node)
            stack += [(x, y) for x, y in zip(v.node.operands, w.node.operands) if x is not None and y is not None]
    left = [n for n in a.nodes if n not in pairs]
    right = [n for n in b.nodes if n not in taken]
    matcher = difflib.SequenceMatcher(None, list(map(_local, left)), list(map(_local, right)), autojunk=False)
    for block in matcher.get_matching_blocks():
        for x, y in zip(left[block.a:block.a + block.size], right[block.b:block.b + block.size]):
            pair(x, y)
    for x in left:
        near = (n for n in _beside(x, b, pairs) if n not in taken and n.op is x.op)
        if x not in pairs and (twin := next(near, None)) is not None:
            pair(x, twin)
    return pairs


def _beside(node: Node, b: Graph, pairs: dict[Node, Node]) -> Iterator[Node]:
    """Candidates in `b` for a node: readers of what matches its operands, and producers of what the matches of its users read."""
    leaves = {_leaf(v): v for v in (*b.inputs, *b.parameters.values())}
    for value in node.operands:
        if isinstance(value, Result) and value.node in pairs:
            yield from pairs[value.node].results[value.index].users
        elif value is not None and not isinstance(value, Result) and _leaf(value) in leaves:
            yield from leaves[_leaf(value)].users
    for result in node.results:
        for user, position in result.uses:
            twin = pairs.get(user)
            made = twin.operands[position] if twin is not None and position < len(twin.operands) else None
            if isinstance(made, Result):
                yield made.node


def _keys(graph: Graph, known: dict[str, int]) -> dict[Node, int]:
    """A number for each node, equal for nodes that compute the same from the leaves; `known` is shared between graphs."""
    keys: dict[Node, int] = {}
    for node in graph.nodes:
        operands = [f"{keys[v.node]}.{v.index}" if isinstance(v, Result) else _leaf(v) for v in node.operands]
        keys[node] = known.setdefault(f"{_local(node)} {operands}", len(known))
    return keys


def _leaf(value: Value | None) -> str:
    if isinstance(value, Input):
        return f"%{value.name} {value.type.with_shape(value.shape)}"
    if isinstance(value, Parameter):
        return f"@{value.name} {value.type}"
    return f"{value.type} {value.digest}" if isinstance(value, Constant) else "none"


def _local(node: Node) -> str:
    """The op and attributes of a node, without its operands."""
    attributes = ", ".join(f"{name}={attribute(value)}" for name, value in node.attrs.items())
    return f"{node.op.name}({attributes}): {', '.join(str(r.type) for r in node.results)}"


def _named(what: str, a: dict[str, str], b: dict[str, str]) -> Iterator[Change]:
    def shown(name: str, type: str) -> str:
        return f"{what} {name}: {type}" if type else f"{what} {name}"

    for name, type in a.items():
        if name not in b:
            yield Change("removed", shown(name, type))
        elif b[name] != type:
            yield Change("changed", shown(name, type), shown(name, b[name]))
    yield from (Change("added", "", shown(name, type)) for name, type in b.items() if name not in a)
    if what in ("input", "output") and [n for n in a if n in b] != [n for n in b if n in a]:
        yield Change("changed", f"{what}s {', '.join(a)}", f"{what}s {', '.join(b)}")


def _stands_for(v: Value | None, w: Value | None, pairs: dict[Node, Node]) -> bool:
    if isinstance(v, Result) and isinstance(w, Result):
        return pairs.get(v.node) is w.node and v.index == w.index
    return not isinstance(v, Result) and not isinstance(w, Result) and _leaf(v) == _leaf(w)


def _nodes(a: Graph, b: Graph, pairs: dict[Node, Node]) -> tuple[int, list[Change]]:
    """How many nodes are the same, and the changes: in the order of `a`, each node with the one that replaces it."""
    ours, theirs = node_lines(a), node_lines(b)
    partner = {y: x for x, y in pairs.items()}
    same, changes = 0, []
    added: dict[Node | None, list[Change]] = {}  # by the last node of `a` whose partner comes before
    last: Node | None = None
    for y in b.nodes:
        if y in partner:
            last = partner[y]
        else:
            added.setdefault(last, []).append(Change("added", "", theirs[y], y.provenance.describe()))
    changes += added.get(None, [])
    for x in a.nodes:
        twin = pairs.get(x)
        if twin is None:
            changes.append(Change("removed", ours[x], where=x.provenance.describe()))
        elif _local(x) != _local(twin) or len(x.operands) != len(twin.operands) or not all(
                _stands_for(v, w, pairs) for v, w in zip(x.operands, twin.operands)):
            changes.append(Change("changed", ours[x], theirs[twin], x.provenance.describe()))
        else:
            same += 1
        changes += added.get(x, [])
    return same, changes


def _returned(a: Graph, b: Graph, pairs: dict[Node, Node]) -> Iterator[Change]:
    """Changes of outputs that have the same name and type in both graphs, but other values."""
    theirs = dict(b.outputs)
    ours_text, theirs_text = node_lines(a), node_lines(b)
    for name, v in a.outputs:
        w = theirs.get(name)
        if w is None or _stands_for(v, w, pairs):
            continue
        shown = [f"return {name}: {lines[x.node].split(' = ')[0] if isinstance(x, Result) else _leaf(x)}"
                 for lines, x in ((ours_text, v), (theirs_text, w))]
        yield Change("changed", *shown)


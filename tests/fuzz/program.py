"""Random programs: a seed gives a graph over all registered ops, the same one each time."""

from __future__ import annotations

import random
from collections.abc import Collection
from typing import Any

from passes.transforms.dce import Dce
from tests.fuzz.idioms import IDIOMS
from tests.fuzz.maker import Maker
from tests.fuzz.strategies import strategy
from tgraph.ir.dims import Dim, Symbol, dim, symbols
from tgraph.ir.dtypes import f32
from tgraph.ir.errors import RuleError, TGraphError
from tgraph.ir.graph import Graph
from tgraph.ir.registry import OPS, get_op
from tgraph.ir.values import Result
from tgraph.ir.verify import verify

NODES = 40


def program(seed: int, ops: Collection[str] = ()) -> Graph:
    """A sound graph of up to about 40 nodes; with `ops`, of those ops and what their operands need.

    Raises LookupError for an op that has no strategy.
    """
    get_op("add")  # so that all are registered
    generator = random.Random(seed)
    maker = Maker(generator)
    names = sorted(set(ops) or OPS)
    pieces = [(strategy(OPS[name]), 1.0) for name in names]
    if not ops:
        pieces += [(make, 0.3 * len(names) / len(IDIOMS)) for make in IDIOMS.values()]
    makes, weights = zip(*pieces)
    steps = generator.choice((1, 2, 4, 8, 12, 16))
    made = 0
    for make in generator.choices(makes, weights, k=4 * steps):
        if made >= steps or len(maker.graph.nodes) >= NODES:
            break
        try:
            maker.keep(make(maker))
        except (RuleError, TGraphError):
            continue  # it does not fit here; what it left behind is dead
        made += 1
    if not made:
        maker.keep(maker.b.add(maker.pick((maker.float,)), 1.0))
    finish(maker)
    verify(maker.graph)
    return maker.graph


def finish(maker: Maker) -> None:
    """Outputs: most of what nothing reads, and some inner values."""
    graph, generator = maker.graph, maker.random
    made = [v for v in dict.fromkeys(maker.values) if isinstance(v, Result)]
    last = [v for v in made if not v.uses]
    chosen = generator.sample(last, min(len(last), 4)) or made[-1:]
    chosen += generator.sample(made, min(len(made), generator.choice((0, 0, 1, 2))))
    graph.set_outputs([(f"y{i}", v) for i, v in enumerate(dict.fromkeys(chosen))])
    Dce().apply(graph)
    unread = [i for i in graph.inputs if not i.uses and not graph.is_output(i)]
    graph.inputs = [i for i in graph.inputs if i not in unread]
    known = {s.name for i in graph.inputs for d in i.shape for s in symbols(d)}
    for name, symbol in sorted(used(graph).items()):  # a size that only attributes name needs an input that has it
        if name not in known and not name.startswith("N"):
            graph.input(f"of_{name}", f32[dim(name, min=symbol.min, max=symbol.max)])


def used(graph: Graph) -> dict[str, Symbol]:
    """The symbols of all nodes, those in attributes included."""
    stack: list[Any] = [part for n in graph.nodes for part in (*n.attrs.values(), *(r.type.shape for r in n.results))]
    found = {}
    while stack:
        item = stack.pop()
        if isinstance(item, tuple):
            stack += item
        elif isinstance(item, Dim):
            found.update({s.name: s for s in symbols(item)})
    return found

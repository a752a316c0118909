"""Random programs: a seed gives a graph over all registered ops, the same one each time."""

from __future__ import annotations

import random
from collections.abc import Collection
from typing import Any

from passes.transforms.dce import Dce
from tgraph.ir.determined import sizes_of_shapes
from tgraph.ir.dims import Dim, Symbol, dim, symbols
from tgraph.ir.dtypes import DType, f32
from tgraph.ir.errors import RuleError, TGraphError
from tgraph.ir.graph import Graph
from tgraph.ir.registry import OPS, get_op
from tgraph.ir.values import Result
from tgraph.ir.verify import verify
from tgraph.testing.generator import states  # noqa: F401  (it registers idioms)
from tgraph.testing.generator.idioms import IDIOMS
from tgraph.testing.generator.maker import EVERY, Maker, Skip
from tgraph.testing.generator.strategies import strategy_of

NODES = 40
# Ops and idioms whose kernels take ten times as long to compile as others. With a quarter of their share they take a third of
# the time, and there is time for twice as many programs.
COSTLY = frozenset({
    "linear", "matmul", "einsum", "attention", "ragged_attention", "rnn", "gru", "lstm", "rnn_scan", "gru_scan", "lstm_scan",
    "heads", "model", "recurrence", "masked_scores", "cache",
})
SELDOM = 0.25


def program(seed: int, ops: Collection[str] = ()) -> Graph:
    """The sound graph of a seed, of up to about 40 nodes; with `ops`, of those ops and what their operands need.

    Raises LookupError for an op that has no strategy.
    """
    return make_program(random.Random(seed), ops)


def make_program(generator: random.Random, ops: Collection[str] = (), dtypes: Collection[DType] = EVERY,
                 nodes: int = NODES) -> Graph:
    """A sound graph by a generator's choices; `ops` as of `program`, values of the element types `dtypes` only.

    nodes: no op or idiom is added once there are so many. Raises LookupError for an op that has no strategy.
    """
    get_op("add")  # so that all are registered
    maker = Maker(generator, dtypes)
    own = {name for name, op in OPS.items() if op.infer.__module__.startswith("tgraph.ops")}  # whatever plug-ins there are
    names = sorted(set(ops) or own)
    pieces = [(strategy_of(get_op(name)), SELDOM if name in COSTLY and not ops else 1.0) for name in names]
    if not ops:
        pieces += [(make, 1.5 * (SELDOM if name in COSTLY else 1.0)) for name, make in IDIOMS.items()]
    makes, weights = zip(*pieces)
    steps = generator.choice((1, 2, 4, 8, 12, 16))
    made = 0
    for make in generator.choices(makes, weights, k=4 * steps):
        if made >= steps or len(maker.graph.nodes) >= nodes:
            break
        before, written = set(maker.graph.nodes), dict(maker.written)
        required = list(maker.graph.constraints), list(maker.graph.inequalities)
        try:
            found = make(maker)
            if any(s.name.startswith("N") for pair in maker.graph.constraints for d in pair for s in symbols(d)):
                raise Skip("data would have to have some size")
            for value in (v for n in set(maker.graph.nodes) - before for v in (*n.inputs, *n.results)):
                maker.allowed([value.dtype])
            maker.keep(found)
        except (RuleError, TGraphError):
            maker.written = written
            maker.graph.constraints, maker.graph.inequalities = required
            continue  # it does not fit here; what it left behind is dead
        made += 1
    if not any(isinstance(v, Result) for v in maker.values):
        maker.keep(maker.b.unsqueeze(maker.pick(maker.dtypes), axes=(0,)))
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
    graph.set_outputs([*((f"y{i}", v) for i, v in enumerate(dict.fromkeys(chosen))), *maker.written.items()])
    Dce().apply(graph)
    unread = [i for i in graph.inputs if not i.uses and not graph.is_output(i)]
    graph.inputs = [i for i in graph.inputs if i not in unread]
    left = {*(i.name for i in graph.inputs), *maker.written}
    graph.states = {name: type for name, type in graph.states.items() if name in left}
    known = {s.name for i in graph.inputs for d in i.shape for s in symbols(d)}
    named = known | used(graph).keys()  # what dead nodes required of other sizes is gone with them
    graph.constraints, graph.inequalities = ([pair for pair in required if all(s.name in named for d in pair for s in symbols(d))]
                                             for required in (graph.constraints, graph.inequalities))
    given = sizes_of_shapes(i.type for i in graph.inputs)
    needed = used(graph) | {s.name: s for i in graph.inputs for d in i.shape for s in symbols(d)}
    for name, symbol in sorted(needed.items()):  # what only attributes name, or (B+1)//2 on an input, needs one that has it
        if name not in given and not name.startswith("N"):
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

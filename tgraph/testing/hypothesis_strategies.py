"""Strategies of hypothesis for graphs and their inputs. hypothesis is imported when one is made: an optional extra."""

from __future__ import annotations

import random
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np

from tgraph.ir.dtypes import DType
from tgraph.ir.errors import GraphError
from tgraph.ir.graph import Graph
from tgraph.ir.registry import get_op
from tgraph.testing.generator.feeds import TRIALS, feeds_of, set_weights
from tgraph.testing.generator.maker import EVERY
from tgraph.testing.generator.program import NODES, make_program
from tgraph.testing.generator.strategies import strategy_of

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

SEEDS = 2**32


def graphs(ops: Collection[str] = (), *, dtypes: Collection[DType] = EVERY, nodes: int = NODES) -> SearchStrategy[Graph]:
    """Sound graphs, verified, with data for their parameters: `@given(tgraph.testing.graphs())`.

    ops: only these and what their operands need; by default all of tgraph's, and pieces of models made of them. dtypes: the
    element types that values may have. nodes: no op or piece is added once there are so many; by it graphs are made smaller.
    Raises ModuleNotFoundError without hypothesis, GraphError for an unknown op, and LookupError for one of your own that has no
    `strategy` and needs one.
    """
    st = _hypothesis("graphs")
    if isinstance(ops, str) or not set(dtypes) <= set(EVERY) or not dtypes:
        raise GraphError(f"tgraph.testing.graphs takes names of ops and element types, as in graphs([\"add\"], dtypes=[tg.f32]); "
                         f"got {ops!r}, {dtypes!r}")
    for name in ops:
        strategy_of(get_op(name))

    def make(seed: int, limit: int) -> Graph:
        graph = make_program(random.Random(seed), ops, dtypes, limit)
        set_weights(graph)
        return graph

    return st.builds(make, st.integers(0, SEEDS - 1), st.integers(1, nodes))


def feeds(graph: Graph, *, calm: bool = False) -> SearchStrategy[dict[str, np.ndarray]]:
    """Arrays for the inputs of a graph, by name: `data.draw(tgraph.testing.feeds(graph))`.

    Sizes of dims are within their bounds, numbers within the ranges of the types. calm: no NaN, infinities, subnormal numbers, or
    ends of a type. Raises ModuleNotFoundError without hypothesis.
    """
    st = _hypothesis("feeds")
    return st.builds(lambda seed, trial: feeds_of(graph, seed, trial), st.integers(0, SEEDS - 1),
                     st.just(0) if calm else st.integers(0, TRIALS - 1))


def _hypothesis(who: str) -> Any:
    try:
        import hypothesis.strategies
    except ImportError as error:
        raise ModuleNotFoundError(f"tgraph.testing.{who} needs hypothesis: pip install tgraph-compiler[testing]",
                                  name=error.name) from None
    return hypothesis.strategies

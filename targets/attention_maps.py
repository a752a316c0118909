"""`tg.attention_weights`: what every attention of a graph looks at, of a program that itself never holds such a matrix."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import count
from typing import Any

import numpy as np

from passes.manager import optimize
from targets.compiler import compile
from targets.runtime.executable import Executable
from targets.runtime.program_executable import ProgramExecutable
from tgraph.ir.binding import name_feeds
from tgraph.ir.builder import Builder
from tgraph.ir.errors import GraphError
from tgraph.ir.graph import Graph
from tgraph.ir.values import Value
from tgraph.ops.attention import attention, build_weights

FIND = "inline,O2"  # attention that is spelled out becomes the op, and no rows are packed
CLEAN = "cse,dce"


def attention_weights(model: Executable | Graph, /, *feeds: Any, **named: Any) -> dict[str, np.ndarray]:
    """The weights [B, H, Sq, Sk] of every attention of a graph on these feeds, layer after layer.

        weights = tg.attention_weights(exe, ids, mask)
        list(weights.values())[5][0, 3]  # the sixth layer, the first sentence, the fourth head: [Sq, Sk]

    Axes are those of the op `attention`; of additive attention that became one, each query is a head: [B, Sq, 1, Sk].
    Names are the scopes of the model that attend (`encoder.layer.5.attention.self`), with a number behind them where a scope has
    several. Attention of one head counts, and attention written as matrix products, if it is one that `fuse-attention` finds;
    masks, causal and additive ones, are applied, and a query with no key left has the weights that the model gives it: zeros,
    equal ones or NaN.

    The executable stays as it is. The weights are computed by a program of their own, compiled for the same target at the first
    call and kept with the executable, over the weights that it has then. A Graph is compiled for the CPU each time.

    Raises InputError for wrong feeds, GraphError for a graph in which nothing attends, and CompileError for an executable from a
    bundle without the original weights.
    """
    if isinstance(model, ProgramExecutable):
        raise GraphError(f"a program has several graphs ({', '.join(model)}); give one of them: exe.{next(iter(model))}")
    exe = compile(weights_graph(model)) if isinstance(model, Graph) else model.companion(weights_graph)
    return exe.run(name_feeds(exe.graph, feeds, named))


def weights_graph(graph: Graph) -> Graph:
    """A graph with the inputs of another whose outputs are the weights of its attentions. Raises GraphError if it has none."""
    result = optimize(graph, FIND)
    outputs: dict[str, Value] = {}
    for node in result.nodes:
        if node.op is attention:
            q, k, _, *rest = node.operands
            weights = build_weights(Builder(result, node.provenance), q, k, *rest, **node.attrs)
            outputs[_free(node.provenance.scope, outputs)] = weights
    if not outputs:
        raise GraphError(f"nothing attends in graph {graph.name}: it has no op `attention`, and fuse-attention finds none "
                         "(tgraph opt -p O2 --explain says why)")
    result.name = f"{graph.name}_attention_weights"
    result.set_outputs(outputs.items())
    result.states = {}
    return optimize(result, CLEAN)


def _free(scope: str, taken: Mapping[str, Value]) -> str:
    """A name for what a scope gives that is not taken. Scopes of an ONNX file may hold characters that no name has."""
    name = re.sub(r"[^A-Za-z0-9_]+", ".", scope).strip(".")
    name = name if name and not name[0].isdigit() else f"attention.{name}".strip(".")
    return next(n for i in count(1) if (n := name if i == 1 else f"{name}.{i}") not in taken)

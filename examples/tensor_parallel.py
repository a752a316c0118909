"""A Transformer layer over several workers, each with its share of the heads and of the hidden units (arXiv:1909.08053).

    python examples/tensor_parallel.py

`shard` rewrites a graph for one worker. Projections to queries, keys, values and to hidden units are cut by outputs ("colwise"),
those that come back by inputs ("rowwise"), after which the workers' results are added up: `all_reduce`. What lies between follows
from the axis maps of the ops. Weights keep their names; a worker's graph takes slices of them, which belong to its prepare
part, so that no more than these are kept. `cut` takes the graph apart at its all-reduces, `Workers` runs the pieces on CPUs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

import numpy as np

import tgraph as tg
from tgraph.ir.axis_maps import axis_map
from tgraph.ir.builder import Builder
from tgraph.ir.slicing import part
from tgraph.ir.values import Constant, Node, Parameter, Value

Plan = Mapping[str, str]
# by scope of a linear, in the words of Hugging Face's `base_model_tp_plan`
BERT: Plan = {"*attention.self.*": "colwise", "*attention.output.dense": "rowwise", "*intermediate.dense": "colwise",
              "*output.dense": "rowwise"}
LLAMA: Plan = {"*.q_proj": "colwise", "*.k_proj": "colwise", "*.v_proj": "colwise", "*.o_proj": "rowwise",
               "*.gate_proj": "colwise", "*.up_proj": "colwise", "*.down_proj": "rowwise"}


@tg.op
def all_reduce(x: tg.TensorType, *, workers: int) -> tg.TensorType:
    """The sum of x over all workers, on each of them."""
    return x


def shard(graph: tg.Graph, plan: Plan, rank: int, workers: int) -> tg.Graph:
    """The graph of worker `rank` of so many. Raises GraphError where the plan and the graph do not fit."""
    return _Shard(graph, plan, rank, workers).make()


class _Shard:
    """`here`: this worker's value for each of the graph's; `split`: the axis of those of which it has a part."""

    def __init__(self, graph: tg.Graph, plan: Plan, rank: int, workers: int):
        self.graph, self.plan, self.rank, self.workers = graph, plan, rank, workers
        self.new = tg.Graph(f"{graph.name}_{rank}_of_{workers}", graph.weights)
        self.here: dict[Value, Value] = {}
        self.split: dict[Value, int] = {}

    def make(self) -> tg.Graph:
        graph, new = self.graph, self.new
        new.constraints, new.inequalities = list(graph.constraints), list(graph.inequalities)
        self.here.update({i: new.input(i.name, i.type) for i in graph.inputs})
        self.here.update({p: new.parameter(n, p.type) for n, p in graph.parameters.items()})
        self.here.update({c: new.constant(c.data, c.dtype) for c in graph.constants.values()})
        for node in graph.nodes:
            b = Builder(new, node.provenance)
            made = {"colwise": self._colwise, "rowwise": self._rowwise, "": self._other}[self._way(node)](b, node)
            self.here.update(zip(node.results, made if isinstance(made, tuple) else (made,)))
        for name, value in graph.outputs:
            if value in self.split:
                raise tg.GraphError(f"each worker has a part of output {name}: end the plan with a rowwise product")
        new.set_outputs((name, self.here[value]) for name, value in graph.outputs)
        return new

    def _way(self, node: Node) -> str:
        weight = node.operands[1] if node.op.name == "linear" else None
        scope = weight.name.removesuffix(".weight") if isinstance(weight, Parameter) else ""
        return next((way for pattern, way in self.plan.items() if scope and fnmatch(scope, pattern)), "")

    def _colwise(self, b: Builder, node: Node) -> Value:
        x, weight, bias = node.operands
        if x in self.split:
            raise tg.GraphError(f"colwise: each worker has a part of the input of {weight.name}")
        self.split[node.results[0]] = node.results[0].type.rank - 1
        return b.linear(self.here[x], self._part(b, weight, 0), None if bias is None else self._part(b, bias, 0))

    def _rowwise(self, b: Builder, node: Node) -> Value:
        x, weight, bias = node.operands
        if self.split.get(x) != x.type.rank - 1:
            raise tg.GraphError(f"rowwise: the input of {weight.name} is not cut along its last axis")
        whole = b.all_reduce(b.linear(self.here[x], self._part(b, weight, 1)), workers=self.workers)
        return whole if bias is None else b.add(whole, self.here[bias])  # once, not by each worker

    def _other(self, b: Builder, node: Node) -> Any:
        """An op on what is whole, or on parts, whose axis is followed to the result."""
        cut = {position: self.split[v] for position, v in enumerate(node.operands) if v in self.split}
        if not cut:
            return self.new.clone(node, self.here).results
        axes = {self._axis_after(node, position, axis) for position, axis in cut.items()}
        axis = axes.pop()
        if axis is None or axes:
            raise tg.GraphError(f"{node.op.name} in {'.'.join(node.provenance.scopes)} mixes what lies with different workers")
        operands = [self._matching(b, node, position, axis) for position in range(len(node.operands))]
        attrs = {name: self._shared(value, axis) if node.op.traits.axis_attributes.get(name) == "result sizes" else value
                 for name, value in node.attrs.items()}
        self.split.update(dict.fromkeys(node.results, axis))
        return self.new.insert(node.op, operands, attrs, node.provenance)

    def _axis_after(self, node: Node, position: int, axis: int) -> int | None:
        """The axis of the result along which it is cut if an operand is cut along `axis`."""
        operand, result = node.operands[position].type, node.results[0].type
        if node.op.traits.attention:  # a group of query heads goes with its key head
            return axis if axis == 1 else None
        if node.op.traits.view == "regroup":  # an axis of heads * head_dim is cut by heads: the factor that stands first
            before = product(operand.shape[:axis])
            return next((a for a, size in enumerate(result.shape) if product(result.shape[:a]) == before and size != 1), None)
        found = axis_map(node, position) or ()
        return found.index(axis) if axis in found else None

    def _matching(self, b: Builder, node: Node, position: int, axis: int) -> Value | None:
        """An operand for a result that is cut along an axis: of what is whole, the worker's part."""
        value = node.operands[position]
        if value is None or value in self.split:
            return None if value is None else self.here[value]
        own = (axis_map(node, position) or (None,) * (axis + 1))[axis]
        return self.here[value] if own is None or value.shape[own] == 1 else self._part(b, value, own)

    def _part(self, b: Builder, value: Value, axis: int) -> Value:
        """The worker's part of what is whole."""
        size = self._share(value.shape[axis], value)
        return b.slice(self.here[value], starts=(self.rank * size,), stops=((self.rank + 1) * size,), axes=(axis,))

    def _shared(self, sizes: Sequence[Any], axis: int) -> tuple[Any, ...]:
        return (*sizes[:axis], self._share(sizes[axis], sizes), *sizes[axis + 1:])

    def _share(self, size: Any, what: object) -> int:
        if not isinstance(size, int) or size % self.workers:
            raise tg.GraphError(f"{size} of {what} cannot be divided among {self.workers} workers")
        return size // self.workers


def product(sizes: Sequence[Any]) -> Any:
    total: Any = 1
    for size in sizes:
        total = total * size
    return total


@dataclass(frozen=True)
class Stage:
    """What a worker computes between two all-reduces. sums: value to add up after it, and the name of the sum in later stages."""

    graph: tg.Graph
    sums: Mapping[str, str]


def cut(graph: tg.Graph) -> list[Stage]:
    """The stages of a worker's graph, in order."""
    depth: dict[Node, int] = {}
    for node in graph.nodes:  # how many all-reduces come before a node
        makers = [v.node for v in node.inputs if not isinstance(v, (Parameter, Constant)) and hasattr(v, "node")]
        depth[node] = max((depth[m] + (m.op.name == "all_reduce") for m in makers), default=0)
    for node in reversed(graph.nodes):  # slices of weights are where they are read
        if all(isinstance(v, (Parameter, Constant)) for v in node.inputs) and node.inputs:
            depth[node] = min(depth[user] for result in node.results for user in result.users)
    stages = []
    for number in range(max(depth.values()) + 1):
        nodes = [n for n in graph.nodes if depth[n] == number]
        piece = part(graph, [n for n in nodes if n.op.name != "all_reduce"])
        joined = part(graph, [n for n in nodes if n.op.name == "all_reduce"]) if number < max(depth.values()) else tg.Graph()
        sums = {v.node.operands[0].name: name for name, v in joined.outputs}
        stages.append(Stage(piece, sums))
    return stages


class Workers:
    """Compiled shards of a graph; a call runs stage after stage on all workers and adds up what they give on the host."""

    def __init__(self, graph: tg.Graph, plan: Plan, workers: int, target: str = "cpu"):
        self.stages = [cut(shard(graph, plan, rank, workers)) for rank in range(workers)]
        self.exes = [[tg.compile(stage.graph, target) for stage in stages] for stages in self.stages]
        self.outputs = [name for name, _ in graph.outputs]

    def __call__(self, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        known = [dict(inputs) for _ in self.exes]
        for number, stage in enumerate(self.stages[0]):
            for values, exes in zip(known, self.exes):
                feeds = {i.name: values[i.name] for i in exes[number].graph.inputs}
                values.update(exes[number].run(feeds))
            for name, total in stage.sums.items():
                whole = np.sum([values[name] for values in known], axis=0, dtype=known[0][name].dtype)
                for values in known:
                    values[total] = whole
        return {name: known[0][name] for name in self.outputs}


def bert_layer(hidden: int = 64, heads: int = 4) -> tg.Graph:
    from tgraph.models.bert import BertConfig, BertLayer

    batch, length = tg.dims("B S")
    config = BertConfig(hidden_size=hidden, num_attention_heads=heads, intermediate_size=4 * hidden)
    return tg.trace(BertLayer(config), x=tg.f32[batch, length, hidden], mask=tg.bool_[batch, length])


if __name__ == "__main__":
    whole = bert_layer()
    print(shard(whole, BERT, 1, 2))
    x, mask = np.random.default_rng(0).standard_normal((2, 7, 64)).astype(np.float32), np.ones((2, 7), bool)
    result = Workers(whole, BERT, 2)(x=x, mask=mask)["output"]
    print(f"2 workers: differs by {np.abs(result - tg.compile(whole)(x, mask)).max():.1e} from one")

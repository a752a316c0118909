"""The last graph pass: groups of nodes become calls of kernels, `call $linear_gelu(...)`.

First every anchor (a product, attention, a normalisation, a reduction) takes along what follows it element by element and what
its family can read on the fly; then what is left over is fused into pointwise kernels. Equal groups share a function.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from passes.outline import Functions, outline
from passes.transforms.dce import Dce
from passes.transforms.inline import Inline
from targets.base.backend import Backend, backend_of
from targets.base.target import Target
from targets.codegen.access import READ
from targets.codegen.attention import ATTENTION
from targets.codegen.scalar import SCALAR
from targets.lowering import canonical
from targets.lowering.grouping import Grouping
from targets.lowering.stages import DECIDE, can_stay
from tgraph.ir.analysis import arranged, extract, prepared
from tgraph.ir.errors import CompileError
from tgraph.ir.graph import Graph
from tgraph.ir.values import Node


def select_kernels(graph: Graph, target: Target, refused: Collection[str] = ()) -> Graph:
    """A graph whose nodes are calls of kernels, nodes of the prepare part, and those that the host runs.

    refused: functions, by their `content`, that could not be built; their nodes get a kernel each.
    """
    result = graph.copy()
    Inline().apply(result)
    backend = backend_of(target)
    backend.arrange(result, target)
    canonical.decompose(result, lambda node: _has_kernel(node, backend))
    backend.arrange(result, target)  # products that came out of compositions
    canonical.split_to_slices(result)
    Dce().apply(result)
    canonical.copy_views(result)
    hosted = {n for n in result.nodes if n.op.name in DECIDE and not (n.op.name in backend.families and can_stay(result, n))}
    grouping = Grouping(result, backend, prepared(result, canonical.KERNEL_READS), set(), hosted)
    groups = _groups(grouping, target)
    if refused:
        alone = {n for group in groups if content(extract(result, group, "kernel")[0]) in refused for n in group}
        groups = _groups(replace(grouping, taken=set(), single=alone), target)
    functions: Functions = {}
    for group in groups:
        outline(result, group, _name(result, group), functions)
    result.prune()
    return result


def content(function: Graph) -> str:
    """What a kernel computes, whatever its function is called."""
    text = str(function)
    return text[text.index("("):]


def _groups(grouping: Grouping, target: Target) -> list[set[Node]]:
    """All nodes that need a kernel, in the groups that share one."""
    graph, families = grouping.graph, grouping.backend.families
    groups: list[set[Node]] = []
    for node in graph.nodes:
        if node.op.name in families and node not in grouping.ready and node not in grouping.hosted:
            groups.append(grouping.kernel(node))
            grouping.taken.update(groups[-1])
    for node in reversed(graph.nodes):
        if node not in grouping.taken and node not in grouping.ready and node not in grouping.hosted:
            if not (node.op.elementwise or node.op.name in READ):
                raise CompileError(f"op {node.op.name} has neither a kernel nor a decomposition for target {target}; "
                                   f"give it one with @{node.op.name}.decomposition")
            groups.append(grouping.pointwise(node))
            grouping.taken.update(groups[-1])
    return groups


def _has_kernel(node: Node, backend: Backend) -> bool:
    name = node.op.name
    if name in ATTENTION and not _suits_kernels(node):
        return False
    if name in backend.families:
        return backend.accepts(node)
    return name in READ or (node.op.elementwise and name in SCALAR)


def _suits_kernels(attention: Node) -> bool:
    """They compute in f32, with rows of known sizes."""
    return attention.inputs[0].dtype.name != "f64" and all(isinstance(v.shape[-1], int) for v in attention.inputs[:3])


def _name(graph: Graph, group: set[Node]) -> str:
    """The ops that compute something, in order: `linear_gelu_add`."""
    silent = canonical.VIEWS | canonical.CREATED | {"cast", "concat"}
    names = [n.op.name for n in arranged(graph, group)]
    shown = [n for n in names if n not in silent] or names
    return "_".join(dict.fromkeys(shown[:5])) + ("_etc" if len(shown) > 5 else "")

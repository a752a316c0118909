"""The last pass: groups of nodes become calls of kernels, `call $linear_gelu(...)`.

First every anchor (a product, attention, a normalisation, a reduction) takes along what follows it element by element and what
its family can read on the fly; then what is left over is fused into pointwise kernels. Equal groups share a function.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from passes.base import Pass, register_pass
from passes.outline import Functions, outline
from passes.rewriting import current_report
from targets.base.backend import emitters_of
from targets.base.target import Target
from targets.lowering.canonical import prepare_part
from targets.lowering.grouping import Grouping
from targets.lowering.shared_numbers import lift_numbers
from targets.lowering.stages import makes_dim, stays_on_device
from tgraph.ir.errors import CompileError
from tgraph.ir.extract import arranged, extract
from tgraph.ir.graph import Graph
from tgraph.ir.values import Node


@register_pass
@dataclass(frozen=True)
class SelectKernels(Pass):
    """Groups nodes into kernels, `call $linear_gelu(...)`: all but the prepare part, and those that the host runs."""

    target: str = "cpu"
    failed: frozenset[str] = field(default=frozenset(), repr=False)  # `content` of functions that could not be built
    effect = "exact"

    def apply(self, graph: Graph) -> None:
        target = Target.parse(self.target)
        emitters = emitters_of(target)
        called = {n for n in graph.nodes if "function" in n.attrs}  # these have a kernel
        on_host = {n for n in graph.nodes if makes_dim(n)
                   and not (n.op.name in emitters.families and stays_on_device(graph, n))}
        grouping = Grouping(graph, emitters, prepare_part(graph), set(called), on_host)
        groups = _groups(grouping, target)
        if self.failed:  # their nodes get a kernel each
            alone = {n for group in groups if content(extract(graph, group, "kernel")[0]) in self.failed for n in group}
            groups = _groups(replace(grouping, taken=set(called), single=alone), target)
        lift_numbers(graph, groups, content)
        functions: Functions = {}
        for group in groups:
            members = arranged(graph, group)
            call = outline(graph, members, _name(members), functions)
            current_report().rewrote(f"nodes of a kernel = ${call.attrs['function'].name}", members[::-1], call.results)
        graph.prune()


def content(function: Graph) -> str:
    """The text of a function without its name: the same for kernels that compute the same."""
    text = str(function)
    return text[text.index("("):]


def _groups(grouping: Grouping, target: Target) -> list[set[Node]]:
    """All nodes that need a kernel, in the groups that share one."""
    graph, families = grouping.graph, grouping.emitters.families
    groups: list[set[Node]] = []
    for node in graph.nodes:
        if node.op.name in families and grouping.needs_kernel(node):
            groups.append(grouping.kernel(node))
            grouping.taken.update(groups[-1])
    for node in reversed(graph.nodes):
        if grouping.needs_kernel(node):
            if not grouping.emitters.readable(node):
                kernel = "scalar_kernel" if node.op.elementwise else "kernel"
                raise CompileError(f"op {node.op.name} has neither a kernel nor a decomposition for target {target}; give it one "
                                   f'with @targets.{kernel}("{node.op.name}") or @{node.op.name}.decomposition')
            groups.append(grouping.pointwise(node))
            grouping.taken.update(groups[-1])
    return groups


def _name(nodes: Sequence[Node]) -> str:
    """The ops that compute something, in order: `linear_gelu_add`."""
    computing = [n for n in nodes if n.op.traits.view is None and not n.op.created and n.op.name != "cast"]
    shown = [n.op.name for n in computing or nodes]
    return "_".join(dict.fromkeys(shown[:5])) + ("_etc" if len(shown) > 5 else "")

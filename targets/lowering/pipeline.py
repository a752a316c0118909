"""The last passes of targets whose kernels are chosen in the graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

from passes.base import Pass
from passes.manager import optimize
from passes.transforms.dce import Dce
from passes.transforms.inline import Inline
from targets.base.registry import backend_of
from targets.base.target import Target
from targets.lowering.copy_views import CopyViews
from targets.lowering.decompose_to_kernels import DecomposeToKernels
from targets.lowering.select_kernels import SelectKernels
from targets.lowering.split_to_slices import SplitToSlices
from targets.lowering.update_states import UpdateStates
from tgraph.ir.graph import Graph
from tgraph.ir.program import Program


@overload
def kernel_graph(graph: Graph, target: Target) -> Graph: ...
@overload
def kernel_graph(graph: Program, target: Target) -> Program: ...
def kernel_graph(graph: Graph | Program, target: Target) -> Graph | Program:
    """A graph or program after the last passes of a target; the given one never changes."""
    return optimize(graph, backend_of(target).lowering(target))


def to_kernels(target: Target, products: Sequence[Pass] = ()) -> list[Pass]:
    """From an optimised graph to one of kernel calls.

    products: what brings products and their weights into the form that kernels want, before composite ops are decomposed, so
    that those that have it are kept, and after.
    """
    name = str(target)
    return [Inline(), UpdateStates(), *products, DecomposeToKernels(name), *products, SplitToSlices(), Dce(), CopyViews(),
            SelectKernels(name)]

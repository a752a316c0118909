"""Compiled programs: their graphs at each level, the library, and what runs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from passes.manager import PassRecord
from targets.base.target import Target
from targets.lowering.stages import Plan
from targets.runtime.engine import Engine
from targets.runtime.library import Library
from tgraph.ir.errors import TargetError
from tgraph.ir.graph import Graph
from tgraph.ir.program import Program

if TYPE_CHECKING:
    from targets.lowering.lower import Lowered
    from targets.precision_choice import PrecisionChoice
    from targets.runtime.cache import CacheResult


@dataclass
class Compiled:
    """A program for a target, before it meets weights; one graph is a program of one.

    optimized: what the passes made of it; kernels: the calls that run; prepare: the graph that makes their weights. records: of
    the passes over each graph. library, plans: of a target that has kernels. lowered: there if TVM ran. cache: how the compile
    cache took part; None if it had no part. choice: what precision="auto" took; None without it. variants: the targets of all
    variants of the bundle that it was loaded from; files: what travelled in it.
    """

    target: Target
    optimized: Program
    prepare: Graph
    kernels: Program
    plans: Mapping[str, Plan]
    library: Library | None
    engines: Mapping[str, Engine]
    records: Mapping[str, Sequence[PassRecord]]
    lowered: Lowered | None = None
    cache: CacheResult | None = None
    choice: PrecisionChoice | None = None
    variants: tuple[str, ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)

    def low(self, wanted: str) -> Lowered:
        """The lowered module. Raises TargetError where there is none."""
        if self.lowered is None:
            if self.cache is None or self.library is None:
                raise TargetError(f"{wanted} of {', '.join(self.optimized)} for target {self.target}: it has none "
                                  "(a loaded bundle keeps the library, not what it was made from)")
            from targets.lowering.lower import lower  # a hit of the cache: the same code makes the same of the same kernels

            self.lowered = lower(self.kernels, self.plans, self.target)
        return self.lowered

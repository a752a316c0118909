"""Profiles: the time of each kernel call, with the scopes and nodes that it stands for."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from targets.runtime.engine import Clock, Engine, LibraryEngine
from tgraph.ir.binding import bind_inputs
from tgraph.ir.dims import evaluate
from tgraph.ir.errors import TargetError
from tgraph.ir.values import Node

if TYPE_CHECKING:
    from targets.runtime.executable import Executable


@dataclass(frozen=True)
class ProfileRow:
    """One kernel call: median microseconds, floating-point operations, and where it comes from."""

    kernel: str
    scope: str
    microseconds: float
    flops: int

    @property
    def gflops_per_second(self) -> float:
        return self.flops / self.microseconds / 1e3 if self.microseconds else 0.0


@dataclass
class Profile:
    """The kernel calls of a graph in order, for one choice of sizes."""

    name: str
    sizes: dict[str, int]
    rows: list[ProfileRow] = field(default_factory=list)

    @property
    def microseconds(self) -> float:
        """The sum over all calls."""
        return sum(r.microseconds for r in self.rows)

    def by_kernel(self) -> list[tuple[str, int, float, int]]:
        """(kernel, calls, microseconds, flops) summed, the longest first."""
        table: dict[str, tuple[int, float, int]] = {}
        for row in self.rows:
            count, total, flops = table.get(row.kernel, (0, 0.0, 0))
            table[row.kernel] = count + 1, total + row.microseconds, flops + row.flops
        return sorted(((k, *v) for k, v in table.items()), key=lambda r: -r[2])

    def __str__(self) -> str:
        sizes = ", ".join(f"{k}={v}" for k, v in self.sizes.items())
        lines = [f"{self.name} at {sizes or 'static sizes'}: {self.microseconds / 1e3:.3f} ms in {len(self.rows)} calls",
                 f"{'kernel':<32} {'calls':>5} {'us':>10} {'share':>6} {'GFLOP/s':>8}"]
        for kernel, count, total, flops in self.by_kernel():
            share = total / self.microseconds if self.microseconds else 0.0
            rate = flops / total / 1e3 if total else 0.0
            lines.append(f"{kernel:<32} {count:>5} {total:>10.1f} {share:>6.1%} {rate:>8.1f}")
        return "\n".join(lines)


class ProgramProfile(dict[str, Profile]):
    """The profile of each graph of a program, by name."""

    def __str__(self) -> str:
        return "\n\n".join(map(str, self.values()))


def profile(executable: Executable, engine: Engine, feeds: Mapping[str, Any], repeats: int) -> Profile:
    """Run `repeats` times and take the median of each call. Raises TargetError for a target without kernels."""
    if not isinstance(engine, LibraryEngine):
        raise TargetError(f"target {executable.target} has no kernels to profile")
    arrays, sizes = bind_inputs(executable.graph, feeds, engine.adopt)
    inputs = [arrays[i.name] for i in executable.graph.inputs]
    engine.run(inputs, sizes, {})  # warm up, and check the feeds
    calls = [n for stage in engine.stages for n in stage.calls]
    times: list[list[float]] = [[] for _ in calls]
    found: Mapping[str, int] = sizes
    for _ in range(max(repeats, 1)):
        clock = engine.clock()
        found = engine.observe(inputs, sizes, _instrument(clock))
        for slot, seconds in zip(times, clock.seconds(), strict=True):
            slot.append(seconds)
    result = Profile(executable.graph.name, dict(found))
    for node, seconds_of in zip(calls, times):
        result.rows.append(ProfileRow(node.attrs["function"].name, _scope(node), statistics.median(seconds_of) * 1e6,
                                      evaluate(node.flops, found)))
    return result


def _instrument(clock: Clock) -> Callable[..., int]:
    """What TVM's virtual machine calls before and after each of its calls."""
    def instrument(function: Any, name: str, before: bool, result: Any, *arguments: Any) -> int:
        if name.startswith("kernel_"):
            clock.tick(before)
        return 0

    return instrument


def _scope(node: Node) -> str:
    return node.provenance.scope

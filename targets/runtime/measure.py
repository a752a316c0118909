"""Taking a profile: plain runs for the time of a call, observed ones for its kernels, in turns, and the machine's yardstick."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from targets.base.registry import backend_of
from targets.base.yardstick import Yardstick
from targets.runtime.engine import Clock, Engine, LibraryEngine
from targets.runtime.node_times import Origins, multiplies, nodes_of
from targets.runtime.profile import Profile
from targets.runtime.profile_rows import Overhead, ProfileRow
from targets.runtime.runner import runner
from tgraph.ir.binding import as_array
from tgraph.ir.dims import evaluate
from tgraph.ir.errors import TargetError
from tgraph.ir.graph import Graph
from tgraph.ir.values import Node

if TYPE_CHECKING:
    from targets.runtime.executable import Executable

INPUTS = "inputs"
ENGINE = "engine"
REST = "rest"
MEANING = {INPUTS: "checking the arrays and their sizes, in Python",
           ENGINE: "Python of the engine: memory for outputs, and handing the call to the thread that runs kernels"}
LIBRARY_REST = "the virtual machine between kernels, waking threads, and what is left of the call's time"
DEVICE_REST = "copies to and from the device, launches, Python, and what is left of the call's time"


def profile(executable: Executable, engine: Engine, feeds: Mapping[str, Any], repeats: int,
            yardstick: Yardstick | bool = True) -> Profile:
    """Run `repeats` times plainly and as often observed, in turns, and take medians.

    yardstick: True measures what the machine can do before and after; False leaves it out; or one that is known.
    Raises TargetError for a target without kernels.
    """
    if not isinstance(engine, LibraryEngine):
        raise TargetError(f"target {executable.target} has no kernels to profile")
    backend, threads = backend_of(executable.target), runner().threads
    graph = executable.graph
    executable.run(feeds)  # warm up, and check the feeds
    watched = engine.observed()
    narrow = {kind for call in watched for node in _inside(call) if (kind := multiplies(node))}

    def probe() -> Yardstick | None:
        measured = backend.probe(executable.target, threads)
        if measured is None or not narrow:
            return measured
        rates = backend.rates(executable.target, threads)
        return replace(measured, narrow={kind: rates[kind] for kind in sorted(narrow & rates.keys())})

    best = yardstick if isinstance(yardstick, Yardstick) else probe() if yardstick else None
    times: list[list[float]] = [[] for _ in watched]
    found: Mapping[str, int] = {}
    wall, binding, library = [], [], []
    for turn in range(max(repeats, 1) + 1):
        start = time.perf_counter()
        inputs = [as_array(feeds[i.name], i, engine.adopt) for i in graph.inputs]
        sizes = executable.sizes_of(inputs)
        bound = time.perf_counter()
        inside = engine.run_timed(inputs, sizes)
        end = time.perf_counter()
        clock = engine.clock()
        found = engine.observe(inputs, sizes, _instrument(clock))
        seconds = clock.seconds()
        if turn:  # the first one of either kind warms up
            wall.append((end - start) * 1e6)
            binding.append((bound - start) * 1e6)
            library.append(None if inside is None else ((end - bound) - inside) * 1e6)
            for slot, one in zip(times, seconds, strict=True):
                slot.append(one * 1e6)
    if best is not None and yardstick is True and (after := probe()) is not None:
        best = best.best(after)
    made = Profile(graph.name, dict(found), wall_microseconds=statistics.median(wall), wall_samples=tuple(wall), yardstick=best,
                   target=str(executable.target), threads=threads)
    origins = Origins(watched)
    for node, samples in zip(watched, times):
        function = node.attrs.get("function")
        parts = nodes_of(engine.graph, node, found, origins, best)
        made.rows.append(ProfileRow(function.name if isinstance(function, Graph) else node.op.name, node.provenance.scope,
                                    statistics.median(samples), evaluate(node.flops, found), sum(p.bytes for p in parts),
                                    tuple(parts), tuple(samples), not isinstance(function, Graph)))
    made.overheads = _overheads(made, binding, library)
    return made


def _inside(call: Node) -> Sequence[Node]:
    """The nodes that a call stands for."""
    function = call.attrs.get("function")
    return function.nodes if isinstance(function, Graph) else (call,)


def _overheads(made: Profile, binding: list[float], library: list[float | None]) -> list[Overhead]:
    """What is between kernels; the last line is the remainder, so that all lines add up to the call's time."""
    known = {INPUTS: statistics.median(binding)}
    outside = [spent for spent in library if spent is not None]
    if outside:
        known[ENGINE] = statistics.median(outside) - sum(row.microseconds for row in made.rows if row.host)
    rest = made.wall_microseconds - made.kernel_microseconds - sum(known.values())
    return [*(Overhead(name, microseconds, MEANING[name]) for name, microseconds in known.items()),
            Overhead(REST, rest, LIBRARY_REST if outside else DEVICE_REST)]


def _instrument(clock: Clock) -> Callable[..., int]:
    """What TVM's virtual machine calls before and after each of its calls."""
    def instrument(function: Any, name: str, before: bool, result: Any, *arguments: Any) -> int:
        if name.startswith(("kernel_", "host_")):
            clock.tick(before)
        return 0

    return instrument

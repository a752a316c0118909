"""A compiled graph: call it, look into it, profile it, save it."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from passes.manager import PassRecord
from targets.base.interrupts import hold_interrupts
from targets.base.registry import backend_of
from targets.base.target import Target
from targets.runtime.bundle import save
from targets.runtime.engine import REMEMBERED, BadIndex, Engine, LibraryEngine
from targets.runtime.outputs import name_buffers
from tgraph.ir.binding import as_array, bind_shapes, name_feeds
from tgraph.ir.errors import CompileError, TargetError
from tgraph.ir.graph import Graph
from tgraph.ir.weights import check_weights
from tgraph.reference.interpreter import Interpreter

if TYPE_CHECKING:
    from targets.lowering.lower import Lowered
    from targets.runtime.cache import CacheResult
    from targets.runtime.explain import Explanation
    from targets.runtime.profile import Profile

LEVELS_OF_SOURCE = ("traced", "optimized", "kernels", "prepare", "relax", "tir", "llvm", "asm")


class Executable:
    """A graph compiled for a target. Any batch and length, from any number of threads.

    `graph` is what `compile` was given, `optimized` what the passes made of it, `kernels` the calls that run, `prepare` the graph
    that makes their weights; `records` says what each pass did, `cache` how the compile cache took part (None: it had no part).
    """

    def __init__(self, graph: Graph, optimized: Graph, prepare: Graph, kernels: Graph, target: Target, engine: Engine,
                 recompile: Callable[..., Executable], records: Sequence[PassRecord] = (), lowered: Lowered | None = None,
                 cache: CacheResult | None = None):
        self.graph, self.optimized, self.prepare, self.kernels = graph, optimized, prepare, kernels
        self.target, self.records, self.cache = target, list(records), cache
        self._engine, self._lowered, self._recompile = engine, lowered, recompile
        self._weights: Mapping[str, np.ndarray] = graph.weights
        self._tuple = self._output_tuple()
        self._sizes = lru_cache(REMEMBERED)(partial(bind_shapes, graph))

    def _output_tuple(self) -> Any:
        names = [name for name, _ in self.graph.outputs]
        return namedtuple("Outputs", names, rename=True) if len(names) > 1 else None  # type: ignore[misc]

    # Running

    def __call__(self, /, *feeds: Any, out: Any = None, **named: Any) -> Any:
        """Run on positional or named feeds: one output gives an array, several a named tuple.

        `out`: the caller's arrays for the outputs, written and returned: one for the only output, a tuple for all, a dict for
        some. Dense ones are written in place, fastest if they start at a multiple of 64 bytes (`targets.aligned_empty`). (Of a
        graph with an input of that name, `out` is the input; `run` takes both.)
        Raises InputError.
        """
        if out is not None and any(i.name == "out" for i in self.graph.inputs):
            out, named = None, {**named, "out": out}
        outputs = self._run(name_feeds(self.graph, feeds, named), out)
        values = list(outputs.values())
        return values[0] if len(values) == 1 else self._tuple(*values)

    def run(self, feeds: Mapping[str, Any], out: Any = None) -> dict[str, np.ndarray]:
        """Run on feeds by name; outputs by name. `out` as in a call. Raises InputError."""
        return self._run(name_feeds(self.graph, (), feeds), out)

    def _run(self, feeds: Mapping[str, Any], out: Any) -> dict[str, Any]:
        inputs = [as_array(feeds[i.name], i, self._engine.adopt) for i in self.graph.inputs]
        sizes = dict(self._sizes(tuple(a.shape for a in inputs)))  # a run adds the sizes that it decides
        buffers = name_buffers(self.graph, out)
        try:
            results = self._engine.run(inputs, sizes, self._engine.adopt_buffers(buffers))
        except BadIndex:
            # the interpreter finds the index and says where it stands
            Interpreter(self.graph, weights=self._weights).run_bound([np.asarray(a) for a in inputs], sizes)
            raise CompileError(f"a kernel of {self.graph.name} met an index outside of its table that the reference "
                               "does not; this is an error of tgraph") from None
        return {**results, **buffers}

    @property
    def cuda_graphs(self) -> bool:
        """Whether calls on a GPU replay CUDA graphs when sizes come again; may be set. Of no meaning for other targets."""
        return bool(getattr(self._engine, "graphs", False))

    @cuda_graphs.setter
    def cuda_graphs(self, wanted: bool) -> None:
        if hasattr(self._engine, "graphs"):
            self._engine.graphs = wanted

    @property
    def weights(self) -> Mapping[str, np.ndarray]:
        """The data of the graph's parameters."""
        return self._weights

    def load_weights(self, weights: Mapping[str, Any] | str | Path, *, cast: bool = False) -> None:
        """Take other values for the parameters, from a mapping or a `.safetensors` file; nothing is compiled again.

        cast: convert floats of another precision (a checkpoint in f16 or bf16 for a model in f32).
        Raises WeightsError that lists all missing, unexpected and misshapen names.
        """
        from targets.runtime.prepare import evaluate_prepare
        from tgraph.formats.safetensors import load_safetensors

        source = "weights" if isinstance(weights, Mapping) else str(weights)
        given = weights if isinstance(weights, Mapping) else load_safetensors(weights)
        wanted = {name: p.type for name, p in self.graph.parameters.items()}
        taken = check_weights(given, wanted, self.graph.weights.aliases, source, cast)
        prepared = evaluate_prepare(self.prepare, taken)
        with hold_interrupts():  # all of them are the old ones or the new ones
            self._engine.load_prepared(prepared)
            self._weights = taken

    # Looking

    def source(self, what: str = "kernels") -> str:
        """The program at one of its levels: traced, optimized, kernels, prepare, relax, tir, llvm, asm.

        For GPUs there are also cuda, ptx and sass; llvm and asm are then of what launches the kernels. Raises TargetError for a
        level that there is not.
        """
        graphs = {"traced": self.graph, "optimized": self.optimized, "kernels": self.kernels, "prepare": self.prepare}
        if what in graphs:
            return graphs[what].text(scopes=True) + "\n"
        backend = backend_of(self.target)
        levels = (*LEVELS_OF_SOURCE, *backend.levels)
        if what not in levels:
            raise TargetError(f"no source {what!r}; there is {', '.join(levels)}")
        if not isinstance(self._engine, LibraryEngine):
            raise TargetError(f"target {self.target} has no source {what!r}")
        if what in backend.levels and self._lowered is None and self.cache is None:
            of_library = backend.library_source(self._engine.library, what)
            if of_library is not None:
                return of_library
        lowered = self._low(f"source {what!r}")
        if what in backend.levels:
            return backend.source(lowered, what)
        if what == "relax":
            return "\n\n".join(str(lowered.module[stage.name]) for stage in self._engine.stages)
        if what == "tir":
            return "\n\n".join(str(f) for f in lowered.kernels.values())
        return _inspect(lowered.executable, {"llvm": "ll", "asm": "asm"}[what])

    def explain(self) -> list[Explanation]:
        """The kernels, how often each is called, what was chosen for it and why. Raises TargetError for a target without any."""
        from targets.runtime.explain import explain

        return explain(self, self._low("kernels"))

    def resources(self) -> Any:
        """What each kernel takes of a GPU: registers, shared memory, occupancy. Raises TargetError for other targets."""
        return backend_of(self.target).resources(self._low("resources"))

    def _low(self, wanted: str) -> Lowered:
        """The lowered module. Raises TargetError where there is none."""
        if self._lowered is None:
            if self.cache is None or not isinstance(self._engine, LibraryEngine):
                raise TargetError(f"{wanted} of {self.graph.name} for target {self.target}: it has none "
                                  "(a loaded bundle keeps the library, not what it was made from)")
            from targets.lowering.lower import lower  # a hit of the cache: the same code makes the same of the same kernels

            self._lowered = lower(self.kernels, self._engine.stages, self._engine.plan, self.target)
        return self._lowered

    def profile(self, /, *feeds: Any, repeats: Any = None, **named: Any) -> Profile:
        """The time of each kernel call on these feeds (default: generated ones), with the nodes that it stands for.

        repeats: the number of runs, by default 10. (Of a graph with an input of that name, `repeats` is the input.)
        """
        if repeats is not None and any(i.name == "repeats" for i in self.graph.inputs):
            repeats, named = None, {**named, "repeats": repeats}
        from targets.runtime.profile import profile
        from tgraph.reference.inputs import generate_inputs

        given = name_feeds(self.graph, feeds, named) if feeds or named else generate_inputs(self.graph)
        return profile(self, self._engine, given, 10 if repeats is None else repeats)

    def alone(self, graph: Graph) -> Callable[[Mapping[str, Any]], dict[str, np.ndarray]]:
        """Another graph compiled for the same target without passes, as a function of feeds; `check` looks for faults so."""
        return self._recompile(graph, self.target, passes="", cache=False).run

    def save(self, path: str | Path, *, originals: bool = False) -> None:
        """Write one file with library, prepared weights, graphs and manifest; `tg.load` reads it.

        originals=True puts the parameters as they were loaded in as well. The file takes the place of one of that name when it is
        complete. Raises CompileError without a C compiler, and DiskError where there is no room for it.
        """
        save(self, self._engine, Path(path), originals)

    def __repr__(self) -> str:
        calls = f"{len(self.kernels)} calls of {len(self.kernels.functions)} kernels"
        return f"<executable {self.graph.name} for {self.target}: {calls}>"


def _inspect(library: Any, format: str) -> str:
    """The text of the machine code module inside a virtual machine's executable."""
    pending = [library.mod]
    while pending:
        module = pending.pop()
        if module.kind == "llvm":
            return str(module.inspect_source(format))
        pending += list(module.imports)
    raise TargetError("the library holds no LLVM module to look into")

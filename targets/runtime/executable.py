"""A compiled graph: call it, look into it, profile it, save it."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from targets.base.registry import backend_of
from targets.runtime.bundle import save
from targets.runtime.compiled import Compiled
from targets.runtime.engine import REMEMBERED, BadIndex
from targets.runtime.loaded_weights import LoadedWeights
from targets.runtime.outputs import name_buffers
from targets.runtime.source import source
from tgraph.ir.binding import as_array, bind_shapes, name_feeds
from tgraph.ir.errors import CompileError
from tgraph.ir.graph import Graph
from tgraph.ir.program import Program
from tgraph.reference.interpreter import Interpreter

if TYPE_CHECKING:
    from targets.runtime.explain import Explanations
    from targets.runtime.profile import Profile


class Executable:
    """A graph compiled for a target. Any batch and length, from any number of threads.

    `graph` is what `compile` was given, `optimized` what the passes made of it, `kernels` the calls that run, `prepare` the graph
    that makes their weights; `records` says what each pass did, `cache` how the compile cache took part (None: it had no part).
    """

    def __init__(self, program: Program, name: str, compiled: Compiled, weights: LoadedWeights, recompile: Callable[..., Any]):
        self.graph = program[name]
        self.optimized, self.prepare, self.kernels = compiled.optimized[name], compiled.prepare, compiled.kernels[name]
        self.target, self.records, self.cache = compiled.target, list(compiled.records.get(name, ())), compiled.cache
        self._program, self._compiled, self._weights, self._recompile = program, compiled, weights, recompile
        self._engine = compiled.engines[name]
        self._tuple = self._output_tuple()
        self._sizes = lru_cache(REMEMBERED)(partial(bind_shapes, self.graph))

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
        sizes = dict(self._sizes(tuple(a.shape for a in inputs)))  # a run adds the data-dependent ones
        buffers = name_buffers(self.graph, out)
        try:
            results = self._engine.run(inputs, sizes, self._engine.adopt_buffers(buffers))
        except BadIndex:
            self._reference().run_bound([np.asarray(a) for a in inputs], sizes)  # finds the index and says where it stands
            raise CompileError(f"a kernel of {self.graph.name} met an index outside of its table that the reference "
                               "does not; this is an error of tgraph") from None
        return {**results, **buffers}

    def _reference(self) -> Interpreter:
        """The graph in the interpreter; in a bundle without the original weights, the graph of kernels, which needs none."""
        if all(name in self.weights for name in self.graph.parameters):
            return Interpreter(self.graph, weights=self.weights)
        from passes.manager import optimize

        return Interpreter(optimize(self.kernels, "inline"), faithful=True, weights=self._weights.prepared)

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
        """The data of the graph's parameters; of a graph of a program, of those of all its graphs."""
        return self._weights.data

    def load_weights(self, weights: Mapping[str, Any] | str | Path, *, cast: bool = False) -> None:
        """Take other values for the parameters, from a mapping or a `.safetensors` file; nothing is compiled again.

        cast: convert floats of another precision (a checkpoint in f16 or bf16 for a model in f32). The graphs of a program share
        their parameters: all of them are given, and take the new values.
        Raises WeightsError that lists all missing, unexpected and misshapen names.
        """
        self._weights.load(weights, cast)

    # Looking

    def source(self, what: str = "kernels") -> str:
        """The graph at one of its levels: traced, optimized, kernels, prepare, relax, tir, llvm, asm.

        For GPUs there are also cuda, ptx and sass; llvm and asm are then of what launches the kernels. Machine code is that of
        the whole library. Raises TargetError for a level that there is not.
        """
        return source(self._program.only([self.graph.name]), self._compiled, what)

    def explain(self) -> Explanations:
        """The kernels, how often each is called, what was chosen for it and why. Raises TargetError for a target without any."""
        from targets.runtime.explain import explain

        return explain(self._compiled.kernels.only([self.graph.name]), self._compiled)

    def resources(self) -> Any:
        """What each kernel takes of a GPU: registers, shared memory, occupancy. Raises TargetError for other targets."""
        return backend_of(self.target).resources(self._compiled.low("resources"))

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
        """Another graph compiled for this target without passes, as a function of feeds; `check` finds wrong nodes by it."""
        return self._recompile(graph, self.target, passes="", cache=False).run

    def save(self, path: str | Path, *, originals: bool = False) -> None:
        """Write one file with library, prepared weights, graphs and manifest; `tg.load` reads it.

        originals=True puts the parameters as they were loaded in as well. The file takes the place of one of that name when it is
        complete. Raises CompileError without a C compiler and for a graph of a program, which is saved whole, and DiskError where
        there is no room for it.
        """
        if len(self._program) > 1:
            raise CompileError(f"{self.graph.name} shares its library with the other graphs of the program "
                               f"({', '.join(self._program)}); save the program")
        save(self._program, self._compiled, self._weights, Path(path), originals, "graph")

    def __repr__(self) -> str:
        calls = f"{len(self.kernels)} calls of {len(self.kernels.functions)} kernels"
        return f"<executable {self.graph.name} for {self.target}: {calls}>"

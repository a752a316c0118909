"""A compiled graph: call it, look into it, profile it, save it."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from targets.base.registry import backend_of
from targets.base.room import out_of_memory
from targets.base.yardstick import Yardstick
from targets.runtime.bundle import save
from targets.runtime.compiled import Compiled
from targets.runtime.engine import REMEMBERED, BadIndex
from targets.runtime.loaded_weights import LoadedWeights
from targets.runtime.of_process import OfProcess
from targets.runtime.outputs import name_buffers
from targets.runtime.session import Session
from targets.runtime.source import source
from targets.runtime.variants import Part
from tgraph.ir.binding import as_array, bind_shapes, name_feeds
from tgraph.ir.errors import CompileError, TargetError
from tgraph.ir.graph import Graph
from tgraph.ir.program import Program
from tgraph.ir.tables import html_sections
from tgraph.ir.values import Node, Value
from tgraph.ir.viewing import show
from tgraph.ir.weights import Weights
from tgraph.reference.interpreter import Interpreter

if TYPE_CHECKING:
    from passes.debug.history import History
    from passes.manager import PassRecord
    from targets.base.target import Target
    from targets.precision_choice import PrecisionChoice
    from targets.runtime.cache import CacheResult
    from targets.runtime.explain import Explanations
    from targets.runtime.memory import MemoryReport
    from targets.runtime.profile import Profile
    from targets.runtime.trail import Trail
    from tgraph.ir.values import Node


class Executable(OfProcess):
    """A graph compiled for a target. Any batch and length, from any number of threads.

    `graph` is what `compile` was given, `optimized` what the passes made of it, `kernels` the calls that run, `prepare` the graph
    that makes their weights; `records` says what each pass did, `cache` how the compile cache took part (None: it had no part),
    `choice` what precision="auto" took (None without it).
    Of a loaded bundle, `variants` are the targets that it was compiled for, of which `target` was chosen, and `files` what
    travels in it, by name.
    """

    graph: Graph
    optimized: Graph
    prepare: Graph
    kernels: Graph
    target: Target
    records: list[PassRecord]
    cache: CacheResult | None
    variants: tuple[str, ...]
    files: Mapping[str, bytes]
    choice: PrecisionChoice | None

    def __init__(self, program: Program, name: str, compiled: Compiled, weights: LoadedWeights, recompile: Callable[..., Any]):
        self.graph = program[name]
        self.optimized, self.prepare, self.kernels = compiled.optimized[name], compiled.prepare, compiled.kernels[name]
        self.target, self.records, self.cache = compiled.target, list(compiled.records.get(name, ())), compiled.cache
        self.variants, self.files, self.choice = compiled.variants, compiled.files, compiled.choice
        self._program, self._compiled, self._weights, self._recompile = program, compiled, weights, recompile
        self._engine = compiled.engines[name]
        self._companions: dict[Callable[[Graph], Graph], tuple[Mapping[str, np.ndarray], Executable]] = {}
        self._tuple = self._output_tuple()
        self._sizes = lru_cache(REMEMBERED)(partial(bind_shapes, self.graph))

    @property
    def _part(self) -> Part:
        """What a variant of a bundle is made of."""
        return self._program, self._compiled, self._weights

    def _output_tuple(self) -> Any:
        names = [name for name, _ in self.graph.outputs]
        return namedtuple("Outputs", names, rename=True) if len(names) > 1 else None  # type: ignore[misc]

    def companion(self, derive: Callable[[Graph], Graph], *, optimized: bool = False) -> Executable:
        """The program of a graph that `derive` makes of this one's, for the same target and over the same weights.

        optimized: `derive` is given the optimised graph instead, and no passes but the target's own follow. It is compiled at
        the first call, and kept until other weights are loaded; equal `derive`s share one.
        Raises CompileError if the weights are gone.
        """
        found = self._companions.get(derive)
        if found is None or found[0] is not self.weights:
            missing = [name for name in self.graph.parameters if name not in self.weights]
            if missing:
                raise CompileError(f"{self.graph.name} comes from a bundle without its weights ({', '.join(missing[:3])}, ...); "
                                   "save it with originals=True")
            graph = derive(self.optimized if optimized else self.graph)
            graph.weights = Weights()
            for name in graph.parameters:
                graph.weights.set(name, self.weights[name])
            options = {"passes": ""} if optimized else {}
            found = self._companions[derive] = self.weights, self._recompile(graph, self.target, **options)
        return found[1]

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
        buffers = name_buffers(self.graph, out)
        return {**self.run_arrays(inputs, self._engine.adopt_buffers(buffers)), **buffers}

    def run_arrays(self, inputs: Sequence[Any], out: Mapping[str, Any]) -> dict[str, Any]:
        """Run on one array of the engine's kind an input, of its element type and rank. Raises InputError."""
        sizes = dict(self.sizes_of(inputs))  # a run adds the data-dependent ones
        try:
            return self._engine.run(inputs, sizes, out)
        except (MemoryError, OSError, RuntimeError) as error:
            found = out_of_memory(self._what(sizes), error)
            if found is None:
                raise
            raise found from None
        except BadIndex:
            self._reference().run_bound([np.asarray(a) for a in inputs], sizes)  # finds the index and says where it stands
            raise CompileError(f"a kernel of {self.graph.name} met an index outside of its table that the reference "
                               "does not; this is an error of tgraph") from None

    def _what(self, sizes: Mapping[str, int]) -> str:
        return f"a call of {self.graph.name} with {', '.join(f'{n} = {size}' for n, size in sizes.items()) or 'fixed sizes'}"

    def sizes_of(self, inputs: Sequence[Any]) -> Mapping[str, int]:
        """The sizes of the dims of arrays in the order of the inputs. Raises InputError."""
        return self._sizes(tuple(a.shape for a in inputs))

    def session(self, /, **sizes: int) -> Session:
        """Memory for the states of the graph, kept from call to call; sizes of their dims: `exe.session(B=2, C=256)`.

        Raises InputError for a graph without states, and for sizes that are missing, unknown or out of bounds.
        """
        return Session({self.graph.name: self}, sizes)

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

    def source(self, what: str = "kernels", *, scope: str | None = None, node: str | int | None = None) -> str:
        """The graph at one of its levels: traced, optimized, kernels, prepare, relax, tir, llvm, asm.

        For GPUs there are also cuda, ptx and sass; llvm and asm are then of what launches the kernels. Machine code is that of
        the whole library. Raises TargetError for a level that there is not.

        scope: only what stands for a scope of the model, as in "encoder.layer.0.attention", at any level: of the graphs, the part
        of that scope; below, the kernels that stand for its nodes, and the functions that these come to. node: the same for one
        node, by its number in the graph of that level (below `kernels`: in that of kernels) or an output's name.
        Raises GraphError that lists the scopes nearby.
        """
        return source(self._program.only([self.graph.name]), self._compiled, what, scope, node)

    def explain(self) -> Explanations:
        """The kernels, how often each is called, what was chosen for it and why. Raises TargetError for a target without any."""
        from targets.runtime.explain import explain

        return explain(self._compiled.kernels.only([self.graph.name]), self._compiled)

    def trail(self, nodes: str | None = None, *, kernel: str | None = None) -> Trail:
        """What became of nodes of `graph`, down to calls of kernels, or what a kernel comes from, up to the user's lines.

        nodes: a scope (`encoder.layer.0.attention`; of an ONNX model the name of a node), a value (`%12`), a line (`model.py:31`)
        or an op. kernel: its name in `explain`.
        Raises GraphError for what is not there, and TargetError for a loaded bundle.
        """
        from targets.runtime.trail import trail_of_kernel, trail_of_nodes

        if (nodes is None) == (kernel is None):
            raise TargetError("trail takes nodes or kernel=, one of the two")
        if nodes is not None:
            return trail_of_nodes(self, nodes, self.explain())
        return trail_of_kernel(self, str(kernel), self.explain())

    def history(self) -> History:
        """Every rewrite that led from `graph` to `kernels`, and which nodes became which; the passes run once more for it.

        The prepare part is in its last graph. Raises TargetError for a loaded bundle, which does not know its passes.
        """
        from targets.runtime.history import history

        return history(self.graph, self.records)

    def view(self, path: str | Path | None = None, *, open: bool | None = None, profile: Any = False,
             sources: Sequence[str] | bool = (), errors: bool = False, heads: Mapping[str, Any] | None = None,
             sizes: Mapping[str, int] | None = None, overlays: Mapping[str, Mapping[Node, float]] | None = None,
             title: str = "") -> Path:
        """Write one HTML page with every rewrite from `graph` down to `kernels`; it loads nothing. Returns its path.

        path: by default a temporary file, which opens in a browser; open: whether to open it. profile: a Profile whose times are
        laid over the graph, or True to make one. sources: levels of code to put in for each kernel (tir, llvm, asm; cuda, ptx),
        True for tir and asm. errors: run each kernel against the reference, too; compiles once more. heads: what
        `tg.attention_weights` gave. sizes: of symbolic dims, for costs, profile and errors. overlays: as `Graph.view` takes them.
        Raises TargetError for what the target, or a loaded bundle, does not have.
        """
        from targets.runtime.explorer import write

        options = {"profile": profile, "sources": sources, "errors": errors, "heads": heads, "sizes": sizes,
                   "overlays": overlays, "title": title}
        name = self.graph.name
        return show(lambda place: write({name: self}, self.graph, place, **options), title or name, path, open)

    def resources(self) -> Any:
        """What each kernel takes of a GPU: registers, shared memory, occupancy. Raises TargetError for other targets."""
        return backend_of(self.target).resources(self._compiled.low("resources"))

    def profile(self, /, *feeds: Any, repeats: Any = None, yardstick: Any = None, **named: Any) -> Profile:
        """Where the time of a call on these feeds (default: generated ones) goes: its kernels, and what is between them.

        repeats: the number of runs, by default 10. yardstick: by default what the machine can do is measured before and after, in
        a few seconds; False leaves that out, a `Yardstick` (another profile's) takes its place. (Of a graph with an input of
        one of these names, it is the input.) Raises TargetError for a target without kernels.
        """
        names = {i.name for i in self.graph.inputs}
        if "repeats" in names and repeats is not None:
            repeats, named = None, {**named, "repeats": repeats}
        if "yardstick" in names and yardstick is not None:
            yardstick, named = None, {**named, "yardstick": yardstick}
        from tgraph.reference.inputs import generate_inputs

        given = name_feeds(self.graph, feeds, named) if feeds or named else generate_inputs(self.graph)
        return self.profile_feeds(given, 10 if repeats is None else repeats, True if yardstick is None else yardstick)

    def profile_feeds(self, feeds: Mapping[str, Any], repeats: int = 10, yardstick: Yardstick | bool = True) -> Profile:
        """`profile` on feeds by name, whatever names the graph's inputs have."""
        from targets.runtime.measure import profile

        return profile(self, self._engine, feeds, repeats, yardstick)

    def memory(self, /, **sizes: int) -> MemoryReport:
        """The memory of a call at these sizes (`exe.memory(B=1, S=128)`): what lies where in the arena, and when.

        Dims that are not given have typical sizes, data-dependent ones their upper bounds. Nothing runs. Raises InputError for
        sizes that the graph does not have or allow, TargetError for a target without kernels.
        """
        from targets.runtime.memory import memory_report

        return memory_report(self, self._engine, sizes)

    def node_values(self, feeds: Mapping[str, Any], nodes: Iterable[Node]) -> dict[Value, np.ndarray]:
        """The results of nodes of `optimized` on feeds by name, as this target computes them.

        A program of its own has them as outputs, so that no kernel takes them along without writing them; what is around them is
        computed by the same kernels, or by those that are left when it is not. Raises InputError, and CompileError if the weights
        are gone.
        """
        from targets.runtime.exposed import Exposed

        return Exposed.of(self.optimized, nodes).run(self, feeds)

    def alone(self, graph: Graph) -> Callable[[Mapping[str, Any]], dict[str, np.ndarray]]:
        """Another graph compiled for this target without passes, as a function of feeds; `check` finds wrong nodes by it."""
        return self._recompile(graph, self.target, passes="", cache=False).run

    def save(self, path: str | Path, *, originals: bool = False, variants: Iterable[Executable] = (),
             files: Mapping[str, bytes] | None = None) -> None:
        """Write one file with library, prepared weights, graphs and manifest; `tg.load` reads it.

        originals=True puts the parameters as they were loaded in as well. variants: the same graph over the same weights,
        compiled for other targets, of which `tg.load` takes the one that fits the machine best; an iterator is asked for one at a
        time, so that no two need be in memory beside this one. files: small ones that travel along, such as a tokenizer, as bytes
        by name, which a loaded executable has in `files`; by default those that it has. The file takes the place of one of that
        name when it is complete.

        Raises CompileError without a C compiler, for variants of something else, for files that a bundle does not take (64 MiB in
        all), and for a graph of a program, which is saved whole; TargetError for a target that has no library, and DiskError
        where there is no room.
        """
        if len(self._program) > 1:
            raise CompileError(f"{self.graph.name} shares its library with the other graphs of the program "
                               f"({', '.join(self._program)}); save the program")
        save(self, variants, Path(path), originals, "graph", self.files if files is None else files)

    def _repr_html_(self) -> str:
        """What a notebook shows: the calls of kernels, as a picture."""
        return html_sections([(repr(self)[1:-1], self.kernels._repr_svg_() or "")])

    def __repr__(self) -> str:
        calls = f"{len(self.kernels)} calls of {len(self.kernels.functions)} kernels"
        return f"<executable {self.graph.name} for {self.target}: {calls}>"

"""A compiled program: its graphs by name, over one set of weights and one library."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from targets.base.registry import backend_of
from targets.base.yardstick import Yardstick
from targets.runtime.bundle import save
from targets.runtime.compiled import Compiled
from targets.runtime.executable import Executable
from targets.runtime.loaded_weights import LoadedWeights
from targets.runtime.of_process import OfProcess
from targets.runtime.session import Session
from targets.runtime.source import source
from targets.runtime.variants import Part
from tgraph.ir.errors import InputError
from tgraph.ir.program import Program
from tgraph.ir.viewing import show

if TYPE_CHECKING:
    from targets.base.target import Target
    from targets.precision_choice import PrecisionChoice
    from targets.runtime.cache import CacheResult
    from targets.runtime.explain import Explanations
    from targets.runtime.memory import ProgramMemory
    from targets.runtime.profile import ProgramProfile
    from tgraph.ir.graph import Graph
    from tgraph.ir.values import Node


class ProgramExecutable(OfProcess):
    """The graphs of a program compiled for a target: `exe.encode(source)`, `exe["encode"].profile()`.

    `graphs` has an Executable a graph. `program` is what `compile` was given, `optimized` what the passes made of it, `kernels`
    the calls that run, `prepare` the graph that makes their weights, once for all graphs. `variants`, `files`, `choice`: an
    Executable's.
    """

    program: Program
    optimized: Program
    kernels: Program
    prepare: Graph
    target: Target
    cache: CacheResult | None
    variants: tuple[str, ...]
    files: Mapping[str, bytes]
    choice: PrecisionChoice | None
    graphs: dict[str, Executable]

    def __init__(self, program: Program, compiled: Compiled, weights: LoadedWeights, recompile: Callable[..., Any]):
        self.program, self.optimized, self.kernels = program, compiled.optimized, compiled.kernels
        self.prepare, self.target, self.cache = compiled.prepare, compiled.target, compiled.cache
        self.variants, self.files, self.choice = compiled.variants, compiled.files, compiled.choice
        self.graphs = {name: Executable(program, name, compiled, weights, recompile) for name in program}
        self._compiled, self._weights = compiled, weights

    @property
    def _part(self) -> Part:
        """What a variant of a bundle is made of."""
        return self.program, self._compiled, self._weights

    # Graphs

    def __getitem__(self, name: str) -> Executable:
        """The executable of one graph. Raises GraphError that lists the names."""
        self.program[name]
        return self.graphs[name]

    def __getattr__(self, name: str) -> Executable:
        graphs: Mapping[str, Executable] = vars(self).get("graphs", {})
        if name not in graphs:
            raise AttributeError(f"{name!r} is no graph of the program ({', '.join(graphs)}), and no attribute of its executable")
        return graphs[name]

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.graphs]

    def __iter__(self) -> Iterator[str]:
        return iter(self.graphs)

    def __len__(self) -> int:
        return len(self.graphs)

    def __call__(self, /, *feeds: Any, **named: Any) -> Any:
        """Call the only graph. Raises InputError if there are several."""
        if len(self) > 1:
            raise InputError(f"the program has the graphs {', '.join(self)}; call one of them: exe.{next(iter(self))}(...)")
        return next(iter(self.graphs.values()))(*feeds, **named)

    def session(self, /, **sizes: int) -> Session:
        """Memory for the states of all graphs, as `Executable.session` gives it: `session.step(tokens)` calls one of them."""
        return Session(self.graphs, sizes)

    # Weights

    @property
    def weights(self) -> Mapping[str, np.ndarray]:
        """The data of the parameters of all graphs."""
        return self._weights.data

    def load_weights(self, weights: Mapping[str, Any] | str | Path, *, cast: bool = False) -> None:
        """Take other values for the parameters of all graphs, as `Executable.load_weights` does for one."""
        self._weights.load(weights, cast)

    # Looking

    def source(self, what: str = "kernels", *, scope: str | None = None) -> str:
        """All graphs at one of the levels that `Executable.source` has, or what a scope is there in the graphs that have it."""
        return source(self.program, self._compiled, what, scope)

    def explain(self) -> Explanations:
        """The kernels of all graphs, as `Executable.explain` lists them."""
        from targets.runtime.explain import explain

        return explain(self.kernels, self._compiled)

    def view(self, path: str | Path | None = None, *, open: bool | None = None, profile: Any = False,
             sources: Sequence[str] | bool = (), errors: bool = False, sizes: Mapping[str, int] | None = None,
             overlays: Mapping[str, Mapping[Node, float]] | None = None, title: str = "") -> Path:
        """Write one HTML page of all graphs, as `Executable.view` does of one; profile: a ProgramProfile, or True."""
        from targets.runtime.explorer import write

        options: dict[str, Any] = {"profile": profile, "sources": sources, "errors": errors, "sizes": sizes,
                                   "overlays": overlays, "title": title}
        return show(lambda place: write(self.graphs, self.program, place, **options), title or ", ".join(self), path, open)

    def resources(self) -> Any:
        """What each kernel takes of a GPU: registers, shared memory, occupancy. Raises TargetError for other targets."""
        return backend_of(self.target).resources(self._compiled.low("resources"))

    def profile(self, /, *, repeats: int = 10, yardstick: Yardstick | bool = True, **feeds: Mapping[str, Any]) -> ProgramProfile:
        """The profile of each graph, on feeds by its name: `exe.profile(encode={"x": x})`; default: generated ones.

        repeats, yardstick: as of `Executable.profile`; the machine is measured once.
        """
        from targets.runtime.profile import ProgramProfile
        from tgraph.reference.inputs import generate_inputs

        for name in feeds:
            self.program[name]
        found = ProgramProfile()
        for name, exe in self.graphs.items():
            given = feeds.get(name)
            found[name] = exe.profile_feeds(generate_inputs(exe.graph) if given is None else given, repeats, yardstick)
            yardstick = found[name].yardstick or yardstick
        return found

    def memory(self, /, **sizes: int) -> ProgramMemory:
        """The memory of a call of each graph, as `Executable.memory` gives it; of `sizes`, each takes those of its own dims."""
        from targets.runtime.memory import ProgramMemory

        unknown = [name for name in sizes if all(name not in exe.graph.symbols for exe in self.graphs.values())]
        if unknown:
            raise InputError(f"no graph of the program ({', '.join(self)}) has a dim {unknown[0]}")
        return ProgramMemory((name, exe.memory(**{n: size for n, size in sizes.items() if n in exe.graph.symbols}))
                             for name, exe in self.graphs.items())

    def save(self, path: str | Path, *, originals: bool = False, variants: Iterable[ProgramExecutable] = (),
             files: Mapping[str, bytes] | None = None) -> None:
        """Write one file with library, prepared weights, graphs and manifest, as `Executable.save` does."""
        save(self, variants, Path(path), originals, "program", self.files if files is None else files)

    def _repr_html_(self) -> str:
        """What a notebook shows: the calls of kernels of each graph, as a picture."""
        return "".join(exe._repr_html_() for exe in self.graphs.values())

    def __repr__(self) -> str:
        calls = ", ".join(f"{name} ({len(exe.kernels)} calls)" for name, exe in self.graphs.items())
        return f"<executable program for {self.target}: {calls}, {len(self.kernels.functions)} kernels>"

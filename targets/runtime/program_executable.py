"""A compiled program: its graphs by name, over one set of weights and one library."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from targets.base.registry import backend_of
from targets.runtime.bundle import save
from targets.runtime.compiled import Compiled
from targets.runtime.executable import Executable
from targets.runtime.loaded_weights import LoadedWeights
from targets.runtime.source import source
from tgraph.ir.errors import InputError
from tgraph.ir.program import Program

if TYPE_CHECKING:
    from targets.runtime.explain import Explanations
    from targets.runtime.profile import ProgramProfile


class ProgramExecutable:
    """The graphs of a program compiled for a target: `exe.encode(source)`, `exe["encode"].profile()`.

    `graphs` has an Executable a graph. `program` is what `compile` was given, `optimized` what the passes made of it, `kernels`
    the calls that run, `prepare` the graph that makes their weights, once for all graphs.
    """

    def __init__(self, program: Program, compiled: Compiled, weights: LoadedWeights, recompile: Callable[..., Any]):
        self.program, self.optimized, self.kernels = program, compiled.optimized, compiled.kernels
        self.prepare, self.target, self.cache = compiled.prepare, compiled.target, compiled.cache
        self.graphs = {name: Executable(program, name, compiled, weights, recompile) for name in program}
        self._compiled, self._weights = compiled, weights

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

    # Weights

    @property
    def weights(self) -> Mapping[str, np.ndarray]:
        """The data of the parameters of all graphs."""
        return self._weights.data

    def load_weights(self, weights: Mapping[str, Any] | str | Path, *, cast: bool = False) -> None:
        """Take other values for the parameters of all graphs, as `Executable.load_weights` does for one."""
        self._weights.load(weights, cast)

    # Looking

    def source(self, what: str = "kernels") -> str:
        """All graphs at one of the levels that `Executable.source` has."""
        return source(self.program, self._compiled, what)

    def explain(self) -> Explanations:
        """The kernels of all graphs, as `Executable.explain` lists them."""
        from targets.runtime.explain import explain

        return explain(self.kernels, self._compiled)

    def resources(self) -> Any:
        """What each kernel takes of a GPU: registers, shared memory, occupancy. Raises TargetError for other targets."""
        return backend_of(self.target).resources(self._compiled.low("resources"))

    def profile(self, /, *, repeats: int = 10, **feeds: Mapping[str, Any]) -> ProgramProfile:
        """The profile of each graph, on feeds by its name: `exe.profile(encode={"x": x})`; default: generated ones."""
        from targets.runtime.profile import ProgramProfile

        for name in feeds:
            self.program[name]
        return ProgramProfile((name, exe.profile(repeats=repeats, **feeds.get(name, {}))) for name, exe in self.graphs.items())

    def save(self, path: str | Path, *, originals: bool = False) -> None:
        """Write one file with library, prepared weights, graphs and manifest, as `Executable.save` does."""
        save(self.program, self._compiled, self._weights, Path(path), originals, "program")

    def __repr__(self) -> str:
        calls = ", ".join(f"{name} ({len(exe.kernels)} calls)" for name, exe in self.graphs.items())
        return f"<executable program for {self.target}: {calls}, {len(self.kernels.functions)} kernels>"

"""Sessions: the memory of the states of a program, from call to call."""

from __future__ import annotations

import functools
import threading
from collections import namedtuple
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from targets.runtime.of_process import OfProcess
from tgraph.ir.binding import as_array, name_feeds
from tgraph.ir.dims import as_symbol, evaluate, symbols
from tgraph.ir.errors import InputError
from tgraph.ir.types import TensorType
from tgraph.ir.values import Input

if TYPE_CHECKING:
    from targets.runtime.executable import Executable
    from tgraph.ir.graph import Graph


Method = TypeVar("Method", bound=Callable[..., Any])


def _one_at_a_time(method: Method) -> Method:
    """A method of sessions that is an InputError while another thread is in one of them."""
    @functools.wraps(method)
    def guarded(self: Session, *given: Any, **named: Any) -> Any:
        if not self._busy.acquire(blocking=False):
            raise InputError(f"another thread is using this session of {', '.join(self._graphs)}, whose states depend on the "
                             "order of calls; give each thread a session of its own, or let them take turns by a lock")
        try:
            return method(self, *given, **named)
        finally:
            self._busy.release()
    return guarded  # type: ignore[return-value]


class Session(OfProcess):
    """The memory of the states of one or more graphs: `session.step(tokens)` calls a graph, which goes on from where it is.

    A state is zeros at first, of the sizes that the session was given. One that a graph writes whole, of a size that follows from
    its inputs (the encoder's memory), needs none: it is there when that graph has run. A session is for one thread at a time:
    what another does with it meanwhile is an InputError. Sessions of one executable may run side by side.
    """

    def __init__(self, graphs: Mapping[str, Executable], sizes: Mapping[str, int]):
        self._graphs, self._given, self._sizes = dict(graphs), dict(sizes), dict(sizes)  # `reorder` changes a size
        self._types: dict[str, TensorType] = {}
        for exe in graphs.values():
            for name, type in exe.graph.states.items():
                self._types.setdefault(name, type)
        self._engine = next(iter(graphs.values()))._engine
        self._arrays: dict[str, Any] = {}
        self._spare: dict[str, Any] = {}  # the array that a state had before, if its graph does not write in place
        self._broken = ""  # why the states are incomplete
        self._busy = threading.RLock()
        self._tuples: dict[str, Any] = {}
        self._check()
        self.reset()

    def _check(self) -> None:
        """Raises InputError for sizes that are missing, unknown or out of bounds."""
        first = next(iter(self._graphs))
        if not self._types:
            raise InputError(f"{', '.join(self._graphs)} has no states (nn.State), so there is nothing to keep; call exe(...)")
        known = {s.name: s for t in self._types.values() for d in t.shape for s in symbols(d)}
        for name, size in self._sizes.items():
            if name not in known:
                raise InputError(f"no state has a dim {name}; the dims of the states: {', '.join(known) or 'none'}")
            low, high = known[name].min, known[name].max
            whole = isinstance(size, (int, np.integer)) and not isinstance(size, bool)
            if not whole or size < low or (high is not None and size > high):
                raise InputError(f"{name} is {'at least ' + str(low) if high is None else f'{low} .. {high}'}, got {size!r}")
        needed = {s.name: name for name, t in self._types.items() if not self._written_whole(name)
                  for d in t.shape for s in symbols(d) if s.name not in self._sizes}
        if needed:
            name = next(iter(needed.values()))
            raise InputError(f"a session of {first} needs sizes for {', '.join(needed)} (state {name} is {self._types[name]}): "
                             f"exe.session({', '.join(f'{n}=...' for n in needed)})")

    def _written_whole(self, name: str) -> bool:
        """Whether a graph writes a state without reading it."""
        return any(name in exe.graph.states and all(i.name != name for i in exe.graph.inputs) for exe in self._graphs.values())

    @property
    def graphs(self) -> Mapping[str, Graph]:
        """The graphs that can be called, by name."""
        return {name: exe.graph for name, exe in self._graphs.items()}

    @property
    def room(self) -> int | None:
        """How many more places the caches have; None where no cache is filled from a position that is a state itself."""
        found = []
        for exe in self._graphs.values():
            for node in exe.graph.nodes:
                update = node.op.traits.update
                if update is not None:
                    cache, start = node.operands[update.x], node.operands[update.start]
                    if isinstance(cache, Input) and isinstance(start, Input) and {cache.name, start.name} <= self._arrays.keys():
                        size = self._arrays[cache.name].shape[node.attrs[update.axis]]
                        found.append(int(size) - int(self[start.name]))
        return min(found, default=None)

    # Calls

    def __getattr__(self, name: str) -> Callable[..., Any]:
        graphs: Mapping[str, Executable] = vars(self).get("_graphs", {})
        if name not in graphs:
            raise AttributeError(f"{name!r} is no graph of the session ({', '.join(graphs)}), and no attribute of it")
        return lambda *feeds, **named: self.call(name, *feeds, **named)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._graphs]

    @_one_at_a_time
    def call(self, graph: str, /, *feeds: Any, **named: Any) -> Any:
        """Call a graph on feeds for its inputs but the states: one output gives an array, several a named tuple, none None.

        Raises InputError. If a call fails when it is under way, states may be half written: then `reset` comes first.
        """
        exe = self._graphs[graph]
        if self._broken:
            raise InputError(f"the states are incomplete, because a call failed ({self._broken}); call reset() first")
        states, inputs = exe.graph.states, exe.graph.inputs
        for name in named:
            if name in states:
                raise InputError(f"{name} is a state, which the session keeps; set it with session[{name!r}] = array")
        given = name_feeds(exe.graph, feeds, named, states)
        arrays = [self._state(i.name) if i.name in states else as_array(given[i.name], i, exe._engine.adopt) for i in inputs]
        sizes = exe.sizes_of(arrays)
        held = {i.name: array for i, array in zip(inputs, arrays) if i.name in states}
        written = {name: value.type for name, value in exe.graph.outputs if name in states}
        out = {name: held[name] if name in exe._engine.in_place and name in held else self._fresh(name, type, sizes)
               for name, type in written.items()}
        try:
            results = exe.run_arrays(arrays, out)
        except BaseException as error:
            self._broken = f"{graph}: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
            if isinstance(error, InputError):
                sizes_here = ", ".join(f"{n} = {size}" for n, size in self._sizes.items())
                raise InputError(f"{error}\n  in a session with {sizes_here}") from None
            raise
        for name in written:
            if results[name] is not held.get(name):
                self._spare[name], self._arrays[name] = held.get(name, self._arrays.get(name)), results[name]
        values = {name: value for name, value in results.items() if name not in states}
        if len(values) < 2:
            return next(iter(values.values()), None)
        return self._tuples.setdefault(graph, namedtuple("Outputs", list(values), rename=True))(*values.values())

    def _state(self, name: str) -> Any:
        if name not in self._arrays:
            writers = ", ".join(n for n, exe in self._graphs.items() if any(o == name for o, _ in exe.graph.outputs))
            type = self._types[name]
            missing = ", ".join(f"{s.name}=..." for d in type.shape for s in symbols(d) if s.name not in self._sizes)
            raise InputError(f"state {name} ({type}) holds nothing yet: call {writers or 'what writes it'} first, or give the "
                             f"sizes for one of zeros: exe.session({missing})")
        return self._arrays[name]

    def _fresh(self, name: str, type: TensorType, sizes: Mapping[str, int]) -> Any:
        """Memory for what a state will hold: that which it had before it last changed, if it fits."""
        shape = tuple(evaluate(d, sizes) for d in type.shape)
        spare = self._spare.pop(name, None)
        fits = spare is not None and tuple(spare.shape) == shape and spare.dtype == type.dtype.numpy
        return spare if fits else self._engine.zeros(shape, type.dtype.numpy)

    # States

    @_one_at_a_time
    def __getitem__(self, name: str) -> np.ndarray:
        """A copy of what a state holds, as a NumPy array. Raises InputError for an unknown state, and one without a value."""
        self._known(name)
        return np.array(self._state(name))

    @_one_at_a_time
    def __setitem__(self, name: str, array: Any) -> None:
        """Make a state hold (a copy of) an array. Raises InputError if it is not of the state's type."""
        type = self._known(name)
        given = np.asarray(array)
        shape = [self._sizes.get(str(d), d) for d in type.shape]
        if given.dtype != type.dtype.numpy or given.ndim != type.rank or any(
                isinstance(d, int) and d != n for d, n in zip(shape, given.shape)):
            raise InputError(f"state {name} is {type}, got {given.dtype}{list(given.shape)}")
        self._spare.pop(name, None)
        self._arrays[name] = self._engine.bring(given)

    def __iter__(self) -> Any:
        return iter(self._types)

    def _known(self, name: str) -> TensorType:
        if name not in self._types:
            raise InputError(f"there is no state {name!r}; the states: {', '.join(self._types)}")
        return self._types[name]

    @property
    def nbytes(self) -> int:
        """The memory of all states, in bytes."""
        return sum(a.nbytes for a in (*self._arrays.values(), *(a for a in self._spare.values() if a is not None)))

    @_one_at_a_time
    def reset(self) -> None:
        """Make all states zeros, of the sizes that the session was given."""
        self._sizes = dict(self._given)
        self._arrays, self._spare, self._broken = {}, {}, ""
        for name, type in self._types.items():
            if all(s.name in self._sizes for d in type.shape for s in symbols(d)):
                self._arrays[name] = self._engine.zeros(type.evaluate(self._sizes), type.dtype.numpy)

    @_one_at_a_time
    def reorder(self, rows: Sequence[int] | np.ndarray, dim: str | None = None, only: Collection[str] | None = None) -> None:
        """Make row i of all states what row rows[i] was, along the axes of a dim: beams that go on from others.

        dim: by default the first axis of the states. There may be more or fewer rows than before, and the dim then has that size.
        only: the states to reorder, where the rows of the others are known to be the same. Raises InputError for rows that there
        are not.
        """
        dim = self._batch() if dim is None else dim
        chosen = [int(r) for r in rows]
        axes = {name: [a for a, d in enumerate(t.shape) if (s := as_symbol(d)) is not None and s.name == dim]
                for name, t in self._types.items()}
        if not any(axes.values()):
            raise InputError(f"no state has an axis {dim}")
        for name, array in list(self._arrays.items()):
            for axis in axes[name] if only is None or name in only else ():
                count = array.shape[axis]
                if any(not 0 <= r < count for r in chosen):
                    raise InputError(f"rows to reorder are 0 .. {count - 1}, got {chosen}")
                if chosen != list(range(count)):
                    self._arrays[name] = array = self._engine.take(array, chosen, axis)
                    self._spare.pop(name, None)
        if dim in self._sizes:
            self._sizes[dim] = len(chosen)

    def _batch(self) -> str:
        """The dim that is the first axis of the states. Raises InputError if they have several."""
        first = {s.name for t in self._types.values() if t.rank and (s := as_symbol(t.shape[0])) is not None}
        if len(first) != 1:
            shown = ", ".join(sorted(first)) or "none"
            raise InputError(f"the first axes of the states are {shown}: say which dim to reorder, dim=...")
        return first.pop()

    @_one_at_a_time
    def fork(self) -> Session:
        """A session of its own that goes on from the same point."""
        new = Session(self._graphs, self._sizes)
        new._broken = self._broken
        new._arrays = {name: self._engine.bring(array) for name, array in self._arrays.items()}
        return new

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name}={size}" for name, size in self._sizes.items())
        return f"<session of {', '.join(self._graphs)} ({sizes}): {len(self._types)} states, {self.nbytes / 2**20:.1f} MiB>"

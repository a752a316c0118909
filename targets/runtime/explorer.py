"""The explorer's page of an executable: every rewrite down to kernels, their times, code and errors, what attention looks at."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from passes.debug.explorer import Overlays, add_history, check_overlays
from targets.base.listing import FORMS, excerpt
from targets.base.registry import backend_of
from targets.runtime.history import calls_in
from targets.runtime.kernel_errors import kernel_errors
from tgraph.formats.html import Document, GraphEntry, write_page
from tgraph.formats.html.page import pack_text
from tgraph.ir.errors import InputError, TargetError
from tgraph.ir.graph import Graph
from tgraph.ir.printer import numbers_of
from tgraph.ir.program import Program
from tgraph.ir.values import Node
from tgraph.reference.inputs import choose_sizes, generate_inputs

if TYPE_CHECKING:
    from targets.runtime.executable import Executable
    from targets.runtime.profile import Profile

SHOWN_CODE = 200_000  # characters of one kernel at one level
_FOR_DEBUGGERS = re.compile(r"^\s*(\.cfi_|\.loc\s|\.file\s|\.Ltmp\d+:)")


def write(graphs: Mapping[str, Executable], whole: Graph | Program, path: Path, *, profile: Any = False,
          sources: Sequence[str] | bool = (), errors: bool = False, heads: Mapping[str, Any] | None = None,
          sizes: Mapping[str, int] | None = None, overlays: Overlays | None = None, title: str = "") -> None:
    """Write the page of the executables of a program's graphs; see `Executable.view`."""
    check_overlays(whole, overlays or {})
    document = Document.of(whole, sizes, title)
    for name, exe in graphs.items():
        measured = profile.get(name) if isinstance(profile, Mapping) else profile
        if measured is True:
            measured = exe.profile(**_feeds(exe, document.sizes))
        if measured:
            document.sizes.update(measured.sizes)
        entry = document.add(exe.graph, name)
        last = _history(entry, exe)
        calls = calls_in(last)
        _kernels(document, entry, exe, calls, ("tir", "asm") if sources is True else tuple(sources or ()))
        if measured:
            _times(entry, exe, last, measured)
        if errors:
            _errors(entry, exe, last, document.sizes)
        if exe.records:  # else the page begins with the kernels
            entry.overlays_of_first(exe.graph, overlays or {})
        if heads:
            entry.more["heads"] = [_heads(scope, weights) for scope, weights in heads.items()]
    write_page(document, path)


def _feeds(exe: Executable, sizes: Mapping[str, int]) -> dict[str, np.ndarray]:
    return generate_inputs(exe.graph, choose_sizes(exe.graph, {n: s for n, s in sizes.items() if n in exe.graph.symbols}))


def _history(entry: GraphEntry, exe: Executable) -> Graph:
    """Tell the history of a graph down to its kernels. Returns the last graph of it.

    A bundle does not know its passes: its page has the calls alone.
    """
    if not exe.records:
        entry.begin(exe.kernels)
        return exe.kernels
    history = exe.history()
    add_history(entry, history)
    assert history.last is not None
    return history.last


def _kernels(document: Document, entry: GraphEntry, exe: Executable, calls: Sequence[Node], levels: Sequence[str]) -> None:
    """Say of each kernel what was chosen for it, and give its code at some levels."""
    try:
        explained = {e.kernel: e for e in exe.explain()}
    except TargetError:
        if levels:
            raise
        return  # a bundle, or a target without kernels
    numbers = numbers_of(exe.kernels)
    listings = {level: backend_of(exe.target).functions(exe.source(level), level) for level in levels if level in FORMS}
    for call, compiled in zip(calls, calls_in(exe.kernels)):
        name = compiled.attrs["function"].name
        more = document.entry_of(call.attrs["function"]).more
        if "kernel" in more or name not in explained:
            continue
        found = explained[name]
        more["kernel"] = {"family": found.family, "chosen": found.chosen, "calls": found.calls}
        if levels:
            node = numbers[compiled.results[0]]
            symbols = re.findall(r"^def (\w+)\(", exe.source("tir", node=node), re.MULTILINE)
            code = {level: excerpt(listings[level], symbols) if level in listings else exe.source(level, node=node)
                    for level in levels}
            more["code"] = {level: pack_text(_limited(text)) for level, text in code.items()}


def _limited(text: str) -> str:
    """Code without lines for debuggers, and not too much of it."""
    text = "\n".join(line for line in text.splitlines() if not _FOR_DEBUGGERS.match(line))
    if len(text) <= SHOWN_CODE:
        return text
    return f"{text[:SHOWN_CODE]}\n... and {len(text) - SHOWN_CODE:,} more characters; exe.source(...) has them"


def _times(entry: GraphEntry, exe: Executable, last: Graph, profile: Profile) -> None:
    """Lay the times of a profile over the last graph: rows and calls of one kernel in one scope have one order."""
    places: dict[tuple[str, str], list[Node]] = {}
    for call, compiled in zip(calls_in(last), calls_in(exe.kernels)):
        places.setdefault((compiled.attrs["function"].name, compiled.provenance.scope), []).append(call)
    for node in last.nodes:  # what the host runs between kernels
        if not isinstance(node.attrs.get("function"), Graph):
            places.setdefault((node.op.name, node.provenance.scope), []).append(node)
    times: dict[Node, float] = {}
    for row in profile.rows:
        if waiting := places.get((row.kernel, row.scope)):
            times[waiting.pop(0)] = row.microseconds
    sizes = ", ".join(f"{name}={size}" for name, size in profile.sizes.items()) or "static sizes"
    entry.overlay("time", "time", "\u00b5s", times, f"measured at {sizes} on {exe.target}, the median of each call")


def _errors(entry: GraphEntry, exe: Executable, last: Graph, sizes: Mapping[str, int]) -> None:
    """Lay over each call how far its result is from the reference, and tell what values it has."""
    if not exe.records:
        exe.history()  # raises
    found = kernel_errors(exe, last, _feeds(exe, sizes))
    entry.overlay("error", "error", "", {call: error.error for call, error in found.items()},
                  "max|y - r| / max(1, max|r|) of each kernel's result against the reference in f64, from the same inputs on",
                  sums=False)
    entry.more["statistics"] = [[entry.node(call), error.statistics] for call, error in found.items()]


def _heads(scope: str, weights: Any) -> dict[str, Any]:
    """The weights of an attention, of the first row of the batch, in 255 steps."""
    array = np.asarray(weights, dtype=np.float32)
    array = array[0] if array.ndim == 4 else array
    if array.ndim != 3:
        raise InputError(f"heads= takes what tg.attention_weights gives, arrays [B, H, Sq, Sk]; {scope} is {list(array.shape)}")
    levels = (np.nan_to_num(array).clip(0, 1) * 255).round().astype(np.uint8)
    return {"scope": scope, "shape": list(array.shape), "weights": base64.b64encode(levels.tobytes()).decode()}

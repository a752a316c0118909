"""Which kernel stands for which nodes, what was chosen for it, and why."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from targets.base.backend import emitters_of
from targets.codegen.kernel_builder import NOTES
from targets.lowering.lower import kernel_symbol
from targets.runtime.compiled import Compiled
from tgraph.ir.program import Program
from tgraph.ir.tables import html_table, text_table


@dataclass(frozen=True)
class Explanation:
    """One kernel: how often it is called, which family emits it, what that chose, and the ops that it computes, in order."""

    kernel: str
    calls: int
    family: str
    chosen: str
    ops: tuple[str, ...]


class Explanations(list[Explanation]):
    """The kernels of an executable; prints as a table."""

    COLUMNS = ("kernel", "calls", "about", "chosen", "ops")

    def cells(self) -> list[tuple[str, ...]]:
        """The table as text, one tuple a kernel."""
        return [(e.kernel, str(e.calls), e.family, e.chosen, " ".join(dict.fromkeys(e.ops))) for e in self]

    def __str__(self) -> str:
        return text_table(self.COLUMNS, self.cells())

    def _repr_html_(self) -> str:
        return html_table("kernels", self.COLUMNS, self.cells())


def explain(kernels: Program, compiled: Compiled) -> Explanations:
    """The kernels of graphs of a compiled program, in the order of their first calls, and after them what the host runs."""
    emitters, lowered = emitters_of(compiled.target), compiled.low("kernels")
    nodes = [node for graph in kernels.graphs.values() for node in graph.nodes]
    calls = Counter(n.attrs["function"].name for n in nodes if "function" in n.attrs)
    notes = {symbol: str(kernel.attrs[NOTES]) for symbol, kernel in lowered.kernels.items()}
    found = Explanations()
    for name, function in kernels.functions.items():
        chosen = next(note for symbol, note in notes.items() if symbol.startswith(kernel_symbol(name)))
        ops = tuple(n.op.name for n in function.nodes)
        found.append(Explanation(name, calls[name], emitters.anchor_of(function) or "element by element", chosen, ops))
    on_host = Counter(n.op.name for n in nodes if "function" not in n.attrs)
    reason = "its result has a data-dependent size"
    found += [Explanation(name, count, "the host", reason, (name,)) for name, count in on_host.items()]
    found += [Explanation("(not built)", 0, "none", why, tuple(_ops(text))) for text, why in lowered.failed.items()]
    return found


def _ops(content: str) -> list[str]:
    """The names of the ops in the text of a function's body."""
    return re.findall(r"= (\w+)\(", content)

"""The errors that reach a user, one class for each kind of mistake.

Each message names the thing (op, input, file, parameter), the rule that it breaks, and, where there is one, the line
of the user's own code.
"""

from __future__ import annotations

from collections.abc import Sequence

from .location import Provenance

SHOWN = 400  # characters of a line that an error shows


class TGraphError(Exception):
    """Base of all errors that tgraph raises on purpose."""


class RuleError(TGraphError):
    """A type rule is broken; raised inside an op's definition, which does not know where it is used."""


class OpError(TGraphError):
    """An op was applied to operands or attributes that its rule forbids."""

    op: str
    operands: tuple[object, ...]
    rule: str
    provenance: Provenance | None

    def __init__(self, op: str, operands: Sequence[object], rule: str, provenance: Provenance | None = None):
        self.op, self.operands, self.rule, self.provenance = op, tuple(operands), rule, provenance
        where = provenance.describe() if provenance else ""
        applied = f"{op}({', '.join(str(o) for o in operands)})"
        super().__init__(f"{applied}: {rule}" + (f"\n  {where}" if where else ""))


class TraceError(TGraphError):
    """A Python function cannot be turned into a graph as written."""


class ParseError(TGraphError):
    """Text that is not a graph: says line, column and what was expected."""

    line: int
    column: int

    def __init__(self, line: int, column: int, message: str, source: str = "", file: str = "<text>"):
        self.line, self.column = line, column
        before = max(0, column - 1 - SHOWN // 2) if len(source) > SHOWN else 0  # a file may be one line
        pointer = f"\n  {source[before:before + SHOWN]}\n  {' ' * (column - 1 - before)}^" if source else ""
        super().__init__(f"{file}:{line}:{column}: {message}{pointer}")


class VerifyError(TGraphError):
    """A graph breaks an invariant of the IR (structure, types, dominance, names)."""


class GraphError(TGraphError):
    """A graph was built or changed in a way that its mutation API forbids."""


class InputError(TGraphError):
    """A value fed at run time does not fit the graph: names the input, what was expected and what came."""


class WeightsError(TGraphError):
    """Weights do not fit the graph's parameters: lists missing, unexpected and misshapen names."""


class PassError(TGraphError):
    """A pass or pipeline is unknown, misconfigured, or broke a graph."""


class TargetError(TGraphError):
    """A target is unknown or cannot compile or run here."""


class CompileError(TGraphError):
    """A graph cannot be compiled for a target."""


class FormatError(TGraphError):
    """A file is not what its suffix promises, or is damaged."""


class DiskError(TGraphError, OSError):
    """A file cannot be written because the disk, a quota or a limit is full: names it, and how many bytes it needs.

    `folder` is where there was no room, `needed` the bytes that were to be written there, if that is known.
    """

    folder: str
    needed: int | None

    def __init__(self, message: str, folder: str, needed: int | None = None):
        super().__init__(message)
        self.folder, self.needed = folder, needed


class OutOfMemoryError(TGraphError, MemoryError):
    """Memory ran out, or a limit of it was met (ulimit -v): says for what. What was there before still works."""


def first_line(error: BaseException) -> str:
    """An error in one line: ours as it is, a library's by its class and the last line of its text."""
    if isinstance(error, TGraphError):
        return str(error)
    return f"{type(error).__name__}: {str(error).strip().splitlines()[-1] if str(error).strip() else 'no reason given'}"

"""A compiled model over the rows of tables: what embedding and mapping have in common."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import targets
from targets.runtime.executable import Executable
from tgraph.batch.ahead import ahead
from tgraph.batch.arrow import pa
from tgraph.batch.columns import Errors, error_column
from tgraph.ir.errors import InputError, first_line
from tgraph.ir.graph import Graph

Window = tuple[Any, Errors]  # rows as a table, and what is wrong with some already
Prepared = tuple[Any, Errors, Any]  # the same, and what the rows are to the model
T = TypeVar("T")
WINDOW = 5000  # rows: put together by length in batches of 32, sentences are padded by 2.4 %; in windows of 2,048 by 5 %


class RowModel(ABC):
    """Called with a table, gives it back with columns more: what the model makes of each row, and what is wrong with bad ones.

    Every row stays in its place. A bad row has null for the model's columns, and the reason in the column `error`, which is null
    for good rows. Rows are taken in windows of `window`; while one is computed, the next one is made ready.
    """

    executable: Executable
    error: str
    batch: int
    window: int

    def __init__(self, bundle: str | os.PathLike[str] | Executable, error: str, batch: int, window: int):
        self.executable = open_executable(bundle)
        if batch < 1 or window < 1:
            raise InputError(f"batch and window are numbers of rows, from 1 on, not {batch} and {window}")
        self.error, self.batch, self.window = error, batch, window

    @abstractmethod
    def added(self, schema: Any) -> list[Any]:
        """The model's columns for tables of a schema. Raises InputError for a schema whose rows are nothing to the model."""

    @abstractmethod
    def prepare(self, table: Any, errors: Errors) -> Prepared:
        """What the rows of a window are to the model; puts what is wrong with rows into `errors`."""

    @abstractmethod
    def columns(self, prepared: Prepared) -> list[Any]:
        """The model's columns of a window; puts what is wrong with rows into its errors."""

    def schema(self, given: Any) -> Any:
        """The schema of what comes out for tables of a schema. Raises InputError where none can come out."""
        for field in (*self.added(given), pa.field(self.error, pa.string())):
            if given.get_field_index(field.name) >= 0 or field.name in given.names:
                raise InputError(f"there is a column {field.name!r} already; give the new one another name")
            given = given.append(field)
        return given

    def over(self, windows: Iterable[Window]) -> Iterator[Any]:
        """The tables of windows, one after the other. Raises InputError as `schema` does."""
        for prepared in ahead(self._prepared(iter(windows))):
            table, errors, _ = prepared
            columns = self.columns(prepared)
            for field, column in zip(self.added(table.schema), columns):
                table = table.append_column(field, column)
            yield table.append_column(self.error, error_column(errors, table.num_rows))

    def _prepared(self, windows: Iterator[Window]) -> Iterator[Prepared]:
        known = None
        for table, errors in windows:
            if known is None or not table.schema.equals(known):
                self.schema(table.schema)
                known = table.schema
            yield self.prepare(table, errors)

    def __call__(self, table: Any) -> Any:
        """A table with the model's columns. Raises InputError for a table whose rows are nothing to the model."""
        windows: list[Window] = [(table.slice(at, self.window), {}) for at in range(0, max(table.num_rows, 1), self.window)]
        return pa.concat_tables(list(self.over(windows)))

    def without_bad(self, rows: Sequence[int], compute: Callable[[Sequence[int]], T],
                    errors: Errors) -> list[tuple[Sequence[int], T]]:
        """What `compute` gives for rows, in as many pieces as it takes to leave out those that the model refuses."""
        try:
            return [(rows, compute(rows))] if rows else []
        except InputError as error:
            if len(rows) == 1:
                errors[rows[0]] = first_line(error).partition("\n")[0]
                return []
            half = len(rows) // 2
            return [found for part in (rows[:half], rows[half:]) for found in self.without_bad(part, compute, errors)]


def open_executable(bundle: str | os.PathLike[str] | Executable) -> Executable:
    """The executable of a bundle's only graph, or the one that was given. Raises InputError for several graphs, or states."""
    exe = bundle if isinstance(bundle, (Executable, targets.ProgramExecutable)) else targets.load(bundle)
    if isinstance(exe, targets.ProgramExecutable):
        if len(exe) > 1:
            raise InputError(f"{named(bundle)} has the graphs {', '.join(exe)}; rows go through one graph")
        exe = next(iter(exe.graphs.values()))
    if exe.graph.states:
        raise InputError(f"{named(bundle)} keeps states from call to call ({', '.join(exe.graph.states)}); rows are independent")
    return exe


def named(bundle: str | os.PathLike[str] | Executable) -> str:
    """A bundle in errors."""
    return str(Path(bundle)) if isinstance(bundle, (str, os.PathLike)) else repr(bundle)


def signature(graph: Graph) -> str:
    """The inputs and outputs of a graph in errors."""
    inputs, outputs = (f"{i.name}: {i.type}" for i in graph.inputs), (f"{name}: {value.type}" for name, value in graph.outputs)
    return f"({', '.join(inputs)}) -> ({', '.join(outputs)})"

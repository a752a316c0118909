"""Columns of tables through any model, to columns."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from targets.runtime.executable import Executable
from tgraph.batch.arrow import pa
from tgraph.batch.columns import Errors, arrays_of, column_of, column_type, element_type, list_type
from tgraph.batch.model import WINDOW, Prepared, RowModel, named, signature
from tgraph.ir.dims import DimLike, Symbol, as_symbol, symbols
from tgraph.ir.errors import InputError
from tgraph.ir.types import TensorType
from tgraph.models.sentence import by_length

Row = dict[str, np.ndarray]  # an array an input


class Mapper(RowModel):
    """Called with a table, gives it back with a column for each of some outputs of a model.

    bundle: a graph whose inputs and outputs have one batch dim as their first axis, and nowhere else. inputs: the column of each
    input, {"x": "pixels"}; outputs: the new column of each output that is wanted. A column holds numbers, or lists of them,
    nested as deep as the input has axes after the first. Rows of the same shapes share a call of up to `batch` rows.

    mask: the input that is True where there is something, bool [B, S]. Rows of different lengths along S then share calls: inputs
    are padded with zeros, the mask says where, and outputs are cut back.
    """

    inputs: dict[str, str]
    outputs: dict[str, tuple[str, TensorType]]
    mask: str | None

    def __init__(self, bundle: str | os.PathLike[str] | Executable, inputs: Mapping[str, str], outputs: Mapping[str, str], *,
                 mask: str | None = None, error: str = "error", batch: int = 32, window: int = WINDOW):
        super().__init__(bundle, error, batch, window)
        graph, where = self.executable.graph, named(bundle)
        self._types = {i.name: i.type for i in graph.inputs}
        results = {name: value.type for name, value in graph.outputs}
        wanted = set(self._types) - {mask}
        if set(inputs) != wanted or (mask is not None and mask not in self._types):
            raise InputError(f"{where} takes {signature(graph)}: inputs name a column for each of {', '.join(sorted(wanted))}, "
                             f"and the mask, if there is one, is an input; not inputs {', '.join(inputs)}, mask {mask}")
        unknown = [name for name in outputs if name not in results]
        if unknown or not outputs:
            raise InputError(f"{where} gives {', '.join(results)}; outputs names columns for some of them, not "
                             f"{', '.join(unknown) or 'none'}")
        self.inputs, self.mask = dict(inputs), mask
        self.outputs = {name: (column, results[name]) for name, column in outputs.items()}
        shapes = {**{name: type.shape for name, type in self._types.items()}, **{name: results[name].shape for name in outputs}}
        self._require_batch(shapes, where)
        self._length = self._masked_dim(shapes, where)

    def _require_batch(self, shapes: Mapping[str, Sequence[DimLike]], where: str) -> None:
        """Raises InputError if rows do not go through the model one by one."""
        first = {name: as_symbol(shape[0]) if shape else None for name, shape in shapes.items()}
        batch = first[next(iter(self._types))]
        for name, shape in shapes.items():
            if batch is None or first[name] != batch:
                raise InputError(f"{where}: the first axis of {name} {_shown(shape)} is not the batch, "
                                 f"{batch or 'a symbolic dim'}, along which rows are put together")
            if any(batch in symbols(size) for size in shape[1:]):
                raise InputError(f"{where}: {name} {_shown(shape)} has the batch {batch} as more than its first axis, so what "
                                 "comes of a row depends on the others")

    def _masked_dim(self, shapes: Mapping[str, Sequence[DimLike]], where: str) -> Symbol | None:
        if self.mask is None:
            return None
        type = self._types[self.mask]
        length = as_symbol(type.shape[1]) if type.rank == 2 else None
        if length is None or not type.dtype.is_bool:
            raise InputError(f"{where}: the mask {self.mask} is {type}, not bool[B, S] with a symbolic S")
        for name, shape in shapes.items():
            if any(as_symbol(size) != length and length in symbols(size) for size in shape):
                raise InputError(f"{where}: {name} {_shown(shape)} has an axis that {length} is only a part of; what belongs to "
                                 "a row cannot be told from padding there")
        if not any(length in map(as_symbol, self._types[name].shape) for name in self.inputs):
            raise InputError(f"{where}: no input but the mask has the axis {length}")
        return length

    def added(self, schema: Any) -> list[Any]:
        """The columns of the outputs. Raises InputError for columns that are missing, or not what the inputs take."""
        for name, column in self.inputs.items():
            type, found = self._types[name], column_type(schema, column)
            kind, depth = element_type(found)
            if kind is None or depth != type.rank - 1 or not (np.can_cast(kind, _stored(type), "same_kind")):
                raise InputError(f"column {column!r} is {found}; input {name} is {type}, a row of which is "
                                 f"{list_type(_stored(type), _sizes(type))}")
        return [pa.field(column, list_type(_stored(type), _sizes(type))) for column, type in self.outputs.values()]

    def prepare(self, table: Any, errors: Errors) -> Prepared:
        """The arrays of each good row."""
        columns = {name: arrays_of(table.column(column), errors) for name, column in self.inputs.items()}
        rows: dict[int, Row] = {}
        for number in range(table.num_rows):
            if number not in errors:
                row = {name: np.asarray(arrays[number]) for name, arrays in columns.items()}
                problem = self._problem(row)
                if problem is None:
                    rows[number] = row
                else:
                    errors[number] = problem
        return table, errors, rows

    def _problem(self, row: Row) -> str | None:
        """What is wrong with the shapes of a row, if anything is."""
        for name, array in row.items():
            for size, want in zip(array.shape, self._types[name].shape[1:]):
                if isinstance(want, int) and want != size:
                    return f"{self.inputs[name]} has the shape {list(array.shape)}; {name} is {self._types[name]}"
        lengths = {name: self._row_length({name: array}) for name, array in row.items()}
        known = {length for length in lengths.values() if length is not None}
        return f"its lengths differ: {lengths}" if len(known) > 1 else None

    def _row_length(self, row: Row) -> int | None:
        """The size of a row along the masked axis."""
        for name, array in row.items() if self._length is not None else ():
            for size, want in zip(array.shape, self._types[name].shape[1:]):
                if as_symbol(want) == self._length:
                    return int(size)
        return None

    def columns(self, prepared: Prepared) -> list[Any]:
        """The outputs of the good rows."""
        table, errors, rows = prepared
        found: dict[str, Row | dict[int, np.ndarray]] = {name: {} for name in self.outputs}
        for numbers in self._calls(rows):
            for part, outputs in self.without_bad(numbers, lambda some: self._run([rows[i] for i in some]), errors):
                for name in self.outputs:
                    found[name].update(zip(part, outputs[name]))  # type: ignore[arg-type]
        return [column_of(found[name], table.num_rows, _stored(type), _sizes(type))  # type: ignore[arg-type]
                for name, (_, type) in self.outputs.items()]

    def _calls(self, rows: Mapping[int, Row]) -> Iterator[list[int]]:
        """The rows of each call: those whose shapes, but for the masked axis, are the same, those of like length together."""
        groups: dict[Any, list[int]] = {}
        for number, row in rows.items():
            key = tuple(tuple(size for size, want in zip(array.shape, self._types[name].shape[1:])
                              if self._length is None or as_symbol(want) != self._length) for name, array in row.items())
            groups.setdefault(key, []).append(number)
        for numbers in groups.values():
            for places in by_length([self._row_length(rows[n]) or 0 for n in numbers], self.batch):
                yield [numbers[place] for place in places]

    def _run(self, rows: Sequence[Row]) -> dict[str, list[np.ndarray]]:
        """Each output, row by row."""
        lengths = [self._row_length(row) or 0 for row in rows]
        longest = max(lengths)
        feeds = {name: np.stack([self._padded(name, row[name], longest) for row in rows]) for name in self.inputs}
        if self.mask is not None:
            feeds[self.mask] = np.arange(longest)[None] < np.array(lengths)[:, None]
        found = self.executable.run(feeds)
        return {name: [self._cut(array, type.shape[1:], length) for array, length in zip(found[name], lengths)]
                for name, (_, type) in self.outputs.items()}

    def _padded(self, name: str, array: np.ndarray, longest: int) -> np.ndarray:
        type = self._types[name]
        widths = [(0, longest - size) if self._length is not None and as_symbol(want) == self._length else (0, 0)
                  for size, want in zip(array.shape, type.shape[1:])]
        array = array.astype(type.dtype.numpy, copy=False)
        return np.pad(array, widths) if any(after for _, after in widths) else array

    def _cut(self, array: np.ndarray, shape: Sequence[DimLike], length: int) -> np.ndarray:
        if self._length is None:
            return array
        return array[tuple(slice(length) if as_symbol(size) == self._length else slice(None) for size in shape)]


def _shown(shape: Sequence[DimLike]) -> str:
    return f"[{', '.join(map(str, shape))}]"


def _sizes(type: Any) -> list[int | None]:
    """The sizes of a row of an input or output; None where rows differ."""
    return [size if isinstance(size, int) else None for size in type.shape[1:]]


def _stored(type: Any) -> np.dtype[Any]:
    """The element type of an input or output in tables, which have no bf16."""
    return np.dtype(np.float32) if type.dtype.name == "bf16" else type.dtype.numpy

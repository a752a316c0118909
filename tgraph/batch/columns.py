"""Columns of Arrow as rows of Python and NumPy, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tgraph.batch.arrow import pa
from tgraph.ir.errors import InputError

NULL = "it is null"
Errors = dict[int, str]  # what is wrong with rows, by their number in a window


# Text

def require_text(schema: Any, column: str) -> None:
    """Raises InputError if a schema has no such column, or one that holds no text."""
    kind = _value_type(column_type(schema, column))
    if not any(is_kind(kind) for is_kind in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, _is_binary)):
        raise InputError(f"column {column!r} is {kind}; text is string, or binary in UTF-8")


def column_type(schema: Any, column: str) -> Any:
    """The type of a column. Raises InputError that lists those there are."""
    if schema.get_field_index(column) < 0:
        many = schema.names.count(column) > 1
        raise InputError(f"there are several columns {column!r}" if many else
                         f"there is no column {column!r}; the columns are {', '.join(schema.names) or 'none'}")
    return schema.field(column).type


def texts_of(column: Any, errors: Errors) -> list[str | None]:
    """The rows of a column of text. Those that are null or no UTF-8 are None, and get an error, if they have none."""
    kind = _value_type(column.type)
    if kind != column.type:
        column = column.cast(kind)
    try:
        found: list[Any] = column.to_pylist()
    except UnicodeDecodeError:
        found = column.cast(pa.binary()).to_pylist()
    for row, value in enumerate(found):
        if isinstance(value, bytes):
            try:
                found[row] = value.decode()
            except UnicodeDecodeError as error:
                found[row] = None
                errors.setdefault(row, not_utf8(error))
        elif value is None:
            errors.setdefault(row, "there is no text: null")
    return found


def not_utf8(error: UnicodeDecodeError) -> str:
    """What is wrong with bytes that are no text."""
    return f"the text is not UTF-8: {error.reason} at byte {error.start}"


def _value_type(kind: Any) -> Any:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _is_binary(kind: Any) -> bool:
    return any(check(kind) for check in (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view))


# Arrays

def element_type(kind: Any) -> tuple[np.dtype[Any] | None, int]:
    """The element type of a column of numbers, or of lists of them, None if it holds others; and how deep lists are nested."""
    depth = 0
    while _is_list(_storage(kind)):
        depth += len(kind.shape) if isinstance(kind, pa.FixedShapeTensorType) else 1
        kind = _storage(kind).value_type
    kind = _storage(kind)
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        return None, depth
    return np.dtype(kind.to_pandas_dtype()), depth


def arrays_of(column: Any, errors: Errors) -> list[np.ndarray | None]:
    """The rows of such a column as arrays. Those that hold a null, or lists of different lengths, are None, and get an error."""
    found = _arrays(column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column)
    for row, value in enumerate(found):
        if isinstance(value, str):
            errors.setdefault(row, value)
    return [None if isinstance(value, str) else value for value in found]


def _arrays(array: Any) -> list[np.ndarray | str]:
    """An array a row, or what is wrong with it."""
    if isinstance(array, pa.FixedShapeTensorArray):
        shape = array.type.shape
        return [value if isinstance(value, str) else value.reshape(shape) for value in _arrays(array.storage)]
    array = array.storage if isinstance(array, pa.ExtensionArray) else array
    valid = array.is_valid().to_numpy(zero_copy_only=False)
    if not _is_list(array.type):
        return [number if ok else NULL for number, ok in zip(_numbers(array), valid)]
    starts, stops, values = _bounds(array)
    if _is_list(_storage(values.type)):
        kind, depth = element_type(values.type)
        inner, empty = _arrays(values), np.empty((0,) * (1 + depth), kind)
        return [_stacked(inner[a:b], empty) if ok else NULL for a, b, ok in zip(starts, stops, valid)]
    flat, there = _numbers(values), values.is_valid().to_numpy(zero_copy_only=False)
    return [NULL if not ok else flat[a:b] if there[a:b].all() else "it holds a null" for a, b, ok in zip(starts, stops, valid)]


def _numbers(array: Any) -> np.ndarray:
    """Numbers without lists; something in the place of nulls."""
    array = array.storage if isinstance(array, pa.ExtensionArray) else array
    kind = array.type.to_pandas_dtype()
    return np.asarray(array.fill_null(kind(0)).to_numpy(zero_copy_only=False)).astype(kind, copy=False)


def _bounds(array: Any) -> tuple[list[int], list[int], Any]:
    """Where the list of each row begins and ends in the values of all."""
    if pa.types.is_fixed_size_list(array.type):
        size = array.type.list_size
        first = array.offset
        starts = [(first + row) * size for row in range(len(array))]
        return starts, [start + size for start in starts], array.values
    offsets = array.offsets.to_pylist()
    return offsets[:-1], offsets[1:], array.values


def _stacked(parts: Sequence[np.ndarray | str], empty: np.ndarray) -> np.ndarray | str:
    wrong = next((part for part in parts if isinstance(part, str)), None)
    if wrong is not None:
        return wrong
    if not parts:
        return empty
    if len({np.shape(part) for part in parts}) > 1:
        return "its lists have different lengths"
    return np.stack(parts)  # type: ignore[arg-type]


def _is_list(kind: Any) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _storage(kind: Any) -> Any:
    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


def list_type(kind: np.dtype[Any], sizes: Sequence[int | None]) -> Any:
    """The type of a column whose rows are arrays of these sizes: a list an axis, of a fixed size where it is known."""
    found = pa.from_numpy_dtype(kind)
    for size in reversed(sizes):
        found = pa.list_(found) if size is None else pa.list_(found, size)
    return found


def column_of(rows: Mapping[int, np.ndarray], count: int, kind: np.dtype[Any], sizes: Sequence[int | None]) -> Any:
    """A column of `count` rows of the type that `list_type` gives; a row that is not there is null."""
    blank = np.zeros([size or 0 for size in sizes], kind)
    arrays = [rows.get(row, blank) for row in range(count)]
    null = np.array([row not in rows for row in range(count)], bool)
    flat = np.concatenate([np.asarray(array, kind).reshape(-1) for array in arrays]) if arrays else np.empty(0, kind)
    if not sizes:
        return pa.array(flat, mask=null)
    found = pa.array(flat)
    for axis in reversed(range(len(sizes))):
        mask = pa.array(null) if axis == 0 else None
        size = sizes[axis]
        if size is not None:
            found = pa.FixedSizeListArray.from_arrays(found, type=pa.list_(found.type, size), mask=mask)
            continue
        lengths = np.repeat([a.shape[axis] for a in arrays], [int(np.prod(a.shape[:axis])) for a in arrays])
        offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
        found = pa.ListArray.from_arrays(offsets, found, mask=mask)
    return found


def error_column(errors: Errors, count: int) -> Any:
    """The reasons of bad rows; null for good ones."""
    return pa.array([errors.get(row) for row in range(count)], pa.string())


# Rows of Python

def table_of(rows: Sequence[Mapping[str, Any]], schema: Any, errors: Errors) -> Any:
    """Rows with the columns of a schema. A value that does not fit becomes null, and its row gets an error."""
    return pa.table([_column(field, [row.get(field.name) for row in rows], errors) for field in schema], schema)


def _column(field: Any, values: list[Any], errors: Errors) -> Any:
    if field.metadata and AS_JSON.items() <= field.metadata.items():
        values = [None if value is None else json.dumps(value, ensure_ascii=True, default=str) for value in values]
    try:
        return pa.array(values, field.type)
    except (pa.ArrowException, ArithmeticError, TypeError, ValueError):
        return pa.array([_fitting(field, value, row, errors) for row, value in enumerate(values)], field.type)


def _fitting(field: Any, value: Any, row: int, errors: Errors) -> Any:
    try:
        pa.array([value], field.type)
    except UnicodeEncodeError:
        errors.setdefault(row, f"{field.name} is not UTF-8: it has half a character (a surrogate)")
        return None
    except (pa.ArrowException, ArithmeticError, TypeError, ValueError):
        errors.setdefault(row, f"{field.name} is {type(value).__name__} ({str(value)[:40]}), not {field.type}")
        return None
    return value


AS_JSON = {b"tgraph": b"json"}  # marks the fields of a schema that are kept as their JSON text


class Fields:
    """The columns of rows that come as dicts, as far as they have been seen.

    A field whose values are of several kinds, or of none that Parquet stores, is kept as its JSON text. texts: fields that are
    text, whatever comes.
    """

    def __init__(self, texts: Sequence[str] = ()):
        self._types: dict[str, Any] = {}
        self._texts = dict.fromkeys(texts)

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """See more rows. Raises InputError for keys that are no names."""
        for name in dict.fromkeys(name for row in rows for name in row):
            if not isinstance(name, str) or not is_unicode(name):
                raise InputError(f"columns have names, which are text, not {name!r}")
            found = pa.string() if name in self._texts else _inferred([row.get(name) for row in rows])
            before = self._types.get(name, found)
            self._types[name] = None if found is None or before is None else _unified(before, found)

    def require_texts(self) -> None:
        """Raises InputError if no row had one of the fields that are text."""
        missing = [name for name in self._texts if name not in self._types]
        if missing and self._types:
            raise InputError(f"no row has a field {missing[0]!r}; the fields are {', '.join(self._types)}")

    @property
    def schema(self) -> Any:
        """The columns, in the order in which they were seen."""
        return pa.schema([pa.field(name, pa.string(), metadata=AS_JSON) if kind is None else pa.field(name, kind)
                          for name, kind in {**self._types, **{name: pa.string() for name in self._texts}}.items()])


def _inferred(values: list[Any]) -> Any:
    """The type of values; None if they have no common one."""
    try:
        kind = pa.array(values).type
    except UnicodeEncodeError:
        return _inferred([value for value in values if is_unicode(value)])
    except (pa.ArrowException, ArithmeticError, TypeError, ValueError):
        return None
    return kind if _storable(kind) else None


def is_unicode(value: Any) -> bool:
    """Whether all texts in a value have whole characters, as Arrow wants them: Python and JSON know halves (surrogates)."""
    try:
        pa.array([value])
    except UnicodeEncodeError:
        return False
    except (pa.ArrowException, ArithmeticError, TypeError, ValueError):
        return True
    return True


def _unified(one: Any, other: Any) -> Any:
    try:
        return pa.unify_schemas([pa.schema([("x", one)]), pa.schema([("x", other)])], promote_options="permissive").field(0).type
    except pa.ArrowException:
        return None


def _storable(kind: Any) -> bool:
    """Whether Parquet has the type: it has no structs without fields."""
    if pa.types.is_struct(kind):
        return kind.num_fields > 0 and all(_storable(kind.field(i).type) for i in range(kind.num_fields))
    return _storable(kind.value_type) if _is_list(kind) else True

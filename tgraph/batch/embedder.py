"""Sentences in tables to vectors."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from targets.runtime.executable import Executable
from tgraph.batch.arrow import pa
from tgraph.batch.columns import Errors, column_of, list_type, require_text, texts_of
from tgraph.batch.model import WINDOW, Prepared, RowModel, named, signature
from tgraph.ir.dims import as_symbol
from tgraph.ir.errors import InputError, first_line
from tgraph.models.sentence import embed_tokens, tokenize, tokenizer_from

CUT, REJECT = "cut", "reject"


class Embedder(RowModel):
    """Called with a table, gives it back with the vectors of a column of text, as lists of fixed size.

    bundle: an encoder with its tokenizer, as `tgraph embed --save` writes one, or its executable. max_length: tokens after which
    a text is cut, or, with too_long="reject", a bad row; by default what the bundle says. batch: sentences a call.
    """

    column: str
    vector: str
    max_length: int
    too_long: str

    def __init__(self, bundle: str | os.PathLike[str] | Executable, column: str = "text", *, vector: str = "vector",
                 error: str = "error", max_length: int | None = None, too_long: str = CUT, batch: int = 32, window: int = WINDOW):
        super().__init__(bundle, error, batch, window)
        if too_long not in (CUT, REJECT):
            raise InputError(f"too_long is {CUT!r} or {REJECT!r}, not {too_long!r}")
        where, graph = named(bundle), self.executable.graph
        self._tokenizer, longest, self._pad = tokenizer_from(self.executable.files, where)
        inputs = [(i.type.dtype.name, i.type.rank) for i in graph.inputs]
        outputs = [value.type for _, value in graph.outputs]
        size = outputs[0].shape[1] if len(outputs) == 1 and outputs[0].rank == 2 else None
        if inputs != [("i64", 2), ("bool", 2)] or not isinstance(size, int):
            raise InputError(f"{where} is no encoder of sentences, (input_ids: i64[B, S], mask: bool[B, S]) -> (f32[B, H]), but "
                             f"{signature(graph)}")
        symbol = as_symbol(graph.inputs[0].type.shape[1])
        most = symbol.max if symbol is not None else None
        self.max_length = longest if max_length is None else max_length
        if self.max_length < 1 or (most is not None and self.max_length > most):
            raise InputError(f"max_length is {self.max_length}; {where} takes texts of 1 to {most} tokens")
        self.column, self.vector, self.too_long = column, vector, too_long
        self._kind, self._size = outputs[0].dtype, size

    @property
    def _stored(self) -> np.dtype[Any]:
        """The element type of the vectors in tables, which have no bf16."""
        return np.dtype(np.float32) if self._kind.name == "bf16" else self._kind.numpy

    def added(self, schema: Any) -> list[Any]:
        """The column of vectors. Raises InputError if there is no column of text."""
        require_text(schema, self.column)
        return [pa.field(self.vector, list_type(self._stored, [self._size]))]

    def prepare(self, table: Any, errors: Errors) -> Prepared:
        """The tokens of each good row."""
        column = table.column(self.column)
        texts = texts_of(column, errors)
        if any(text is None for text in texts) and column.null_count < texts.count(None) and not pa.types.is_binary(column.type):
            at = table.schema.get_field_index(self.column)  # bytes that are no UTF-8 would be an error to every reader
            table = table.set_column(at, table.schema.field(at), pa.array(texts, pa.string()).cast(column.type))
        good = {row: text for row, text in enumerate(texts) if text is not None and row not in errors}
        return table, errors, self._tokens(good, errors)

    def _tokens(self, texts: dict[int, str], errors: Errors) -> dict[int, list[int]]:
        limit = self.max_length if self.too_long == CUT else None
        try:
            found = dict(zip(texts, tokenize(self._tokenizer, list(texts.values()), limit)))
        except BaseException as error:
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":  # Rust's, which is no Exception
                raise
            if len(texts) == 1:
                errors[next(iter(texts))] = f"the tokenizer fails: {first_line(error)}"
                return {}
            return {row: tokens for row, text in texts.items() for tokens in self._tokens({row: text}, errors).values()}
        for row in [row for row, tokens in found.items() if len(tokens) > self.max_length]:
            errors[row] = f"the text has {len(found.pop(row))} tokens, more than {self.max_length}"
        return found

    def columns(self, prepared: Prepared) -> list[Any]:
        """The vectors of the good rows."""
        table, errors, tokens = prepared
        pieces = self.without_bad(list(tokens), lambda rows: embed_tokens(
            self.executable, [tokens[row] for row in rows], self.batch, self._pad), errors)
        vectors = {row: vector for rows, matrix in pieces for row, vector in zip(rows, matrix)}
        return [column_of(vectors, table.num_rows, self._stored, [self._size])]

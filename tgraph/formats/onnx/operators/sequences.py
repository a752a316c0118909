"""Sequences of tensors, as long as how many there are is known while importing: no node of the graph has one."""

from __future__ import annotations

from typing import Any

import numpy as np

from ....ir.dims import DimLike
from ..known import Known, TensorSequence
from ..node import OnnxNode, UnsupportedError
from ..registry import importer
from .language import t


@importer("SequenceConstruct")
def sequence_construct(node: OnnxNode, *items: Any) -> TensorSequence:
    return TensorSequence(tuple(node.operands))


@importer("SequenceEmpty")
def sequence_empty(node: OnnxNode) -> TensorSequence:
    return TensorSequence(())


@importer("SequenceAt", limits="the place must be known while importing")
def sequence_at(node: OnnxNode, sequence: TensorSequence, place: Any) -> Any:
    return sequence.items[_place(node, 1, len(sequence.items))]


@importer("SequenceLength")
def sequence_length(node: OnnxNode, sequence: TensorSequence) -> Known:
    return Known.of(np.asarray(len(sequence.items), np.int64))


@importer("SequenceInsert", limits="the place must be known while importing")
def sequence_insert(node: OnnxNode, sequence: TensorSequence, item: Any, place: Any = None) -> TensorSequence:
    count = len(sequence.items)
    at = _place(node, 2, count + 1, count) if node.given(2) else count
    return TensorSequence((*sequence.items[:at], node.operands[1], *sequence.items[at:]))


@importer("SequenceErase", limits="the place must be known while importing")
def sequence_erase(node: OnnxNode, sequence: TensorSequence, place: Any = None) -> TensorSequence:
    at = _place(node, 1, len(sequence.items)) if node.given(1) else len(sequence.items) - 1
    return TensorSequence((*sequence.items[:at], *sequence.items[at + 1:]))


@importer("ConcatFromSequence")
def concat_from_sequence(node: OnnxNode, sequence: TensorSequence) -> Any:
    items = [node.scope.importer.tensor(item) for item in sequence.items]
    join = t.stack if node.attribute("new_axis", 0) else t.concat
    return join(items, axis=node.attribute("axis"))


@importer("SplitToSequence", limits="how many parts there are must be known while importing")
def split_to_sequence(node: OnnxNode, x: Any, parts: Any = None) -> TensorSequence:
    axis = node.attribute("axis", 0)
    size = x.shape[axis]
    if node.given(1) and _rank(node.operands[1]):
        sizes = node.sizes(1, "the sizes")
    else:
        sizes = _even(size, node.sizes(1, "the size of a part")[0] if node.given(1) else 1)
    items = t.split(x, sizes=tuple(sizes), axis=axis)
    if not node.given(1) and not node.attribute("keepdims", 1):
        items = tuple(t.squeeze(item, axes=(axis,)) for item in items)
    return TensorSequence(tuple(items))


def _even(whole: DimLike, part: DimLike) -> list[DimLike]:
    """Parts of one size, of which the last may be smaller."""
    if part == whole:
        return [whole]
    if not isinstance(whole, int) or not isinstance(part, int):
        raise UnsupportedError(f"cuts an axis of {whole} into parts of {part}, so that a call decides how many there are; fix "
                               "the size")
    return [min(part, whole - start) for start in range(0, whole, part)]


def _rank(operand: Any) -> int:
    """The rank of the operand that says how to split."""
    return operand.array.ndim if isinstance(operand, Known) else len(operand.shape)


def _place(node: OnnxNode, position: int, count: int, length: int | None = None) -> int:
    """A place in a sequence, from the end if it is negative. Raises UnsupportedError for one outside."""
    given = int(node.array(position, "the place").reshape(-1)[0])
    at = given + (count if length is None else length) if given < 0 else given
    if not 0 <= at < count:
        raise UnsupportedError(f"takes place {given} of a sequence of {count if length is None else length}")
    return at

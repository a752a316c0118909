"""The numbers that an op's parts have, such as 1 / sqrt(head_dim), as they are before the element type of the parts rounds them.

An op computes with them as they are. Its parts have constants of the operands' type instead, of which a half precision keeps
three digits: the one error of theirs that is left where the reference runs in float64.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np

from tgraph.ir.dtypes import DType
from tgraph.ir.values import Constant, Value
from tgraph.reference.interpreter import Interpreter

Literals = dict[tuple[DType, float], float]  # what a number was, by its type and what that made of it


@contextmanager
def remembered() -> Iterator[Literals]:
    """Collect the Python floats that become constants meanwhile, those that their type rounds."""
    found: Literals = {}
    of = Constant.of

    def remembering(data: Any, dtype: DType | None = None) -> Constant:
        constant = of(data, dtype)
        if isinstance(data, float) and constant.dtype.is_float and np.isfinite(data):
            assert constant.data is not None
            rounded = float(constant.data)
            if rounded != data:
                found.setdefault((constant.dtype, rounded), data)
        return constant

    with patch.object(Constant, "of", remembering):
        yield found


class Unrounded(Interpreter):
    """A reference in float64 whose constants are what they were before they were rounded."""

    def __init__(self, *args: Any, literals: Literals, **options: Any):
        super().__init__(*args, **options)
        self.literals = literals

    def leaf(self, value: Value, values: Mapping[Value, np.ndarray]) -> np.ndarray:
        array = super().leaf(value, values)
        if isinstance(value, Constant) and not array.ndim:
            array = np.asarray(self.literals.get((value.dtype, float(array)), array), array.dtype)
        return array

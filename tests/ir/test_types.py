"""Types: spelling, sizes, what is refused; element types and their NumPy twins."""

from __future__ import annotations

import numpy as np
import pytest

from tgraph.ir.dims import dim
from tgraph.ir.dtypes import DTYPES, as_type, bf16, bool_, dtype_of, f16, f32, i8, i64
from tgraph.ir.errors import RuleError
from tgraph.ir.types import TensorType

B, S = dim("B"), dim("S")


def test_spelling() -> None:
    assert str(f32[B, S, 768]) == "f32[B, S, 768]" and str(f32[4]) == "f32[4]" and str(as_type(f32)) == "f32"
    assert str(i64[B].range(0, 30522)) == "i64[B].range(0, 30522)"
    assert f32[B] == TensorType(f32, (B,)) and as_type(f32[B]) == f32[B]


def test_a_value_range_is_no_part_of_equality() -> None:
    assert i64[B].range(0, 5) == i64[B] and hash(i64[B].range(0, 5)) == hash(i64[B])


def test_sizes() -> None:
    t = f16[B, S, 8]
    assert (t.rank, t.size, t.nbytes) == (3, 8 * B * S, 16 * B * S)
    assert t.evaluate({"B": 2, "S": 3}) == (2, 3, 8)
    assert t.substitute({"S": B + 1}) == f16[B, B + 1, 8]
    assert t.with_shape((S,)) == f16[S] and t.with_dtype(i8) == i8[B, S, 8]
    assert (f32[0, 3].size, TensorType(f32).size, bool_[B].nbytes) == (0, 1, B)
    assert i64[B].range(0, 5).substitute({"B": 3}).value_range == (0, 5)


@pytest.mark.parametrize("shape", [(-1,), (B - B - 2,), (1.5,), ("S",), (True,), (None,), (dim("T", max=3) - 4,)])
def test_what_is_no_shape(shape: tuple[object, ...]) -> None:
    with pytest.raises(RuleError):
        TensorType(f32, shape)  # type: ignore[arg-type]


def test_what_is_no_type() -> None:
    with pytest.raises(RuleError, match=r"expected a type like tg\.f32\[B, 768\], got str"):
        as_type("f32")  # type: ignore[arg-type]
    with pytest.raises(RuleError, match="empty value range"):
        i64[B].range(3, 3)


def test_element_types_have_their_twins_in_numpy() -> None:
    for name, dtype in DTYPES.items():
        array = np.zeros(3, dtype.numpy)
        assert dtype_of(array) is dtype and dtype_of(dtype.numpy) is dtype
        assert str(dtype) == name and dtype.itemsize == array.itemsize
        assert sum((dtype.is_float, dtype.is_integer, dtype.is_bool)) == 1
    assert bf16.numpy.name == "bfloat16"
    for foreign in (np.complex64, np.int16, "datetime64[s]", object):
        with pytest.raises(RuleError, match="no tgraph type"):
            dtype_of(np.dtype(foreign))

"""What someone who knows NumPy or PyTorch writes first: it does what it does there, or the error says what to write."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tgraph as tg

B, S = tg.dims("B S")
A = np.arange(1, 13, dtype=np.float32).reshape(3, 4)
MASK = A % 3 != 0
IDS = np.arange(12).reshape(3, 4) % 5
Line = Callable[[Any, Any, Any], Any]


def traced(line: Line) -> tg.Graph:
    return tg.trace(lambda x, m, i: line(x, m, i), x=tg.f32[B, S], m=tg.bool_[B, S], i=tg.i64[B, S])


# What works: the line, and what NumPy gives for it (None: the same line)

WORKS: dict[str, tuple[Line, Line | None]] = {
    # a size on the left, numbers made of sizes, NumPy's numbers on either side
    "S * x": (lambda x, m, i: S * x, lambda x, m, i: 4 * x),
    "S - x": (lambda x, m, i: S - x, lambda x, m, i: 4 - x),
    "1.0 / S * x": (lambda x, m, i: 1.0 / S * x, lambda x, m, i: x / 4),
    "S ** -0.5": (lambda x, m, i: S ** -0.5, lambda x, m, i: np.float32(0.5)),
    "x * d ** -0.5": (lambda x, m, i: x * x.shape[1] ** -0.5, None),
    "S alone": (lambda x, m, i: S, lambda x, m, i: np.int64(4)),
    "x * np.sqrt(64)": (lambda x, m, i: x * np.sqrt(64), None),
    "np.sqrt(64) * x": (lambda x, m, i: np.sqrt(64) * x, None),
    "np.float32 - x": (lambda x, m, i: np.float32(2) - x, None),
    "np.float64 / x": (lambda x, m, i: np.float64(0.5) / x, None),
    "x ** np.int64": (lambda x, m, i: x ** np.int64(2), None),
    "np.int32 * ids": (lambda x, m, i: np.int32(3) * i, None),
    "np.int64 < x": (lambda x, m, i: np.int64(2) < x, None),
    "np.float64 == x": (lambda x, m, i: np.float64(2) == x, None),
    "array(2.0) * x": (lambda x, m, i: np.array(2.0, np.float32) * x, None),
    "x >= np.float64": (lambda x, m, i: x >= np.float64(3), None),
    "np.float64 * S * x": (lambda x, m, i: np.float64(0.5) * S * x, lambda x, m, i: 2 * x),
    "np.int64 == S": (lambda x, m, i: x if (x.shape[0], np.int64(3)) == (B, S) else -x, lambda x, m, i: -x),
    "np.int64 * S": (lambda x, m, i: x.reshape(np.int64(2) * S * B // 2), lambda x, m, i: x.reshape(12)),
    "f16 beside np.float64": (lambda x, m, i: x.half() * np.float64(0.5), lambda x, m, i: x.astype("f2") * np.float64(0.5)),
    "np.add": (lambda x, m, i: np.add(x, x), None),
    "np.matmul": (lambda x, m, i: np.matmul(np.ones((2, 3), np.float32), x), None),
    "array % x": (lambda x, m, i: np.full(4, 9, np.float32) % x, None),
    # masks
    "1.0 - mask": (lambda x, m, i: 1.0 - m, lambda x, m, i: (1.0 - m).astype("f4")),
    "mask * x": (lambda x, m, i: m * x, None),
    "(1.0 - mask) * -1e4 + x": (lambda x, m, i: (1.0 - m) * -1e4 + x, None),
    "x - mask": (lambda x, m, i: x - m, None),
    "mask * ids": (lambda x, m, i: m * i, None),
    "mask @ x.T": (lambda x, m, i: m @ x.T, None),
    "~mask": (lambda x, m, i: ~m, None),
    "mask & other": (lambda x, m, i: m & (x > 4) | ~m ^ m, None),
    "mask == 0": (lambda x, m, i: m == 0, None),
    "mask == mask": (lambda x, m, i: m == m, None),
    "mask > 0.5": (lambda x, m, i: m > 0.5, None),
    "mask.sum()": (lambda x, m, i: m.sum(axis=1), None),
    "x * True": (lambda x, m, i: x * True, None),
    "NumPy mask * x": (lambda x, m, i: np.array([True, False, True, True]) * x, None),
    "NumPy mask & mask": (lambda x, m, i: np.array([True, False, True, True]) & m, None),
    "mask.astype(np.float32)": (lambda x, m, i: m.astype(np.float32), None),
    "astype name": (lambda x, m, i: m.astype("int64"), None),
    "astype(int)": (lambda x, m, i: x.astype(int), None),
    "astype(bool)": (lambda x, m, i: i.astype(bool), None),
    "x.to": (lambda x, m, i: i.to(tg.f32), lambda x, m, i: i.astype("f4")),
    "x.double()": (lambda x, m, i: x.double(), lambda x, m, i: x * 1.0),
    "x.long()": (lambda x, m, i: x.long(), lambda x, m, i: x.astype("i8")),
    "dtype=np.int32": (lambda x, m, i: tg.full(shape=(2,), value=1, dtype=np.int32), lambda x, m, i: np.ones(2, np.int32)),
    # Python's own
    "divmod": (lambda x, m, i: divmod(x, 3)[1], None),
    "round": (lambda x, m, i: round(x / 2), lambda x, m, i: np.round(x / 2)),
    "floor": (lambda x, m, i: math.floor(x / 2), lambda x, m, i: np.floor(x / 2)),
    "ceil": (lambda x, m, i: math.ceil(x / 2), lambda x, m, i: np.ceil(x / 2)),
    "x += 1": (lambda x, m, i: operator.iadd(x, 1), lambda x, m, i: x + 1),
    "sum of a list": (lambda x, m, i: sum([x, x]), None),
}


@pytest.mark.parametrize("name", WORKS)
def test_a_line_that_works(name: str) -> None:
    line, expected = WORKS[name]
    graph = traced(line)
    tg.verify(graph)
    (found,) = tg.reference.run(graph, {"x": A, "m": MASK, "i": IDS}, faithful=True).values()
    wanted = np.asarray((expected or line)(A, MASK, IDS))
    assert found.shape == wanted.shape and found.dtype.kind == wanted.dtype.kind
    np.testing.assert_allclose(found.astype("f8"), wanted.astype("f8"), rtol=1e-3 if found.dtype == np.float16 else 1e-6)


# What does not: the line, and what the error says

SAYS: dict[str, tuple[Line, str]] = {
    # functions that compute at once
    "np.exp": (lambda x, m, i: np.exp(x),
        "np.exp computes at once, and tensor f32[B, S] has no values while tracing; write tg.exp(x)"),
    "np.sqrt": (lambda x, m, i: np.sqrt(x), "write tg.sqrt(x)"),
    "np.maximum": (lambda x, m, i: np.maximum(x, 0), "write tg.maximum(x, y)"),
    "np.concatenate": (lambda x, m, i: np.concatenate([x, x]), "write tg.concatenate([x, y], axis=...)"),
    "np.sum": (lambda x, m, i: np.sum(x), "np.sum computes at once, and tensor f32[B, S] has no values while tracing; write "),
    "np.where": (lambda x, m, i: np.where(m, x, 0), "write tg.where("),
    "np.linalg.norm": (lambda x, m, i: np.linalg.norm(x), "write x.norm(axis=...)"),
    "np.add.reduce": (lambda x, m, i: np.add.reduce(x),
        "np.add.reduce computes at once, and tensor f32[B, S] has no values while tracing; write x.sum(axis"),
    "np.asarray": (lambda x, m, i: np.asarray(x), "is not known while"),
    "a += x": (lambda x, m, i: operator.iadd(np.ones(4, np.float32), x), "write a = a + x, not a += x"),
    "math.sqrt": (lambda x, m, i: math.sqrt(x), "write tg.sqrt(x) in place of math.sqrt"),
    "float": (lambda x, m, i: float(x), "it has no Python or NumPy number; write the computation in ops"),
    "np.sqrt(S)": (lambda x, m, i: x * np.sqrt(S), "operators do work, as in x * S ** -0.5"),
    "array * S": (lambda x, m, i: x + np.ones(4) * S, "np.multiply of an array and S, which has no value while tracing; write"),
    "S * array": (lambda x, m, i: x + S * np.ones(4), "np.multiply of an array and S, which has no value while tracing; write"),
    "np.int64 < S": (lambda x, m, i: x if np.int64(3) < S else -x, "dimension S has no value while tracing"),
    "tg.sqrt(ids)": (lambda x, m, i: tg.sqrt(i), "needs a floating-point operand, got i64[B, S]; cast it first: .astype(tg.f32)"),
    "math.sqrt(S)": (lambda x, m, i: x * math.sqrt(S), "operators do work, as in x * S ** -0.5"),
    # Python's statements
    "if": (lambda x, m, i: x if x > 0 else -x, "tg.where(condition, x, y)"),
    "len": (lambda x, m, i: len(x), "write x.shape[0]"),
    "for": (lambda x, m, i: tuple(row * 2 for row in x), "no first axis of known size to go through; write ops on the whole"),
    "x[i] = y": (lambda x, m, i: operator.setitem(x, 0, 1.0), "x[...] = y has no meaning in a graph; write a new tensor"),
    "del x[0]": (lambda x, m, i: operator.delitem(x, 0), "cannot change"),
    "round(x, 2)": (lambda x, m, i: round(x, 2), "tg.round(x * 100) / 100"),
    "format": (lambda x, m, i: f"{x:.2f}", "it has no Python or NumPy number"),
    # methods
    "item": (lambda x, m, i: x.sum().item(), "a tensor has no 'item': it has no values while tracing"),
    "numpy": (lambda x, m, i: x.numpy(), "a tensor has no 'numpy': it has no values while tracing"),
    "detach": (lambda x, m, i: x.detach(), "leave the call out"),
    "cuda": (lambda x, m, i: x.cuda(), "leave the call out"),
    "to device": (lambda x, m, i: x.to("cuda"), "x.to takes an element type such as tg.f16"),
    "exp": (lambda x, m, i: x.exponential(), "a tensor has no 'exponential': "),
    # masks
    "1 - mask": (lambda x, m, i: 1 - m,
        "sub(1, bool[B, S]): needs numbers, and a mask is none; write ~mask for the opposite mask, or mask.as"),
    "-mask": (lambda x, m, i: -m, "neg(bool[B, S]): needs numbers, and a mask is none; write ~mask"),
    "mask + mask": (lambda x, m, i: m + m, "write mask | other for either, or mask.astype(tg.f32) (or tg.i64) for 0 and 1"),
    "mask * mask": (lambda x, m, i: m * m, "write mask & other for both"),
    "mask - mask": (lambda x, m, i: m - m, "write mask & ~other"),
    "mask * 2": (lambda x, m, i: m * 2, "write mask.astype(tg.f32) (or tg.i64)"),
    "S * mask": (lambda x, m, i: S * m, "write mask.astype("),
    "mask & ids": (lambda x, m, i: m & i, "write x != 0 for the mask"),
    "mask & 1": (lambda x, m, i: m & 1, "write 1 != 0"),
    "~ids": (lambda x, m, i: ~i, "needs a boolean operand, got i64[B, S]; write x != 0"),
    "astype(float)": (lambda x, m, i: m.astype(float), "float is f64 to NumPy and f32 to PyTorch; write tg.f64 or tg.f32"),
    "f64 array * x": (lambda x, m, i: np.ones(4) * x, "there is no implicit promotion; cast one: .astype(tg.f32)"),
    "x * list": (lambda x, m, i: x * [1.0, 2.0], "expected a tensor, a NumPy array or a Python number, got list"),
    "attention mask": (lambda x, m, i: tg.attention(*[x[None, None]] * 3, m.astype(tg.f32), scale=1.0),
        "as bias=, and one of 0 and 1"),
    "attention mask of ids": (lambda x, m, i: tg.attention(*[x[None, None]] * 3, i, scale=1.0), "write mask=mask != 0"),
}


@pytest.mark.parametrize("name", SAYS)
def test_a_line_that_says_what_to_write(name: str) -> None:
    line, text = SAYS[name]
    with pytest.raises(tg.TGraphError) as raised:
        traced(line)
    assert text in str(raised.value)
    assert f"{__file__}:{line.__code__.co_firstlineno}" in str(raised.value)


def test_print_says_where_the_values_are(capsys: pytest.CaptureFixture[str]) -> None:
    def model(x: Any) -> Any:
        print(x)
        return x + 1.0

    tg.trace(model, x=tg.f32[B])
    assert capsys.readouterr().out == ("tensor f32[B] (without values while tracing: return it as an output to see them; "
                                       f"printed at {__file__}:{model.__code__.co_firstlineno + 1})\n")


def test_an_attribute_that_is_missing_is_told_to_python_too() -> None:
    graph = tg.trace(lambda x: x if hasattr(x, "numpy") or hasattr(x, "__cuda_array_interface__") else x * 2.0, x=tg.f32[B])
    assert [n.op.name for n in graph.nodes] == ["mul"]


def test_functions_of_pytorch() -> None:
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    for line, text in (
        (lambda x: torch.exp(x), "write tg.exp(x)"),
        (lambda x: functional.softmax(x, dim=-1), "write tg.softmax(x, axis=-1)"),
        (lambda x: torch.cat([x, x]), "write tg.cat("),
        (lambda x: torch.nn.Linear(4, 2)(x), "write tg.linear(x, weight)"),
        (lambda x: functional.scaled_dot_product_attention(x, x, x), "write tg.attention(q, k, v, mask)"),
    ):
        with pytest.raises(tg.TraceError) as raised:
            tg.trace(line, x=tg.f32[B, 4])
        assert text in str(raised.value) and f"{__file__}:{line.__code__.co_firstlineno}" in str(raised.value)
    for line in (lambda x: torch.full((4,), 3.0) - x, lambda x: x * torch.full((4,), 3.0), lambda x: torch.tensor(2.0) < x,
                 lambda x: torch.ones(2, 3) @ x, lambda x: x.to(torch.float16)):
        (found,) = tg.reference.run(tg.trace(line, x=tg.f32[3, 4]), {"x": A}).values()
        assert np.allclose(found, line(torch.from_numpy(A)).numpy())


@pytest.mark.parametrize("target", ["numpy", "cpu"])
@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8])
def test_masks_as_tokenizers_give_them(target: str, dtype: Any) -> None:
    exe = tg.compile(traced(lambda x, m, i: tg.where(m, x, 0.0)), target, cache=False)
    assert np.array_equal(exe(A, MASK.astype(dtype), IDS), np.where(MASK, A, 0))
    wrong = MASK.astype(dtype)
    wrong[1, 2] = 5
    text = rf"input 'm' is bool\[B, S\]; of {np.dtype(dtype).name} it takes 0 and 1 only, got 5 at \[1, 2\]"
    with pytest.raises(tg.InputError, match=text):
        exe(A, wrong, IDS)
    with pytest.raises(tg.InputError, match="input 'm' must be bool, got float32"):
        exe(A, MASK.astype(np.float32), IDS)

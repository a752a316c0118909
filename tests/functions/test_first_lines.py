"""What a user of PyTorch or NumPy writes first works as written, or says what to write.

One row a line: code, and what NumPy gives or a piece of the error.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import tgraph as tg

B, S = tg.dims("B S")
SPECS = {"x": tg.f32[B, S, 8], "y": tg.f32[B, S, 8], "w": tg.f32[8, 8], "v": tg.f32[8], "m": tg.bool_[B, S], "i": tg.i64[B, S],
         "q": tg.f32[B, 2, S, 4], "s": tg.f32[3, 4]}
WORKS = [  # code, NumPy's own
    ("tg.softmax(x, -1)", "np.exp(x) / np.exp(x).sum(-1, keepdims=True)"),
    ("tg.softmax(x, dim=-1)", "np.exp(x) / np.exp(x).sum(-1, keepdims=True)"),
    ("x.softmax(-1)", "np.exp(x) / np.exp(x).sum(-1, keepdims=True)"),
    ("x.log_softmax(dim=-1)", "x - np.log(np.exp(x).sum(-1, keepdims=True))"),
    ("tg.range(8)", "np.arange(8)"),
    ("tg.arange(x.shape[1])", "np.arange(x.shape[1])"),
    ("tg.arange(x.size(1))[None, :]", "np.arange(x.shape[1])[None]"),
    ("tg.concat([x, y], axis=1)", "np.concatenate([x, y], 1)"),
    ("tg.concat(x, y, axis=1)", "np.concatenate([x, y], 1)"),
    ("tg.cat([x, y], dim=-1)", "np.concatenate([x, y], -1)"),
    ("tg.cat((x, y), -1)", "np.concatenate([x, y], -1)"),
    ("tg.stack([x, y], dim=1)", "np.stack([x, y], 1)"),
    ('tg.einsum("bij,bkj->bik", x, y)', "np.einsum('bij,bkj->bik', x, y)"),
    ('tg.einsum("bij,bkj->bik", [x, y])', "np.einsum('bij,bkj->bik', x, y)"),
    ('tg.einsum("...d,d->...", x, v)', "x @ v"),
    ("x.mean(dim=-1)", "x.mean(-1)"),
    ("x.mean(-1, keepdim=True)", "x.mean(-1, keepdims=True)"),
    ("x.mean(axis=(0, 1), keepdims=True)", "x.mean((0, 1), keepdims=True)"),
    ("(x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 1e-6)",
     "(x - x.mean(-1, keepdims=True)) / (x.std(-1, keepdims=True) + 1e-6)"),
    ("x.var(-1, unbiased=False)", "x.var(-1)"),
    ("x.var(dim=-1, correction=1)", "x.var(-1, ddof=1)"),
    ("x.exp()", "np.exp(x)"),
    ("x.sum(1)", "x.sum(1)"),
    ("x.max(-1)", "x.max(-1)"),
    ("x.amax(dim=-1, keepdim=True)", "x.max(-1, keepdims=True)"),
    ("x.argmax(dim=-1)", "x.argmax(-1)"),
    ("x.argmin(-1)", "x.argmin(-1)"),
    ("m.any(dim=1)", "m.any(1)"),
    ("m.all()", "m.all()"),
    ("x.norm(dim=-1, keepdim=True)", "np.linalg.norm(x, axis=-1, keepdims=True)"),
    ("x / x.norm(2, -1, True)", "x / np.linalg.norm(x, axis=-1, keepdims=True)"),
    ("x.logsumexp(-1)", "np.log(np.exp(x).sum(-1))"),
    ("x @ v", "x @ v"),
    ("x @ w", "x @ w"),
    ("x @ y.transpose(1, 2) * x.shape[-1] ** -0.5", "x @ np.swapaxes(y, 1, 2) / 8 ** 0.5"),
    ("q @ q.transpose(-2, -1) / math.sqrt(q.size(-1))", "q @ np.swapaxes(q, 2, 3) / 2"),
    ("tg.matmul(x, w)", "x @ w"),
    ("tg.bmm(x, y.permute(0, 2, 1))", "x @ np.swapaxes(y, 1, 2)"),
    ("x.view(x.size(0), x.size(1), 2, 4).transpose(1, 2)", "x.reshape(*x.shape[:2], 2, 4).swapaxes(1, 2)"),
    ("x.reshape(x.shape[0], x.shape[1], 2, -1).permute(0, 2, 1, 3)", "x.reshape(*x.shape[:2], 2, 4).swapaxes(1, 2)"),
    ("q.transpose(1, 2).flatten(2)", "q.swapaxes(1, 2).reshape(q.shape[0], q.shape[2], 8)"),
    ("x.unflatten(-1, (2, 4))", "x.reshape(*x.shape[:2], 2, 4)"),
    ("x.chunk(2, dim=-1)[1]", "x[..., 4:]"),
    ("x.unsqueeze(1).expand(-1, 2, -1, -1)", "np.repeat(x[:, None], 2, 1)"),
    ("m[:, None, None, :]", "m[:, None, None, :]"),
    ("x.masked_fill(~m.unsqueeze(-1), -1e9)", "np.where(m[..., None], x, -1e9)"),
    ("tg.where(m[..., None], x, 0.0)", "np.where(m[..., None], x, 0)"),
    ("tg.tril(tg.ones(x.shape[1], x.shape[1]))", "np.tril(np.ones((x.shape[1],) * 2))"),
    ("tg.ones((4, 4), dtype=tg.bool_).tril()", "np.tril(np.ones((4, 4), bool))"),
    ("tg.triu(tg.full((4, 4), float('-inf')), diagonal=1)", "np.triu(np.full((4, 4), -np.inf), 1)"),
    ("tg.zeros_like(x)", "np.zeros_like(x)"),
    ("tg.full((2, 3), 0.5)", "np.full((2, 3), 0.5)"),
    ("x.repeat(1, 2, 1)", "np.tile(x, (1, 2, 1))"),
    ("q.repeat_interleave(2, dim=1)", "np.repeat(q, 2, 1)"),
    ("q.repeat(2, axis=1)", "np.repeat(q, 2, 1)"),
    ("tg.tile(x, (1, 2, 1))", "np.tile(x, (1, 2, 1))"),
    ("x.roll(1, -1)", "np.roll(x, 1, -1)"),
    ("x.flip(-1)", "x[..., ::-1]"),
    ("x.topk(2).values", "-np.sort(-x, -1)[..., :2]"),
    ("tg.topk(x, k=2, dim=-1)[1]", "np.argsort(-x, -1, kind='stable')[..., :2]"),
    ("x.sort(dim=-1, descending=True).values", "-np.sort(-x, -1)"),
    ("tg.take_along_axis(x, tg.argsort(x, axis=-1), axis=-1)", "np.sort(x, -1)"),
    ("tg.one_hot(i, 4)", "np.eye(4)[i]"),
    ("tg.pad(x, (1, 2, 0, 0))", "np.pad(x, ((0, 0), (0, 0), (1, 2)))"),
    ("x.clamp(min=0)", "np.maximum(x, 0)"),
    ("tg.clip(x, -1, 1)", "np.clip(x, -1, 1)"),
    ("tg.sqrt(tg.abs(x))", "np.sqrt(np.abs(x))"),
    ("tg.layer_norm(x, v, v, 1e-6)", "(x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6) * v + v"),
    ("tg.layer_norm(x, v, v, eps=1e-6)", "(x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6) * v + v"),
    ("x.T.shape[0] * x.ndim + x * 0", "8 * 3 + x * 0"),
    ("x.cumsum(dim=1)", "np.cumsum(x, 1)"),
    ("[t for t in s.unbind(0)][2]", "s[2]"),
    ("tg.split(x, [2, 6], -1)[1]", "x[..., 2:]"),
]
SAYS = [  # code, what the error says
    ("x.max(dim=-1)", "write amax(dim=...) or max(axis=...) for the values, argmax(dim=...) for the indices, topk(1) for both"),
    ("x.max(-1).values", "the indices are x.argmax(axis), and x.topk(k) has both"),
    ("tg.max(x, y)", "tg.maximum(x, y)"),
    ("s.transpose(0, 1)", "write swapaxes(0, 1) or permute(0, 1)"),
    ("s.transpose(-2, -1)", "write swapaxes(0, 1) or permute(0, 1)"),
    ("x.repeat(2)", "write tile(2) or repeat_interleave(2)"),
    ("tg.split(x, 2, dim=-1)", "write chunk(2, axis) for 2 parts, or split((n, n, ...), axis)"),
    ("tg.gather(x, 1, i)", "PyTorch's is take_along_axis(x, index, axis=1)"),
    ("tg.pad(x, (1, 2))", "write pad=(1, 2) or ((0, 0), (0, 0), (1, 2)) for the last"),
    ("tg.pad(x, 1, mode='mirror')", "mode is constant, edge, replicate, wrap, circular, reflect, symmetric, got 'mirror'"),
    ("tg.pad(x, 1, mode='edge', value=2.0)", "mode 'edge' takes no value"),
    ("x.cumsum()", "write axis=-1 for the last, or x.flatten().cumsum(0)"),
    ("x.norm(1, (1, 2))", "x.flatten(-2).norm(1, -1)"),
    ("x.std(1, True)", "var(-1, correction=1)"),
    ("tg.softmax(x, dim=-1, axis=-1)", "are two names of one argument"),
    ("tg.softmax(x, -1, axis=-1)", "'axis' is given twice"),
    ("tg.softmax(x, -1, 2)", "takes 1 operands, got 3"),
    ("tg.permute(x, 0, 1)", "is no permutation of the 3 axes"),
    ("x.detach()", "leave the call out"),
    ("x.cuda()", "leave the call out"),
    ("x.item()", "it has no values while tracing"),
    ("x.add_(y)", "write tg.add(x, y)"),
    ("x.softmx(-1)", "near: softmax"),
    ("x.layer_norm(v)", "write tg.layer_norm(x"),
    ("x.numel()", "write x.type.size"),
    ("tg.flatten(x, 1, 2, 3)", "it is called as flatten(x, start_axis=0, end_axis=-1)"),
    ("tg.stack([x, v])", "differ in rank"),
    ("tg.cat([x, y], 0, 1)", "takes a list of tensors and an axis"),
    ("tg.stack([x, y], 0, 1)", "takes a list of tensors and an axis"),
    ("x.unflatten(-1, (3, -1))", "the sizes [3, 2] must multiply to axis -1 of f32[B, S, 8]"),
    ("tg.zeros()", "takes a shape: (2, 3) or 2, 3"),
    ("tg.arange(x)", "stop is a number or a dim"),
    ("tg.range(0, 8, 2)", "arange(start, stop, step)"),
    ("x.repeat_interleave(i, dim=1)", "repeats is one number"),
    ("x.take_along_axis(i)", "write axis=-1 for the last"),
    ("x.unbind(1)", "must have a size that is known while tracing"),
    ('tg.einsum("...ab,b", v, v)', "'...ab' names 2 axes, the operand has 1"),
    ("tg.conv1d(x, w)", "weight must be [O, C / groups, K]"),
    ("tg.conv1d(s, tg.ones(4, 4, 2))", "x must be [B, C, L], got f32[3, 4]; add the batch with x[None]"),
    ("x.dot(y)", "write x @ y or an einsum"),
    ("tg.tril(v)", "takes matrices, of rank 2 or more"),
    ("tg.zeros([1, 'a'])", "sizes (integers or dims)"),
    ("tg.topk(x, 9)", "cannot take 9 elements"),
    ("tg.masked_fill(x, m)", "it is called as masked_fill(x, mask, fill_value)"),
]


def model(code: str, **tensors: Any) -> Any:
    return eval(compile(code, "users_file.py", "eval"), {"tg": tg, "np": np, "math": math, **tensors})


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    g, sizes = np.random.default_rng(7), {"B": 2, "S": 5}
    shapes = {n: t.substitute(sizes).shape for n, t in SPECS.items()}
    made = {n: g.standard_normal(shapes[n]).astype("float32") for n, t in SPECS.items() if t.dtype.is_float}
    return made | {"m": g.random(shapes["m"]) < 0.6, "i": g.integers(0, 4, shapes["i"])}


@pytest.fixture(scope="module", params=["numpy", "cpu"])
def results(request: pytest.FixtureRequest, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """All rows as one graph."""
    def rows(**tensors: Any) -> dict[str, Any]:
        return {f"row{n}": model(code, **tensors) for n, (code, _) in enumerate(WORKS)}

    return tg.compile(tg.trace(rows, name="first_lines", **SPECS), request.param).run(arrays)


@pytest.mark.parametrize("row", range(len(WORKS)), ids=[code for code, _ in WORKS])
def test_works_as_written(row: int, arrays: dict[str, np.ndarray], results: dict[str, np.ndarray]) -> None:
    expected = np.asarray(eval(WORKS[row][1], {"np": np}, dict(arrays)))
    y = results[f"row{row}"]
    assert y.shape == expected.shape
    assert y.dtype.kind == expected.dtype.kind
    np.testing.assert_allclose(y, expected, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize(("code", "text"), SAYS, ids=[code for code, _ in SAYS])
def test_says_what_to_write(code: str, text: str) -> None:
    with pytest.raises(tg.TGraphError) as raised:
        tg.trace(lambda **tensors: model(code, **tensors), **SPECS)
    assert text in str(raised.value)
    assert "users_file.py:1" in str(raised.value)


def test_attributes_that_are_not_there_are_attribute_errors() -> None:
    """So that hasattr and copies work on tensors."""
    seen = []
    tg.trace(lambda x: seen.append((hasattr(x, "cuda"), hasattr(x, "__dlpack__"), hasattr(x, "softmax"))) or x, x=tg.f32[3])
    assert seen == [(False, False, True)]


def test_outside_of_a_trace() -> None:
    with pytest.raises(tg.TraceError, match="can only be called by a function"):
        tg.zeros(2, 3)

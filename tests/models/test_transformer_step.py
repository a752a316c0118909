"""The encoder-decoder Transformer step by step: as the decoder that reads the whole target, token for token."""

from __future__ import annotations

import functools

import numpy as np
import pytest

import tgraph as tg
from tgraph.models.transformer import Transformer

B, S, T = tg.dims("B S T")
SOURCE = np.array([[5, 8, 13, 21, 34], [3, 1, 4, 0, 0]])
MASK = np.array([[True] * 5, [True] * 3 + [False] * 2])


def small(norm_first: bool) -> Transformer:
    model = Transformer(40, 30, dim=16, heads=2, hidden=32, layers=2, max_length=32, norm_first=norm_first)
    for parameter in model.parameters().values():
        random = np.random.default_rng(parameter.type.size).standard_normal(parameter.shape)
        parameter.data = random.astype("f") * np.float32(0.4)
    return model


@functools.cache
def compiled(norm_first: bool, target: str) -> tuple[tg.Executable, tg.ProgramExecutable]:
    """The decoder that reads the whole target, and the one that goes step by step."""
    model = small(norm_first)
    program = tg.trace_program(model, start={"source": tg.i64[B, S], "source_mask": tg.bool_[B, S]}, step=tg.i64[B, T])
    whole = tg.trace(model, tg.i64[B, S], tg.i64[B, T], tg.bool_[B, S])
    return tg.compile(whole, target), tg.compile(program, target)


@pytest.mark.parametrize(("norm_first", "target"), [(False, "cpu"), (True, "numpy")])
def test_steps_give_what_the_whole_decoder_gives(norm_first: bool, target: str) -> None:
    whole, steps = compiled(norm_first, target)
    session = steps.session(B=2, C=16)
    rows = np.random.default_rng(0).integers(0, 30, (2, 9))
    for again in (0, 1):  # `start` begins anew
        session.start(SOURCE[:, ::-1] if again else SOURCE, MASK)
        expected = whole(SOURCE[:, ::-1] if again else SOURCE, rows, MASK)
        for a, b in ((0, 1), (1, 4), (4, 5), (5, 9)):
            np.testing.assert_allclose(session.step(rows[:, a:b]), expected[:, b - 1], atol=1e-4)


def test_greedy_and_beams_write_from_a_source() -> None:
    whole, exe = compiled(False, "cpu")
    session = exe.session(B=2, C=16)
    session.start(SOURCE, MASK)
    got = tg.generate(session, [[0], [0]], max_new_tokens=8)
    rows = np.zeros((2, 1), np.int64)
    for _ in range(8):
        rows = np.concatenate([rows, whole(SOURCE, rows, MASK)[:, -1:].argmax(-1)], axis=1)
    assert got.tokens == rows[:, 1:].tolist()
    beams = {"method": "beam", "beams": 3, "max_new_tokens": 8, "stop": 7}
    session.reset()
    session.start(SOURCE, MASK)
    together = tg.generate(session, [[0], [0]], **beams)
    for i, n in ((0, 5), (1, 3)):
        alone = exe.session(B=1, C=16)
        alone.start(SOURCE[i:i + 1, :n], MASK[i:i + 1, :n])
        assert tg.generate(alone, [0], **beams).tokens[0] == together[i]

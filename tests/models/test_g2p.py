"""The GRUs of g2p-en say what the package's own code says of 1,000 words (`g2p_en.json`: answers of its `G2p.predict`)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import tgraph as tg
from tgraph.models.g2p import MOST_PHONEMES, PHONEMES, START, STOP, encode_words, load_g2p, spell

ANSWERS = json.loads((Path(__file__).with_name("g2p_en.json")).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def program() -> tg.Program:
    try:
        model = load_g2p()
    except ModuleNotFoundError as error:
        pytest.skip(str(error))
    return tg.trace_program(model, **model.specs)


def test_all_words_at_once(program: tg.Program) -> None:
    """One batch of words from 1 to 20 letters."""
    words = list(ANSWERS)
    session = tg.compile(program, "cpu").session(B=len(words))
    session.start(*encode_words(words))
    found = tg.generate(session, [[START]] * len(words), max_new_tokens=MOST_PHONEMES, stop=STOP)
    said = {word: spell(tokens) for word, tokens in zip(words, found)}
    assert {w: (s, ANSWERS[w]) for w, s in said.items() if s != ANSWERS[w]} == {}


def test_a_word_alone_on_the_reference(program: tg.Program) -> None:
    session = tg.compile(program, "numpy").session(B=1)
    session.start(*encode_words(["attention"]))
    assert spell(tg.generate(session, [START], max_new_tokens=MOST_PHONEMES, stop=STOP)[0]) == ANSWERS["attention"]


def test_the_phonemes_are_those_of_the_checkpoint() -> None:
    assert len(PHONEMES) == 74 and len(set(PHONEMES)) == 74

"""Generation: with a past as without one, greedy, sampled, and by beams against a search over all sequences."""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import numpy as np
import pytest

import tgraph as tg
from tests.generation.language_model import B, LanguageModel, T, stepping
from tgraph.generation.sampling import filtered, log_softmax, sample

PROMPTS = [[3, 1, 4], [15, 9, 2]]


@pytest.fixture(scope="module")
def plain() -> tg.Executable:
    """The model without a past: all tokens so far, each time."""
    return tg.compile(tg.trace(LanguageModel(), tokens=tg.i64[B, T]), "cpu")


@pytest.fixture(scope="module")
def exe() -> tg.ProgramExecutable:
    return tg.compile(stepping(masked=False), "cpu")


@pytest.fixture(scope="module")
def masked() -> tg.ProgramExecutable:
    return tg.compile(stepping(masked=True), "cpu")


def without_past(plain: tg.Executable, prompt: list[int], count: int) -> list[int]:
    found: list[int] = []
    for _ in range(count):
        found.append(int(plain(np.array([prompt + found]))[0, -1].argmax()))
    return found


def test_greedy_is_what_the_model_without_a_past_gives(plain: tg.Executable, exe: tg.ProgramExecutable) -> None:
    session = exe.session(B=2, C=40)
    generated = tg.generate(session, PROMPTS, max_new_tokens=30)
    assert generated.tokens == [without_past(plain, p, 30) for p in PROMPTS]
    assert len({*generated[0], *generated[1]}) > 5, "a model that says one thing only tests little"
    assert int(session["past.length"]) == 3 + 30 - 1 and session.room == 40 - 32


@pytest.mark.parametrize("target", ["cpu", "numpy"])
def test_prompts_of_several_lengths_do_not_see_each_other(target: str, plain: tg.Executable) -> None:
    prompts = [[3, 1, 4, 1, 5, 9], [2], [6, 5, 3]]
    exe = tg.compile(stepping(masked=True), target)
    count = 12 if target == "cpu" else 3
    generated = tg.generate(exe.session(B=3, C=32), prompts, max_new_tokens=count)
    assert generated.tokens == [without_past(plain, p, count) for p in prompts]


@pytest.mark.parametrize("options", [{"level": "O0"}, {"precision": "bf16"}, {"weights": "i8"}, {"passes": "O3,remove-padding"}],
                         ids=lambda options: "-".join(options.values()))
def test_other_ways_to_compile_generate_the_same(options: dict[str, Any], masked: tg.ProgramExecutable) -> None:
    prompts = [[3, 1, 4], [5]]
    expected = tg.generate(masked.session(B=2, C=24), prompts, max_new_tokens=12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a precision that this CPU is no faster in
        exe = tg.compile(stepping(masked=True), "cpu", **options)
    assert {n.op.name for f in exe.kernels.functions.values() for n in f.nodes if n.op.traits.update} == {"update_in_place"}
    got = tg.generate(exe.session(B=2, C=24), prompts, max_new_tokens=12)
    assert got.tokens == expected.tokens and got.scores == pytest.approx(expected.scores, abs=0.2)


def test_a_session_goes_on_from_where_it_is(plain: tg.Executable, exe: tg.ProgramExecutable) -> None:
    session = exe.session(B=1, C=40)
    first = tg.generate(session, [3, 1, 4], max_new_tokens=5)[0]
    second = tg.generate(session, [first[-1], 7, 7], max_new_tokens=5)[0]
    assert second == without_past(plain, [3, 1, 4, *first, 7, 7], 5)
    session.reset()
    assert tg.generate(session, [3, 1, 4], max_new_tokens=5)[0] == first


def test_a_stop_ends_a_row_and_streams_none_after_it(exe: tg.ProgramExecutable) -> None:
    free = tg.generate(exe.session(B=2, C=40), PROMPTS, max_new_tokens=12)
    stop = free[0][3]
    heard: list[list[int | None]] = []
    generated = tg.generate(exe.session(B=2, C=40), PROMPTS, max_new_tokens=12, stop=stop, stream=heard.append)
    for row, (got, whole) in enumerate(zip(generated, free)):
        cut = whole[:whole.index(stop) + 1] if stop in whole else whole
        assert got == cut
        assert [step[row] for step in heard] == cut + [None] * (len(heard) - len(cut))


def sequences(plain: tg.Executable, prompt: list[int], size: int, count: int, stop: int) -> dict[tuple[int, ...], float]:
    """The log-probability of every sequence that ends at `stop` or has `count` tokens."""
    found: dict[tuple[int, ...], float] = {}
    for tail in itertools.product(range(size), repeat=count):
        cut = tail[:tail.index(stop) + 1] if stop in tail else tail
        if cut not in found:
            scores = log_softmax(plain(np.array([[*prompt, *cut]]))[0])
            found[cut] = float(sum(scores[len(prompt) - 1 + i, token] for i, token in enumerate(cut)))
    return found


@pytest.mark.parametrize("length_penalty", [0.0, 1.0, 2.0])
def test_beams_wide_enough_find_the_best_of_all_sequences(length_penalty: float) -> None:
    size, count, stop = 5, 4, 2
    plain = tg.compile(tg.trace(LanguageModel(size), tokens=tg.i64[B, T]), "cpu")
    exe = tg.compile(stepping(masked=False, vocabulary=size), "cpu")
    every = sequences(plain, [3, 1], size, count, stop)
    best = sorted(((score / len(tokens) ** length_penalty, tokens) for tokens, score in every.items()), reverse=True)
    got = tg.generate(exe.session(B=1, C=16), [3, 1], method="beam", beams=125, max_new_tokens=count, stop=stop,
                      length_penalty=length_penalty)
    for hypothesis, (score, tokens) in zip(got.hypotheses[0][:5], best):
        assert tuple(hypothesis.tokens) == tokens
        assert hypothesis.score == pytest.approx(score, abs=1e-4)


def test_beams_of_several_prompts_are_those_of_each_alone(masked: tg.ProgramExecutable) -> None:
    prompts = [[3, 1, 4, 1], [5], [9, 2]]
    options: dict[str, Any] = {"method": "beam", "beams": 3, "max_new_tokens": 9, "stop": (4, 11)}
    together = tg.generate(masked.session(B=3, C=20), prompts, **options)
    for prompt, tokens, score in zip(prompts, together.tokens, together.scores):
        alone = tg.generate(masked.session(B=1, C=20), prompt, **options)
        assert (alone[0], pytest.approx(alone.scores[0], abs=1e-4)) == (tokens, score)


def test_one_beam_is_greedy(exe: tg.ProgramExecutable) -> None:
    greedy = tg.generate(exe.session(B=1, C=20), [3], max_new_tokens=10)
    beam = tg.generate(exe.session(B=1, C=20), [3], max_new_tokens=10, method="beam", beams=1, length_penalty=0.0)
    assert beam.tokens == greedy.tokens and beam.scores[0] == pytest.approx(greedy.scores[0], abs=1e-4)


def test_samples_follow_the_seed_and_the_distribution(exe: tg.ProgramExecutable) -> None:
    def draw(seed: int, **options: Any) -> list[int]:
        return tg.generate(exe.session(B=1, C=40), [3], max_new_tokens=20, method="sample", seed=seed, **options)[0]

    assert draw(1) == draw(1) != draw(2)
    assert draw(5, top_k=1) == draw(6, top_p=1e-9) == tg.generate(exe.session(B=1, C=40), [3], max_new_tokens=20)[0]
    scores = np.log(np.array([[0.5, 0.3, 0.15, 0.05]]))
    kept = lambda **options: np.isfinite(filtered(scores, **{"temperature": 1.0, "top_k": None, "top_p": None, **options}))[0]
    assert kept().tolist() == [True] * 4 and kept(top_k=2).tolist() == [True, True, False, False]
    assert kept(top_p=0.8).tolist() == [True, True, False, False] and kept(top_p=0.81).tolist() == [True, True, True, False]
    generator = np.random.default_rng(0)
    drawn = np.bincount(sample(np.repeat(filtered(scores, 2.0, None, None), 20000, axis=0), generator), minlength=4)
    wanted = np.exp(log_softmax(scores / 2))[0]
    np.testing.assert_allclose(drawn / 20000, wanted, atol=0.01)


@pytest.mark.parametrize(("prompt", "options", "message"), [
    ([3], {"method": "best"}, 'method is "greedy", "sample" or "beam"'),
    ([3], {"max_new_tokens": 0}, "max_new_tokens is an integer of at least 1, got 0"),
    ([3], {"method": "sample", "temperature": 0.0}, "temperature is above 0"),
    ([3], {"method": "sample", "top_p": 1.5}, "top_p is a probability"),
    ([3], {"top_k": 5}, 'are for method="sample", this is \'greedy\''),
    ([3], {"method": "beam", "stream": print}, "nothing to stream"),
    ([], {}, "at least one token"),
    ([1.5], {}, r"integers, got 1\.5"),
    ([[3, 4], [5]], {"max_new_tokens": 4}, r"have 2, 1 tokens, and step takes no mask"),
    ([3] * 10, {"max_new_tokens": 12}, "12 new tokens after 10 need 21 places, and the session has room for 20"),
    ([3], {"step": "walk", "max_new_tokens": 3}, None),
])
def test_wrong_uses_are_explained(exe: tg.ProgramExecutable, prompt: Any, options: dict[str, Any], message: str | None) -> None:
    session = exe.session(B=1 if not prompt or not isinstance(prompt[0], list) else 2, C=20)
    if message is None:  # the session has one graph, so that is the step
        assert tg.generate(session, prompt, **options).tokens
        return
    with pytest.raises(tg.InputError, match=message):
        tg.generate(session, prompt, **options)


def test_graphs_that_are_no_step_are_refused() -> None:
    class Other(LanguageModel):
        def encode(self, x: tg.Tensor) -> tg.Tensor:
            return x + self.past.length

        def more(self, tokens: tg.Tensor, temperature: tg.Tensor) -> tg.Tensor:
            return self.step(tokens) / temperature

    program = tg.trace_program(Other(), encode=tg.i64[B], more={"tokens": tg.i64[B, T], "temperature": tg.f32[()]})
    session = tg.compile(program, "numpy").session(B=1, C=8)
    for step, message in (("step", "no graph 'step', but encode, more"), ("encode", r"must take tokens first, integers \[B, T\]"),
                          ("more", "takes temperature besides tokens and mask")):
        with pytest.raises(tg.InputError, match=message):
            tg.generate(session, [3], step=step)

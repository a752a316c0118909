"""`tg.generate`: greedy, sampled or by beam search."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..ir.errors import InputError
from .beams import Beams, Hypothesis
from .decoder import Decoder, Prompts, SessionLike
from .sampling import filtered, log_softmax, sample

Method = Literal["greedy", "sample", "beam"]
Stream = Callable[[list["int | None"]], None]


@dataclass(frozen=True)
class Generated:
    """What was generated: for each prompt the hypotheses, best first. Goes over the best sequences of new tokens."""

    hypotheses: list[list[Hypothesis]]

    @property
    def tokens(self) -> list[list[int]]:
        """The best sequence of new tokens for each prompt; a token to stop at is its last."""
        return [found[0].tokens for found in self.hypotheses]

    @property
    def scores(self) -> list[float]:
        """The score of each of them."""
        return [found[0].score for found in self.hypotheses]

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.tokens)

    def __getitem__(self, prompt: int) -> list[int]:
        return self.tokens[prompt]

    def __len__(self) -> int:
        return len(self.hypotheses)


def generate(session: SessionLike, prompt: Any, *, max_new_tokens: int = 32, method: Method = "greedy", beams: int = 4,
             length_penalty: float = 1.0, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None,
             stop: int | Collection[int] | None = None, seed: int = 0, stream: Stream | None = None,
             step: str = "step") -> Generated:
    """Tokens that a model writes after a prompt, one by one, with what it has read kept in a session.

        session = exe.session(B=1, C=256)
        tg.generate(session, [464, 3290], max_new_tokens=20).tokens[0]

    prompt: tokens of one prompt, or of one for each row of the session; of several lengths if the step takes a mask. The session
    goes on from where it is, so that a prompt may be added to what it has read; `session.reset()` begins anew.
    method: "greedy", the best token each time; "sample", drawn with probabilities of softmax(scores / temperature), among the
    `top_k` best, or the best that together have probability `top_p`, from a generator of `seed`; "beam", the sequences of best
    score, log-probability / length ** length_penalty, among those that `beams` beams find. (With beams, the session has a row
    for each beam afterwards.) A sequence ends at a token of `stop`, which is part of it, or after `max_new_tokens`.
    stream: called with the token of each prompt as it comes, None for those that have ended; not for beams, of which none is
    decided before the end. step: the graph to call, tokens [B, T] and perhaps a mask to scores [B, V] or [B, T, V].

    Raises InputError for wrong options, prompts that do not fit, and a session without room for all tokens.
    """
    _check(method, max_new_tokens, beams, temperature, top_k, top_p, stream)
    prompts, stops = _prompts(prompt), _stops(stop)
    decoder = Decoder(session, step)
    longest, room = max(map(len, prompts)), session.room
    needed = longest + max_new_tokens - 1
    if room is not None and needed > room:
        raise InputError(f"{max_new_tokens} new tokens after {longest} need {needed} places, and the session has "
                         f"room for {room}: give it a larger capacity, or reset() it")
    if method == "beam":
        return _beam_search(decoder, prompts, stops, max_new_tokens, beams, length_penalty)
    generator = np.random.default_rng(seed)

    def choose(scores: np.ndarray) -> np.ndarray:
        return scores.argmax(axis=-1) if method == "greedy" else sample(filtered(scores, temperature, top_k, top_p), generator)

    return _one_by_one(decoder, prompts, stops, max_new_tokens, choose, stream)


def _one_by_one(decoder: Decoder, prompts: Prompts, stops: frozenset[int], count: int,
                choose: Callable[[np.ndarray], np.ndarray], stream: Stream | None) -> Generated:
    found: list[list[int]] = [[] for _ in prompts]
    totals, running = [0.0] * len(prompts), [True] * len(prompts)
    scores = decoder.begin(prompts, 1)
    for number in range(count):
        tokens = [int(t) for t in choose(scores)]
        gained = np.take_along_axis(log_softmax(scores), np.array(tokens)[:, None], axis=-1)[:, 0]
        for row, token in enumerate(tokens):
            if running[row]:
                found[row].append(token)
                totals[row] += float(gained[row])
        if stream is not None:
            stream([token if on else None for token, on in zip(tokens, running)])
        running = [on and token not in stops for token, on in zip(tokens, running)]
        if not any(running) or number == count - 1:
            break
        scores = decoder.next(tokens)
    return Generated([[Hypothesis(tokens, total)] for tokens, total in zip(found, totals)])


def _beam_search(decoder: Decoder, prompts: Prompts, stops: frozenset[int], count: int, beams: int,
                 length_penalty: float) -> Generated:
    searches = [Beams(beams, length_penalty, stops) for _ in prompts]
    scores = decoder.begin(prompts, beams)
    for number in range(count):
        log_probabilities = log_softmax(scores)
        rows, tokens = [], []
        for i, search in enumerate(searches):
            from_rows, chosen = search.advance(log_probabilities[i * beams:(i + 1) * beams], number == count - 1)
            rows += [i * beams + row for row in from_rows]
            tokens += chosen
        if all(search.over for search in searches):
            break
        scores = decoder.next(tokens, rows)
    return Generated([search.ended for search in searches])


def _check(method: str, count: int, beams: int, temperature: float, top_k: int | None, top_p: float | None,
           stream: Stream | None) -> None:
    if method not in ("greedy", "sample", "beam"):
        raise InputError(f'method is "greedy", "sample" or "beam", not {method!r}')
    for name, value in (("max_new_tokens", count), ("beams", beams), ("top_k", top_k)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise InputError(f"{name} is an integer of at least 1, got {value!r}")
    if not temperature > 0 or temperature == float("inf"):
        raise InputError(f'temperature is above 0, got {temperature!r}; the best token each time is method="greedy"')
    if top_p is not None and not 0 < top_p <= 1:
        raise InputError(f"top_p is a probability above 0, up to 1, got {top_p!r}")
    if method != "sample" and (temperature != 1 or top_k is not None or top_p is not None):
        raise InputError(f'temperature, top_k and top_p are for method="sample", this is {method!r}')
    if method == "beam" and stream is not None:
        raise InputError("beams are decided at the end, so there is nothing to stream")


def _prompts(prompt: Any) -> Prompts:
    """Prompts as lists of integers."""
    rows: Sequence[Any] = prompt.tolist() if isinstance(prompt, np.ndarray) else list(prompt)
    if not rows or not isinstance(rows[0], (list, tuple, np.ndarray)):
        rows = [rows]
    found = [row.tolist() if isinstance(row, np.ndarray) else list(row) for row in rows]
    for row in found:
        if not row:
            raise InputError("a prompt has at least one token; a model's token for the beginning will do")
        wrong = next((t for t in row if isinstance(t, bool) or not isinstance(t, (int, np.integer))), None)
        if wrong is not None:
            raise InputError(f"a prompt is made of tokens, which are integers, got {wrong!r}")
    return [[int(t) for t in row] for row in found]


def _stops(stop: int | Collection[int] | None) -> frozenset[int]:
    return frozenset(() if stop is None else (stop,) if isinstance(stop, (int, np.integer)) else stop)

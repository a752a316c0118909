"""Beam search over one prompt."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Hypothesis:
    """New tokens and their score: the sum of their log-probabilities, in beam search over length ** length_penalty."""

    tokens: list[int]
    score: float


@dataclass
class Beams:
    """The beams of one prompt. Each step extends every beam by every token, and keeps the best.

    Of the candidates a step has, the best `count` may end a sequence; those that go on are the best `count` that do not end. A
    search is over when no running beam, taken at its present length, scores above the worst of `count` ended sequences: the rule
    of Hugging Face's beam search with `early_stopping=False`.
    """

    count: int
    length_penalty: float
    stop: Collection[int]
    running: list[list[int]] = field(default_factory=lambda: [[]])
    scores: np.ndarray = field(default_factory=lambda: np.zeros(1))
    ended: list[Hypothesis] = field(default_factory=list)
    over: bool = False

    def advance(self, log_probabilities: np.ndarray, last: bool) -> tuple[list[int], list[int]]:
        """Extend the beams, given log-probabilities [beams, V]; `last`: all sequences end here.

        Returns the beam that each new one goes on from, and its token.
        """
        if self.over:
            return list(range(self.count)), [0] * self.count
        total = (self.scores[:, None] + log_probabilities[:len(self.running)]).ravel()
        wanted = min(max(2, len(self.stop) + 1) * self.count, total.size)
        best = np.argpartition(-total, wanted - 1)[:wanted]
        best = best[np.lexsort((best, -total[best]))]
        size = log_probabilities.shape[-1]
        rows: list[int] = []
        tokens: list[int] = []
        running: list[list[int]] = []
        scores: list[float] = []
        for place, candidate in enumerate(best):
            row, token = divmod(int(candidate), size)
            sequence, score = [*self.running[row], token], float(total[candidate])
            if last or token in self.stop:
                if place < self.count:
                    self.ended.append(Hypothesis(sequence, score / len(sequence) ** self.length_penalty))
            elif len(running) < self.count:
                rows.append(row)
                tokens.append(token)
                running.append(sequence)
                scores.append(score)
        self.ended = sorted(self.ended, key=lambda h: -h.score)[:self.count]
        if not running:
            self.over = True
            return list(range(self.count)), [0] * self.count
        self.running, self.scores = running, np.array(scores)
        reachable = scores[0] / len(running[0]) ** self.length_penalty
        self.over = len(self.ended) == self.count and reachable <= self.ended[-1].score
        missing = self.count - len(rows)  # of a vocabulary smaller than the number of beams
        return rows + [rows[-1]] * missing, tokens + [tokens[-1]] * missing

"""A session as what search needs: prompts in, scores of the next tokens out, rows reordered."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from ..ir.errors import InputError
from ..ir.graph import Graph

Prompts = list[list[int]]


class SessionLike(Protocol):
    """What generation asks of a session (`targets.runtime.session.Session`)."""

    @property
    def graphs(self) -> Mapping[str, Graph]:
        """The graphs that it can call, by name."""

    @property
    def room(self) -> int | None:
        """How many more places its caches have; None if that cannot be told."""

    def call(self, graph: str, /, *feeds: Any, **named: Any) -> Any:
        """Call a graph."""

    def reorder(self, rows: Sequence[int], *, only: Collection[str] | None = None) -> None:
        """Make row i of all states, or of `only` some, what row rows[i] was."""


class Decoder:
    """Feeds tokens to the step of a session, and gives the scores of the next ones.

    The graph `step` takes tokens [B, T] (integers) first, perhaps a `mask` bool [B, T], and returns scores first: [B, V] of the
    token after the last, or [B, T, V] of those after each.
    """

    def __init__(self, session: SessionLike, step: str):
        self.session: SessionLike = session
        self.step: str = step
        if step not in session.graphs:
            only = next(iter(session.graphs)) if len(session.graphs) == 1 else None
            if only is None:
                raise InputError(f"the session has no graph {step!r}, but {', '.join(session.graphs)}; say which it is, step=...")
            self.step = only
        graph = session.graphs[self.step]
        inputs = [i for i in graph.inputs if i.name not in graph.states]
        outputs = [(name, v) for name, v in graph.outputs if name not in graph.states]
        if not inputs or inputs[0].type.rank != 2 or not inputs[0].dtype.is_integer:
            shown = f"{inputs[0].name}: {inputs[0].type}" if inputs else "nothing"
            raise InputError(f"{self.step} must take tokens first, integers [B, T]; it takes {shown}")
        if not outputs or outputs[0][1].type.rank not in (2, 3) or not outputs[0][1].dtype.is_float:
            shown = f"{outputs[0][0]}: {outputs[0][1].type}" if outputs else "nothing"
            raise InputError(f"{self.step} must return scores first, floats [B, V] or [B, T, V]; it returns {shown}")
        rest = [i.name for i in inputs[1:] if i.name != "mask"]
        if rest:
            raise InputError(f"{self.step} takes {', '.join(rest)} besides tokens and mask; generation cannot know what to feed")
        self.masked: bool = len(inputs) > 1
        self.dtype: np.dtype[Any] = inputs[0].dtype.numpy
        self._several = len(outputs) > 1
        self._written = {name for name, _ in graph.outputs if name in graph.states}

    def begin(self, prompts: Prompts, copies: int) -> np.ndarray:
        """Scores [len(prompts) * copies, V] for the tokens after the prompts, each of which has as many rows as `copies`."""
        longest = max(map(len, prompts))
        mask = np.array([[i >= longest - len(p) for i in range(longest)] for p in prompts])
        if not mask.all() and not self.masked:
            lengths = ", ".join(str(len(p)) for p in prompts)
            raise InputError(f"the prompts have {lengths} tokens, and {self.step} takes no mask: bool [B, T], which would tell "
                             "padding from tokens; give prompts of one length, or trace the step with a mask")
        tokens = np.array([[0] * (longest - len(p)) + p for p in prompts], self.dtype)
        scores = self._call(tokens, mask)
        if copies > 1:
            rows = [row for row in range(len(prompts)) for _ in range(copies)]
            self.session.reorder(rows)
            scores = scores[rows]
        return scores

    def next(self, tokens: Sequence[int], rows: Sequence[int] | None = None) -> np.ndarray:
        """Scores [B, V] after one more token a row; `rows`: which row of the same prompt each goes on from."""
        if rows is not None:
            self.session.reorder(rows, only=self._written)  # what the step does not write is equal for all rows of a prompt
        fed = np.array(tokens, self.dtype)[:, None]
        return self._call(fed, np.ones(fed.shape, bool))

    def _call(self, tokens: np.ndarray, mask: np.ndarray) -> np.ndarray:
        result = self.session.call(self.step, tokens, **({"mask": mask} if self.masked else {}))
        scores = np.asarray(result[0] if self._several else result)
        return scores if scores.ndim == 2 else scores[:, -1]

"""Generation: from a session's step to sequences of tokens. Imports nothing of targets: a session is what has a `call`."""

from .beams import Hypothesis
from .generate import Generated, generate

__all__ = ["Generated", "Hypothesis", "generate"]

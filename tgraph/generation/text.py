"""Text as it is generated: the characters that each new token completes."""

from __future__ import annotations

from typing import Protocol

UNFINISHED = "\N{REPLACEMENT CHARACTER}"  # what decoders make of half a character


class TokenizerLike(Protocol):
    """What is asked of a tokenizer (of the library `tokenizers`)."""

    def decode(self, ids: list[int], skip_special_tokens: bool = True) -> str:
        """The text of tokens."""


class TextStream:
    """Turns tokens into text piece by piece. The pieces, one after the other, are the text of all tokens."""

    def __init__(self, tokenizer: TokenizerLike):
        self._tokenizer = tokenizer
        self._tokens: list[int] = []
        self._shown = ""

    def push(self, token: int) -> str:
        """What a token adds to the text; nothing while a character is incomplete."""
        self._tokens.append(token)
        text = self._tokenizer.decode(self._tokens)
        return "" if text.endswith(UNFINISHED) else self._piece(text)

    def finish(self) -> str:
        """What was held back, when no token follows."""
        return self._piece(self._tokenizer.decode(self._tokens))

    def _piece(self, text: str) -> str:
        piece, self._shown = text[len(self._shown):], text
        return piece

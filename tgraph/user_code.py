"""Finding the line of the user's code that applied an op, for nodes and errors."""

from __future__ import annotations

import os
import sys

from .ir.errors import TraceError
from .ir.location import Location

_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_MODELS = os.path.join(_PACKAGE, "models") + os.sep  # written in the language, so their lines are a user's lines


def is_user_code(file: str) -> bool:
    """Whether a source file lies outside tgraph's own machinery."""
    file = os.path.abspath(file)
    return not file.startswith(_PACKAGE) or file.startswith(_MODELS)


def user_location() -> Location | None:
    """The innermost line of code outside tgraph's own machinery, and that of the libraries whose functions hand tensors on."""
    frame = sys._getframe(1)
    while frame is not None:
        library = frame.f_globals.get("__name__", "").partition(".")[0]
        if is_user_code(frame.f_code.co_filename) and library not in ("numpy", "torch"):
            return Location(frame.f_code.co_filename, frame.f_lineno)
        frame = frame.f_back  # type: ignore[assignment]
    return None


def model_error(message: str) -> TraceError:
    """An error about how a model is put together, with the user's line."""
    return TraceError(with_line(message))


def with_line(message: str) -> str:
    """A message with the user's line beneath."""
    location = user_location()
    return message + (f"\n  at {location.file}:{location.line}" if location else "")

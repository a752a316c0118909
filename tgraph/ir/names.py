"""Writing names and plain values in the text form; a name that is not a plain word is quoted like a JSON string."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np

from .dims import Dim
from .dtypes import DType
from .values import Callee

WORD = r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z0-9_]+)*"  # encoder.layer.0.attention
PATH = r"[A-Za-z0-9_]+(?:\.[A-Za-z0-9_]+)*"  # a parameter's name may start with a digit: 0.weight
_WORD, _PATH = re.compile(WORD), re.compile(PATH)
_SURROGATE = re.compile("[\ud800-\udfff]")  # half a character, which UTF-8 has no bytes for


def quote(text: str) -> str:
    """A string as a JSON literal, with non-ASCII letters as they are."""
    return _SURROGATE.sub(lambda half: f"\\u{ord(half[0]):04x}", json.dumps(text, ensure_ascii=False))


def word(name: str) -> str:
    """The text of the name of a graph, input, output, function, scope or file."""
    return name if _WORD.fullmatch(name) and name != "sha256" else quote(name)  # `sha256:` starts a digest


def path(name: str) -> str:
    """The text of the name of a parameter."""
    return name if _PATH.fullmatch(name) else quote(name)


def attribute(value: Any) -> str:
    """The text of the value of an attribute: `true`, `none`, `1e-05`, `"tanh"`, `f32`, `B*S`, `[1, S]`, `$function`."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float, DType, Dim)):
        return str(value)
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, Callee):
        return f"${word(value.name)}"
    if isinstance(value, tuple):
        return f"[{', '.join(attribute(v) for v in value)}]"
    raise TypeError(f"an attribute cannot hold {type(value).__name__} ({value!r})")


def number(value: Any, dtype: DType) -> str:
    """The text of one element of a constant; for a float, the shortest decimal that its type rounds to the same bits."""
    if dtype.is_bool:
        return "true" if value else "false"
    if not dtype.is_float:
        return str(int(value))
    exact = float(value)
    if not np.isfinite(exact):
        return str(exact)
    for digits in range(1, 18):
        short = float(f"{exact:.{digits}g}")
        with np.errstate(over="ignore"):
            if float(dtype.numpy.type(short)) == exact:
                return repr(short)
    return repr(exact)


def elements(data: np.ndarray, dtype: DType) -> str:
    """The text of all elements, as nested lists."""
    if data.ndim == 0:
        return number(data[()], dtype)
    return f"[{', '.join(elements(part, dtype) for part in data)}]"

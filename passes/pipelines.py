"""Pipelines as text, `name{key=value,key=value},name`, and the optimization levels O0 to O3, which are such texts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeAlias

from passes.base import Pass, find_pass
from tgraph.ir.errors import PassError
from tgraph.ir.levels import DEFAULT_LEVEL as DEFAULT_LEVEL

# dce first, since a dead reader would keep a rule from matching; canonicalize again, since what simplify removes may have
# stood between two factors
_QUANTIZED = "narrow-tables,fuse-qdq,fuse-integer-linear,fuse-dequantize"  # before scales move elsewhere
_CLEAN = f"dce,fold-constants,{_QUANTIZED},canonicalize,simplify,canonicalize"
_FUSE = ("fuse-softmax,fuse-layer-norm,fuse-rms-norm,fuse-gelu,fuse-silu,fuse-rotary,"
         "eliminate-transposes,fuse-attention")
_JOIN = "fuse-qkv,fuse-dequantize,fuse-bias-activation"
_DROP = "cse,dce"

LEVELS: dict[str, str] = {
    "O0": "",
    "O1": f"{_CLEAN},{_DROP}",
    "O2": f"{_CLEAN},{_FUSE},{_DROP}",
    "O3": f"{_CLEAN},{_FUSE},{_JOIN},{_DROP}",
}
"""The pipeline of each optimization level, as text."""

LEVEL_DOCS: dict[str, str] = {
    "O0": "as traced",
    "O1": "one canonical form; nothing is computed twice, or for nothing",
    "O2": "O1, and chains of primitives become the composite ops that they compute",
    "O3": "O2, and products are joined with each other and with what follows them",
}

_OPTION = re.compile(r'(?:[^,"]|"[^"]*"?)+')  # a comma within quotes is part of a value
_ITEM = re.compile(r"\s*([A-Za-z][A-Za-z0-9-]*)\s*(?:\{([^{}]*)\})?\s*(,|$)")


Pipeline: TypeAlias = "str | Pass | Sequence[str | Pass]"


def passes_of(pipeline: Pipeline) -> list[Pass]:
    """The passes of a pipeline: of a text, a pass, or a list of both. Raises PassError."""
    passes: list[Pass] = []
    for item in [pipeline] if isinstance(pipeline, str | Pass) else pipeline:
        if not isinstance(item, str | Pass):
            raise PassError(f"a pipeline is a text, passes, or a list of both, not {item!r}")
        passes += parse_pipeline(item) if isinstance(item, str) else [item]
    return passes


def parse_pipeline(text: str) -> list[Pass]:
    """The passes that a pipeline names; an item may be a level, as in `decompose,O2`.

    Raises PassError that says where the text is wrong.
    """
    passes: list[Pass] = []
    position = 0
    while position < len(text.rstrip()):
        match = _ITEM.match(text, position)
        if match is None:
            raise PassError(f"pipeline {text!r}: expected name or name{{key=value}} at character {position + 1}, "
                            f"found {text[position:position + 20]!r}; levels are {', '.join(LEVELS)}")
        name = match.group(1)
        if name in LEVELS and match.group(2) is None:
            passes += parse_pipeline(LEVELS[name])
        else:
            passes.append(_create(name, match.group(2) or ""))
        position = match.end()
    return passes


def _create(name: str, text: str) -> Pass:
    """A pass from its name and the text within the braces. Raises PassError."""
    cls = find_pass(name)
    options: dict[str, str] = {}
    for item in filter(None, (part.strip() for part in _OPTION.findall(text))):
        key, equals, value = (part.strip() for part in item.partition("="))
        value = value[1:-1] if value[:1] == value[-1:] == '"' != value else value
        if not equals or not key:
            raise PassError(f"pass {name}: expected key=value, got {item!r}")
        if key in options:
            raise PassError(f"pass {name}: option {key!r} is given twice")
        options[key] = value
    return cls.from_options(options)

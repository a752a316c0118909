"""The base class of passes, frozen dataclasses whose fields are their options, and the registry of all passes."""

from __future__ import annotations

import abc
import dataclasses
import difflib
import inspect
import re
import typing
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, TypeVar

from passes.functions import rewrite_functions
from tgraph.ir.errors import PassError
from tgraph.ir.graph import Graph

Effect = Literal["exact", "rounds", "changes-meaning"]
"""What a pass promises of results: they stay the same; change by rounding alone; change as its docstring says."""


class Pass(abc.ABC):
    """A rewrite of graphs, in place; `passes.optimize` applies it to a copy. The docstring says what it does, as an equation.

    Its name follows from the class (FuseQKV: fuse-qkv); its file has the same name.
    """

    effect: ClassVar[Effect] = "exact"
    # whether NaN and infinities where a mask excludes may appear or vanish: in primitives 0 NaN = NaN, `attention` skips them
    moves_excluded: ClassVar[bool] = False
    option_help: ClassVar[str] = ""  # the syntax of options that are not fields
    enters_functions: ClassVar[bool] = False  # whether the functions that a graph calls are rewritten, too

    @classmethod
    def pass_name(cls) -> str:
        """The name on the command line."""
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", cls.__name__).lower()

    @classmethod
    def from_options(cls, options: Mapping[str, str]) -> Pass:
        """A pass from the options of a pipeline, which are its fields. Override it for options of another kind.

        Raises PassError for an option that there is not, or a value that is none.
        """
        fields = [f.name for f in options_of(cls)]
        for key in options:
            if key not in fields:
                raise PassError(f"pass {cls.pass_name()}: no option {key!r}; options: {', '.join(fields) or 'none'}")
        types = typing.get_type_hints(cls) if options else {}  # evaluating them takes long, and every compilation does this
        return cls(**{key: _value(cls.pass_name(), key, value, types[key]) for key, value in options.items()})

    @abc.abstractmethod
    def apply(self, graph: Graph) -> None:
        """Rewrite a graph, but not the functions that it calls. Runners call `run`."""

    def run(self, graph: Graph) -> None:
        """Rewrite a graph, and before it the functions that it calls if the pass enters them."""
        if self.enters_functions:
            rewrite_functions(graph, self.apply)
        self.apply(graph)

    def __str__(self) -> str:
        """The text in a pipeline: the name, and in braces the options that differ from their defaults."""
        shown = [f"{f.name}={_text(getattr(self, f.name))}" for f in options_of(type(self))
                 if getattr(self, f.name) != f.default]
        return self.pass_name() + (f"{{{','.join(shown)}}}" if shown else "")


def options_of(cls: type[Pass]) -> list[dataclasses.Field[Any]]:
    """The fields of a pass that a pipeline may set: all but those with repr=False."""
    return [f for f in dataclasses.fields(cls) if f.repr]  # type: ignore[arg-type]


PASSES: dict[str, type[Pass]] = {}
"""All registered passes by their names on the command line."""
P = TypeVar("P", bound="type[Pass]")


def register_pass(cls: P) -> P:
    """Make a pass known to pipelines, the command line and the checks. Raises PassError for a name that is taken."""
    if not dataclasses.is_dataclass(cls):
        raise PassError(f"{cls.__name__} must be a frozen dataclass: its fields are the pass's options")
    name = cls.pass_name()
    if name in PASSES and inspect.getfile(PASSES[name]) != inspect.getfile(cls):
        raise PassError(f"pass {name} is already defined in {inspect.getfile(PASSES[name])}")
    PASSES[name] = cls
    return cls


def find_pass(name: str) -> type[Pass]:
    """The class of a pass. Raises PassError with near names."""
    if name not in PASSES:
        near = difflib.get_close_matches(name, PASSES, n=3)
        hint = f"did you mean {', '.join(near)}?" if near else f"known: {', '.join(sorted(PASSES))}"
        raise PassError(f"unknown pass {name!r}; {hint}")
    return PASSES[name]


def _value(name: str, key: str, text: str, type: Any) -> Any:
    """The value of an option from its text. Raises PassError."""
    if type is bool:
        if text not in ("true", "false"):
            raise PassError(f"pass {name}: option {key} is true or false, got {text!r}")
        return text == "true"
    if type in (int, float):
        try:
            return type(text)
        except ValueError:
            raise PassError(f"pass {name}: option {key} is {type.__name__}, got {text!r}") from None
    return text


def _text(value: Any) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f'"{text}"' if "," in text else text

"""Parsing the expressions of the text form: dims, types, attributes and the elements of constants."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from .array_shapes import is_array_shape
from .dims import LONGEST, Dim, DimLike, Symbol, dim, floordiv
from .dtypes import DTYPES, DType
from .errors import OpError, ParseError, TGraphError
from .lexer import Source, Token, tokenize
from .names import quote
from .types import TensorType

if TYPE_CHECKING:
    from .graph import Graph

MAX_NESTING = 100


def suggest(name: str, known: Iterable[str]) -> str:
    """`; did you mean x?` if a known name is near, else nothing."""
    near = difflib.get_close_matches(name, [k for k in known if len(k) < 100], n=3) if len(name) < 100 else []
    return f"; did you mean {', '.join(near)}?" if near else ""


class ExpressionParser:
    """A recursive descent parser over the tokens of one source.

    `symbols` are the dims of the current block with their bounds, `functions` those that are defined so far.
    """

    def __init__(self, source: Source):
        self.source: Source = source
        self.tokens: list[Token] = tokenize(source)
        self.position: int = 0
        self.depth: int = 0
        self.symbols: dict[str, Dim] = {}
        self.functions: dict[str, Graph] = {}

    # Tokens

    @property
    def token(self) -> Token:
        return self.tokens[self.position]

    def ahead(self, distance: int = 1) -> Token:
        return self.tokens[min(self.position + distance, len(self.tokens) - 1)]

    def advance(self) -> Token:
        token = self.token
        self.position = min(self.position + 1, len(self.tokens) - 1)
        return token

    def is_next(self, *texts: str) -> bool:
        """Whether the next token is one of these words or marks."""
        return self.token.kind in ("word", "punctuation") and self.token.text in texts

    def accept(self, *texts: str) -> bool:
        """Take the next token if it is one of these words or marks."""
        found = self.is_next(*texts)
        if found:
            self.advance()
        return found

    def expect(self, text: str, where: str = "") -> Token:
        if not self.is_next(text):
            raise self.expected(f"'{text}'" + (f" {where}" if where else ""))
        return self.advance()

    def expect_kind(self, what: str, *kinds: str) -> Token:
        if self.token.kind not in kinds:
            raise self.expected(what)
        return self.advance()

    def expected(self, what: str) -> ParseError:
        return self.error(self.token, f"expected {what}, found {self.token}")

    def error(self, token: Token, message: str) -> ParseError:
        return self.source.error(token.line, token.column, message)

    @contextmanager
    def at(self, token: Token) -> Iterator[None]:
        """Context in which an error of a rule becomes a ParseError at this token."""
        try:
            yield
        except ParseError:
            raise
        except TGraphError as error:
            message = str(OpError(error.op, error.operands, error.rule)) if isinstance(error, OpError) else str(error)
            raise self.error(token, message) from None

    @contextmanager
    def nested(self) -> Iterator[None]:
        self.depth += 1
        if self.depth > MAX_NESTING:
            raise self.error(self.token, f"nested more than {MAX_NESTING} levels deep")
        yield
        self.depth -= 1

    def name(self, what: str) -> str:
        return str(self.expect_kind(what, "word", "string").value)

    # Dims and types

    def dim(self) -> DimLike:
        """A dim such as `B*S`, `S+1` or `(S+1)//2`: the operators + - * // with Python's precedence."""
        token = self.token
        with self.nested(), self.at(token):
            total = self._product()
            while self.is_next("+", "-"):
                sign = 1 if self.advance().text == "+" else -1
                total = total + sign * self._product()
            if isinstance(total, int) and total.bit_length() > LONGEST:
                raise self.error(token, "this number is too long")
            return total

    def _product(self) -> DimLike:
        result = self._factor()
        while self.is_next("*", "//"):
            mark = self.advance()
            with self.at(mark):
                result = result * self._factor() if mark.text == "*" else floordiv(result, self._factor())
        return result

    def _factor(self) -> DimLike:
        token = self.token
        if token.kind == "int":
            return int(self.advance().value)
        if self.accept("-"):
            with self.nested():
                return -self._factor()
        if self.accept("("):
            inner = self.dim()
            self.expect(")", "to close the parenthesis")
            return inner
        if token.kind == "word":
            with self.at(token):
                symbol = self.symbols.setdefault(token.text, dim(token.text))
            self.advance()
            return symbol
        raise self.expected("a dim")

    def type(self) -> TensorType:
        """A type such as `f32`, `f32[B, S, 768]` or `i64[B, S].range(0, 30522)`."""
        token = self.expect_kind("a type such as f32[B, 768]", "word")
        base, _, suffix = token.text.partition(".")
        if base not in DTYPES or suffix not in ("", "range"):
            message = f"expected an element type ({', '.join(DTYPES)}), found {token}{suggest(base, DTYPES)}"
            raise self.error(token, message)
        shape: tuple[DimLike, ...] = ()
        ranged = bool(suffix)
        if not ranged and self.accept("["):
            shape = tuple(self._separated("]", self.dim))
        if not ranged and self.is_next("."):
            self.advance()
            ranged = bool(self.expect("range"))
        with self.at(token):
            result = TensorType(DTYPES[base], shape)
            return result.range(*self._range()) if ranged else result

    def _range(self) -> tuple[int, int]:
        self.expect("(", "after 'range'")
        low = self.integer()
        self.expect(",", "between the bounds of the range")
        high = self.integer()
        self.expect(")", "after the range")
        return low, high

    def integer(self) -> int:
        sign = -1 if self.accept("-") else 1
        return sign * int(self.expect_kind("an integer", "int").value)

    def _separated(self, end: str, item: Any) -> list[Any]:
        """Items between commas up to a closing mark, which is taken too."""
        found: list[Any] = []
        with self.nested():
            while not self.accept(end):
                if found and not self.accept(","):
                    raise self.expected(f"',' or '{end}'")
                found.append(item())
        return found

    # Attributes

    def attribute(self) -> Any:
        """The value of an attribute; see `names.attribute`, its inverse."""
        token = self.token
        if token.kind == "string":
            return self.advance().value
        if token.kind == "function":
            return self.function()
        if self.accept("["):
            return tuple(self._separated("]", self.attribute))
        if token.text in _CONSTANTS and token.kind == "word":
            self.advance()
            return _CONSTANTS[token.text]
        if token.kind == "word" and token.text in DTYPES:
            self.advance()
            return DTYPES[token.text]
        negative = self.is_next("-")
        number = self.ahead() if negative else token
        if number.kind == "float" or (negative and number.kind == "word" and number.text in ("inf", "nan")):
            self.advance()
            if negative:
                self.advance()
            return (-1.0 if negative else 1.0) * float(number.text)
        if negative or self.is_next("(") or token.kind in ("int", "word"):
            return self.dim()
        raise self.expected("the value of an attribute")

    def function(self) -> Graph:
        token = self.expect_kind("a function such as $name", "function")
        if token.value not in self.functions:
            raise self.error(token, f"function {token.text} is not defined above{suggest(token.value, self.functions)}")
        return self.functions[token.value]

    # Elements of constants

    def elements(self, type: TensorType) -> np.ndarray:
        """The elements of a constant of that type, as nested lists."""
        shape = [d for d in type.shape if isinstance(d, int)]
        if len(shape) != type.rank:
            raise self.error(self.token, f"the shape of a constant is static, not {type}")
        if not is_array_shape(shape, type.dtype.itemsize):
            raise self.error(self.token, f"no array has this shape, of {len(shape)} axes")
        start = self.token
        flat = list(self._elements(shape, type.dtype))
        if len(flat) != math.prod(shape):
            raise self.error(start, f"a constant of {type} has {math.prod(shape)} elements, not {len(flat)}")
        return np.array(flat, dtype=type.dtype.numpy).reshape(shape)

    def _elements(self, shape: Sequence[int], dtype: DType) -> Iterator[Any]:
        if not shape:
            yield self.number(dtype)
            return
        self.expect("[", f"and {shape[0]} elements")
        if 0 in shape:
            while not self.is_next("]"):  # what an empty array nests holds nothing
                yield from self._elements(shape[1:], dtype)
                if not self.accept(","):
                    break
        else:
            for i in range(shape[0]):
                if i and not self.accept(","):
                    raise self.expected(f"',' and {shape[0] - i} more of {shape[0]} elements")
                yield from self._elements(shape[1:], dtype)
        self.expect("]", f"after {shape[0]} elements")

    def number(self, dtype: DType) -> Any:
        """One element: `true`, `-3`, `0.125`, `-inf`. Raises ParseError if the type cannot hold it."""
        token = self.token
        if dtype.is_bool:
            if not self.is_next("true", "false"):
                raise self.expected("true or false")
            return self.advance().text == "true"
        negative = self.accept("-")
        kinds = ("int", "float") if dtype.is_float else ("int",)
        finite = self.token.kind in kinds
        if not finite and not (dtype.is_float and self.is_next("inf", "nan")):
            raise self.expected("a number" if dtype.is_float else "an integer")
        text = ("-" if negative else "") + self.advance().text
        with np.errstate(over="ignore"):
            try:
                value = dtype.numpy.type(float(text) if dtype.is_float else int(text))
            except OverflowError:
                raise self.error(token, f"{text} does not fit {dtype}") from None
        if finite and dtype.is_float and not np.isfinite(value):
            raise self.error(token, f"{text} does not fit {dtype}")
        return value


_CONSTANTS: Mapping[str, Any] = {
    "true": True, "false": False, "none": None, "inf": float("inf"), "nan": float("nan")
}


def parse_type(text: str, symbols: Mapping[str, Symbol] | None = None) -> TensorType:
    """A type alone, with bounds for its dims from `symbols`. Raises ParseError."""
    parser = _alone(text, symbols)
    result = parser.type()
    _end(parser)
    return result


def parse_dim(text: str, symbols: Mapping[str, Symbol] | None = None) -> DimLike:
    """A dim expression alone. Raises ParseError."""
    parser = _alone(text, symbols)
    result = parser.dim()
    _end(parser)
    return result


def _alone(text: str, symbols: Mapping[str, Symbol] | None) -> ExpressionParser:
    parser = ExpressionParser(Source(text, quote(text)))
    parser.symbols = {s.name: dim(s.name, min=s.min, max=s.max) for s in (symbols or {}).values()}
    return parser


def _end(parser: ExpressionParser) -> None:
    if parser.token.kind != "end":
        raise parser.expected("the end of the text")

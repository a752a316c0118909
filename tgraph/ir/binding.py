"""Checking the arrays that a caller feeds against a graph's inputs, and solving for its symbolic dims."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .dims import DimLike, Symbol, as_symbol, evaluate, linear_in, solve, substitute, symbols
from .errors import InputError, RuleError
from .graph import Graph
from .types import TensorType
from .values import Input

Sizes = dict[str, int]
Adopt = Callable[[Any], Any]


def name_feeds(graph: Graph, positional: Sequence[Any], named: Mapping[str, Any], kept: Collection[str] = ()) -> dict[str, Any]:
    """Feeds by input name; those `kept` are not fed. Raises InputError for too many, unknown, doubled or missing ones."""
    fed = [i for i in graph.inputs if i.name not in kept] if kept else graph.inputs
    names = [i.name for i in fed]
    if not positional and len(named) == len(names) and all(name in named for name in names):
        return dict(named)  # as most calls are

    def signature() -> str:
        return f"{graph.name}({', '.join(f'{i.name}: {i.type}' for i in fed)})"

    if len(positional) > len(names):
        raise InputError(f"{signature()} takes {len(names)} inputs, got {len(positional)}")
    feeds = dict(zip(names, positional))
    for name, value in named.items():
        if name not in names:
            raise InputError(f"{signature()} has no input {name!r}")
        if name in feeds:
            raise InputError(f"{signature()} got input {name!r} twice")
        feeds[name] = value
    missing = [name for name in names if name not in feeds]
    if missing:
        states = [name for name in missing if name in graph.states]
        hint = f"; exe.session(...) keeps {', '.join(states[:3])}{', ...' if len(states) > 3 else ''}" if states else ""
        raise InputError(f"{signature()} misses input {', '.join(missing)}{hint}")
    return feeds


def as_array(value: Any, input: Input, adopt: Adopt | None = None) -> Any:
    """One feed as an array of exactly the input's element type; anything with DLPack goes in.

    Python numbers adapt, and integers that are all 0 or 1, as tokenizers give masks, are booleans.

    adopt: returns an array of another kind, with NumPy's `shape`, `ndim` and `dtype`, for a value that is not to become a NumPy
    array (it may be on a GPU), else None. Raises InputError that names the input, what was expected and what was given.
    """
    want = input.type
    if isinstance(value, np.ndarray) and value.dtype == want.dtype.numpy and value.ndim == len(want.shape):
        return value  # as most are
    try:
        own = None if adopt is None or isinstance(value, np.ndarray) else adopt(value)
    except InputError as error:
        raise InputError(f"input {input.name!r} is {want}: {error}") from None
    if own is not None:
        value = own
    elif isinstance(value, (bool, int, float)):
        is_float, is_bool = isinstance(value, float), isinstance(value, bool)
        if (is_float and not want.dtype.is_float) or (want.dtype.is_bool and not is_bool):
            raise InputError(f"input {input.name!r} is {want}, got the Python {type(value).__name__} {value!r}")
        try:
            value = np.asarray(value, want.dtype.numpy)
        except OverflowError:
            raise InputError(f"input {input.name!r} is {want}, which cannot hold {value!r}") from None
    elif not isinstance(value, np.ndarray):
        try:
            value = np.from_dlpack(value) if hasattr(value, "__dlpack__") else np.asarray(value)
        except (TypeError, ValueError, BufferError, RuntimeError) as error:
            got = type(value).__name__
            raise InputError(f"input {input.name!r} is {want}, got {got} that is no array: {error}") from None
    if want.dtype.is_bool and isinstance(value, np.ndarray) and value.dtype.kind in "iu":
        value = _as_mask(value, input)
    if value.dtype != want.dtype.numpy:
        raise InputError(f"input {input.name!r} must be {want.dtype}, got {value.dtype} (the graph takes {want})")
    if value.ndim != want.rank:
        raise InputError(f"input {input.name!r} must have rank {want.rank} ({want}), got shape {list(value.shape)}")
    return value


def _as_mask(value: np.ndarray, input: Input) -> np.ndarray:
    """Integers 0 and 1 as booleans. Raises InputError for the first other one."""
    mask = value.astype(np.bool_)
    wrong = value != mask
    if wrong.any():
        at = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise InputError(f"input {input.name!r} is {input.type}; of {value.dtype} it takes 0 and 1 only, "
                         f"got {value[at]} at {list(at)}")
    return mask


def bind_inputs(graph: Graph, feeds: Mapping[str, Any], adopt: Adopt | None = None) -> tuple[dict[str, Any], Sizes]:
    """Check all feeds and solve for the dims of the inputs. Raises InputError. `adopt` as in `as_array`."""
    arrays = {i.name: as_array(feeds[i.name], i, adopt) for i in graph.inputs}
    return arrays, bind_shapes(graph, tuple(a.shape for a in arrays.values()))


def bind_shapes(graph: Graph, shapes: tuple[Sequence[int], ...]) -> Sizes:
    """Solve for the dims of the inputs, given the shape of each, of the right rank. Raises InputError."""
    sizes: Sizes = {}
    source: dict[str, str] = {}
    left = _bind([(i.name, i.type, shape) for i, shape in zip(graph.inputs, shapes)], sizes, source)
    if left:
        want = left[0].want
        missing = [name for name in dict.fromkeys(s.name for s in symbols(want)) if name not in sizes]
        raise InputError(f"the size of {' and '.join(missing)} follows from no input: axis {left[0].axis} of {left[0].name} is "
                         f"{want}{_given(want, sizes)}, got shape {list(left[0].shape)}")
    check_bounds(graph, sizes)
    check_constraints(graph, sizes, source)
    return sizes


def bind_shape(type: TensorType, shape: Sequence[int], sizes: Sizes, name: str,
               source: dict[str, str] | None = None) -> None:
    """Add the sizes that follow from one array's shape to `sizes`; sizes that are there already must agree.

    `source` remembers which value a symbol was first seen on. Raises InputError.
    """
    _bind([(name, type, shape)], sizes, {} if source is None else source)


@dataclass(frozen=True)
class _Axis:
    """One axis of an array whose size is an expression over dims."""

    name: str
    type: TensorType
    axis: int
    shape: Sequence[int]

    @property
    def want(self) -> DimLike:
        return self.type.shape[self.axis]

    @property
    def have(self) -> int:
        return self.shape[self.axis]


def _bind(values: Iterable[tuple[str, TensorType, Sequence[int]]], sizes: Sizes, source: dict[str, str]) -> list[_Axis]:
    """Bind dims that stand alone, then the only unknown of expressions (2*N = 6). Returns the axes that stay unsolved."""
    pending = []
    for name, type, shape in values:
        for axis, (want, have) in enumerate(zip(type.shape, shape)):
            if isinstance(want, int) and want == have:
                continue
            symbol = as_symbol(want)
            if symbol is None:
                pending.append(_Axis(name, type, axis, shape))
                if isinstance(want, int):
                    _settle(pending.pop(), sizes, source)
            elif symbol.name not in sizes:
                sizes[symbol.name], source[symbol.name] = have, name
            elif sizes[symbol.name] != have:
                first = f" of {source[symbol.name]}" if symbol.name in source else ""
                raise InputError(f"dim {symbol}{first} is {sizes[symbol.name]}, {symbol} of {name} is {have}")
    while True:  # each size that is found may make others follow
        left = [a for a in pending if not _settle(a, sizes, source)]
        if not left or len(left) == len(pending):
            return left
        pending = left


def _settle(axis: _Axis, sizes: Sizes, source: dict[str, str]) -> bool:
    """Check an axis whose size is known, or solve for its only unknown. Returns False if it cannot be solved yet."""
    want, have = axis.want, axis.have
    unknown = {s.name: s for s in symbols(want) if s.name not in sizes}
    rule = f"{axis.name} must be {axis.type}: axis {axis.axis} must be"
    if not unknown:
        if (expected := evaluate(want, sizes)) != have:
            shown = f"{want} = {expected}" if not isinstance(want, int) else str(want)
            raise InputError(f"{rule} {shown}, got shape {list(axis.shape)}")
        return True
    if len(unknown) > 1:
        return False
    (name, symbol), = unknown.items()
    form = linear_in(substitute(want, sizes), name)
    if form is None or form[0] == 0:
        return False
    size = solve(substitute(want, sizes), name, have)
    if not isinstance(size, int) or size < symbol.min or (symbol.max is not None and size > symbol.max):
        raise InputError(f"{rule} {want}{_given(want, sizes)}, which no {_range(symbol)} makes {have}, "
                         f"got shape {list(axis.shape)}")
    sizes[name], source[name] = size, axis.name
    return True


def _range(symbol: Symbol) -> str:
    return f"{symbol} from {symbol.min}" + ("" if symbol.max is None else f" to {symbol.max}")


def _given(want: DimLike, sizes: Sizes) -> str:
    """The sizes of an expression that are known, for an error: ` with B = 2`."""
    known = dict.fromkeys(s.name for s in symbols(want) if s.name in sizes)
    return f" with {', '.join(f'{name} = {sizes[name]}' for name in known)}" if known else ""


def check_bounds(graph: Graph, sizes: Sizes) -> None:
    """Check the declared bounds of all dims. Raises InputError."""
    for symbol in graph.symbols.values():
        size = sizes.get(symbol.name, symbol.min)
        if size < symbol.min or (symbol.max is not None and size > symbol.max):
            wanted = f"at least {symbol.min}" if symbol.max is None else f"within {symbol.min} .. {symbol.max}"
            raise InputError(f"dim {symbol.name} is {size}, but must be {wanted}")


def check_constraints(graph: Graph, sizes: Sizes, source: Mapping[str, str] | None = None) -> None:
    """Check the equalities and inequalities that tracing left open. Raises InputError that names the dims."""
    for left, right in graph.constraints:
        a, b = _sides(left, right, sizes)
        if a != b:
            raise InputError(f"{_where(left, source)} is {a}, {_where(right, source)} is {b}, but they must be equal")
    for left, right in graph.inequalities:
        a, b = _sides(left, right, sizes)
        if a < b:
            shown = [f"{_where(d, source)} is {size}" for d, size in ((left, a), (right, b)) if not isinstance(d, int)]
            raise InputError(f"{', '.join(shown)}, but the graph needs {left} >= {right}")


def _sides(left: DimLike, right: DimLike, sizes: Sizes) -> tuple[int, int]:
    """Both sides of a constraint as numbers; (0, 0) if it has a data-dependent dim, which its node checks as it runs."""
    try:
        return evaluate(left, sizes), evaluate(right, sizes)
    except RuleError:
        return 0, 0


def _where(value: DimLike, source: Mapping[str, str] | None) -> str:
    symbol = as_symbol(value)
    if symbol is None or not source or symbol.name not in source:
        return str(value)
    return f"{symbol} of {source[symbol.name]}"

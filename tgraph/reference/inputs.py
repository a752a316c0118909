"""Random inputs that a graph accepts: indices within their tables, a True key in every mask row, offsets in order."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import numpy as np

from ..ir.dims import DimLike, as_symbol, dim, evaluate, linear_in, substitute, symbols
from ..ir.errors import InputError
from ..ir.graph import Graph
from ..ir.values import Input, Node, Value

Sizes = dict[str, int]
Pick = Callable[[int, str], int]
_TYPICAL = (2, 7, 5, 3, 11, 4)  # unlike each other, so that a mix-up of two dims shows


def _typical(position: int, name: str) -> int:
    return _TYPICAL[position % len(_TYPICAL)]


def choose_sizes(graph: Graph, given: Mapping[str, int] | None = None, pick: Pick = _typical) -> Sizes:
    """A size for each dim of the inputs, within its bounds and such that the graph's constraints hold.

    pick: what a dim is unless bounds, constraints or tables need another size, by its position among the dims and the name of
    the first dim that it is equal to.
    """
    shape = [d for i in graph.inputs for d in i.shape]
    names = dict.fromkeys(s.name for d in shape if (s := as_symbol(d)) is not None)
    names.update(dict.fromkeys(s.name for d in shape for s in symbols(d)))  # those that only expressions have, last
    first, sizes = _first_equal(graph), {}  # sizes by the first of dims that are equal
    for left, right in graph.constraints:
        for side, other in ((left, right), (right, left)):
            if (symbol := as_symbol(side)) is not None and isinstance(other, int):
                sizes[first.get(symbol.name, symbol.name)] = other
    sizes.update({first.get(name, name): size for name, size in (given or {}).items()})
    fixed, limits = set(sizes), _table_limits(graph)
    for position, name in enumerate(names):
        root = first.get(name, name)
        if root not in sizes:
            equal = [n for n in names if first.get(n, n) == root]
            most = [limits[n] for n in equal if n in limits] + [m for n in equal if (m := graph.symbols[n].max) is not None]
            sizes[root] = max([graph.symbols[n].min for n in equal] + [min([pick(position, root), *most])])
    for extent in (*shape, *(left - right for left, right in graph.inequalities)):
        renamed = substitute(extent, {s.name: dim(first[s.name]) for s in symbols(extent) if s.name in first})
        _not_below_zero(renamed, sizes, set(sizes) - fixed)
    return {n: sizes[first.get(n, n)] for n in (*names, *first) if first.get(n, n) in sizes} | dict(given or {})


def smallest_sizes(graph: Graph, given: Mapping[str, int] | None = None) -> Sizes:
    """The smallest sizes: 1 for every dim, or more where bounds, or an axis such as N-4, need it; `given` ones as they are."""
    return choose_sizes(graph, given, lambda position, name: 1)


def _first_equal(graph: Graph) -> dict[str, str]:
    """For each dim that constraints make equal to others the first of these, itself or another."""
    first: dict[str, str] = {}
    for left, right in graph.constraints:
        a, b = as_symbol(left), as_symbol(right)
        if a is not None and b is not None:
            root, other = first.get(a.name, a.name), first.get(b.name, b.name)
            first.update(dict.fromkeys((a.name, b.name, *(n for n, r in first.items() if r == other)), root))
    return first


def _not_below_zero(size: DimLike, sizes: Sizes, free: Collection[str]) -> None:
    """Increase a dim where an axis such as N-4 would have a size below zero."""
    for name in dict.fromkeys(s.name for s in symbols(size) if s.name in free):
        form = linear_in(substitute(size, {n: v for n, v in sizes.items() if n != name}), name)
        if form is not None and isinstance(form[0], int) and isinstance(form[1], int) and form[0] > 0:
            sizes[name] = max(sizes[name], -(form[1] // form[0]))


def _table_limits(graph: Graph) -> Sizes:
    """Upper bounds of the dims whose positions 0 .. size-1 are looked up in a table of fixed length."""
    limits: Sizes = {}
    for node in graph.nodes:
        if node.op.name == "range" and (symbol := as_symbol(node.attrs["stop"])) is not None:
            for user, position in node.results[0].uses:
                rows = _table(user, position)
                if isinstance(rows, int):
                    limits[symbol.name] = min(rows, limits.get(symbol.name, rows))
    return limits


def generate_inputs(graph: Graph, sizes: Mapping[str, int] | None = None, seed: int = 0) -> dict[str, np.ndarray]:
    """Random inputs by name: normal floats, masks as padded batches have them, integers within their range.

    Raises InputError for sizes below zero, and for an input that indexes an empty table.
    """
    generator = np.random.default_rng(seed)
    chosen = choose_sizes(graph, sizes)
    for input in graph.inputs:
        if min(input.type.evaluate(chosen), default=0) < 0:
            shown = ", ".join(f"{n} = {chosen[n]}" for n in dict.fromkeys(s.name for d in input.shape for s in symbols(d)))
            raise InputError(f"input {input.name!r} is {input.type}, which has no shape for {shown}")
    return {i.name: _generate(i, i.type.evaluate(chosen), chosen, generator) for i in graph.inputs}


def _generate(input: Input, shape: tuple[int, ...], sizes: Sizes, generator: np.random.Generator) -> np.ndarray:
    dtype = input.type.dtype
    if dtype.is_float:
        return generator.standard_normal(shape).astype(dtype.numpy)
    if dtype.is_bool:
        return _mask(shape, generator)
    for node, position in input.uses:
        if node.op.operands[min(position, len(node.op.operands) - 1)].name == "offsets":
            return _offsets(shape[0], evaluate(node.inputs[0].shape[0], sizes), generator).astype(dtype.numpy)
    low, high = input.type.value_range or _index_range(input, sizes) or (0, 2)
    if high <= low and np.prod(shape):
        raise InputError(f"input {input.name!r} indexes an empty table")
    return generator.integers(low, max(high, low + 1), shape).astype(dtype.numpy)


def is_free(input: Input, sizes: Sizes) -> bool:
    """Whether an integer input may hold any number: it has no range, and nothing uses it as an index, offset or position."""
    names = {node.op.operands[min(position, len(node.op.operands) - 1)].name for node, position in input.uses}
    return not (input.type.value_range or _index_range(input, sizes) or names & {"offsets", "offset"})


def _mask(shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    """A mask that is True up to a random length, at least 1, in each row along the last axis; the first row is all True."""
    if not shape:
        return np.asarray(True)
    length = shape[-1]
    lengths = generator.integers(1, max(length, 1) + 1, shape[:-1])
    if lengths.size:
        lengths[(0,) * lengths.ndim] = length
    return np.arange(length) < lengths[..., None]


def _offsets(count: int, rows: int, generator: np.random.Generator) -> np.ndarray:
    """The offsets at which sequences of random lengths begin, and the end of the last one."""
    inner = np.sort(generator.integers(0, rows + 1, max(count - 2, 0)))
    return np.concatenate([[0], inner, [rows]])[-count:] if count else np.zeros(0)


def _index_range(value: Value, sizes: Sizes) -> tuple[int, int] | None:
    """The range that the uses of an integer value allow, looking through ops that only move or cast it."""
    found: list[tuple[int, int]] = []
    seen: set[Value] = set()
    stack = [value]
    while stack:
        current = stack.pop()
        if current in seen:
            continue
        seen.add(current)
        for node, position in current.uses:
            table, update = _table(node, position), node.op.traits.update
            if table is not None:
                found.append((0, evaluate(table, sizes)))
            elif update is not None and position == update.start:
                axis = node.attrs[update.axis]
                room = node.inputs[update.x].shape[axis] - node.inputs[update.value].shape[axis]
                found.append((0, evaluate(room + 1, sizes)))
            elif moves(node, position) or node.op.name == "cast":
                stack.extend(node.results)
    return (max(f[0] for f in found), min(f[1] for f in found)) if found else None


def moves(node: Node, position: int) -> bool:
    """Whether elements of a node's result are elements of an operand, unchanged: it is a view, or reads the operand by index."""
    traits = node.op.traits
    return traits.view is not None or (traits.lookup is not None and traits.lookup.table == position)


def _table(node: Node, position: int) -> DimLike | None:
    """The size of the axis that operand `position` of `node` indexes, if it is an index."""
    operand = node.op.operands[min(position, len(node.op.operands) - 1)].name
    if operand != "indices":
        return None
    if node.op.name == "one_hot":
        depth: DimLike = node.attrs["depth"]
        return depth
    source = node.inputs[0] if position else node.inputs[1]
    return source.shape[node.attrs.get("axis", 0)]

"""TIR expressions for the value of any part of a function graph at an index: how a kernel reads its operands.

An index is a tuple of digits `(extent, position)`, most significant first, like a mixed-radix number: the element
of a tensor [B, S, H] at row r of its B*S rows and column h has the index ((B*S, r), (H, h)). Reshaping
changes no digits, and a dense buffer wants their number only, so that flattened loops read without a division;
an index is split into axes only where an op needs one (broadcasting, transposing, slicing).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from targets.base.tvm_api import Buffer, Expr, int64, structural_equal, tirx
from targets.codegen.opaque import bind, choose
from targets.codegen.scalar import SCALAR, cast, held, hold, literal
from tgraph.ir.dims import Dim, DimLike, Quotient, Symbol, compare
from tgraph.ir.dtypes import DType
from tgraph.ir.errors import CompileError
from tgraph.ir.registry import Op
from tgraph.ir.traits import View
from tgraph.ir.values import Constant, Node, Result, Value

Digit = tuple[DimLike, Expr]
Index = tuple[Digit, ...]
Shape = Sequence[DimLike]


class DimExpressions:
    """Dims as int64 expressions over the variables that hold a kernel's symbolic sizes."""

    def __init__(self, variables: Mapping[str, Expr]):
        self.variables = dict(variables)

    def __call__(self, size: DimLike) -> Expr:
        if isinstance(size, int):
            return int64(size)
        total: Expr | None = None
        for monomial, coefficient in size.terms:
            product: Expr | None = None if coefficient == 1 and monomial else int64(coefficient)
            for factor, power in monomial:
                for _ in range(power):
                    value = self._factor(factor)
                    product = value if product is None else product * value
            assert product is not None
            total = product if total is None else total + product
        return int64(0) if total is None else total

    def _factor(self, factor: Symbol | Quotient) -> Expr:
        if isinstance(factor, Symbol):
            return self.variables[factor.name]
        return tirx.floordiv(self(factor.numerator), self(factor.denominator))


def extent(digits: Sequence[Digit]) -> DimLike:
    """The number of indices that digits can express."""
    total: DimLike = 1
    for size, _ in digits:
        total = total * size
    return total


Known = dict[Value, list[tuple[Index, Expr]]]  # what has a name already, at which indices


class Access:
    """Evaluates values of one function at indices; `bind` gives a node's result an expression of its own.

    What a node computes is computed once for an index, however many others read it: `load` emits statements that name it,
    where the kernel is being built. `scalar_scope`: the scope of the memory for a value that either branch of an `if` writes.
    """

    def __init__(self, buffers: Mapping[Value, Buffer], sizes: DimExpressions, scalar_scope: str = "global"):
        self.buffers = dict(buffers)
        self.sizes = sizes
        self.scalar_scope = scalar_scope
        self.bound: dict[Value, Callable[[Index], Expr]] = {}
        self._known: list[Known] = []  # of the load under way: first what is named outside of its branches

    def bind(self, value: Value, expression: Callable[[Index], Expr]) -> None:
        """Make `expression(index)` the value of `value` at an index from now on: an accumulator, a normalised row."""
        self.bound[value] = expression

    # Indices

    def flat(self, index: Index) -> Expr:
        """The number that the digits express: the offset of the element in a dense tensor."""
        total: Expr | None = None
        for size, position in index:
            if size == 1:
                continue
            total = position if total is None else total * self.sizes(size) + position
        return int64(0) if total is None else total

    def split(self, flat: Expr, shape: Shape) -> Index:
        """The index of the element at an offset in a dense tensor, with one digit an axis."""
        digits: list[Digit] = []
        for position, size in reversed(list(enumerate(shape))):
            if size in (0, 1):  # of 0 nothing is ever read
                digits.append((size, int64(0)))
            elif all(d == 1 for d in shape[:position]):
                digits.append((size, flat))
                flat = int64(0)
            else:
                digits.append((size, tirx.floormod(flat, self.sizes(size))))
                flat = tirx.floordiv(flat, self.sizes(size))
        return tuple(reversed(digits))

    def axes(self, index: Index, shape: Shape) -> list[Expr]:
        """The position along each axis of `shape`, which has as many elements as the index tells apart."""
        positions: list[Expr] = []
        for digits, sizes in matched(index, shape):
            positions += [position for _, position in self.split(self.flat(digits), sizes)]
        return positions

    def index(self, positions: Sequence[Expr], shape: Shape) -> Index:
        """The index of the element at these positions, one along each axis."""
        return tuple(zip(shape, positions))

    # Values

    def load(self, value: Value | None, index: Index) -> Expr:
        """`value` at an index. Raises CompileError for an op that has no value at an index alone."""
        assert value is not None
        if value not in self.bound:
            if value in self.buffers:
                return cast(tirx.BufferLoad(self.buffers[value], [self.flat(index)]), held(value.dtype.numpy_name))
            if isinstance(value, Constant):
                assert value.data is not None and value.type.rank == 0
                return literal(value.data.item(), value.dtype.numpy_name)
        if self._known:
            return self._named(value, index)
        with self._branch():
            return self._named(value, index)

    @contextmanager
    def _branch(self) -> Iterator[None]:
        """A context at whose end the names that were given in it are forgotten."""
        self._known.append({})
        try:
            yield
        finally:
            self._known.pop()

    def _named(self, value: Value, index: Index) -> Expr:
        """The value of a node at an index; a computed value gets a name, and is computed only once."""
        for known in self._known:
            for at, expression in known.get(value, ()):
                if same_index(at, index):
                    return expression
        if value in self.bound:
            result = bind(self.bound[value](index))
        else:
            assert isinstance(value, Result)
            node = value.node
            if not node.op.elementwise:
                read = reader_of(node.op)
                if read is None:
                    raise CompileError(f"op {node.op.name} cannot be read at an index")
                return read(self, node, value, index)
            result = bind(self._elementwise(node, index))
        self._known[-1].setdefault(value, []).append((index, result))
        return result

    def _elementwise(self, node: Node, index: Index) -> Expr:
        shape = node.results[0].shape
        operands = [self.broadcast(v, index, shape) for v in node.inputs]
        attrs = {k: held(v.numpy_name) if isinstance(v, DType) else v for k, v in node.attrs.items()}
        result = SCALAR[node.op.name](*operands, **attrs)
        return result if node.op.traits.exact else hold(result, node.results[0].dtype.numpy_name)

    def choose(self, condition: Expr, inside: Callable[[], Expr], outside: Callable[[], Expr]) -> Expr:
        """`inside()` where the condition holds, else `outside()`: only that one is evaluated, so that it may read memory."""
        def apart(branch: Callable[[], Expr]) -> Expr:
            with self._branch():
                return branch()

        return choose(condition, lambda: apart(inside), lambda: apart(outside), self.scalar_scope)

    def broadcast(self, value: Value | None, index: Index, shape: Shape) -> Expr:
        """The element of `value` that an elementwise op reads for the element of its result, of `shape`, at `index`."""
        assert value is not None
        own = value.shape
        if len(own) == len(shape) and all(a == b or a != 1 for a, b in zip(own, shape)):
            return self.load(value, index)
        if not any(d != 1 for d in own):
            return self.load(value, tuple((1, int64(0)) for _ in own))
        trailing = list(index)
        lead: DimLike = 1
        for d in shape[: len(shape) - len(own)]:
            lead = lead * d
        if len(own) < len(shape) and all(a == b or a != 1 for a, b in zip(own, shape[len(shape) - len(own):])):
            # digits that number exactly the leading axes fall away without a division
            have: DimLike = 1
            for position, (size, _) in enumerate(trailing):
                if compare(have, lead) == "equal":
                    return self.load(value, tuple(trailing[position:]))
                have = have * size
            if compare(have, lead) == "equal":
                return self.load(value, ())
        positions = self.axes(index, shape)[len(shape) - len(own):]
        return self.load(value, tuple((d, int64(0) if d == 1 else p) for d, p in zip(own, positions)))


def matched(index: Index, shape: Shape) -> Iterator[tuple[Index, Shape]]:
    """The digits of an index and the axes of a shape, in the smallest groups of equal extent."""
    while shape:
        digits, axes = _first_group(index, shape)
        yield index[:digits], shape[:axes]
        index, shape = index[digits:], shape[axes:]


def _first_group(index: Index, shape: Shape) -> tuple[int, int]:
    """How many digits, and how many axes, are the first group."""
    digits, axes = 0, 1
    have: DimLike = 1  # the extent of the digits
    wanted: DimLike = shape[0]  # and of the axes
    while compare(have, wanted) != "equal" or (digits == 0 and wanted != 1):
        if digits < len(index) and (axes == len(shape) or _digit_is_next(have, wanted, index[digits][0])):
            have = have * index[digits][0]
            digits += 1
        elif axes < len(shape):
            wanted = wanted * shape[axes]
            axes += 1
        else:
            break
    return digits, axes


def _digit_is_next(have: DimLike, wanted: DimLike, digit: DimLike) -> bool:
    """Whether one more digit, and not one more axis, is what makes both extents equal."""
    if compare(have * digit, wanted) == "equal":
        return True
    if have == 0:
        return False
    if isinstance(have, int) and isinstance(wanted, int):
        return have < wanted
    if isinstance(have, int) and have == 1:
        return True
    # of symbolic extents: if the axes are a multiple of the digits
    return compare(wanted // have * have, wanted) == "equal" and wanted != have


def same_index(x: Index, y: Index) -> bool:
    """Whether two indices are surely the same."""
    return len(x) == len(y) and all(
        m == n and (p.same_as(q) or structural_equal(p, q)) for (m, p), (n, q) in zip(x, y))


Reader = Callable[[Access, Node, Value, Index], Expr]
READ: dict[str, Reader] = {}
READ_VIEWS: dict[str, Reader] = {}  # by the kind of view, for ops that have no entry of their own
REPEATING: set[str] = set()  # ops that may read one element of an operand for several elements of their result


def reader_of(op: Op) -> Reader | None:
    """The function that reads an op's result at an index; None if there is none."""
    found = READ.get(op.name)
    return READ_VIEWS.get(op.traits.view) if found is None and op.traits.view is not None else found


def repeats(op: Op) -> bool:
    """Whether an op may read one element of an operand for several elements of its result."""
    return op.traits.view == "repeat" or op.name in REPEATING


def reader(name: str, *, repeats: bool = False) -> Callable[[Reader], Reader]:
    """Register how an op's result is read at an index.

    repeats: whether one element of an operand may be read for several elements of the result.
    """

    def register(function: Reader) -> Reader:
        READ[name] = function
        if repeats:
            REPEATING.add(name)
        return function

    return register


def reads(node: Node) -> bool:
    """Whether a kernel computes an op element by element, as it reads."""
    return reader_of(node.op) is not None or (node.op.elementwise and node.op.name in SCALAR)


def view_reader(kind: View) -> Callable[[Reader], Reader]:
    """Register how views of a kind are read at an index, by their axis maps."""

    def register(function: Reader) -> Reader:
        READ_VIEWS[kind] = function
        return function

    return register


def as_index(expression: Expr) -> Expr:
    """An integer expression as int64."""
    return cast(expression, "int64")


def attribute_dim(access: Access, value: Any) -> Expr:
    """The expression of an attribute that is an int or a Dim."""
    if not isinstance(value, (int, Dim)):
        raise CompileError(f"expected a size, got {value!r}")
    return access.sizes(value)

"""Traits: what passes and targets may conclude about an op without knowing its name.

They are declared with the op, `@op(elementwise=True, commutative=True)`; a user's op declares them the same way, and is then
optimised like ours. A trait that is left out claims nothing, so that an op without traits is handled correctly, if slowly.
How an op's axes correspond is its axis map (`axis_maps.py`), most of which follows from the traits `elementwise`, `along` and
`view`.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

from .errors import RuleError

View = Literal["permute", "regroup", "repeat", "cut", "join", "layout"]
Magnitude = Literal["carried", "bounded"]
Precision = Literal["product", "activation", "composite"]
Kind = Literal["sum", "mean", "max", "min", "prod"]
AxisRole = Literal["operand axes", "result axes", "operand entries", "result sizes", "permutation", "fixed rank"]

_KINDS = {"view": get_args(View), "magnitude": get_args(Magnitude), "precision": get_args(Precision), "reduces": get_args(Kind)}


@dataclass(frozen=True)
class Lookup:
    """The op reads a table by index, along the axis that attribute `axis` names (None: the first one).

    `table` and `indices` are positions of operands. An index outside of the table is an error at run time; with
    `from_end` negative ones count from the end.
    """

    table: int
    indices: int
    axis: str | None = None
    from_end: bool = False


@dataclass(frozen=True)
class Segments:
    """Operand `offsets` cuts the first axis of operand `rows` into sequences: offsets[b] .. offsets[b + 1] - 1 is number b."""

    offsets: int
    rows: int


@dataclass(frozen=True)
class Update:
    """The op replaces a part of operand `x` by `value`, from operand `start` on, along the axis that attribute `axis` names.

    A part that does not fit is an error at run time. `copying` and `in_place` are the op that leaves `x` as it is, and the one
    whose result takes its memory.
    """

    x: int
    value: int
    start: int
    axis: str
    copying: str
    in_place: str


def _says(conclusions: str) -> dict[str, str]:
    """Metadata of a field: what may be concluded from the trait. The table of traits in the documentation is made from it."""
    return {"doc": conclusions}


@dataclass(frozen=True)
class Traits:
    """The traits of one op; each field says what follows from it."""

    elementwise: bool = field(default=False, metadata=_says(
        "Element i of the result depends on the elements i of the operands alone, after broadcasting: the op moves across "
        "every view, and runs on any selection of elements."))
    work: int = field(default=1, metadata=_says(
        "Machine instructions for one element of the result, roughly: what it costs to compute it again instead of "
        "storing it."))
    commutative: bool = field(default=False, metadata=_says(
        "f(x, y) = f(y, x): patterns match both orders, and equal computations are found whatever the order."))
    mirrored: str | None = field(default=None, metadata=_says(
        "The comparison g with f(x, y) = g(y, x)."))
    negated: str | None = field(default=None, metadata=_says(
        "The comparison g with f(x, y) = not g(x, y) for numbers; of a NaN nothing follows."))
    exact: bool = field(default=False, metadata=_says(
        "Elementwise, and on values of a type the result is one of that type: nothing is left to round, so that halves "
        "may be computed in f32."))
    activation: bool = field(default=False, metadata=_says(
        "An activation function of one float, joined to the product before it."))
    magnitude: Magnitude | None = field(default=None, metadata=_says(
        '"carried": a large number among the operands may be one of the result (moves, sums, scales, selections). '
        '"bounded": results are of a usual size whatever the operands are (products, norms, tanh). None: neither is '
        "known."))
    precision: Precision | None = field(default=None, metadata=_says(
        '"product": worth computing on halves, and summed in f32 at least when it is. "activation": computed in f32 and '
        'rounded once, so that a result made of halves may be kept as halves. "composite": contains a product with weights, so '
        "that it is decomposed where a precision is asked for. None: stays in f32."))
    view: View | None = field(default=None, metadata=_says(
        'The values of the operands, unchanged, so that rounding before or after is the same. "permute": the axes in '
        'another order. "regroup": the same elements in row-major order under another shape. "repeat": axes of size 1 '
        'repeated. "cut": a part along some axes. "join": operands one after the other along an axis. "layout": a weight '
        "stored in another order that kernels read directly."))
    along: int | str | None = field(default=None, metadata=_says(
        "Row-wise: each result depends on one row of the first operand alone, along this axis (a number) or the axes that "
        "this attribute names; it moves across all other axes, and runs on any selection of rows. Other operands are "
        "weights, the same for all rows."))
    reduces: Kind | None = field(default=None, metadata=_says(
        "A reduction of this kind over the axes that `along` names, with an attribute `keepdims`."))
    batched: bool = field(default=False, metadata=_says(
        "The axes that the op does not name are batch axes, of which there may be any number in any order. Follows from "
        "`elementwise`, `along`, `view` and `lookup`."))
    lookup: Lookup | None = field(default=None, metadata=_says(
        "Reads a table by index: the table may be stored narrow, and kernels check the indices."))
    segments: Segments | None = field(default=None, metadata=_says(
        "One operand cuts the rows of another into sequences; kernels check it."))
    update: Update | None = field(default=None, metadata=_says(
        "Replaces a part of an operand: kernels check its place, and may write that part alone, in place."))
    overwrites: int | None = field(default=None, metadata=_says(
        "The result takes the memory of this operand, which nothing else reads."))
    attention: bool = field(default=False, metadata=_says(
        "softmax(scores) v over operands q, k, v: kernels never store the scores, and read each operand once a block."))
    recurrence: int | None = field(default=None, metadata=_says(
        "A recurrence over axis 1 of the first operand, [B, T, D gates H]; the trait is the number of gates. The second operand "
        "is its weights [D, gates H, H], which kernels want in panels."))
    makes_dim: str | None = field(default=None, metadata=_says(
        "The dim that this attribute names is data-dependent: its size follows from the values of the operands, and is "
        "at most the number of elements of the first operand. The op is not run ahead of time."))
    axis_attributes: Mapping[str, AxisRole] = field(default_factory=dict, metadata=_says(
        'How attributes speak of axes, so that the op can be applied where axes lie elsewhere: "operand axes" and "result '
        'axes" name some; "operand entries" has one for each axis of the operand, "result sizes" is a shape, '
        '"permutation" has for each axis of the result one of the operand; "fixed rank" says that the attribute suits one '
        "order of axes only. `along` implies the first."))
    opaque: bool = field(default=False, metadata=_says(
        "A decision that nothing is to be concluded from axes: any element of the result may depend on any of the "
        "operands."))

    def __post_init__(self) -> None:
        if isinstance(self.along, str) and self.along not in self.axis_attributes:
            object.__setattr__(self, "axis_attributes", {**self.axis_attributes, self.along: "operand axes"})
        for name, kinds in _KINDS.items():
            if getattr(self, name) not in (None, *kinds):
                raise RuleError(f"trait {name} is one of {', '.join(kinds)}, not {getattr(self, name)!r}")
        if self.view is not None and self.magnitude is None:
            object.__setattr__(self, "magnitude", "carried")
        ways = [name for name in ("elementwise", "view", "along", "opaque") if getattr(self, name) not in (None, False)]
        if len(ways) > 1:
            raise RuleError(f"traits exclude each other: {' and '.join(ways)}")
        for name in ("mirrored", "negated", "exact", "activation"):
            if getattr(self, name) and not self.elementwise:
                raise RuleError(f"trait {name} is for elementwise ops")
        if self.reduces is not None and not isinstance(self.along, str):
            raise RuleError("trait reduces wants along=, the attribute that names the axes")

    @property
    def rank_generic(self) -> bool:
        """Whether the op has a meaning for any number and order of the axes that it does not name."""
        general = self.elementwise or self.batched or self.along is not None or self.lookup is not None or self.view is not None
        return general and self.view != "layout" and "fixed rank" not in self.axis_attributes.values()


def declared(op: str, given: Mapping[str, Any]) -> Traits:
    """The traits that an op's decorator gives. Raises RuleError for one that does not exist."""
    names = [f.name for f in fields(Traits)]
    for name in given:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]}?" if near else f"traits are {', '.join(names)}"
            raise RuleError(f"op {op!r} declares an unknown trait {name!r}; {hint}")
    try:
        return Traits(**given)
    except RuleError as error:
        raise RuleError(f"op {op!r}: {error}") from None


def documentation() -> dict[str, str]:
    """What may be concluded from each trait, by its name."""
    return {f.name: str(f.metadata["doc"]) for f in fields(Traits)}

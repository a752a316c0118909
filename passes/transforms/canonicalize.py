"""The canonical form of expressions: no identities, scales and views in one place, operands in one order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from passes.algebra.operand_order import order_operands
from passes.algebra.scalars import float_result, representable, same_sign
from passes.algebra.views import VIEW_RULES
from passes.base import register_pass
from passes.language import tg
from passes.matching import Match, splat
from passes.patterns import attribute, either, node_rule, rule, scalar
from passes.rewriting import RewritePass
from tgraph.ir.builder import Builder
from tgraph.ir.graph import Graph
from tgraph.ir.values import Node, Value

ANY = attribute()
NUMBER = scalar()


def _negatable(match: Match) -> str | None:
    """A condition: the type holds -c. For floats x - c and x + (-c) are then equal bit by bit, signed zeros included."""
    return representable(-match["c"], match["x"].dtype)


def _reciprocal(match: Match) -> str | None:
    """A condition: x is a float (division of integers rounds) and the type holds 1 / c, rounded unless c is a power of two."""
    c, dtype = match["c"], match["x"].dtype
    if not dtype.is_float:
        return f"division of {dtype} rounds towards zero"
    return float_result(1 / c if c else float("inf"), dtype)


def _product(match: Match) -> str | None:
    """A condition: the type holds a b. Products of integers wrap alike either way."""
    product, dtype = match["a"] * match["b"], match["x"].dtype
    return float_result(product, dtype) if dtype.is_float else representable(product, dtype)


def _integer_sum(match: Match) -> str | None:
    """A condition: x is an integer, whose type holds a + b. Floats stay: (x + 1e8) - 1e8 is a way to round."""
    dtype = match["x"].dtype
    return "sums of floats stay in their order" if dtype.is_float else representable(match["a"] + match["b"], dtype)


def _wide_exponent(match: Match) -> str | None:
    """A condition: x is a float, but not f16, whose products may exceed 65504 before they are scaled."""
    dtype = match["x"].dtype
    if not dtype.is_float or dtype.name == "f16":
        return f"a product of {dtype} may overflow without its scale"
    return None


def _is_mean(match: Match) -> str | None:
    """A condition: c is 1 / the number of elements that are summed."""
    x, reduction = match["x"], match.nodes[1]
    count = math.prod(x.shape[axis] for axis in reduction.attrs["axes"])
    if not x.dtype.is_float or not isinstance(count, int) or abs(match["c"] * count - 1) > 1e-6:
        return f"a sum over {count} times {match['c']} is no mean"
    return None


def _scaled_views(x, c, perm, shape, axes):  # type: ignore[no-untyped-def]
    return either(tg.transpose(x * c, perm=perm), tg.reshape(x * c, shape=shape), tg.squeeze(x * c, axes=axes),
                  tg.unsqueeze(x * c, axes=axes))


def _again(match, x):  # type: ignore[no-untyped-def]
    """The op of the match's root, applied to x."""
    return getattr(tg, match.root.op.name)(x, **match.root.attrs)


@node_rule("x op [c, ..., c] = x op c", "add", "sub", "mul", "div", "pow", "maximum", "minimum", "equal", "not_equal",
           "less", "less_or_equal", "greater", "greater_or_equal", "where")
def _splat_to_number(graph: Graph, node: Node) -> Sequence[Value] | str:
    for position, value in enumerate(node.inputs):
        number = splat(value)
        if number is None or not value.type.rank or not same_sign(value):
            continue
        if not any(v.shape == node.result.shape for v in node.inputs if v is not value):
            return f"the constant {value} gives {node.op.name} its shape"
        operands = [*node.inputs]
        operands[position] = graph.constant(number, value.dtype)
        return [Builder(graph, node.provenance).apply(node.op, operands, {})]
    return "no constant of one value"


# constant factors: in one place, behind views and products
FACTOR_RULES = (
    rule("x 1 = x", lambda x: either(x * 1.0, x / 1.0, x ** 1.0), lambda x: x),
    rule("(x a) b = x (a b)", lambda x, a=NUMBER, b=NUMBER: x * a * b, lambda x, a, b: x * (a * b), where=_product),
    rule("view(x c) = view(x) c",
         lambda x, c=NUMBER, perm=ANY, shape=ANY, axes=ANY: _scaled_views(x, c, perm, shape, axes),
         lambda x, c, match: _again(match, x) * c),
    rule("(x c) y = x (y c) = (x y) c", lambda x, y, c=NUMBER: either(tg.matmul(x * c, y), tg.matmul(x, y * c)),
         lambda x, y, c: tg.matmul(x, y) * c, where=_wide_exponent),
)


@register_pass
@dataclass(frozen=True)
class Canonicalize(RewritePass):
    """The canonical form of expressions: x / c = x (1/c), view(c x) = c view(x), x + 0 = x, x x = x^2, b + a = a + b, ...

    Subtracting a constant becomes addition, dividing by one multiplication. A scale moves behind views and products. Identities
    (x + 0, x 1, a view or cast to the type that x has) are removed. Adjacent views are joined. Operands of commutative ops get
    one order, constants last.
    """

    effect = "rounds"
    rules = (
        _splat_to_number,
        # -0.0 + 0.0 is 0.0: nothing but the sign of a zero may change
        rule("x + 0 = x", lambda x: x + 0.0, lambda x: x),
        rule("x as its own type = x", lambda x, dtype=ANY: tg.cast(x, dtype=dtype), lambda x: x,
             where=lambda m: None if m["x"].dtype == m["dtype"] else f"{m['x'].dtype} is not {m['dtype']}"),
        rule("-(-x) = x", lambda x: tg.neg(tg.neg(x)), lambda x: x),
        rule("x - c = x + (-c)", lambda x, c=NUMBER: x - c, lambda x, c: x + -c, where=_negatable),
        rule("x + (-y) = x - y", lambda x, y: x + -y, lambda x, y: x - y),
        rule("x - (-y) = x + y", lambda x, y: x - -y, lambda x, y: x + y),
        rule("-(x c) = (-x) c = x (-c)", lambda x, c=NUMBER: either(-(x * c), -x * c), lambda x, c: x * -c,
             where=_negatable),
        rule("x (-1) = -x", lambda x: x * -1.0, lambda x: -x),
        rule("x / c = x (1/c)", lambda x, c=NUMBER: x / c, lambda x, c: x * (1 / c), where=_reciprocal),
        *FACTOR_RULES,
        rule("(x + a) + b = x + (a + b)", lambda x, a=NUMBER, b=NUMBER: x + a + b, lambda x, a, b: x + (a + b),
             where=_integer_sum),
        rule("x x = x^2", lambda x: either(x * x, x ** 2.0), lambda x: tg.square(x)),
        rule("sum x / n = mean x",
             lambda x, c=NUMBER, axes=ANY, keepdims=ANY: tg.reduce_sum(x, axes=axes, keepdims=keepdims) * c,
             lambda x, axes, keepdims: tg.reduce_mean(x, axes=axes, keepdims=keepdims), where=_is_mean),
        *VIEW_RULES,
    )

    def apply(self, graph: Graph) -> None:
        super().apply(graph)
        order_operands(graph)

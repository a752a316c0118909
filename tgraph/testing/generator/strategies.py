"""How each op is applied at random: derived from its type rule where it is elementwise, written down where it is not.

`strategy_of(op)` raises LookupError for an op that has none: a new op is not forgotten.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tgraph.ir.registry import REQUIRED, Op
from tgraph.testing.generator import (  # noqa: F401  (they register)
    strategies_attention,
    strategies_order,
    strategies_recurrent,
    strategies_rows,
    strategies_shape,
    strategies_values,
)
from tgraph.testing.generator.maker import Maker, accepted
from tgraph.testing.generator.written import WRITTEN, Strategy

# What the optional attributes of ops with a derived strategy may be.
CHOICES: Mapping[str, Mapping[str, tuple[Any, ...]]] = {
    "gelu": {"approximate": ("none", "tanh")}, "leaky_relu": {"alpha": (0.01, 0.3, 0.0, 1.0, -0.5, 2.0)},
}


def strategy_of(op: Op) -> Strategy:
    """How to apply the op to values of a Maker. Raises LookupError if neither the rule nor this file says it."""
    if op.name in WRITTEN:
        return WRITTEN[op.name]
    choices = CHOICES.get(op.name, {})
    known = all(default is not REQUIRED and name in choices for name, default in op.attributes.items())
    types = accepted(op.infer, len(op.operands)) if known and op.elementwise and not op.variadic else ()
    if not types:
        raise LookupError(f"op {op.name} has no strategy, so random programs cannot have it; write one, with all its attributes: "
                          f"@tgraph.testing.strategy(\"{op.name}\") (docs/testing.md)")

    def derived(m: Maker) -> Any:
        x = m.pick(types)
        others = [m.beside(x) for _ in op.operands[1:]]
        operands = [x, *others]
        if m.chance(0.3):
            m.random.shuffle(operands)
        return m.b.apply(op, operands, {name: m.random.choice(c) for name, c in choices.items() if m.chance(0.6)})

    return derived

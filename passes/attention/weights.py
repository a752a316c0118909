"""Following attention weights from the softmax to the product with v, and what rows without any key become on the way."""

from __future__ import annotations

import math

from passes.attention.axes import Axes, Axis, View, aligned, is_view, resolve, result_axes
from passes.attention.conditions import conjuncts, number, some_key
from passes.attention.contractions import other_operand
from passes.attention.failure import MatchFailure
from passes.attention.form import Masked
from passes.attention.masking import is_moderate
from passes.attention.scores import Scores, ScoresMatcher
from tgraph.ir.values import Node, Result, Value


class WeightsMatcher:
    """Walks from the softmax to the product with v; then `value` is v, `output` the product's result, `nodes` what was passed.

    `empty_row` is what a row without any key becomes, as the attribute of `attention` names it.
    """

    def __init__(self, m: ScoresMatcher, scores: Scores, axes: Axes, keys: Axis):
        self.m, self.scores, self.axes, self.keys = m, scores, axes, keys
        self.nodes: list[Node] = []
        self.empty_row = "zero" if scores.fill is None else "nan" if scores.fill == -math.inf else "uniform"
        self.value: View
        self.output: View

    def walk(self, softmax: Node) -> None:
        """Follow the weights from the softmax. Raises MatchFailure if they go elsewhere than into one product."""
        weights, axes = softmax.result, self.axes
        matched = len(self.scores.nodes)
        while True:
            if self.m.graph.is_output(weights):
                raise MatchFailure(f"the result of {weights.node.op.name} is an output", weights.node, matched)
            guard = self._nan_guard(weights)
            if guard is not None:
                self.nodes += guard
                matched += len(guard)
                weights = guard[-1].result
                continue
            if len(weights.uses) != 1:
                reason = f"the result of {weights.node.op.name} is read {len(weights.uses)} times"
                raise MatchFailure(reason, weights.node, matched)
            (node, position), = weights.uses
            self.nodes.append(node)
            matched += 1
            if node.op.contract is not None:
                self.value, out = other_operand(node, position, axes, self.keys)
                self.output = View(node.result, out)
                return
            if is_view(node):
                moved = result_axes(self.m.graph, node, axes)
                if moved is None:
                    raise MatchFailure("a reshape of the weights cuts through an axis", node, matched)
                axes = moved
            elif node.op.name == "where":
                self._empty_rows(node, position, axes, matched)
            elif not (node.op.name == "cast" and node.result.dtype.is_float
                      and node.result.dtype.bits <= weights.dtype.bits):
                raise MatchFailure(f"the weights are read by {node.op.name}, not by a product", node, matched)
            weights = node.result

    def _nan_guard(self, weights: Result) -> list[Node] | None:
        """The nodes of where(isnan(weights), 0, weights), which gives zeros for rows without any key; None for other readers.

        Products are taken to be numbers, and no bias may be -inf, so that the mask alone makes a row NaN.
        """
        if any(isinstance(term, Masked) or not is_moderate(term) for term in self.scores.terms):
            return None
        tests = [u for u in weights.users if u.op.name == "isnan"]
        if len(weights.uses) != 2 or len(tests) != 1 or len(tests[0].result.uses) != 1:
            return None
        (select, position), = tests[0].result.uses
        kept = select.inputs[2] if len(select.inputs) == 3 else None
        if select.op.name != "where" or position != 0 or kept is not weights or number(select.inputs[1]) != 0:
            return None
        if self.m.graph.is_output(tests[0].result) or select.result.shape != weights.shape:
            return None
        self.empty_row = "zero" if self.empty_row == "nan" else self.empty_row
        return [tests[0], select]

    def _empty_rows(self, node: Node, position: int, axes: Axes, matched: int) -> None:
        """Take in where(some key is allowed, weights, filler), or where(allowed, weights, 0), which decide `empty_row`."""
        if not self.scores.conditions or position == 0:
            raise MatchFailure("weights are selected away without a mask", node, matched)
        filler, negated = number(node.inputs[3 - position]), position == 2
        if node.result.shape != node.inputs[position].shape:
            raise MatchFailure("the selection widens the weights", node, matched)
        condition = aligned(node.inputs[0], axes)
        found = some_key(self.m.graph, condition, self.keys)
        if found is not None:
            over, inverted = found
            same = negated == inverted and self._same(over, False)
        else:
            same = filler == 0 and self._same(condition, negated)
        if not same:
            raise MatchFailure("the weights are selected by another condition than the scores", node, matched)
        if filler == 0:
            self.empty_row = "zero"
        elif found is not None and self._is_mean(node.inputs[3 - position]):
            self.empty_row = "uniform"
        else:
            raise MatchFailure("empty rows become neither zeros nor equal weights", node, matched)

    def _same(self, view: View, negated: bool) -> bool:
        """Whether a condition is that of the scores."""
        given = {leaf.key for leaf in conjuncts(self.m.graph, view, negated)}
        used = {leaf.key for c in self.scores.conditions for leaf in conjuncts(self.m.graph, c.view, c.negated)}
        return given == used

    def _is_mean(self, filler: Value) -> bool:
        """Whether a filler is 1 / the number of keys."""
        keys = resolve(self.keys)
        if len(keys) != 1:
            return False
        size, found = keys[0].size, number(filler)
        if isinstance(size, int):
            return found is not None and abs(found * size - 1) < 1e-6
        while isinstance(filler, Result) and is_view(filler.node):
            filler = filler.node.inputs[0]
        if not isinstance(filler, Result):
            return False
        node = filler.node
        divisor = node.inputs[-1]
        one = node.op.name == "reciprocal" or (node.op.name == "div" and number(node.inputs[0]) == 1)
        return bool(one and isinstance(divisor, Result) and divisor.node.op.name == "dim_size"
                    and divisor.node.attrs["size"] == size)

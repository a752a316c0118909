"""Rules written in the language: what each kind of wildcard and combinator matches, and why a match fails."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tgraph as tg
from passes.patterns import attribute, either, maybe, node_rule, result, rule, scalar, tensor, weight
from passes.rewriting import RewriteReport, reporting, rewrite
from tgraph.ir.builder import Builder
from tgraph.ir.registry import get_op

B = tg.dim("B")
X = tg.f32[B, 4]
BOOL, MATRIX, SIGNED = tensor("bool"), tensor(rank=2), tensor("float+int", rank=1)
WEIGHT, NUMBER, POSITIVE, ANY = weight(), scalar(), scalar(lambda c: c > 0), attribute()
LAST = attribute(lambda axis: axis == -1)


def after(rules: Any, function: Any, **specs: tg.TensorType) -> tuple[list[str], RewriteReport]:
    """The ops that are left, and the report."""
    graph = tg.trace(function, **specs)
    report = RewriteReport()
    with reporting(report):
        rewrite(graph, rules if isinstance(rules, list) else [rules])
    tg.verify(graph)
    return [n.op.name for n in graph.nodes], report


def misses(rules: Any, function: Any, reason: str, **specs: tg.TensorType) -> None:
    """The rule leaves the graph alone, and says why."""
    _, report = after(rules, function, **specs)
    assert not report.rewrites
    assert reason in [m.reason for m in report.misses.values()], [str(m) for m in report.misses.values()]


SILU = rule("x sigmoid(x) = silu(x)", lambda x: x * tg.sigmoid(x), lambda x: tg.silu(x))


def test_commutative_ops_match_in_both_orders() -> None:
    for function in (lambda x: x * tg.sigmoid(x), lambda x: tg.sigmoid(x) * x):
        assert after(SILU, function, x=X)[0] == ["silu"]
    halves = rule("x - x/2 = x/2", lambda x: x - x * 0.5, lambda x: x * 0.5)
    assert after(halves, lambda x: x * 0.5 - x, x=X)[0] == ["mul", "sub"], "a difference does not"


def test_making_a_rule_looks_for_no_similar_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """All rules are made when `passes` is imported: the hints for users would take most of that time."""
    monkeypatch.setattr("tgraph.hints.difflib.get_close_matches", lambda *_, **__: pytest.fail("a search for similar names"))
    rule("-x y - x / 2 < -y", lambda x, y: -x * y - x / 2 < -y, lambda x, y: x < y)
    with pytest.raises(pytest.fail.Exception):
        rule("x.no_such_name = x", lambda x: x.no_such_name, lambda x: x)


def test_a_name_is_one_value() -> None:
    misses(SILU, lambda x, z: x * tg.sigmoid(z), "x is another value here (%z: f32[B, 4])", x=X, z=X)


def test_nothing_that_is_read_elsewhere_or_returned_is_lost() -> None:
    def twice(x: Any) -> Any:
        s = tg.sigmoid(x)
        return x * s + tg.exp(s)

    misses(SILU, twice, "the result of sigmoid is also read by exp", x=X)

    def returned(x: Any) -> Any:
        s = tg.sigmoid(x)
        return {"y": x * s, "s": s}

    misses(SILU, returned, "the result of sigmoid is an output", x=X)
    shared = rule("x sigmoid(x) = silu(x)", lambda x: x * tg.sigmoid(x), lambda x: tg.silu(x), shared=True)
    assert sorted(after(shared, returned, x=X)[0]) == ["sigmoid", "silu"], "computed in both places"


def test_typed_wildcards() -> None:
    keep = rule("x * mask = where(mask, x, 0)", lambda x, mask=BOOL, dtype=ANY: x * tg.cast(mask, dtype=dtype),
                lambda x, mask: tg.where(mask, x, 0.0))
    assert after(keep, lambda x, m: x * m.astype(tg.f32), x=X, m=tg.bool_[B, 4])[0] == ["where"]
    misses(keep, lambda x, m: x * m.astype(tg.f32), "mask is i64, not bool", x=X, m=tg.i64[B, 4])
    square = rule("|x| = relu(x), wrong but typed", lambda x=MATRIX: tg.abs(x), lambda x: tg.relu(x))
    assert after(square, lambda x: tg.abs(x), x=X)[0] == ["relu"]
    misses(square, lambda x: tg.abs(x), "x is f32[B], not of rank 2", x=tg.f32[B])
    signed = rule("-x = x, wrong but typed", lambda x=SIGNED: -x, lambda x: x)
    assert after(signed, lambda x: -x, x=tg.i8[B])[0] == []
    misses(signed, lambda x: -x, "x is u8, not float or int", x=tg.u8[B])


def test_weights_are_known_before_any_input() -> None:
    turned = rule("x W = linear(x, W^T)", lambda x, w=WEIGHT: tg.matmul(x, w), lambda x, w: tg.linear(x, tg.transpose(w)))
    data = np.ones((4, 2), np.float32)
    assert after(turned, lambda x: x @ data, x=X)[0] == ["transpose", "linear"]
    misses(turned, lambda x, w: x @ w, "w is not known before the inputs", x=X, w=tg.f32[4, 2])


def test_numbers_and_their_conditions() -> None:
    scaled = rule("relu(x) c = relu(x c)", lambda x, c=POSITIVE: tg.relu(x) * c, lambda x, c: tg.relu(x * c))
    assert after(scaled, lambda x: tg.relu(x) * 2.0, x=X)[0] == ["mul", "relu"]
    misses(scaled, lambda x: tg.relu(x) * -2.0, "c = -2.0 is refused", x=X)
    misses(scaled, lambda x, z: tg.relu(x) * z, "expected a constant for c, found %z: f32[B, 4]", x=X, z=X)
    same = rule("x c + c = (x + 1) c", lambda x, c=NUMBER: x * c + c, lambda x, c: (x + 1.0) * c)
    assert after(same, lambda x: x * 3.0 + 3.0, x=X)[0] == ["add", "mul"]
    misses(same, lambda x: x * 3.0 + 2.0, "c is 3.0 elsewhere, 2.0 here", x=X)
    misses(rule("x 1 = x", lambda x: x * 1.0, lambda x: x), lambda x: x * 2.0, "expected the constant 1.0, found f32(2.0)", x=X)


def test_attributes_have_their_default_or_a_name() -> None:
    log = rule("ln softmax(x) = log_softmax(x)", lambda x: tg.log(tg.softmax(x)), lambda x: tg.log_softmax(x))
    assert after(log, lambda x: tg.log(tg.softmax(x)), x=X)[0] == ["log_softmax"]
    misses(log, lambda x: tg.log(tg.softmax(x, axis=0)), "attribute axis of softmax is -2, not -1", x=X)
    last = rule("ln softmax(x) = log_softmax(x)", lambda x, axis=LAST: tg.log(tg.softmax(x, axis=axis)),
                lambda x, axis: tg.log_softmax(x, axis=axis))
    misses(last, lambda x: tg.log(tg.softmax(x, axis=0)), "attribute axis of softmax is -2, not acceptable for axis", x=X)
    both = rule("two reductions of one axis", lambda x, y, axes=ANY: tg.reduce_sum(x, axes=axes) + tg.reduce_sum(y, axes=axes),
                lambda x, y, axes: tg.reduce_sum(x + y, axes=axes))
    add = lambda i, j: lambda x, z: tg.reduce_sum(x, axes=i) + tg.reduce_sum(z, axes=j)
    assert after(both, add(0, 0), x=tg.f32[4, 4], z=tg.f32[4, 4])[0] == ["add", "reduce_sum"]
    assert len(after(both, add(0, 1), x=tg.f32[4, 4], z=tg.f32[4, 4])[0]) == 3


def test_variants_and_what_may_be_missing() -> None:
    norm = rule("x / (|x| + e)", lambda x, e=NUMBER: either(x / maybe(lambda v: v + e, tg.abs(x)), tg.sign(x) * 1.0),
                lambda x, e: tg.tanh(x) if e is None else tg.tanh(x) * e)
    assert after(norm, lambda x: x / tg.abs(x), x=X)[0] == ["tanh"]
    assert after(norm, lambda x: x / (tg.abs(x) + 2.0), x=X)[0] == ["tanh", "mul"]
    assert after(norm, lambda x: tg.sign(x) * 1.0, x=X)[0] == ["tanh"]


def test_one_of_several_results() -> None:
    swap = rule("relu(split(x)[1]) = x[2:]", lambda x, sizes=ANY: tg.relu(result(tg.split(x, sizes=sizes), 1)),
                lambda x: tg.relu(x[:, 2:]))
    assert after(swap, lambda x: tg.relu(tg.split(x, sizes=2)[1]), x=X)[0] == ["slice", "relu"]
    assert after(swap, lambda x: tg.relu(tg.split(x, sizes=2)[0]), x=X)[0] == ["split", "relu"]


def test_a_condition_of_the_whole_match_may_refuse() -> None:
    wide = rule("relu", lambda x: tg.relu(x), lambda x: tg.abs(x), where=lambda m: f"{m['x'].shape[-1]} columns are too many")
    misses(wide, lambda x: tg.relu(x), "4 columns are too many", x=X)


def test_a_replacement_of_another_type_is_refused() -> None:
    rank = rule("x = x[0], wrong", lambda x: tg.exp(x), lambda x: x[0])
    misses(rank, lambda x: tg.exp(x), "the replacement is f32[4], not f32[2, 4]", x=tg.f32[2, 4])


def test_rules_that_undo_each_other_are_stopped_and_named() -> None:
    there = rule("|x| = relu(x)", lambda x: tg.abs(x), lambda x: tg.relu(x))
    back = rule("relu(x) = |x|", lambda x: tg.relu(x), lambda x: tg.abs(x))
    with pytest.raises(tg.PassError, match=r"did not come to an end after \d+ rewrites; the last was '.*': rules that undo"):
        after([there, back], lambda x: tg.abs(x), x=X)


def test_rules_in_plain_code() -> None:
    @node_rule("concat(x, x) = concat of two scaled", "concat")
    def doubled(graph: tg.Graph, node: Any) -> Any:
        if len(node.inputs) != 2 or node.inputs[0] is not node.inputs[1]:
            return "its operands differ"
        return [Builder(graph, node.provenance).expand(node.inputs[0], shape=node.result.shape)]

    assert doubled.ends_in(get_op("concat")) and not doubled.ends_in(get_op("split"))
    assert str(doubled) == "concat(x, x) = concat of two scaled"
    assert after(doubled, lambda x: tg.concat(x, x, axis=0), x=tg.f32[1, 4])[0] == ["expand"]
    misses(doubled, lambda x, z: tg.concat(x, z, axis=0), "its operands differ", x=tg.f32[1, 4], z=tg.f32[1, 4])


@pytest.mark.parametrize(("make", "message"), [
    (lambda: rule("r", lambda x: x, lambda x: x), "the pattern must end in an op"),
    (lambda: rule("r", lambda x: tg.exp(x), lambda y: y), "the replacement wants y, which the pattern does not bind"),
    (lambda: rule("r", lambda x=3: tg.exp(x), lambda x: x), "parameter x defaults to 3"),
    (lambda: rule("r", lambda x: tg.exp(x) + "a", lambda x: x), "not of str"),
    (lambda: rule("r", lambda x: tg.exp(result(x, 0)), lambda x: x), r"result\(\) takes an op's application"),
])
def test_rules_that_are_none(make: Any, message: str) -> None:
    with pytest.raises(tg.TGraphError, match=message):
        make()

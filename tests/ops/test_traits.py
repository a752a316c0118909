"""Traits and axis maps: every op declares them, and what it declares is so, on all samples."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
import pytest

import tgraph as tg
import tgraph.ops
from tests.ops.sample import Sample
from tests.ops.samples import SAMPLES
from tgraph.ir.axis_maps import axis_map, contraction, moved_attributes, permuted, worked_axes
from tgraph.ir.registry import OPS, Op
from tgraph.ir.traits import Lookup, Traits, documentation
from tgraph.ir.values import Node
from tgraph.reference.interpreter import Interpreter, Sizes

BUILT_IN = {name: op for name, op in OPS.items() if op.infer.__module__.startswith("tgraph.ops")}
every_op = pytest.mark.parametrize("op", BUILT_IN.values(), ids=BUILT_IN)
every_sample = pytest.mark.parametrize("sample", SAMPLES, ids=lambda s: s.name)
AXIS_WORDS = ("axis", "axes", "perm", "shape", "before", "after", "equation")  # what attributes that speak of axes are called

Arrays = tuple["np.ndarray | None", ...]


def missing(op: Op) -> str | None:
    """What an op has still to declare, as an advice; None if nothing."""
    traits = op.traits
    decided = traits.elementwise or traits.along is not None or traits.opaque or op.axes or op.contract or op.created
    if not decided and traits.view not in ("regroup", "repeat", "layout"):
        return (f"op {op.name} declares nothing about its axes. Write @op(elementwise=True), @op(along=-1) or along=\"axis\" "
                f"for one that works row by row, @op(view=...) for one that moves values, or which axes of its operands the axes "
                f"of its result come from, with @{op.name}.axis_map; @op(opaque=True) if nothing can be said")
    for name in op.attributes:
        if op.operands and name in AXIS_WORDS and name not in traits.axis_attributes:
            return (f"attribute {name} of op {op.name} speaks of axes: say how with axis_attributes={{{name!r}: ...}}, "
                    f"one of the roles in tgraph/ir/traits.py")
    return None


@every_op
def test_every_op_declares_how_its_axes_correspond(op: Op) -> None:
    assert missing(op) is None, missing(op)


def test_an_op_without_a_declaration_is_told_what_to_write() -> None:
    def shuffle(x: tg.TensorType, *, axis: int = 0) -> tg.TensorType:
        return x

    assert "@shuffle.axis_map" in str(missing(Op(shuffle, "shuffle")))
    assert "attribute axis of op shuffle" in str(missing(Op(shuffle, "shuffle", opaque=True)))
    assert missing(Op(shuffle, "shuffle", along="axis")) is None


@pytest.mark.parametrize(("given", "message"), [
    ({"elementwize": True}, "unknown trait 'elementwize'; did you mean elementwise"),
    ({"nonsense": 1}, "unknown trait 'nonsense'; traits are elementwise, work"),
    ({"elementwise": True, "along": -1}, "exclude each other: elementwise and along"),
    ({"exact": True}, "trait exact is for elementwise ops"),
    ({"view": "rotate"}, "trait view is one of permute, regroup, repeat, cut, join, layout, not 'rotate'"),
    ({"reduces": "sum", "along": -1}, "trait reduces wants along="),
])
def test_traits_that_make_no_sense_are_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(tg.RuleError, match="op 'f'") as error:
        tg.op(name="f", **given)(lambda x: x)
    assert message in str(error.value)
    assert "f" not in OPS


def test_every_trait_says_what_follows_from_it() -> None:
    assert list(documentation()) == [f.name for f in fields(Traits)]
    assert all(len(text) > 20 for text in documentation().values())


@dataclass
class Application:
    """One node of a sample as the reference ran it."""

    interpreter: Interpreter
    node: Node
    operands: Arrays
    sizes: Sizes
    results: tuple[np.ndarray, ...]

    def again(self, operands: Arrays) -> tuple[np.ndarray, ...]:
        return self.interpreter.apply(self.node, list(operands), dict(self.sizes))


def applications(sample: Sample) -> Iterator[Application]:
    """The nodes of a sample with what they were given and made."""
    found: list[Application] = []

    class Recorder(Interpreter):
        def run_node(self, node, operands, sizes):  # type: ignore[no-untyped-def]
            results = super().run_node(node, operands, sizes)
            copies = tuple(None if o is None else o.copy() for o in operands)
            found.append(Application(self, node, copies, dict(sizes), results))
            return results

    Recorder(sample.graph()).run(sample.feeds())
    return iter(found)


def same(x: np.ndarray, y: np.ndarray) -> bool:
    return bool(np.allclose(x, y, rtol=1e-9, atol=1e-9, equal_nan=True) if x.dtype.kind == "f" else np.array_equal(x, y))


@every_sample
def test_results_come_from_the_axes_that_the_map_says(sample: Sample) -> None:
    """What is changed at one place along an axis changes results at that place alone."""
    for use in applications(sample):
        for position, operand in enumerate(use.operands):
            axes = axis_map(use.node, position)
            for r, a in enumerate(axes or ()):
                if a is None or operand is None or operand.shape[a] < 2:
                    continue
                assert use.results[0].shape[r] == operand.shape[a]
                changed = np.moveaxis(operand.copy(), a, 0)
                changed[0] = changed[1]
                operands = (*use.operands[:position], np.moveaxis(changed, 0, a), *use.operands[position + 1:])
                for before, after in zip(use.results, use.again(operands)):
                    assert same(np.moveaxis(before, r, 0)[1:], np.moveaxis(after, r, 0)[1:]), (use.node, position, r, a)


@every_sample
def test_views_make_no_new_values(sample: Sample) -> None:
    for use in applications(sample):
        if use.node.op.traits.view is not None:
            given = np.concatenate([o.reshape(-1) for o in use.operands if o is not None])
            assert all(np.isin(r[r == r], given).all() for r in use.results), use.node


@every_sample
def test_an_op_is_the_same_where_axes_lie_elsewhere(sample: Sample) -> None:
    """f(transpose(x)) = transpose(f(x)) for every order of axes, with the attributes moved."""
    for use in applications(sample):
        node, x = use.node, use.operands[0] if use.operands else None
        ranks = {r.type.rank for r in node.results} | {0 if x is None else x.ndim}
        others_vary = any(o is not None and node.op.traits.along is None for o in use.operands[1:])
        moves_axes = node.op.traits.view in ("permute", "regroup", "repeat", "layout")
        if x is None or x.ndim < 2 or len(ranks) > 1 or others_vary or moves_axes:
            continue
        for perm in itertools.permutations(range(x.ndim)):
            fixed = isinstance(node.op.traits.along, int) and perm[node.op.traits.along] != x.ndim - 1
            attrs = None if fixed else moved_attributes(node, permuted(perm), permuted(perm))
            if attrs is None:
                continue
            given = {name: use.interpreter.attribute(value, dict(use.sizes)) for name, value in attrs.items()}
            assert node.op.numpy is not None
            with np.errstate(all="ignore"):
                made = node.op.numpy(np.transpose(x, perm), *use.operands[1:], **given)
            for got, wanted in zip(made if isinstance(made, tuple) else (made,), use.results):
                assert same(np.asarray(got).astype(wanted.dtype), np.transpose(wanted, perm)), (node, perm)


@every_sample
def test_row_wise_ops_see_one_row(sample: Sample) -> None:
    """A result that keeps the axes along which an op works depends on its own row, one that drops them on all of it."""
    for use in applications(sample):
        if use.node.op.traits.along is None:
            continue
        worked = worked_axes(use.node)
        assert use.operands[0] is not None
        assert all(0 <= a < max(use.operands[0].ndim, 1) for a in worked)
        mapped = {a for a in axis_map(use.node, 0) or () if a is not None}
        assert not mapped & set(worked)
        assert mapped == set(range(use.operands[0].ndim)) - set(worked)


@every_sample
def test_products_are_their_contractions(sample: Sample) -> None:
    for use in applications(sample):
        if use.node.op.contract is None or use.node.op.name == "einsum":  # which is one by definition
            continue
        terms, result = contraction(use.node)
        letters = {label: chr(97 + i) for i, label in enumerate(dict.fromkeys(x for t in (*terms, result) for x in t))}
        arrays = [np.asarray(o, np.float64) for o in use.operands[:len(terms)] if o is not None]
        squeezed, names = [], []
        for array, term in zip(arrays, terms):  # axes of size 1 broadcast
            kept = [i for i, label in enumerate(term) if array.shape[i] != 1 or label in term[-2:]]
            squeezed.append(array.reshape([array.shape[i] for i in kept]))
            names.append("".join(letters[term[i]] for i in kept))
        out = [label for label in result if letters[label] in "".join(names)]
        made = np.einsum(f"{','.join(names)}->{''.join(letters[x] for x in out)}", *squeezed).reshape(use.results[0].shape)
        for extra in use.operands[len(terms):]:
            made = made if extra is None else made + extra
        assert same(made, use.results[0].astype(np.float64)), use.node


def test_comparisons_know_their_mirrors_and_opposites() -> None:
    x, y = np.array([1.0, 2.0, 2.0]), np.array([2.0, 2.0, 1.0])
    for op in BUILT_IN.values():
        assert op.numpy is not None or op.name == "call"
        if op.traits.mirrored is not None:
            assert np.array_equal(op.numpy(x, y), OPS[op.traits.mirrored].numpy(y, x))  # type: ignore[misc]
        if op.traits.negated is not None:
            assert np.array_equal(op.numpy(x, y), ~OPS[op.traits.negated].numpy(x, y))  # type: ignore[misc]


@every_sample
def test_commutative_ops_take_operands_in_either_order(sample: Sample) -> None:
    for use in applications(sample):
        if use.node.op.traits.commutative:
            assert same(use.again(use.operands[::-1])[0], use.results[0])


@every_op
def test_lookups_name_their_operands(op: Op) -> None:
    lookup = op.traits.lookup
    if lookup is not None:
        assert isinstance(lookup, Lookup)
        assert {lookup.table, lookup.indices} <= set(range(len(op.operands))) and lookup.table != lookup.indices
        assert lookup.axis is None or lookup.axis in op.attributes


@every_op
def test_traits_name_attributes_that_exist(op: Op) -> None:
    names = [op.traits.makes_dim, op.traits.along if isinstance(op.traits.along, str) else None, *op.traits.axis_attributes]
    assert {n for n in names if n is not None} <= set(op.attributes)
    if op.traits.reduces is not None:
        assert "keepdims" in op.attributes

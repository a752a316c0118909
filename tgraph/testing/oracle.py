"""What a program may give: the reference at the precision of its types, and what rounding makes of it.

A result is right where it is near the reference. Where it is not, the reference is run again with every rounding moved by a
few units in the last place, as Monte Carlo arithmetic does it (Parker 1997): what lies within the results of those runs is
the fault of the program, not of the compiler, and counts as ill-conditioned. Nothing else is excused: infinities, NaN,
integers and booleans must be those of one of the runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from passes.manager import optimize
from tgraph.ir.dtypes import f32, f64
from tgraph.ir.graph import Graph
from tgraph.ir.values import Node, Result, Value
from tgraph.reference.interpreter import Interpreter
from tgraph.reference.tolerance import quantizing, tolerance
from tgraph.testing.crossings import Crossings, Extreme, Left, Met
from tgraph.testing.excluded import LeftOut, LetIn
from tgraph.testing.halves import rounded_in_places
from tgraph.testing.nearness import near, within, wrong_elements
from tgraph.testing.perturbed import EXACT, FACTORS, Perturbed
from tgraph.testing.ranges import Logarithms, Unbounded, UnboundedLogarithms

ORDERED = 64  # elements of an axis, each of which is tried as the largest
NORMS, LARGEST_IN_NORMS = ("layer_norm", "rms_norm"), 1.7e38
KEYS = {"attention": -2, "ragged_attention": 0}  # the axis of the keys, whose weighted values are summed before they are divided


@dataclass
class Expectation:
    """What one trial of a graph may give. `strict`: factors are not regrouped (level O0)."""

    graph: Graph
    feeds: Mapping[str, np.ndarray]
    faithful: dict[str, np.ndarray]
    wide: bool = False  # float64 throughout, for another reference
    allowed: float | None = None  # a tolerance other than those of the types
    least: float = 0.0  # of the tolerances
    _members: dict[tuple[bool, int], list[dict[str, np.ndarray]]] = field(default_factory=dict)
    _ranged: dict[type[Unbounded], dict[str, np.ndarray]] = field(default_factory=dict)
    _beyond: bool | None = None
    _ordered: dict[type[Unbounded], dict[Node, bool]] = field(default_factory=dict)
    _allowed: dict[str, float] = field(default_factory=dict, init=False)

    def members(self, strict: bool, more: int) -> list[dict[str, np.ndarray]]:
        """The reference, and runs with moved roundings; twice as many and more for a closer look."""
        key = strict, more
        if key not in self._members:
            exact = EXACT | FACTORS if strict else EXACT
            moves: list[Any] = [1.0, -1.0, *(np.random.default_rng(i) for i in range(1 + more))]
            moves += [4.0, -4.0, 0.0, -0.0, None] if more else []
            crossings = Crossings()
            runs = [Perturbed(self.graph, m, exact, faithful=not self.wide, observer=crossings.observe if more else None).run(
                self.feeds) for m in moves]
            if more:
                runs += [Perturbed(self.graph, m, exact, apart=True, faithful=not self.wide, observer=crossings.observe).run(
                    self.feeds) for m in (*moves[:2], *(np.random.default_rng(i) for i in range(4)))]
                others: list[Interpreter] = [Left(self.graph, crossings, left, faithful=not self.wide)
                                             for left in (0.0, -0.0, 1.0, -1.0)]
                others.append(Met(self.graph, crossings, faithful=not self.wide))
                others += [Extreme(self.graph, crossings, i, largest, faithful=not self.wide)
                           for i in range(min(crossings.longest_order(), ORDERED)) for largest in (True, False)]
                runs += [other.run(self.feeds) for other in others]
            if not self.wide and self._has_halves():
                runs.append(Interpreter(self.graph).run(self.feeds))  # a kernel may keep half precisions in f32
                runs += [run.run(self.feeds) for run in rounded_in_places(self.graph)] if more else []  # and may not
            if more and not strict and not self.wide:
                runs += self._after_passes()
            self._members[key] = [self.faithful, *runs]
        return self._members[key]

    def _has_halves(self) -> bool:
        return any(v.dtype.is_float and v.dtype.itemsize < 4 for n in self.graph.nodes for v in (*n.inputs, *n.results))

    def _after_passes(self) -> list[dict[str, np.ndarray]]:
        """What passes may change (docs/precision.md): what overflows on the way in f32 only, or has no place for what it is the
        logarithm of; and NaN behind masks, which may come or go, where comparisons hide it too."""
        (rounded, _), (kept, exact) = (_finite(self.graph, self.feeds, faithful) for faithful in (True, False))
        overflows = any((~a & b).any() for a, b in zip(rounded, kept))
        odd = overflows or not all(a.all() for a in rounded) or not all(np.isfinite(f.astype(np.float64)).all()
                                                                         for f in self.feeds.values())
        optimized = Interpreter(optimize(self.graph), faithful=True).run(self.feeds)
        apart = Interpreter(optimize(self.graph, "decompose{ops=linear}"), faithful=True).run(self.feeds)  # its bias comes later
        with np.errstate(invalid="ignore"):
            clean = {n: np.where(np.isfinite(r.astype(np.float64)), r, optimized[n]) for n, r in self.faithful.items()}
            spoilt = {n: np.where(np.isnan(optimized[n].astype(np.float64)), optimized[n], r) for n, r in self.faithful.items()}
        hidden = [kind(self.graph, faithful=faithful).run(self.feeds) for kind in (Logarithms, LeftOut, LetIn)
                  for faithful in ((True, False) if self._has_halves() else (True,))]
        return [clean, apart, *([spoilt] if odd else []), *([exact] if overflows else []), *hidden]

    def _unbounded(self, strict: bool) -> type[Unbounded]:
        """The reference with more range; passes give some to logarithms, too."""
        return Unbounded if strict or self.wide else UnboundedLogarithms

    def _lost_order(self, name: str, found: np.ndarray, allowed: float, strict: bool) -> np.ndarray:
        """Elements that are right because a number overflowed on the way that more range would have kept: the order of a sum
        then decides whether the result is infinite, NaN or what it should be."""
        kind = self._unbounded(strict)
        if kind not in self._ranged:
            self._ranged[kind] = kind(self.graph).run(self.feeds)
        r, ranged = self.faithful[name].astype(np.float64), self._ranged[kind][name]
        if not np.issubdtype(ranged.dtype, np.floating):
            return np.zeros(r.shape, bool)
        overflowed = ~np.isnan(ranged) & ~np.isfinite(r) & (ranged != r)
        return overflowed & (~np.isfinite(found.astype(np.float64)) | near(found, ranged.astype(np.float64), allowed))

    def _too_much_is_asked(self) -> bool:
        """Whether a norm gets a row, or attention values, beyond those of which docs/precision.md promises more than infinities
        and NaN."""
        if self._beyond is None:
            found = [False]

            def look(node: Node, operands: Sequence[Any], results: Sequence[np.ndarray]) -> None:
                if node.op.name in NORMS:
                    found.append(_largest(operands[0]) > (f64.largest**0.5 if self.wide else LARGEST_IN_NORMS))
                if node.op.name in KEYS:
                    kind = f64 if self.wide or node.results[0].dtype == f64 else f32
                    values = operands[2]
                    found.append(_largest(values) * max(values.shape[KEYS[node.op.name]], 1) > kind.largest)

            Interpreter(self.graph, faithful=not self.wide, observer=look).run(self.feeds)
            self._beyond = any(found)
        return self._beyond

    def _order_decides(self, output: Value, strict: bool) -> bool:
        """Whether an output depends on sums or products of finite numbers that leave the range, or may on the way: their order
        then decides what comes of it, and tanh(inf) or a cap makes other finite numbers of that."""
        unbounded = self._unbounded(strict)
        if unbounded not in self._ordered:
            self._ordered[unbounded] = self._nodes_whose_order_decides(unbounded)
        found = self._ordered[unbounded]
        own = output.node if isinstance(output, Result) else None
        return any(node in found and (node is not own or found[node]) for node in above(output))

    def _nodes_whose_order_decides(self, unbounded: type[Unbounded]) -> dict[Node, bool]:
        """Such nodes; false for those whose own results show it, as infinities and NaN (`_lost_order`)."""
        found: dict[Node, bool] = {}
        within: dict[Node, list[np.ndarray]] = {}
        kind = f64 if self.wide else f32

        def look(node: Node, operands: Sequence[Any], results: Sequence[np.ndarray]) -> None:
            if node.attrs.get("softcap"):
                q, k = map(_largest, operands[:2])
                if q * k * operands[0].shape[-1] * max(1.0, abs(node.attrs["scale"])) > kind.largest:
                    found[node] = True
            factors = _factors(node, operands)
            if factors and any(abs(log) > np.log2(kind.largest) - 2 for log in factors):
                found[node] = True
            if not node.op.elementwise and node.op.traits.view is None:
                within[node] = [_is_finite(r) for r in results]

        def compare(node: Node, operands: Sequence[Any], results: Sequence[np.ndarray]) -> None:
            if any((_is_finite(r) & ~before).any() for r, before in zip(results, within.get(node, []))):
                found.setdefault(node, False)

        Interpreter(self.graph, faithful=not self.wide, observer=look).run(self.feeds)
        unbounded(self.graph, observer=compare).run(self.feeds)
        return found

    def difference(self, found: Mapping[str, np.ndarray], strict: bool) -> tuple[str | None, int, int]:
        """What is wrong in words, if anything; how many elements there are, and how many are ill-conditioned."""
        total = excused = 0
        for name, value in self.graph.outputs:
            y, r = found[name], self.faithful[name]
            if y.shape != r.shape or (not self.wide and y.dtype != value.dtype.numpy):
                return f"output {name} is {y.dtype}{list(y.shape)}, not {r.dtype}{list(r.shape)}", total, excused
            if name not in self._allowed:
                self._allowed[name] = max(self.least, precision(value)) if self.allowed is None else self.allowed
            allowed = self._allowed[name]
            total += y.size
            bad = ~near(y, r, allowed)
            if not bad.any():
                continue
            for more in (0, 24):
                runs = [m[name] for m in self.members(strict, more)]
                wrong = bad & ~within(y, runs, allowed)
                if more and wrong.any():
                    wrong &= ~self._lost_order(name, y, allowed, strict)
                    if wrong.any() and self._too_much_is_asked():
                        wrong &= np.isfinite(y.astype(np.float64)) & (not self.wide)
                    if wrong.any() and self._order_decides(value, strict):
                        wrong = np.zeros(y.shape, bool)
                if not wrong.any():
                    break
            else:
                return wrong_elements(name, y, r, runs, wrong), total, excused
            excused += int(bad.sum())
        return None, total, excused


def _finite(graph: Graph, feeds: Mapping[str, np.ndarray], faithful: bool) -> tuple[list[np.ndarray], dict[str, np.ndarray]]:
    """Where the results of all nodes, in order, are finite; and the outputs."""
    found: list[np.ndarray] = []
    outputs = Interpreter(graph, faithful=faithful, observer=lambda node, operands, results: found.extend(
        np.isfinite(r.astype(np.float64)) for r in results)).run(feeds)
    return found, outputs


def _is_finite(array: np.ndarray) -> np.ndarray:
    return np.isfinite(array.astype(np.longdouble if array.dtype == np.longdouble else np.float64))


def _largest(array: np.ndarray) -> float:
    """The largest finite magnitude."""
    wide = array.astype(np.float64)
    return float(np.max(np.abs(wide), initial=0.0, where=np.isfinite(wide)))


def _factors(node: Node, operands: Sequence[Any]) -> tuple[float, ...]:
    """Of the products that a node makes of many numbers, the largest one of their parts above 1, and the smallest of those below,
    as powers of 2."""
    scatters = node.op.name == "scatter" and node.attrs["reduction"] == "mul"
    if not (scatters or node.op.name == "reduce_prod") or operands[0].dtype.kind not in "fV":
        return ()
    axes = node.attrs["axis"] if scatters else node.attrs["axes"]
    parts = [operands[0], operands[2]] if scatters else [operands[0]]
    with np.errstate(all="ignore"):
        logs = [np.log2(np.abs(p.astype(np.float64))) for p in parts]
    logs = [np.where(np.isfinite(log), log, 0.0) for log in logs]
    whole = logs[0] if not scatters else np.concatenate(logs, axis=axes)
    return tuple(float(pick(np.sum(clipped, axis=axes), initial=0.0)) for pick, clipped in (
        (np.max, np.maximum(whole, 0.0)), (np.min, np.minimum(whole, 0.0))))


def precision(value: Value) -> float:
    """The tolerance of the least precise type that a value is computed from."""
    if not value.dtype.is_float:
        return 0.0
    nodes = above(value)
    values = {value, *(v for node in nodes for v in node.inputs)}
    return max(*map(quantizing, nodes), *(tolerance(v.dtype) for v in values)) if nodes else tolerance(value.dtype)


def above(value: Value) -> set[Node]:
    """The nodes that a value depends on."""
    found: set[Node] = set()
    stack = [value]
    while stack:
        node = getattr(stack.pop(), "node", None)
        if node is not None and node not in found:
            found.add(node)
            stack += node.inputs
    return found

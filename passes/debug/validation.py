"""Numeric validation: runs a graph before and after a pass in the NumPy reference, on the same generated inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from passes.base import Effect, Pass
from passes.manager import Instrument, PassRecord
from passes.rewriting import RewriteReport
from tgraph.ir.dtypes import DType
from tgraph.ir.errors import InputError, PassError, TGraphError
from tgraph.ir.graph import Graph
from tgraph.ir.values import Constant, Node, Result, Value
from tgraph.ir.weights import Weights
from tgraph.reference.inputs import choose_sizes, generate_inputs, smallest_sizes
from tgraph.reference.interpreter import Interpreter
from tgraph.reference.special import Kind, special_inputs
from tgraph.reference.tolerance import Comparison, compare, compare_bands, stable, tolerance

# The tolerance in float64 for a pass that rounds: it may have folded constants at single precision.
ROUNDING = 1e-6

Feeds = dict[str, np.ndarray]
Outputs = dict[str, np.ndarray]


@dataclass(frozen=True)
class Trial:
    """One set of inputs, with the sizes of its dims."""

    sizes: Mapping[str, int]
    feeds: Feeds
    kind: Kind = "ordinary"
    label: str = ""

    def __str__(self) -> str:
        where = "at " + (", ".join(f"{name}={size}" for name, size in self.sizes.items()) or "static sizes")
        return f"{where} {self.label}".rstrip()


@dataclass(frozen=True)
class Difference:
    """An output that differs, and the first node whose result differs from that of its counterpart in the new graph."""

    output: str
    trial: Trial
    comparison: Comparison
    before: Node | None = None
    after: Node | None = None

    def __str__(self) -> str:
        text = (f"output {self.output!r} differs {self.trial} by {self.comparison.error:.2e}, "
                f"allowed {self.comparison.tolerance:.0e}")
        if self.before is not None:
            text += f"\n  first differing node: {describe(self.before)}"
        if self.after is not None:
            text += f"\n  which has become:     {describe(self.after)}"
        return text


class Validator:
    """Compares graphs that should mean the same, on a few sets of inputs generated for the first of them.

    Two sets have typical sizes. One has all sizes as small as they may be and, in each mask, a last row without any key. Then
    come those of `special_inputs`. Parameters without data get random values of a normal distribution, seeded by name.
    """

    def __init__(self, graph: Graph, sizes: Mapping[str, int] | None = None, seed: int = 0):
        base = choose_sizes(graph, sizes)
        self._faithful: tuple[Graph, dict[int, Outputs]] | None = None
        self.weights = Weights()  # of its own: validation leaves no data in the user's table
        self.weights.aliases.update(graph.weights.aliases)
        self.trials = [Trial(base, generate_inputs(graph, base, seed + i)) for i in range(2)]
        smallest = smallest_sizes(graph, sizes)
        self.trials.append(Trial(smallest, _without_keys(generate_inputs(graph, smallest, seed + 2))))
        self.trials += [Trial(base, s.feeds, s.kind, s.label) for s in special_inputs(graph, base, seed + 3)]

    def expect(self, graph: Graph) -> list[Outputs]:
        """The outputs of the graph to compare with. Trials that it does not take (sizes that do not divide) are dropped.

        Raises PassError if none is left.
        """
        outputs, reason = [], None
        for trial in list(self.trials):
            try:
                outputs.append(Interpreter(graph, weights=self._weights(graph)).run(trial.feeds))
            except InputError as error:
                self.trials.remove(trial)
                reason = error
        if not self.trials:
            raise PassError(f"graph {graph.name} cannot be validated: it runs on none of the inputs generated for it: {reason}")
        return outputs

    def run(self, graph: Graph) -> list[Outputs]:
        """The outputs of each trial, in float64."""
        return [Interpreter(graph, weights=self._weights(graph)).run(trial.feeds) for trial in self.trials]

    def difference(self, before: Graph, after: Graph, effect: Effect, expected: list[Outputs] | None = None,
                   found: list[Outputs] | None = None, *, moves_excluded: bool = False) -> Difference | None:
        """The first output that differs by more than the effect allows, if any; a missing output differs."""
        expected = self.expect(before) if expected is None else expected
        found = self.run(after) if found is None else found
        allowed = _allowed(before, after, effect)
        for trial, r, y in zip(self.trials, expected, found):
            for name, value in before.outputs:
                if name not in y:
                    return Difference(name, trial, Comparison(float("inf"), 0.0))
                comparison = _compare(y[name], r[name], value.dtype, allowed)
                if not comparison.ok and allowed:
                    comparison = self._where_stable(before, trial, name, y[name], r[name], allowed, value.dtype,
                                                    moves_excluded)
                if not comparison.ok:
                    return Difference(name, trial, comparison, *self._first(before, after, trial, allowed))
        return None

    def _where_stable(self, before: Graph, trial: Trial, name: str, y: np.ndarray, r: np.ndarray, allowed: float,
                      dtype: DType, moves_excluded: bool) -> Comparison:
        """The comparison of the elements that a pass that rounds must keep.

        For ordinary inputs these are all. For special ones, only elements that do not depend on rounding: where the graph
        itself gives the same result with each value rounded to its type, so nothing that overflows or is lost beside a huge
        number. Further exceptions:
        - a row that has NaN may become NaN as a whole;
        - with infinite or huge inputs, elements that were not finite may change;
        - if the pass moves what masks exclude, so may elements that are not finite before or after: with NaN or infinite
          inputs, or where one attention may read rows of another that have no key; and with such inputs all that a graph makes
          of them that tests for NaN.
        """
        whole = _compare(y, r, dtype, allowed)
        if trial.kind == "ordinary" or y.shape != r.shape:
            return whole
        kept = stable(r, self._rounded(before, trial)[name])
        if dtype.is_float:
            if r.ndim:  # a row that has NaN may become NaN as a whole, as softmax does
                kept &= ~(np.isnan(r).any(axis=-1, keepdims=True) & np.isnan(y)) | np.isnan(r)
            if trial.kind in ("huge", "infinite"):
                kept &= np.isfinite(r)
            if moves_excluded and (trial.kind in ("nan", "infinite") or _attends_twice(before)):
                kept &= np.isfinite(r) & np.isfinite(y)
            if moves_excluded and trial.kind in ("nan", "infinite") and _tests_nan(before):
                kept &= False
        return _compare(y[kept], r[kept], dtype, allowed)

    def _rounded(self, graph: Graph, trial: Trial) -> Outputs:
        """The outputs with each value rounded to its type; cached for the latest graph."""
        if self._faithful is None or self._faithful[0] is not graph:
            self._faithful = graph, {}
        known = self._faithful[1]
        if id(trial) not in known:
            outputs = Interpreter(graph, faithful=True, weights=self._weights(graph)).run(trial.feeds)
            known[id(trial)] = outputs
        return known[id(trial)]

    def _first(self, before: Graph, after: Graph, trial: Trial, allowed: float) -> tuple[Node | None, Node | None]:
        """The first node whose result differs from that of its counterpart, and the counterpart."""
        old, new = (self._all_values(graph, trial) for graph in (before, after))
        pairs = counterparts(before, after)
        for node in before.nodes:
            for result in node.results:
                twin = pairs.get(result)
                if twin is not None and result in old and twin in new and not _compare(
                        new[twin], old[result], result.dtype, allowed).ok:
                    return node, twin.node if isinstance(twin, Result) else None
        return None, None

    def _all_values(self, graph: Graph, trial: Trial) -> dict[Value, np.ndarray]:
        values: dict[Value, np.ndarray] = {}
        interpreter = Interpreter(graph, weights=self._weights(graph),
                                  observer=lambda node, _, results: values.update(zip(node.results, results)))
        interpreter.run(trial.feeds)
        for leaf in (*graph.parameters.values(), *graph.constants.values()):
            values[leaf] = interpreter.leaf(leaf, values)
        values.update((i, interpreter.load(trial.feeds[i.name], i.type)) for i in graph.inputs)
        return values

    def _weights(self, graph: Graph) -> Weights:
        for block in (*graph.functions.values(), graph):
            for name, parameter in block.parameters.items():
                if name in self.weights:
                    continue
                if name in graph.weights:
                    self.weights.set(name, graph.weights[name])
                else:
                    self.weights.initialize(name, parameter.type, lambda generator, shape: generator.standard_normal(shape))
        return self.weights


def counterparts(before: Graph, after: Graph) -> dict[Value, Value]:
    """Corresponding values of two graphs: outputs of the same name, and operands of equal ops whose results correspond."""
    names = dict(after.outputs)
    stack = [(v, names[n]) for n, v in reversed(before.outputs) if n in names]
    found: dict[Value, Value] = {}
    while stack:
        old, new = stack.pop()
        if old in found:
            continue
        found[old] = new
        if (isinstance(old, Result) and isinstance(new, Result) and old.node.op is new.node.op and old.index == new.index
                and len(old.node.operands) == len(new.node.operands)):
            stack += _operand_pairs(old.node, new.node)
    return found


def _operand_pairs(old: Node, new: Node) -> Iterator[tuple[Value, Value]]:
    operands = new.operands
    if old.op.traits.commutative and _op(old.operands[0]) != _op(operands[0]) and _op(old.operands[0]) == _op(operands[1]):
        operands = operands[::-1]
    return ((a, b) for a, b in zip(old.operands, operands) if a is not None and b is not None)


def _op(value: Value | None) -> str:
    return value.node.op.name if isinstance(value, Result) else type(value).__name__


def _attends_twice(graph: Graph) -> bool:
    """Whether a graph has several attentions: rows of one without a key, NaN, may be values that another one excludes."""
    nodes = [n for block in (graph, *graph.functions.values()) for n in block.nodes]
    return sum(n.op.traits.attention or n.op.name in ("softmax", "exp") for n in nodes) > 1


def _tests_nan(graph: Graph) -> bool:
    """Whether a graph chooses by what is NaN, which a mask may have excluded."""
    return any(n.op.name == "isnan" for block in (graph, *graph.functions.values()) for n in block.nodes)


def _allowed(before: Graph, after: Graph, effect: Effect) -> float:
    if effect == "exact":
        return 0.0
    constants = [c.dtype for graph in (before, after) for c in graph.constants.values() if c.dtype.is_float]
    return max([ROUNDING, *(tolerance(d) for d in constants if d.itemsize < 4)])


def _compare(y: np.ndarray, r: np.ndarray, dtype: DType, allowed: float) -> Comparison:
    if dtype.is_float and allowed:
        return compare_bands(y, r, allowed)
    equal = y.shape == r.shape and np.array_equal(y, r, equal_nan=dtype.is_float)
    error = compare(y, r, 0.0).error if y.shape == r.shape else float("inf")
    return Comparison(0.0 if equal else max(error, float(np.finfo(float).tiny)), 0.0)


def _without_keys(feeds: Feeds) -> Feeds:
    """Inputs with the last row of each mask all False."""
    for name, array in feeds.items():
        if array.dtype == bool and array.ndim > 1 and array.size:
            feeds[name] = array.copy()
            feeds[name].reshape(-1, array.shape[-1])[-1] = False
    return feeds


@dataclass
class ValidateEach(Instrument):
    """Runs the graph before and after each pass in the reference, and raises PassError if the results differ.

    After a pass that is exact they must be equal, after one that rounds close; one that changes the meaning is not validated,
    and noted in `skipped`.
    """

    sizes: Mapping[str, int] | None = None
    seed: int = 0
    skipped: list[str] = field(default_factory=list)
    validated: int = 0
    _validator: Validator | None = None
    _before: Graph | None = None
    _expected: list[Outputs] | None = None

    def start(self, graph: Graph) -> None:
        self._begin(graph)

    def after(self, step: Pass, graph: Graph, record: PassRecord, report: RewriteReport) -> None:
        if not record.changed:
            return
        if step.effect == "changes-meaning":
            self.skipped.append(f"{step} is not validated: it changes the meaning")
            self._begin(graph)
            return
        assert self._validator is not None and self._before is not None
        if self._expected is None:
            self._expected = self._validator.expect(self._before)
        try:
            found = self._validator.run(graph)
        except TGraphError as error:
            raise PassError(f"after pass {step} graph {graph.name} cannot be run: {error}\n  {fired(report)}") from error
        difference = self._validator.difference(self._before, graph, step.effect, self._expected, found,
                                                moves_excluded=step.moves_excluded)
        if difference is not None:
            raise PassError(f"pass {step} ({step.effect}) changes the result of graph {graph.name}: {difference}\n"
                            f"  {fired(report)}")
        self.validated += 1
        self._before, self._expected = graph.copy(), found

    def _begin(self, graph: Graph) -> None:
        self._validator, self._before, self._expected = Validator(graph, self.sizes, self.seed), graph.copy(), None


def fired(report: RewriteReport) -> str:
    """A text of the rules that fired, such as `rules that fired: x y = y x (3 times)`."""
    shown = [f"{rule}" + (f" ({count} times)" if count > 1 else "") for rule, count in report.rewrites.items()]
    return f"rules that fired: {'; '.join(shown)}" if shown else "no rule fired: the pass's own code did it"


def describe(node: Node) -> str:
    """A text of a node, such as `add(f32[B, S], f32[S]) in encoder.layer.0 at model.py:31`."""
    function = node.attrs.get("function")
    label = f"call ${function.name}" if isinstance(function, Graph) else node.op.name
    return f"{label}({', '.join(map(_short, node.inputs))}) {node.provenance.describe()}".rstrip()


def _short(value: Value) -> str:
    if isinstance(value, Constant) and value.data is not None and value.data.size == 1:
        return f"{value.dtype}({value.data.item()})"
    return str(value.type)


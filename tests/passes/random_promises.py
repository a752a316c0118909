"""Passes with options in random tests: those that keep the numbers, and what those that change the meaning promise instead."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

import tgraph as tg
from passes import optimize
from tgraph.ir.dims import symbols
from tgraph.reference.interpreter import Interpreter
from tgraph.reference.tolerance import compare

Problem = tuple[str, str]  # what kind of thing is wrong, and what exactly
Outputs = Mapping[str, np.ndarray]

OPTIONS = ("decompose{ops=softmax+gelu+layer_norm}", "fold-constants{max_elements=4}", "fuse-qkv{at_least=3}",
           "fuse-qkv{widest=16}", "mixed-precision{dtype=bf16}", "mixed-precision{dtype=bf16,activations=true}",
           "mixed-precision{keep=attention+linear}", "remove-padding{finite=true}",
           "decompose,O3", "cse,fuse-bias-activation,specialize-shapes,mixed-precision,fuse-qkv,decompose,dce")


def _gives(subject: Any, pipeline: str, number: int, expected: Outputs) -> Problem | None:
    """Whether the graph, after the pipeline, gives what is expected on one of the subject's sets of inputs."""
    after: tg.Graph | None = None
    try:
        if pipeline not in subject.made:
            subject.made[pipeline] = optimize(subject.graph, pipeline, verify_each=True)
        after = subject.made[pipeline]
        found = Interpreter(after, weights=subject.validator.weights).run(subject.validator.trials[number].feeds)
    except tg.TGraphError as error:
        return type(error).__name__, f"{pipeline}: {error}\n{after or ''}"
    for name, r in expected.items():
        if not compare(found[name], r, 1e-6).ok:
            return "difference", f"{pipeline}: output {name!r} differs\n{after}"
    return None


def _numbers(subject: Any) -> list[int]:
    """Which of the subject's sets of inputs hold numbers of a usual size, and fills of masks."""
    return [n for n, trial in enumerate(subject.validator.trials) if trial.kind not in ("huge", "nan", "infinite")]


def _first(problems: Iterator[Problem | None]) -> Problem | None:
    return next((p for p in problems if p is not None), None)


def _specialized(subject: Any) -> Problem | None:
    """The same numbers for inputs of these sizes, and no symbolic dim but those that a node decides."""
    fed = {s.name for i in subject.graph.inputs for d in i.shape for s in symbols(d)}

    def pipeline(number: int) -> str:
        sizes = {name: size for name, size in subject.validator.trials[number].sizes.items() if name in fed}
        return f"specialize-shapes{{{','.join(f'{name}={size}' for name, size in sizes.items())}}}"

    if not fed:
        return None
    left = [s for i in optimize(subject.graph, pipeline(0)).inputs for d in i.shape for s in symbols(d)]
    if left:
        return "symbols", f"{left[0].name} is left"
    return _first(_gives(subject, pipeline(n), n, subject.expected[n]) for n in _numbers(subject))


def _without_outputs(subject: Any) -> Problem | None:
    """The outputs that are kept, as they were."""
    name, _ = subject.graph.outputs[0]
    if not re.fullmatch(r"[\w.]+", name):
        return None  # a name that the text of a pipeline cannot say
    return _first(_gives(subject, f"remove-dead-outputs{{keep={name}}}", n, {name: subject.expected[n][name]})
                  for n in _numbers(subject))


def _zero_padded(subject: Any) -> Problem | None:
    """An output of one row a position has zeros where the mask is False; the others are as they were."""
    mask = next((i for i in subject.graph.inputs if i.name == "mask"), None)
    name, value = subject.graph.outputs[0]
    if mask is None or value.type.rank != 3 or value.shape[:2] != mask.shape or not value.dtype.is_float:
        return None

    def expected(number: int) -> Outputs:
        kept = subject.validator.trials[number].feeds["mask"][..., None]
        return {**subject.expected[number], name: np.where(kept, subject.expected[number][name], 0.0)}

    return _first(_gives(subject, f"cse,remove-padding{{output={name},mask=mask}}", n, expected(n))
                  for n in _numbers(subject))


def _masked(subject: Any) -> Problem | None:
    """A weight of e^-10000 is 0 anyway: only a row without any key, as in the last set of inputs, may differ."""
    return _first(_gives(subject, "canonicalize,finite-mask", n, outputs) for n, outputs in enumerate(subject.expected[:2]))


PROMISES: dict[str, Callable[[Any], Problem | None]] = {
    "specialize-shapes{...}": _specialized, "remove-dead-outputs{keep=...}": _without_outputs,
    "remove-padding{output=...,mask=mask}": _zero_padded, "finite-mask": _masked}

"""The weights of a compiled program: what its parameters hold, and what its kernels read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from targets.base.interrupts import hold_interrupts
from targets.base.room import enough_memory
from targets.runtime.compiled import Compiled
from targets.runtime.prepare import evaluate_prepare
from tgraph.ir.program import Program
from tgraph.ir.weights import check_weights, named_arrays


class LoadedWeights:
    """The weights of a compiled program. data: the parameters', by name; prepared: the tensors made of them, for all engines."""

    def __init__(self, program: Program, compiled: Compiled, prepared: Mapping[str, np.ndarray]):
        self.data: Mapping[str, np.ndarray] = program.weights
        self._parameters, self._aliases = program.parameters, program.weights.aliases
        self._compiled = compiled
        self._take(prepared)

    def load(self, weights: Mapping[str, Any] | str | Path, cast: bool) -> None:
        """Take other values for all parameters. Raises WeightsError that lists what does not fit, and OutOfMemoryError."""
        with enough_memory("loading weights"):
            given, source = named_arrays(weights)
            data = check_weights(given, self._parameters, self._aliases, source, cast)
            prepared = evaluate_prepare(self._compiled.prepare, data)
        with hold_interrupts():  # all of them are the old ones or the new ones
            self._take(prepared)
            self.data = data

    def _take(self, prepared: Mapping[str, np.ndarray]) -> None:
        self.prepared = prepared
        for engine in self._compiled.engines.values():
            engine.load_prepared(prepared)

"""Passes, which rewrite graphs, and pipelines of them: `optimize(graph, "O2")` gives a new graph."""

from passes.base import PASSES, Effect, Pass, register_pass
from passes.debug.bisection import Culprit, bisect
from passes.debug.fusions import Fused, fused, summary
from passes.debug.history import History, Recorder, record
from passes.debug.instruments import Deltas, DumpFolder, Explain, Print
from passes.debug.validation import ValidateEach
from passes.manager import Instrument, PassManager, PassRecord, VerifyEach, optimize, run_pipeline
from passes.pipelines import LEVELS, parse_pipeline

from . import transforms  # noqa: F401  (registers the passes)

__all__ = ["LEVELS", "PASSES", "Culprit", "Deltas", "DumpFolder", "Effect", "Explain", "Fused", "History", "Instrument",
           "Pass", "PassManager", "PassRecord", "Print", "Recorder", "ValidateEach", "VerifyEach", "bisect", "fused",
           "optimize", "parse_pipeline", "record", "register_pass", "run_pipeline", "summary"]

"""Graph to graph: the passes, one file each, and how pipelines of them run. `optimize(graph, "O2")` gives a new graph."""

from . import cse, dce, fold_constants, fuse_bias_activation, fuse_qkv, fuse_silu, fuse_softmax  # noqa: F401  (each registers its pass)
from .base import PASSES, Effect, Pass, register_pass
from .manager import PassRecord, optimize, run_pipeline
from .pipelines import LEVELS, parse_pipeline

__all__ = ["LEVELS", "PASSES", "Effect", "Pass", "PassRecord", "optimize", "parse_pipeline", "register_pass",
           "run_pipeline"]

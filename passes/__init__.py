"""Graph to graph: the passes, one file each, and how pipelines of them run. `optimize(graph, "O2")` gives a new graph."""

from . import (  # noqa: F401  (each registers its pass)
    canonicalize,
    cse,
    dce,
    decompose,
    eliminate_transposes,
    finite_mask,
    fold_constants,
    fuse_attention,
    fuse_bias_activation,
    fuse_embeddings,
    fuse_gelu,
    fuse_layer_norm,
    fuse_qkv,
    fuse_rms_norm,
    fuse_rotary,
    fuse_silu,
    fuse_skip_norm,
    fuse_softmax,
    inline,
    mixed_precision,
    quantize_products,
    remove_dead_outputs,
    remove_padding,
    simplify,
    specialize_shapes,
    store_weights,
)
from .base import PASSES, Effect, Pass, register_pass
from .bisection import Culprit, bisect
from .instruments import Deltas, DumpFolder, Explain, Print
from .manager import Instrument, PassManager, PassRecord, VerifyEach, optimize, run_pipeline
from .pipelines import LEVELS, parse_pipeline
from .validation import ValidateEach

__all__ = ["LEVELS", "PASSES", "Culprit", "Deltas", "DumpFolder", "Effect", "Explain", "Instrument", "Pass", "PassManager",
           "PassRecord", "Print", "ValidateEach", "VerifyEach", "bisect", "optimize", "parse_pipeline", "register_pass",
           "run_pipeline"]

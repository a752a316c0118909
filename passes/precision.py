"""The passes that `compile(..., precision=, weights=)` adds to a pipeline."""

from __future__ import annotations

from tgraph.ir.errors import PassError

from .base import Pass
from .cse import Cse
from .dce import Dce
from .inline import Inline
from .mixed_precision import HALVES, MixedPrecision
from .quantize_products import QuantizeProducts
from .store_weights import StoreWeights

PRECISIONS = ("f32", *HALVES)
WEIGHTS = ("f32", *HALVES, "i8")


def precision_passes(precision: str, weights: str, activations: bool = False) -> list[Pass]:
    """What computes products in `precision` with weights stored as `weights`; nothing for f32.

    activations: whether what lies between products is kept in `precision`, too.

    Raises PassError for another name.
    """
    for name, value, known in (("precision", precision, PRECISIONS), ("weights", weights, WEIGHTS)):
        if value not in known:
            raise PassError(f"{name}={value!r}: it is one of {', '.join(known)}")
    chosen: list[Pass] = []
    if weights in HALVES:
        chosen.append(StoreWeights(dtype=weights))
    if weights == "i8":
        chosen.append(QuantizeProducts())
    if precision != "f32":
        chosen.append(MixedPrecision(dtype=precision, activations=activations))
    return [Inline(), *chosen, Cse(), Dce()] if chosen else []

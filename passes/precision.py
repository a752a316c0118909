"""The passes that `compile(..., precision=, weights=)` adds to a pipeline."""

from __future__ import annotations

from passes.base import Pass
from passes.transforms.cse import Cse
from passes.transforms.dce import Dce
from passes.transforms.inline import Inline
from passes.transforms.mixed_precision import HALVES, MixedPrecision
from passes.transforms.quantize_products import QuantizeProducts
from passes.transforms.store_weights import StoreWeights
from tgraph.ir.errors import PassError

PRECISIONS = ("f32", *HALVES)
WEIGHTS = ("f32", *HALVES, "i8")


def precision_passes(precision: str, weights: str, activations: bool = False) -> list[Pass]:
    """The passes that make products compute in `precision`, with weights stored as `weights`; none if both are f32.

    activations: whether values between products are kept in `precision`, too.

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

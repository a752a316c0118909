"""The passes that `compile(..., precision=, weights=)` adds to a pipeline."""

from __future__ import annotations

from passes.base import Pass
from passes.transforms.cse import Cse
from passes.transforms.dce import Dce
from passes.transforms.decompose import Decompose
from passes.transforms.inline import Inline
from passes.transforms.mixed_precision import HALVES, MixedPrecision
from passes.transforms.quantize_products import QuantizeProducts
from passes.transforms.store_weights import StoreWeights
from tgraph.ir.errors import PassError
from tgraph.ir.registry import OPS

PRECISIONS = ("f32", *HALVES)
INTEGERS = {"i8": 8, "i4": 4}  # bits of a weight
WEIGHTS = ("f32", *HALVES, *INTEGERS)


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
    if weights in INTEGERS:
        chosen.append(QuantizeProducts(bits=INTEGERS[weights]))
    if precision != "f32":
        chosen.append(MixedPrecision(dtype=precision, activations=activations))
    composites = "+".join(sorted(op.name for op in OPS.values() if op.traits.precision == "composite"))
    return [Inline(), Decompose(ops=composites), *chosen, Cse(), Dce()] if chosen else []

"""All samples: what the tests of the ops, of the reference and of every target run on."""

from __future__ import annotations

from tests.ops.sample import Sample
from tests.ops.samples_division import DIVISIONS
from tests.ops.samples_ordering import ORDERING
from tests.ops.samples_pointwise import POINTWISE
from tests.ops.samples_product import PRODUCTS
from tests.ops.samples_ragged import RAGGED
from tests.ops.samples_range import RANGE
from tests.ops.samples_recurrent import RECURRENT
from tests.ops.samples_reduction import REDUCTIONS
from tests.ops.samples_rotary import ROTARY
from tests.ops.samples_shape import SHAPES

FAMILIES: dict[str, list[Sample]] = {"pointwise": POINTWISE, "division": DIVISIONS, "shape": SHAPES, "reduction": REDUCTIONS,
                                     "product": PRODUCTS, "ragged": RAGGED, "rotary": ROTARY, "range": RANGE,
                                     "ordering": ORDERING, "recurrent": RECURRENT}
SAMPLES: list[Sample] = [s for family in FAMILIES.values() for s in family]

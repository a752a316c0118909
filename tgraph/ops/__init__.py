"""The built-in ops, one file a family. Importing this package registers them all."""

from . import (  # noqa: F401
    activation,
    attention,
    call,
    cast,
    create,
    einsum,
    elementwise,
    index,
    linear,
    logic,
    normalization,
    packing,
    padding,
    quantization,
    ragged_attention,
    reduction,
    rotary,
    shape,
    slicing,
)

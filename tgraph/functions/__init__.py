"""Functions of the language under the names that PyTorch and NumPy have for them, one file a family.

They trace into ops; importing this package registers them all, and makes methods of tensors of those that are methods there.
"""

from ..public import FUNCTIONS
from . import (  # noqa: F401
    convolution,
    creation,
    methods,
    ordering,
    padding,
    pieces,
    pointwise,
    products,
    reductions,
    shapes,
)
from .calls import DOCUMENTED, function_of

__all__ = ["DOCUMENTED", "FUNCTIONS", "function_of"]

"""f64 literals that keep all of their bits: TVM's CUDA source has 15 digits after the point, and so 0 for 1e-20."""

from __future__ import annotations

import struct
from typing import Any

from tvm_ffi.structural import structural_map

from targets.base.tvm_api import tirx


def exact(literal: Any) -> Any:
    """The literal, or, if its digits would not be read back as it, the number with its bits."""
    value = float(literal.value)
    if str(literal.ty.dtype) != "float64" or value - value != 0 or float(f"{value:.15f}") == value:
        return literal
    (bits,) = struct.unpack("<q", struct.pack("<d", value))
    return tirx.call_pure_extern("float64", "__longlong_as_double", tirx.const(bits, "int64"))


def _of_gpus(function: Any, module: Any, context: Any) -> Any:
    target = function.attrs.get("target")
    return structural_map(function, [(tirx.FloatImm, exact)]) if target is not None and target.kind.name == "cuda" else function


# over the functions of a GPU, when nothing but code generation is left to look into expressions
exact_literals = tirx.transform.prim_func_pass(_of_gpus, opt_level=0, name="tgraph.ExactLiterals")

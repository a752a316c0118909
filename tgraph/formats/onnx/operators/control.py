"""Constants, and branches that are decided while importing."""

from __future__ import annotations

from typing import Any

import numpy as np

from ....ir.dims import Dim
from ..known import Known
from ..node import OnnxNode, UnsupportedError
from ..registry import importer


@importer("Constant", limits="tensors and numbers")
def constant(node: OnnxNode) -> Any:
    import onnx.numpy_helper

    if "value" in node.attributes:
        return Known.of(onnx.numpy_helper.to_array(node.attribute("value")))
    for name, dtype in (("value_float", np.float32), ("value_floats", np.float32), ("value_int", np.int64),
                        ("value_ints", np.int64)):
        if name in node.attributes:
            return Known.of(np.asarray(node.attribute(name), dtype))
    raise UnsupportedError(f"is a constant by {', '.join(node.attributes) or 'no attribute'}; tgraph takes tensors and numbers")


@importer("If", limits="the condition must be known while importing")
def branch(node: OnnxNode, condition: Any) -> Any:
    """The branch that the condition chooses, which must be known: it may ask for a size that is only known at run time to be 1,
    which no symbolic dim is (broadcasting treats it so, too)."""
    found = node.operands[0]
    if isinstance(found, Known) and found.is_constant:
        return node.scope.run(node.attribute("then_branch" if found.array.reshape(-1)[0] else "else_branch"))
    asked = is_one(node)
    if asked:
        return node.scope.run(node.attribute("else_branch"))
    raise UnsupportedError("chooses a branch by a value that is computed; tgraph runs one, which must be known: export "
                           "the model with that condition fixed", 0)


def is_one(node: OnnxNode) -> bool:
    """Whether the condition compares a symbolic size with 1."""
    name = node.proto.input[0]
    source = node.scope.importer.producers.get(name)
    if source is None or source.op_type != "Equal":
        return False
    sides = [node.scope.find(i) for i in source.input]
    arrays = [s.array.reshape(-1) for s in sides if isinstance(s, Known) and s.array.size == 1]
    return len(arrays) == 2 and any(isinstance(a[0], Dim) for a in arrays) and any(a[0] == 1 for a in arrays)

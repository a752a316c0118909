"""An ONNX model whose products read 8-bit weights: what OpenVINO's own tool for that, nncf, makes of a model's weights."""

from __future__ import annotations

from typing import Any

import numpy as np


def compress_weights(model: Any) -> Any:
    """The model with each constant weight [K, N] of a MatMul as i8, and a scale for each column, symmetric; in place.

    OpenVINO keeps such weights in 8 bits, and quantises the other operand in each call where its kernels can.
    """
    from onnx import helper, numpy_helper

    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    nodes = []
    for node in graph.node:
        weight = constants.get(node.input[1]) if node.op_type == "MatMul" else None
        if weight is not None and len(weight.dims) == 2:
            values = numpy_helper.to_array(weight)
            scale = np.maximum(np.abs(values).max(axis=0) / 127, np.finfo(np.float32).tiny)
            name = weight.name
            graph.initializer.remove(weight)
            graph.initializer.extend([numpy_helper.from_array(np.rint(values / scale).astype(np.int8), f"{name}.i8"),
                                      numpy_helper.from_array(scale.astype(np.float32), f"{name}.scale")])
            nodes.append(helper.make_node("DequantizeLinear", [f"{name}.i8", f"{name}.scale"], [name], axis=1))
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    return model

"""An ONNX model whose products read weights of few bits in blocks, MatMulNBits of com.microsoft."""

from __future__ import annotations

from typing import Any

import numpy as np


def as_matmuls(model: Any) -> Any:
    """The model with MatMul and Add for each Gemm that is x W + b with a constant weight; in place."""
    from onnx import helper

    constant = {i.name for i in model.graph.initializer}
    nodes = []
    for node in model.graph.node:
        options = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        usual = {"transA": 0, "transB": 0, "alpha": 1.0, "beta": 1.0}
        plain = all(options.get(name, value) == value for name, value in usual.items())
        if node.op_type != "Gemm" or not plain or node.input[1] not in constant:
            nodes.append(node)
            continue
        product = f"{node.output[0]}.product" if len(node.input) > 2 else node.output[0]
        nodes.append(helper.make_node("MatMul", node.input[:2], [product], name=node.name))
        if len(node.input) > 2:
            nodes.append(helper.make_node("Add", [product, node.input[2]], list(node.output), name=f"{node.name}.bias"))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def in_blocks(model: Any, bits: int = 4, symmetric: bool = True, block: int = 32, accuracy_level: int | None = None) -> Any:
    """The model with a MatMulNBits for each MatMul with a constant weight [K, N], rounded to nearest; in place.

    Each block of K has a scale, and a zero point if not symmetric: the middle of the numbers otherwise. accuracy_level: what ONNX
    Runtime may compute the products in; 4 are 8-bit integers.
    """
    from onnx import helper, numpy_helper

    arrays = {i.name: i for i in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type != "MatMul" or node.input[1] not in arrays:
            continue
        weight = numpy_helper.to_array(arrays[node.input[1]]).T
        rows, depth = weight.shape
        q, scale, zero = _rounded(weight, bits, symmetric, block)
        held = {"packed": _packed(q, bits), "scales": scale.reshape(-1)}
        if not symmetric:
            held["zeros"] = _packed(zero, bits).reshape(-1)
        names = [f"{node.name}.{part}" for part in held]
        model.graph.initializer.extend(numpy_helper.from_array(a, n) for a, n in zip(held.values(), names))
        node.CopyFrom(helper.make_node("MatMulNBits", [node.input[0], *names], list(node.output), name=node.name,
                                       domain="com.microsoft", bits=bits, block_size=block, K=depth, N=rows,
                                       **({} if accuracy_level is None else {"accuracy_level": accuracy_level})))
    read = {name for node in model.graph.node for name in node.input}
    kept = [i for i in model.graph.initializer if i.name in read]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return model


def _rounded(weight: np.ndarray, bits: int, symmetric: bool, block: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The numbers [N, blocks, block], scales and zero points [N, blocks] of a weight [N, K]."""
    rows, depth = weight.shape
    blocks, top = -(-depth // block), 2**bits - 1
    parts = np.pad(weight, ((0, 0), (0, blocks * block - depth))).reshape(rows, blocks, block)
    low, high = np.minimum(parts.min(2), 0), np.maximum(parts.max(2), 0)
    if symmetric:
        high = np.maximum(-low, high)
        low = -high
    scale = np.maximum((high - low) / top, np.finfo(np.float32).tiny).astype(np.float32)
    zero = np.full((rows, blocks), 2.0**(bits - 1)) if symmetric else np.rint(-low / scale)
    return np.clip(np.rint(parts / scale[..., None]) + zero[..., None], 0, top), scale, zero


def _packed(numbers: np.ndarray, bits: int) -> np.ndarray:
    """Numbers as bytes, along the last axis, the first one in the lowest bits."""
    many = 8 // bits
    filled = np.pad(numbers.astype(np.uint8), [(0, 0)] * (numbers.ndim - 1) + [(0, -numbers.shape[-1] % many)])
    made = np.zeros((*filled.shape[:-1], filled.shape[-1] // many), np.uint8)
    for i in range(many):
        made |= filled[..., i::many] << np.uint8(bits * i)
    return made

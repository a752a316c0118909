"""Tensors made of nothing but shapes and numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from ....ir.dtypes import DType, dtype_of, f32, i64
from ..evaluate import LARGEST
from ..known import Known
from ..node import OnnxNode, UnsupportedError
from ..registry import importer
from .language import t


@importer("ConstantOfShape")
def constant_of_shape(node: OnnxNode, shape: Any) -> Any:
    import onnx.numpy_helper

    value = node.attribute("value", None)
    fill = np.zeros(1, np.float32) if value is None else onnx.numpy_helper.to_array(value).reshape(-1)
    return t.full(tuple(node.sizes(0, "the shape")), fill[0].item(), dtype=dtype_of(fill))


@importer("Range")
def range_(node: OnnxNode, start: Any, limit: Any, step: Any) -> Any:
    dtype = start.dtype
    if dtype.is_float:
        low, high, width = (float(node.array(i, f"the {name}").reshape(-1)[0]) for i, name in enumerate(("start", "end", "step")))
        return t.cast(t.arange(low, high, width), dtype=dtype)
    first, last = node.sizes(0, "the start")[0], node.sizes(1, "the end")[0]
    step = int(node.array(2, "the step").reshape(-1)[0])
    found = t.arange(first, last, step) if step != 1 else t.range(start=first, stop=last, dtype=i64)
    return found if dtype == i64 else t.cast(found, dtype=dtype)


@importer("EyeLike")
def eye_like(node: OnnxNode, x: Any) -> Any:
    dtype: DType = node.dtype("dtype", x.dtype)
    rows, columns = (t.range(stop=n, dtype=i64) for n in x.shape)
    return t.cast(t.equal(rows[:, None] + node.attribute("k", 0), columns[None, :]), dtype=dtype)


@importer("OneHot")
def one_hot(node: OnnxNode, indices: Any, depth: Any, values: Any) -> Any:
    count, axis = node.sizes(1, "the depth")[0], node.attribute("axis", -1)
    index = t.cast(indices, dtype=i64)
    places = t.range(stop=count, dtype=i64)
    index = t.where(index < 0, index + t.dim_size(size=count, dtype=i64), index)
    here = t.equal(index[..., None], places)
    found = t.where(here, values[1], values[0])
    return found if axis in (-1, index.rank) else t.moveaxis(found, -1, axis)


@importer("HannWindow", "HammingWindow", "BlackmanWindow", since=17)
def window(node: OnnxNode, size: Any) -> Any:
    count = int(node.array(0, "the size").reshape(-1)[0])
    if count > LARGEST:
        raise UnsupportedError(f"makes a window of {count} elements; tgraph makes up to {LARGEST}")
    n = np.arange(count) * (2 * np.pi / (count if node.attribute("periodic", 1) else count - 1))
    terms = {"HannWindow": (0.5, -0.5, 0.0), "HammingWindow": (25 / 46, -21 / 46, 0.0), "BlackmanWindow": (0.42, -0.5, 0.08)}
    a, b, c = terms[node.op]
    dtype = node.dtype("output_datatype", f32)
    return Known.of((a + b * np.cos(n) + c * np.cos(2 * n)).astype(dtype.numpy))

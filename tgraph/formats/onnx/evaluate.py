"""Computing with what is known while importing, so that arithmetic on shapes disappears into sizes.

What has symbolic sizes in it is computed here, by NumPy on arrays of integers and dims; what is all numbers, and small, by the
reference implementation of the onnx package.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import numpy as np

from ...ir.dims import DimLike, compare
from ...ir.rules import Constraints
from .known import Known, cast_array
from .node import OnnxNode
from .registry import find

LARGEST = 2**16  # elements of what is computed while importing; more is left to the graph
MOST_MET = 2**22  # pairs of elements, one of each operand, in what is computed so
MAKERS = {"ConstantOfShape", "Expand", "Tile", "Range", "OneHot", "Pad", "EyeLike", "Resize", "Upsample", "CenterCropPad",
          "HannWindow", "HammingWindow", "BlackmanWindow", "CastMap", "DictVectorizer"}  # more out than in
WINDOWS = {"pads", "kernel_shape", "strides", "dilations", "output_shape", "output_padding"}  # attributes that say so, too
RANDOM = {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli", "Dropout"}

IN_F32 = {"Erf", "Gelu"}  # which the onnx package computes so whatever the element type

Rule = Callable[..., Any]  # of the node and its arrays; None if the answer is not known
RULES: dict[str, Rule] = {}


class _UnknownError(Exception):
    """The answer depends on sizes that only a call decides."""


def evaluate(node: OnnxNode) -> list[Known] | None:
    """The results of a node whose operands are all known; None if they are left to the graph."""
    operands = [o for o in node.operands if o is not None]
    if node.proto.domain not in ("", "ai.onnx") or not all(isinstance(o, Known) for o in operands):
        return None
    if sum(o.array.size for o in operands) > LARGEST or node.op in RANDOM or (
            node.op in IN_F32 and operands[0].array.dtype == np.float64):
        return None
    found = find("", node.op, node.version)
    if found is None or found.refused:
        return None
    arrays = [None if o is None else o.array for o in node.operands]
    if node.op in RULES:
        try:
            results = RULES[node.op](node, *arrays)
        except _UnknownError:
            return None
        if results is None:
            return None
        return [Known.of(r, _dtype(node, operands, r)) for r in (results if isinstance(results, list) else [results])]
    if node.op in MAKERS or not operands or not all(o.is_constant for o in operands) or _grows(node, operands):
        return None
    return _reference(node, [None if o is None else o.array for o in node.operands])


def _grows(node: OnnxNode, operands: Sequence[Known]) -> bool:
    """Whether the results may be much larger than the operands, or take longer: each element of one meets each of the others."""
    if any(a.name in WINDOWS or a.HasField("g") or a.graphs for a in node.proto.attribute):
        return True
    return math.prod(max(o.array.size, 1) for o in operands) > MOST_MET


def _reference(node: OnnxNode, arrays: Sequence[np.ndarray | None]) -> list[Known] | None:
    """What the onnx package's reference implementation gives; None if it has none, or refuses."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    try:
        model = onnx.helper.make_model(onnx.helper.make_graph(
            [node.proto], "node",
            [onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
             for name, a in zip(node.proto.input, arrays) if a is not None],
            [onnx.helper.make_empty_tensor_value_info(name) for name in node.proto.output if name],
        ), opset_imports=[onnx.helper.make_opsetid("", node.version)])
        feeds = {name: a for name, a in zip(node.proto.input, arrays) if a is not None}
        with np.errstate(all="ignore"):
            results = iter(ReferenceEvaluator(model).run(None, feeds))
        found = [next(results) if name else None for name in node.proto.output]
    except Exception:  # the op's importer then says what is wrong
        return None
    if not all(f is None or isinstance(f, (np.ndarray, np.generic)) for f in found):
        return None
    return [Known.of(np.zeros(0) if f is None else np.asarray(f)) for f in found]


def _dtype(node: OnnxNode, operands: Sequence[Known], result: Any) -> Any:
    import onnx.helper

    result = np.asarray(result)
    if result.dtype == np.bool_:
        return np.bool_
    if node.op == "Cast":
        return onnx.helper.tensor_dtype_to_np_dtype(node.attribute("to"))
    of = operands[1] if node.op == "Where" else operands[0]
    return of.dtype if result.dtype == object else result.dtype


def rule(*ops: str) -> Callable[[Rule], Rule]:
    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(ops, function))
        return function

    return register


# Arithmetic

def _quotient(x: DimLike, y: DimLike) -> DimLike:
    """x / y towards 0, as Div has it; rounded down where x may be negative for some sizes only, as in (S-1)/2, which is what
    exporters make of (S-1) // 2."""
    if isinstance(x, int) and isinstance(y, int):
        if not y:
            raise _UnknownError
        return abs(x) // abs(y) * (1 if (x < 0) == (y < 0) else -1)
    if "holds" in (Constraints([]).order(0, x), Constraints([]).order(0, y)):
        raise _UnknownError
    return x // y


def _remainder(x: DimLike, y: DimLike) -> DimLike:
    """What `_quotient` leaves, as Mod has it with fmod."""
    return x - y * _quotient(x, y)


def _modulo(x: DimLike, y: DimLike) -> DimLike:
    """x modulo y with the sign of y, as Mod has it without fmod."""
    if isinstance(y, int) and not y:
        raise _UnknownError
    return x - y * (x // y)


def _ordered(x: DimLike, y: DimLike) -> bool:
    """Whether x >= y. Raises _UnknownError."""
    verdict = Constraints([]).order(x, y)
    if verdict == "unknown":
        raise _UnknownError
    return verdict != "never"


def _same(x: DimLike, y: DimLike) -> bool:
    verdict = compare(x, y)
    if verdict == "unknown":
        raise _UnknownError
    return verdict == "equal"


_ELEMENTWISE: dict[str, Callable[..., Any]] = {
    "Add": lambda x, y: x + y, "Sub": lambda x, y: x - y, "Mul": lambda x, y: x * y, "Div": _quotient,
    "Mod": _modulo,
    "Neg": lambda x: -x,
    "Equal": _same, "Greater": lambda x, y: not _ordered(y, x), "GreaterOrEqual": _ordered,
    "Less": lambda x, y: not _ordered(x, y), "LessOrEqual": lambda x, y: _ordered(y, x),
    "Max": lambda x, y: x if _ordered(x, y) else y, "Min": lambda x, y: y if _ordered(x, y) else x,
}


def _symbolic(*arrays: np.ndarray) -> bool:
    return any(a.dtype == object for a in arrays)


@rule(*_ELEMENTWISE)
def _elementwise(node: OnnxNode, *arrays: np.ndarray) -> Any:
    if not _symbolic(*arrays):
        found = None if math.prod(np.broadcast_shapes(*(a.shape for a in arrays))) > MOST_MET else _reference(node, arrays)
        return None if found is None else found[0].array
    if any(a.dtype != object and a.dtype.kind not in "iu" for a in arrays):
        return None
    function = _remainder if node.op == "Mod" and node.attribute("fmod", 0) else _ELEMENTWISE[node.op]
    shape = np.broadcast_shapes(*(a.shape for a in arrays))
    if math.prod(shape) > LARGEST:
        return None
    flat = [a.reshape(-1).tolist() for a in np.broadcast_arrays(*arrays)]
    made = [reduce(function, row) if len(row) > 1 or node.op != "Neg" else -row[0] for row in zip(*flat)]
    if made and all(isinstance(value, bool) for value in made):
        return np.array(made, bool).reshape(shape)
    return _objects(made, shape)


def _objects(values: Sequence[Any], shape: tuple[int, ...]) -> np.ndarray:
    out = np.empty(len(values), object)
    for i, value in enumerate(values):
        out[i] = value
    return out.reshape(shape)


@rule("Cast")
def _cast(node: OnnxNode, x: np.ndarray) -> Any:
    import onnx

    number = node.attribute("to")
    if number == onnx.TensorProto.STRING:
        return None
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(number))
    if x.dtype != object:
        return cast_array(x, dtype)
    return x if dtype.kind in "iu" else None


# Order of elements

@rule("Identity")
def _identity(node: OnnxNode, x: np.ndarray) -> Any:
    return x


@rule("Concat")
def _concat(node: OnnxNode, *arrays: np.ndarray) -> Any:
    if len({a.ndim for a in arrays}) > 1 or any(a.ndim == 0 for a in arrays):
        return None
    return np.concatenate([a.astype(object) for a in arrays] if _symbolic(*arrays) else list(arrays), node.attribute("axis"))


@rule("Gather")
def _gather(node: OnnxNode, x: np.ndarray, indices: np.ndarray) -> Any:
    axis = node.attribute("axis", 0)
    if not -x.ndim <= axis < x.ndim or x.size * indices.size > MOST_MET * max(x.shape[axis], 1):
        return None
    if _symbolic(indices) or (np.abs(indices) > x.shape[axis]).any():
        return None
    return np.take(x, indices.astype(np.int64), axis) if ((indices < x.shape[axis]) & (indices >= -x.shape[axis])).all() else None


@rule("Slice")
def _slice(node: OnnxNode, x: np.ndarray, *operands: np.ndarray | None) -> Any:
    if node.version < 10:
        starts, stops = node.attribute("starts"), node.attribute("ends")
        axes, steps = node.attribute("axes", None), None
    else:
        given = [*operands, None, None][:4]
        if any(o is not None and o.dtype == object for o in given):
            return None
        starts, stops, axes, steps = (None if o is None else o.reshape(-1).tolist() for o in given)
    axes = list(range(len(starts))) if axes is None else axes
    index: list[Any] = [slice(None)] * x.ndim
    for i, axis in enumerate(axes):
        step = 1 if steps is None else steps[i]
        size = x.shape[axis]
        stop = stops[i] if stops[i] >= -size or step > 0 else None  # beyond the first element, going back
        index[axis] = slice(starts[i], stop, step)
    return x[tuple(index)]


@rule("Unsqueeze")
def _unsqueeze(node: OnnxNode, x: np.ndarray, axes: np.ndarray | None = None) -> Any:
    found = node.attribute("axes") if axes is None else axes.reshape(-1).tolist()
    rank = x.ndim + len(found)
    places = {a % rank for a in found}
    sizes = iter(x.shape)
    return x.reshape([1 if i in places else next(sizes) for i in range(rank)])


@rule("Squeeze")
def _squeeze(node: OnnxNode, x: np.ndarray, axes: np.ndarray | None = None) -> Any:
    found = node.attribute("axes", None) if axes is None else axes.reshape(-1).tolist()
    return np.squeeze(x, None if found is None else tuple(found))


@rule("Reshape")
def _reshape(node: OnnxNode, x: np.ndarray, shape: np.ndarray | None = None) -> Any:
    if shape is None or _symbolic(shape):
        return None
    wanted = [x.shape[i] if n == 0 and not node.attribute("allowzero", 0) else n for i, n in enumerate(shape.tolist())]
    return x.reshape(wanted)


@rule("Transpose")
def _transpose(node: OnnxNode, x: np.ndarray) -> Any:
    return np.transpose(x, node.attribute("perm", None))


@rule("Expand")
def _expand(node: OnnxNode, x: np.ndarray, shape: np.ndarray) -> Any:
    if _symbolic(shape):
        return None
    wanted = np.broadcast_shapes(x.shape, tuple(shape.tolist()))
    return np.broadcast_to(x, wanted) if np.prod(wanted, dtype=object) <= LARGEST else None


@rule("ConstantOfShape")
def _constant_of_shape(node: OnnxNode, shape: np.ndarray) -> Any:
    import onnx.numpy_helper

    if _symbolic(shape) or np.prod(shape, dtype=object) > LARGEST or (shape < 0).any():
        return None
    value = node.attribute("value", None)
    filled = np.float32(0) if value is None else onnx.numpy_helper.to_array(value).reshape(-1)[0]
    return np.full(shape.tolist(), filled)


@rule("Range")
def _range(node: OnnxNode, start: np.ndarray, limit: np.ndarray, step: np.ndarray) -> Any:
    if _symbolic(start, limit, step) or not step or abs((limit.item() - start.item()) / step.item()) > LARGEST:
        return None
    return np.arange(start.item(), limit.item(), step.item(), dtype=start.dtype)


@rule("Split")
def _split(node: OnnxNode, x: np.ndarray, sizes: np.ndarray | None = None) -> Any:
    axis = node.attribute("axis", 0)
    found = node.attribute("split", None) if sizes is None else sizes.tolist()
    if found is None:
        part = -(-x.shape[axis] // node.results)
        return np.split(x, range(part, x.shape[axis], part), axis)
    return np.split(x, np.cumsum(found)[:-1].tolist(), axis)


@rule("Where")
def _where(node: OnnxNode, condition: np.ndarray, x: np.ndarray, y: np.ndarray) -> Any:
    if condition.dtype != np.bool_ or math.prod(np.broadcast_shapes(condition.shape, x.shape, y.shape)) > MOST_MET:
        return None
    return np.where(condition, x.astype(object), y.astype(object)) if _symbolic(x, y) else np.where(condition, x, y)


@rule("ReduceProd", "ReduceSum")
def _reduce(node: OnnxNode, x: np.ndarray, axes: np.ndarray | None = None) -> Any:
    if not _symbolic(x):
        found = _reference(node, [x] if axes is None else [x, axes])
        return None if found is None else found[0].array
    if x.ndim != 1:
        return None
    total: Any = 1 if node.op == "ReduceProd" else 0
    for size in x:
        total = total * size if node.op == "ReduceProd" else total + size
    return _objects([total], (1,) if node.attribute("keepdims", 1) else ())

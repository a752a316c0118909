"""The table's rows: primitives, and those composite ops that ONNX has, too."""

from __future__ import annotations

from typing import Any

import numpy as np

from ....ir.dtypes import bf16, bool_, f32, i8, i32, i64, u8
from ....ir.values import Constant, Node
from .table import exporter
from .writer import WrittenNode, number_of, tensor

SAME = {  # ours -> ONNX's, with no attributes
    "abs": "Abs", "add": "Add", "ceil": "Ceil", "cos": "Cos", "erf": "Erf", "exp": "Exp", "floor": "Floor", "log": "Log",
    "logical_and": "And", "logical_or": "Or", "logical_xor": "Xor", "logical_not": "Not", "mul": "Mul", "neg": "Neg", "pow":
    "Pow", "reciprocal": "Reciprocal", "round": "Round", "sign": "Sign", "sin": "Sin", "sqrt": "Sqrt", "sub": "Sub", "tanh":
    "Tanh", "matmul": "MatMul", "equal": "Equal", "greater": "Greater", "greater_or_equal": "GreaterOrEqual", "isinf":
    "IsInf", "isnan": "IsNaN", "less": "Less", "less_or_equal": "LessOrEqual", "where": "Where", "maximum": "Max", "minimum":
    "Min", "relu": "Relu", "sigmoid": "Sigmoid", "softplus": "Softplus",
}


def _same(name: str) -> Any:
    return lambda node, *xs: node.emit(name, *xs)


for _ours, _name in SAME.items():
    exporter(_ours, like=_name)(_same(_name))


@exporter("not_equal", like="Equal")
def not_equal(node: WrittenNode, x: str, y: str) -> Any:
    return node.emit("Not", node.emit("Equal", x, y))


@exporter("square", like="Mul")
def square(node: WrittenNode, x: str) -> Any:
    return node.emit("Mul", x, x)


@exporter("rsqrt", like="Sqrt")
def rsqrt(node: WrittenNode, x: str) -> Any:
    return node.emit("Reciprocal", node.emit("Sqrt", x))


@exporter("clip", since=11, like="Clip")
def clip(node: WrittenNode, x: str) -> Any:
    dtype = node.type.dtype
    low, high = ("" if node[bound] is None else node.number(node[bound], dtype) for bound in ("min", "max"))
    return node.emit("Clip", x, low, high)


@exporter("div", when=lambda node: node.results[0].dtype.is_float, like="Div")
def div(node: WrittenNode, x: str, y: str) -> Any:
    return node.emit("Div", x, y)


def _other_sign(node: WrittenNode, rest: str, y: str) -> str:
    """Whether a division left a rest of another sign than the divisor."""
    zero = node.number(0, node.type.dtype)
    other = node.emit("Xor", node.emit("Less", rest, zero), node.emit("Less", y, zero))
    return str(node.emit("And", other, node.emit("Not", node.emit("Equal", rest, zero))))


@exporter("div", "floor_div", "mod", when=lambda node: node.results[0].dtype.is_integer, like="Div")
def integer_division(node: WrittenNode, x: str, y: str) -> Any:
    """ONNX divides towards zero, and says nothing of division by 0 and of the lowest number by -1."""
    dtype, op, divisor = node.type.dtype, node.node.op.name, node.node.operands[1]
    known, signed = divisor.data if isinstance(divisor, Constant) else None, dtype.kind == "int"
    one, zero = node.number(1, dtype), node.number(0, dtype)
    by_zero = node.emit("Equal", y, zero) if known is None or (known == 0).any() else ""
    minus = node.emit("Equal", y, node.number(-1, dtype)) if signed and (known is None or (known == -1).any()) else ""
    safe = y
    for bad in filter(None, (by_zero, minus)):
        safe = node.emit("Where", bad, one, safe)
    result = node.emit("Div", x, safe)
    rest = node.emit("Sub", x, node.emit("Mul", result, safe)) if op == "mod" or (op == "floor_div" and signed) else ""
    if op == "mod":
        result = node.emit("Where", _other_sign(node, rest, safe), node.emit("Add", rest, safe), rest) if signed else rest
    elif rest:
        result = node.emit("Sub", result, node.emit("Cast", _other_sign(node, rest, safe), to=number_of(dtype)))
    if minus:
        result = node.emit("Where", minus, zero if op == "mod" else node.emit("Sub", zero, x), result)
    return node.emit("Where", by_zero, zero, result) if by_zero else result


@exporter("floor_div", when=lambda node: node.results[0].dtype.is_float, like="Round")  # no bf16 before Where has it
def floor_div(node: WrittenNode, x: str, y: str) -> Any:
    """By way of the exact remainder, as NumPy's: x / y rounds, and may round up to the next integer."""
    number = lambda value: node.number(value, node.type.dtype)
    rest, quotient = node.emit("Mod", x, y, fmod=1), node.emit("Div", x, y)
    whole = node.emit("Div", node.emit("Sub", x, rest), y)
    whole = node.emit("Where", _other_sign(node, rest, y), node.emit("Sub", whole, number(1)), whole)
    low = node.emit("Floor", whole)
    high = node.emit("Where", node.emit("Less", number(0.5), node.emit("Sub", whole, low)), node.emit("Add", low, number(1)), low)
    zero = node.emit("Equal", whole, number(0))  # of the quotient's sign
    nearest = node.emit("Where", zero, node.emit("Mul", quotient, number(0)), high)
    return node.emit("Where", node.emit("Equal", y, number(0)), quotient, nearest)


@exporter("mod", when=lambda node: node.results[0].dtype.is_float, like="Round")  # no bf16 before Where has it
def mod(node: WrittenNode, x: str, y: str) -> Any:
    """fmod, whose rest has the sign of x, moved to that of y; a rest of 0 as well."""
    rest = node.emit("Mod", x, y, fmod=1)
    zero, minus = (node.number(value, node.type.dtype) for value in (0.0, -0.0))
    signed = node.emit("Where", node.emit("Less", y, zero), minus, zero)
    rest = node.emit("Where", node.emit("Equal", rest, zero), signed, rest)
    return node.emit("Where", _other_sign(node, rest, y), node.emit("Add", rest, y), rest)


@exporter("cast", since=11, like="Clip", when=lambda node: node.inputs[0].dtype.is_float and node.result.dtype in (i8, u8))
def cast_to_8_bits(node: WrittenNode, x: str) -> Any:
    """With the ends of the type, beyond which ONNX leaves open what Cast gives."""
    ends, dtype = np.iinfo(node["dtype"].numpy), node.operand(0).dtype
    return node.emit("Cast", node.emit("Clip", x, node.number(ends.min, dtype), node.number(ends.max, dtype)),
                     to=number_of(node["dtype"]))


@exporter("cast")
def cast(node: WrittenNode, x: str) -> Any:
    return node.emit("Cast", x, to=number_of(node["dtype"]))


# Creation

@exporter("dim_size")
def dim_size(node: WrittenNode) -> Any:
    size = node.to.size(node["size"])
    return size if node["dtype"] == i64 else node.emit("Cast", size, to=number_of(node["dtype"]))


@exporter("full")
def full(node: WrittenNode) -> Any:
    dtype = f32 if node.type.dtype == bf16 else node.type.dtype
    value = tensor("value", np.asarray([node["value"]], dtype.numpy))
    made = node.emit("ConstantOfShape", node.sizes(node["shape"]), value=value)
    return made if dtype == node.type.dtype else node.emit("Cast", made, to=number_of(node.type.dtype))


@exporter("range", since=11)
def range_(node: WrittenNode) -> Any:
    found = node.emit("Range", node.to.size(node["start"]), node.to.size(node["stop"]), node.number(1, i64))
    return found if node.type.dtype == i64 else node.emit("Cast", found, to=number_of(node.type.dtype))


@exporter("one_hot", since=11)
def one_hot(node: WrittenNode, indices: str) -> Any:
    """All 0 for an index outside, where OneHot takes negative ones from the end."""
    places = node.emit("Range", node.number(0, i64), node.to.size(node["depth"]), node.number(1, i64))
    wide = node.emit("Cast", indices, to=number_of(i64))
    last = node.emit("Unsqueeze", wide, node.array([-1])) if node.opset >= 13 else node.emit("Unsqueeze", wide, axes=[-1])
    return node.emit("Cast", node.emit("Equal", last, places), to=number_of(node["dtype"]))


# Index

@exporter("embedding", like="Gather")
def embedding(node: WrittenNode, indices: str, table: str) -> Any:
    return node.emit("Gather", table, indices, axis=0)


@exporter("gather", since=11, like="Gather")
def gather(node: WrittenNode, x: str, indices: str) -> Any:
    return node.emit("Gather", x, indices, axis=node["axis"])


@exporter("take_along_axis", since=11, like="GatherElements")
def take_along_axis(node: WrittenNode, x: str, indices: str) -> Any:
    return node.emit("GatherElements", x, indices, axis=node["axis"])


@exporter("unpack", since=13)
def unpack(node: WrittenNode, mask: str) -> Any:
    flat = node.emit("Reshape", mask, node.array([-1]))
    places = node.emit("Squeeze", node.emit("NonZero", flat), node.array([0]))
    counts = node.emit("ReduceSum", node.emit("Cast", mask, to=number_of(i64)), node.array([1]), keepdims=0)
    offsets = node.emit("Concat", node.array([0]), node.emit("CumSum", counts, node.number(0, i64)), axis=0)
    return places, offsets


# Reductions

@exporter("argmax", since=11, like="ArgMax")
def argmax(node: WrittenNode, x: str) -> Any:
    return node.emit("ArgMax", x, axis=node["axis"], keepdims=int(node["keepdims"]))


@exporter("cumsum", since=11, like="CumSum")
def cumsum(node: WrittenNode, x: str) -> Any:
    return node.emit("CumSum", x, node.number(node["axis"], i64), exclusive=int(node["exclusive"]))


REDUCTIONS = {"reduce_max": "ReduceMax", "reduce_min": "ReduceMin", "reduce_mean": "ReduceMean", "reduce_prod": "ReduceProd",
              "reduce_sum": "ReduceSum"}


def reduction(node: WrittenNode, x: str) -> Any:
    op, axes, keep = REDUCTIONS[node.node.op.name], node["axes"], int(node["keepdims"])
    axes = tuple(range(node.operand(0).rank)) if axes is None else axes
    if not axes:
        return node.emit("Identity", x)
    if node.opset >= (13 if op == "ReduceSum" else 18):
        return node.emit(op, x, node.array(axes), keepdims=keep)
    return node.emit(op, x, axes=list(axes), keepdims=keep)


for _ours, _name in REDUCTIONS.items():
    exporter(_ours, like=_name)(reduction)


# Shape

@exporter("expand", like="Expand")
def expand(node: WrittenNode, x: str) -> Any:
    return node.emit("Expand", x, node.sizes(node.type.shape))


@exporter("reshape", like="Reshape")
def reshape(node: WrittenNode, x: str) -> Any:
    """0 where an axis keeps its size, -1 for one size that follows from the others, so that little has to be computed."""
    old, new = node.operand(0).shape, node.type.shape
    if 0 in new and node.opset < 14:  # before allowzero; there is no element
        return node.emit("ConstantOfShape", node.sizes(new), value=tensor("value", np.zeros(1, node.type.dtype.numpy)))
    if 0 in new or 0 in old:
        return node.emit("Reshape", x, node.sizes(new), allowzero=1 if node.opset >= 14 else None)
    kept = [0 if i < len(old) and not isinstance(n, int) and old[i] == n else n for i, n in enumerate(new)]
    open_ = [i for i, n in enumerate(kept) if not isinstance(n, int)]
    if len(open_) == 1:
        kept[open_[0]] = -1
    return node.emit("Reshape", x, node.sizes(kept))


def _with_axes(node: WrittenNode, op: str, x: str, axes: Any) -> Any:
    return node.emit(op, x, node.array(axes)) if node.opset >= 13 else node.emit(op, x, axes=list(axes))


@exporter("squeeze", like="Squeeze")
def squeeze(node: WrittenNode, x: str) -> Any:
    return _with_axes(node, "Squeeze", x, node["axes"]) if node["axes"] else node.emit("Identity", x)


@exporter("unsqueeze", like="Unsqueeze")
def unsqueeze(node: WrittenNode, x: str) -> Any:
    return _with_axes(node, "Unsqueeze", x, node["axes"]) if node["axes"] else node.emit("Identity", x)


@exporter("transpose", like="Transpose")
def transpose(node: WrittenNode, x: str) -> Any:
    return node.emit("Transpose", x, perm=list(node["perm"])) if node["perm"] else node.emit("Identity", x)


@exporter("concat", like="Concat")
def concat(node: WrittenNode, *xs: str) -> Any:
    return node.emit("Concat", *xs, axis=node["axis"])


@exporter("pad", since=11, like="Pad")
def pad(node: WrittenNode, x: str) -> Any:
    if not node.type.rank:
        return node.emit("Identity", x)
    if node.type.dtype == bool_:  # which old opsets do not pad
        wide = node.emit("Cast", x, to=number_of(i32))
        made = node.emit("Pad", wide, node.sizes((*node["before"], *node["after"])), node.number(int(node["value"]), i32))
        return node.emit("Cast", made, to=number_of(bool_))
    return node.emit("Pad", x, node.sizes((*node["before"], *node["after"])), node.number(node["value"], node.type.dtype))


@exporter("slice", since=10, like="Slice")
def slice_(node: WrittenNode, x: str) -> Any:
    stops = [-(2**31) if s is None else s for s in node["stops"]]
    steps = node["steps"] or (1,) * len(stops)
    return node.emit("Slice", x, node.sizes(node["starts"]), node.sizes(stops), node.array(node["axes"]), node.array(steps))


@exporter("split", since=13, like="Split")
def split(node: WrittenNode, x: str) -> Any:
    count = len(node["sizes"])
    found = node.emit("Split", x, node.sizes(node["sizes"]), axis=node["axis"], outputs=count)
    return (found,) if count == 1 else found


# Composite ops that ONNX has

@exporter("softmax", "log_softmax", since=13, like="Softmax")
def softmax(node: WrittenNode, x: str) -> Any:
    return node.emit("Softmax" if node.node.op.name == "softmax" else "LogSoftmax", x, axis=node["axis"])


@exporter("leaky_relu", like="LeakyRelu")
def leaky_relu(node: WrittenNode, x: str) -> Any:
    return node.emit("LeakyRelu", x, alpha=float(node["alpha"]))


@exporter("gelu", since=20, like="Gelu")
def gelu(node: WrittenNode, x: str) -> Any:
    return node.emit("Gelu", x, approximate=node["approximate"])


@exporter("layer_norm", since=17, like="LayerNormalization", when=lambda node: node.operands[1] is not None)
def layer_norm(node: WrittenNode, x: str, weight: str, bias: str) -> Any:
    return node.emit("LayerNormalization", x, weight, bias, axis=-1, epsilon=float(node["epsilon"]))


@exporter("rms_norm", since=23, like="RMSNormalization", when=lambda node: node.operands[1] is not None)
def rms_norm(node: WrittenNode, x: str, weight: str) -> Any:
    return node.emit("RMSNormalization", x, weight, axis=-1, epsilon=float(node["epsilon"]))


@exporter("topk", since=11, when=lambda node: node.inputs[0].dtype.name in ("f32", "f64", "i32", "i64"))
def topk(node: WrittenNode, x: str) -> Any:
    return node.emit("TopK", x, node.array([node["k"]]), axis=node["axis"], largest=int(node["largest"]), sorted=1, outputs=2)


@exporter("einsum", since=12, like="Einsum")
def einsum(node: WrittenNode, *xs: str) -> Any:
    return node.emit("Einsum", *xs, equation=node["equation"])


@exporter("integer_linear", since=10)
def integer_linear(node: WrittenNode, x: str, weight: str) -> Any:
    return node.emit("MatMulInteger", x, node.emit("Transpose", weight, perm=[1, 0]))


def _is_standard(node: Node) -> bool:
    """Attention without a mask: with one, a row may have no key, of which ONNX says something else than `empty_row`."""
    _, _, _, mask, bias, offset = node.operands
    some_key = node.attrs["window"] is None or node.attrs["empty_row"] == "zero"
    return mask is None and offset is None and (bias is None or bias.type.rank == 4) and some_key


@exporter("attention", since=25, when=_is_standard)
@exporter("attention", since=23, when=lambda node: node.attrs["window"] is None and _is_standard(node))
def attention(node: WrittenNode, q: str, k: str, v: str, mask: str, bias: str, offset: str) -> Any:
    scale, (left, right) = node["scale"], node["window"] or (None, None)
    keys, given = node.node.operands[1], node.node.operands[4]
    if keys is not None and given is not None and given.type.shape[-1] == 1 != keys.type.shape[2]:
        bias = node.emit("Expand", bias, node.sizes([1, 1, 1, keys.type.shape[2]]))  # keys that a mask does not name are excluded
    return node.emit("Attention", q, k, v, bias, is_causal=int(node["causal"]), scale=None if scale is None else float(scale),
                     softcap=node["softcap"] or None, left_window_size=left, right_window_size=right)

"""Readers of the ops that move, select or make elements, at an index: one entry an op in `access.READ`.

Views that move axes, regroup digits or repeat are read by their axis maps, one entry a kind in `access.READ_VIEWS`."""

from __future__ import annotations

import math

from targets.base.tvm_api import Expr, int64, tirx
from targets.codegen.access import Access, Index, as_index, attribute_dim, reader, view_reader
from targets.codegen.opaque import bind
from targets.codegen.scalar import cast, held, hold, literal
from tgraph.ir.axis_maps import axis_map, declared_map, permutation
from tgraph.ir.dims import DimLike, compare
from tgraph.ir.errors import CompileError
from tgraph.ir.values import Node, Value


@view_reader("regroup")
def _(access: Access, node: Node, value: Value, index: Index) -> Expr:
    return access.load(node.operands[0], index)


@view_reader("permute")
def _(access: Access, node: Node, value: Value, index: Index) -> Expr:
    source, perm = node.inputs[0], permutation(node)
    if perm is None:
        raise CompileError(f"op {node.op.name} permutes axes, but its axis map is no permutation")
    positions = access.axes(index, value.shape)
    moved = {axis: positions[i] for i, axis in enumerate(perm)}
    return access.load(source, access.index([moved[a] for a in range(source.type.rank)], source.shape))


@view_reader("repeat")
def _(access: Access, node: Node, value: Value, index: Index) -> Expr:
    if declared_map(node, 0) is None:
        return access.broadcast(node.operands[0], index, value.shape)
    source, axes = node.inputs[0], axis_map(node, 0)
    assert axes is not None
    positions = access.axes(index, value.shape)
    at = {axis: positions[i] for i, axis in enumerate(axes)}
    own = [at[a] if size != 1 else int64(0) for a, size in enumerate(source.shape)]
    return access.load(source, access.index(own, source.shape))


@reader("slice")
def _(access: Access, node: Node, value: Value, index: Index) -> Expr:
    source = node.inputs[0]
    positions = access.axes(index, value.shape)
    for start, axis, step in zip(node.attrs["starts"], node.attrs["axes"], node.attrs["steps"]):
        scaled = positions[axis] if step == 1 else positions[axis] * int64(step)
        positions[axis] = scaled if start == 0 else scaled + attribute_dim(access, start)
    return access.load(source, access.index(positions, source.shape))


@reader("split")
def _(access: Access, node: Node, value: Value, index: Index) -> Expr:
    source, axis = node.inputs[0], node.attrs["axis"]
    positions = access.axes(index, value.shape)
    for result, size in zip(node.results, node.attrs["sizes"]):
        if result is value:
            break
        positions[axis] = positions[axis] + attribute_dim(access, size)
    return access.load(source, access.index(positions, source.shape))


@reader("concat")
def _(access: Access, node: Node, value: Value, index: Index) -> Expr:
    axis = node.attrs["axis"]
    positions = access.axes(index, value.shape)
    at = positions[axis]
    starts: list[Expr] = [int64(0)]
    for operand in node.inputs:
        starts.append(starts[-1] + access.sizes(operand.shape[axis]))

    def piece(first: int, last: int) -> Expr:
        """The element, which is in one of the operands from the first to before the last."""
        if last - first == 1:
            inside, operand = list(positions), node.inputs[first]
            inside[axis] = at - starts[first]
            return access.load(operand, access.index(inside, operand.shape))
        middle = (first + last) // 2
        return access.choose(at < starts[middle], lambda: piece(first, middle), lambda: piece(middle, last))

    return piece(0, len(node.inputs))


@reader("pad")
def _(access: Access, node: Node, value: Value, index: Index) -> Expr:
    source = node.inputs[0]
    positions = access.axes(index, value.shape)
    inside: list[Expr] = []
    for axis, (before, after) in enumerate(zip(node.attrs["before"], node.attrs["after"])):
        if before != 0:
            positions[axis] = positions[axis] - attribute_dim(access, before)
            inside.append(positions[axis] >= int64(0))
        if after != 0:
            inside.append(positions[axis] < access.sizes(source.shape[axis]))
    if not inside:
        return access.load(source, access.index(positions, source.shape))
    return access.choose(tirx.all(*inside), lambda: access.load(source, access.index(positions, source.shape)),
                         lambda: literal(node.attrs["value"], value.dtype.numpy_name))


@reader("rotary", repeats=True)
def _(access: Access, node: Node, value: Value, index: Index) -> Expr:
    x, cos, sin = node.inputs
    width = int(x.shape[-1])  # type: ignore[arg-type]
    pairs = width // 2
    positions = access.axes(index, value.shape)
    at = positions[-1]
    if node.attrs["interleaved"]:
        second, pair = tirx.floormod(at, int64(2)), tirx.floordiv(at, int64(2))
        other = at + int64(1) - int64(2) * second
        first = tirx.EQ(second, int64(0))
    else:
        first = below(at, pairs)
        other, pair = (at + tirx.Select(first, int64(a), int64(b)) for a, b in ((pairs, -pairs), (0, -pairs)))

    def table(tensor: Value) -> Expr:
        own = [*positions[:-1], at if tensor.shape[-1] == width else pair]
        return access.broadcast(tensor, access.index(own, (*x.shape[:-1], tensor.shape[-1])),
                                (*x.shape[:-1], tensor.shape[-1]))

    name = held(value.dtype.numpy_name)
    wide = "float32" if name == "float16" else name  # products may leave f16 where their sum does not

    turned = cast(access.load(x, access.index([*positions[:-1], other], x.shape)), wide)
    own, cosine, sine = (cast(e, wide) for e in (access.load(x, index), table(cos), table(sin)))
    turned = tirx.Select(first, literal(-1.0, wide), literal(1.0, wide)) * turned
    return bind(hold(own * cosine + turned * sine, value.dtype.numpy_name))


def below(position: Expr, bound: int) -> Expr:
    """position < bound, told by blocks of up to 16, so that all lanes of an aligned vector have one answer."""
    block = math.gcd(bound, 16)
    return tirx.floordiv(position, int64(block)) < int64(bound // block)


@reader("gather", repeats=True)
def _(access: Access, node: Node, value: Value, index: Index) -> Expr:
    source, indices = node.inputs
    axis, rank = node.attrs["axis"], indices.type.rank
    positions = access.axes(index, value.shape)
    size = access.sizes(source.shape[axis])
    at = bind(as_index(access.load(indices, access.index(positions[axis:axis + rank], indices.shape))))
    row = clamped(tirx.if_then_else(at < int64(0), at + size, at), size)
    return access.load(source, access.index([*positions[:axis], row, *positions[axis + rank:]], source.shape))


@reader("embedding", repeats=True)
def _(access: Access, node: Node, value: Value, index: Index) -> Expr:
    indices, table = node.inputs
    lead, rest = _leading(access, index, indices, value)
    row = clamped(as_index(access.load(indices, lead)), access.sizes(table.shape[0]))
    return access.load(table, ((table.shape[0], row), *rest))


def _leading(access: Access, index: Index, indices: Value, value: Value) -> tuple[Index, Index]:
    """The digits that number the indices, and those within a row of the table."""
    have: DimLike = 1
    for position, (size, _) in enumerate(index):
        if compare(have, indices.type.size) == "equal":
            return index[:position], index[position:]
        have = have * size
    positions = access.axes(index, value.shape)
    rank = indices.type.rank
    return access.index(positions[:rank], indices.shape), access.index(positions[rank:], value.shape[rank:])


def clamped(position: Expr, size: Expr) -> Expr:
    """A position that is safe to read; one outside was reported by the kernel's check and the result is thrown away."""
    return tirx.Max(tirx.Min(position, size - int64(1)), int64(0))


@reader("one_hot", repeats=True)
def _(access: Access, node: Node, value: Value, index: Index) -> Expr:
    indices = node.inputs[0]
    positions = access.axes(index, value.shape)
    at = as_index(access.load(indices, access.index(positions[:-1], indices.shape)))
    return hold(tirx.EQ(at, positions[-1]), value.dtype.numpy_name)


@reader("range")
def _(access: Access, node: Node, value: Value, index: Index) -> Expr:
    return hold(access.flat(index) + attribute_dim(access, node.attrs["start"]), value.dtype.numpy_name)


@reader("full")
def _(access: Access, node: Node, value: Value, index: Index) -> Expr:
    return literal(node.attrs["value"], value.dtype.numpy_name)


@reader("dim_size")
def _(access: Access, node: Node, value: Value, index: Index) -> Expr:
    return hold(attribute_dim(access, node.attrs["size"]), value.dtype.numpy_name)


@reader("pack_panels")
def _(access: Access, node: Node, value: Value, index: Index) -> Expr:
    weight, width, group = node.inputs[0], node.attrs["width"], node.attrs["group"]
    panel, step, column, *part = access.axes(index, value.shape)
    row, depth = panel * int64(width) + column, step
    rows, depths = access.sizes(weight.shape[0]), access.sizes(weight.shape[1])
    inside = row < rows
    if part:
        depth = step * int64(group) + part[0]
        inside = tirx.all(inside, depth < depths)
    return access.choose(
        inside, lambda: access.load(weight, access.index([clamped(row, rows), clamped(depth, depths)], weight.shape)),
        lambda: literal(0, value.dtype.numpy_name))


@reader("dequantize")
def _(access: Access, node: Node, value: Value, index: Index) -> Expr:
    packed, scale, zero = node.operands
    row, k = access.axes(index, value.shape)
    many = 8 // node.attrs["bits"]
    assert packed is not None and scale is not None
    number = access.load(packed, access.index([row, tirx.floordiv(k, int64(many))], packed.shape))
    if many > 1:
        shift = cast(tirx.floormod(k, int64(many)) * int64(node.attrs["bits"]), "int32")
        number = (cast(number, "int32") >> shift) & literal(2 ** node.attrs["bits"] - 1, "int32")
    dtype = value.dtype.numpy_name

    def of_block(x: Value) -> Expr:
        at = [row, tirx.floordiv(k, int64(node.attrs["block"]))]
        return access.load(x, access.index(at, x.shape) if x.type.rank else ())

    weight = cast(number, held(dtype))
    weight = weight if zero is None else hold(weight - of_block(zero), dtype)
    return hold(weight * of_block(scale), dtype)


@reader("unpack_panels")
def _(access: Access, node: Node, value: Value, index: Index) -> Expr:
    panels = node.inputs[0]
    width, *group = (int64(int(d)) for d in panels.shape[2:])  # type: ignore[arg-type]
    row, depth = access.axes(index, value.shape)
    at = [tirx.floordiv(row, width), depth, tirx.floormod(row, width)]
    if group:
        at[1:] = [tirx.floordiv(depth, group[0]), at[2], tirx.floormod(depth, group[0])]
    return access.load(panels, access.index(at, panels.shape))

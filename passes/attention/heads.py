"""Attention computed head by head as one op: a concat of attention(q_i, k_i, v_i), where q_i, k_i, v_i are parts of splits."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import replace

from passes.attention.axes import Axes, AxisFactor, View, is_view, resolve, result_axes, view_chain
from passes.attention.failure import MatchFailure
from passes.attention.form import Form
from passes.attention.read import read
from tgraph.ir.graph import Graph
from tgraph.ir.values import Node, Result, Value


def join(graph: Graph, concat: Node, parameter_only: Collection[Node]) -> Form:
    """The attention over all heads that a concat of single heads computes. Raises MatchFailure if it joins no heads."""
    count = len(concat.inputs)
    paths = [_up(graph, x, concat) for x in concat.inputs]
    heads = [path[-1] for path in paths]
    first = heads[0]
    if len(set(heads)) != count or any(node.attrs != first.attrs for node in heads):
        raise MatchFailure("the heads differ in their attributes", concat)
    if any(_steps(path) != _steps(paths[0]) for path in paths) or len({x.shape for x in concat.inputs}) != 1:
        raise MatchFailure("the heads are put together in different ways", concat)
    for position, name in ((3, "mask"), (4, "bias"), (5, "offset")):
        if _parts([node.operands[position] for node in heads]) != "shared":
            raise MatchFailure(f"each head has a {name} of its own", concat)
    form = read(graph, first, parameter_only, -math.inf, None)
    number = AxisFactor(count)  # the new axis of heads
    operands = []
    for view, position, name in ((form.query, 0, "q"), (form.key, 1, "k"), (form.value, 2, "v")):
        kind = _parts([node.operands[position] for node in heads])
        if kind is None:
            raise MatchFailure(f"{name} of the heads is not what one split gives, in order", concat)
        operands.append(_whole(graph, view, number, first) if kind == "split" else view)
    output: Axes = form.output.axes
    for node in reversed(paths[0][:-1]):
        moved = result_axes(graph, node, output)
        if moved is None:
            raise MatchFailure("a reshape of the heads cuts through an axis", node)
        output = moved
    axis = concat.attrs["axis"] % len(output)
    output = (*output[:axis], (number, *output[axis]), *output[axis + 1:])
    batch, own, positions, keys = form.axes
    nodes = [*dict.fromkeys((*form.nodes, *(n for path in paths for n in reversed(path)), concat))]
    return replace(form, axes=(batch, (number, *own), positions, keys), query=operands[0], key=operands[1],
                   value=operands[2], output=View(concat.result, output), nodes=nodes)


def _up(graph: Graph, value: Value, reader: Node) -> list[Node]:
    """The nodes from `value` back to an attention, through view ops; nothing but `reader` may depend on them."""
    path: list[Node] = []
    while isinstance(value, Result):
        if value.users != [reader] or graph.is_output(value):
            raise MatchFailure(f"the result of {value.node.op.name} is also read elsewhere", value.node, len(path) + 1)
        path.append(value.node)
        if value.node.op.name == "attention":
            return path
        if not is_view(value.node):
            break
        reader = value.node
        value = reader.inputs[0]
    raise MatchFailure("its operands are no heads of attention", reader, len(path) + 1)


def _steps(path: Sequence[Node]) -> list[object]:
    return [(node.op.name, node.attrs) for node in path]


def _parts(values: Sequence[Value | None]) -> str | None:
    """How the same operand of all heads relates: "shared", one value; "split", the parts of one split in order; else None.

    Equal view and elementwise ops on all of them are looked through.
    """
    current = list(values)
    while True:
        if all(v is current[0] for v in current):
            return "shared"
        results = [v for v in current if isinstance(v, Result)]
        if len(results) != len(current):
            return None
        nodes = [v.node for v in results]
        if nodes[0].op.name == "split":
            in_order = [v.index for v in results] == list(range(len(nodes[0].results)))
            whole = in_order and all(n is nodes[0] for n in nodes)
            return "split" if whole and len(set(nodes[0].attrs["sizes"])) == 1 else None
        alike = is_view(nodes[0]) or nodes[0].op.elementwise
        if not alike or any(_steps([n]) != _steps([nodes[0]]) for n in nodes):
            return None
        if any(n.inputs[1:] != nodes[0].inputs[1:] for n in nodes):
            return None
        current = [n.inputs[0] for n in nodes]


def _whole(graph: Graph, view: View, number: AxisFactor, reader: Node) -> View:
    """The operand of the split that `view` is the first part of, with the number of the part as an axis factor."""
    for stage in view_chain(graph, view):
        node = stage.value.node if isinstance(stage.value, Result) else None
        if node is not None and node.op.name == "split":
            axis = node.attrs["axis"] % len(stage.axes)
            axes = (*stage.axes[:axis], (number, *resolve(stage.axes[axis])), *stage.axes[axis + 1:])
            return View(node.inputs[0], axes)
    raise MatchFailure("the parts of a split are changed before they are heads", reader)

"""Labels of nodes in pictures: op, attributes and types, and the details for a tooltip."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from ..ir.graph import Graph
from ..ir.names import attribute, number
from ..ir.registry import REQUIRED
from ..ir.scopes import Scope
from ..ir.types import TensorType
from ..ir.values import Constant, Input, Node, Parameter, Value


def op_title(node: Node) -> str:
    """The title of a node: `linear`, or `$gemm_gelu` for a call."""
    function = node.attrs.get("function")
    return f"${function.name}" if isinstance(function, Graph) else node.op.name


def attributes(node: Node) -> str:
    """The attributes that differ from their defaults: `axis=-1, keepdims=true`."""
    shown = []
    for name, value in node.attrs.items():
        default = node.op.attributes.get(name, REQUIRED)
        if not isinstance(value, Graph) and (default is REQUIRED or type(value) is not type(default)
                                             or attribute(value) != attribute(default)):
            shown.append(f"{name}={attribute(value)}")
    return ", ".join(shown)


def value_label(value: Value) -> str:
    """The label of a leaf: name and type, or the value of a scalar constant."""
    if isinstance(value, (Input, Parameter)):
        return f"{value.name}: {plain(value.type)}"
    if isinstance(value, Constant) and value.type.rank == 0 and value.data is not None:
        return number(value.data[()], value.dtype)
    return f"constant {plain(value.type)}" if isinstance(value, Constant) else plain(value.type)


def plain(type: TensorType) -> str:
    """The text of a type without its value range."""
    return str(TensorType(type.dtype, type.shape))


def node_label(node: Node) -> str:
    """The label of a node: op, attributes and result types, one a line."""
    scalars = [value_label(v) for v in node.inputs if isinstance(v, Constant) and v.type.rank == 0]
    lines = [op_title(node), ", ".join(filter(None, (*scalars, attributes(node))))]
    return "\n".join([line for line in lines if line] + [plain(r.type) for r in node.results])


def times(title: str, count: int) -> str:
    """The title of a scope that stands for several."""
    return f"{title}  \u00d7 {count}" if count > 1 else title


def closed_label(scope: Scope, title: str, gives: Iterable[Value]) -> str:
    """The label of a scope that is shown as one box: title, what is in it, and the types of what it gives, one a line."""
    ops = Counter(n.op.name for n in scope.nodes).most_common()
    listed = ", ".join(f"{count} {name}" for name, count in ops[:3]) + (", ..." if len(ops) > 3 else "")
    return "\n".join([title, f"{len(scope.nodes)} nodes: {listed}", *(plain(v.type) for v in gives)])


def closed_tooltip(scope: Scope) -> str:
    """The tooltip of such a box: all ops, with their numbers."""
    ops = Counter(n.op.name for n in scope.nodes).most_common()
    return "\n".join([scope.path, *(f"  {count} {name}" for name, count in ops)])


def node_tooltip(node: Node) -> str:
    """The tooltip of a node: the application with operand names and types, scopes, source lines."""
    lines = [op_title(node)]
    for position, operand in enumerate(node.operands):
        if operand is not None:
            name = node.op.operands[min(position, len(node.op.operands) - 1)].name
            leaf = not operand.type.rank or isinstance(operand, (Input, Parameter))
            lines.append(f"  {name} = {value_label(operand)}" if leaf else f"  {name}: {plain(operand.type)}")
    lines += [f"  {name} = {attribute(value)}" for name, value in node.attrs.items()]
    lines += [f"  -> {plain(r.type)}" for r in node.results]
    lines += [f"in {scope}" for scope in node.provenance.scopes if scope]
    lines += [f"at {location}" for location in node.provenance.locations]
    return "\n".join(lines)

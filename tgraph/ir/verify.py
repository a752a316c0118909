"""Checking the invariants of a graph: structure, use-lists, dominance, types, names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from .determined import sizes_of
from .dims import symbols
from .errors import RuleError, VerifyError
from .graph import Graph
from .rules import Constraints, collect_constraints
from .types import TensorType
from .values import Constant, Input, Node, Parameter, Result, Value

if TYPE_CHECKING:
    from .program import Program


def verify(graph: Graph | Program) -> None:
    """Check one graph and the functions that it calls, or a program. Raises VerifyError naming the node and the rule."""
    if not isinstance(graph, Graph):
        graph.verify()
        return
    seen: dict[str, Graph] = {}
    _verify(graph, seen, ())


def verify_program(program: Program) -> None:
    """Check every graph of a program, and that a parameter has one type and a function one body in all of them."""
    functions: dict[str, Graph] = {}
    types: dict[str, TensorType] = {}
    for name, graph in program.graphs.items():
        if graph.weights is not program.weights:
            raise VerifyError(f"graph {name} does not share the weights of its program")
        _verify(graph, functions, ())
        for block in (*graph.functions.values(), graph):
            for parameter in block.parameters.values():
                if types.setdefault(parameter.name, parameter.type) != parameter.type:
                    raise VerifyError(f"parameter {parameter.name!r} is {parameter.type} in graph {name}, "
                                      f"{types[parameter.name]} in another of the program")


def _verify(graph: Graph, functions: dict[str, Graph], above: tuple[Graph, ...]) -> None:
    nodes = list(graph._nodes)
    _check_names(graph)
    leaves: set[Value] = {*graph.inputs, *graph.parameters.values(), *graph.constants.values()}
    for node in nodes:
        _check_node(graph, node, leaves)
    _check_uses(graph, nodes, leaves)
    _check_outputs(graph, leaves)
    _check_states(graph)
    _check_cycle(graph, nodes)
    _check_dims(graph)
    for node in graph.nodes:
        _check_types(graph, node)
        function = node.attrs.get("function")
        if isinstance(function, Graph):
            if function.states:
                raise VerifyError(f"{_describe(graph, node)}: function {function.name} has states, which only graphs have")
            if any(function is caller for caller in (*above, graph)):
                raise VerifyError(f"{_describe(graph, node)}: function {function.name} calls itself")
            known = functions.get(function.name)
            if known is None:
                functions[function.name] = function
                _verify(function, functions, (*above, graph))
            elif known is not function and known != function:
                raise VerifyError(f"{_describe(graph, node)}: two different functions are named {function.name!r}")


def _check_names(graph: Graph) -> None:
    for kind, names in (("inputs", [i.name for i in graph.inputs]), ("outputs", [n for n, _ in graph.outputs])):
        double = sorted({n for n in names if names.count(n) > 1})
        if double:
            raise VerifyError(f"graph {graph.name} has two {kind} named {double[0]!r}")
    for name, parameter in graph.parameters.items():
        if name != parameter.name:
            raise VerifyError(f"graph {graph.name} lists parameter {parameter.name!r} under {name!r}")


def _check_node(graph: Graph, node: Node, leaves: set[Value]) -> None:
    where = _describe(graph, node)
    op = node.op
    if not op.variadic and len(node.operands) != len(op.operands):
        raise VerifyError(f"{where}: takes {len(op.operands)} operands, has {len(node.operands)}")
    for position, operand in enumerate(node.operands):
        name = op.operands[min(position, len(op.operands) - 1)].name
        if operand is None:
            if op.variadic or not op.operands[position].optional:
                raise VerifyError(f"{where}: operand {name!r} is missing")
        elif isinstance(operand, Result) and operand.node not in graph:
            raise VerifyError(f"{where}: operand {name!r} is the result of {operand.node.op.name}, "
                              "which is not in the graph")
        elif not isinstance(operand, Result) and operand not in leaves:
            raise VerifyError(f"{where}: operand {name!r} ({operand!r}) belongs to another graph")
        elif (node, position) not in operand.uses:
            raise VerifyError(f"{where}: operand {name!r} does not list the node among its uses")
    try:
        op.bind_attributes(node.attrs)
    except RuleError as error:
        raise VerifyError(f"{where}: {error}") from None
    for index, result in enumerate(node.results):
        if result.node is not node or result.index != index:
            raise VerifyError(f"{where}: result {index} names another node or place")


def _check_uses(graph: Graph, nodes: Iterable[Node], leaves: Iterable[Value]) -> None:
    for value in (*leaves, *(r for n in nodes for r in n.results)):
        for user, position in value.uses:
            if user not in graph:
                raise VerifyError(f"{_value(graph, value)} is used by {user.op.name}, which is not in the graph")
            if position >= len(user.operands) or user.operands[position] is not value:
                raise VerifyError(f"{_value(graph, value)} lists a use that {_describe(graph, user)} does not have")


def _check_outputs(graph: Graph, leaves: set[Value]) -> None:
    for name, value in graph.outputs:
        if not (value in leaves or (isinstance(value, Result) and value.node in graph)):
            raise VerifyError(f"output {name!r} of graph {graph.name} is not a value of the graph: {value!r}")


def _check_states(graph: Graph) -> None:
    """A state is read by an input of its name and type, or written by such an output, or both."""
    agree = Constraints(graph.constraints).agree
    for name, type in graph.states.items():
        found = [v.type for n, v in (*((i.name, i) for i in graph.inputs), *graph.outputs) if n == name]
        if not found:
            raise VerifyError(f"graph {graph.name} has a state {name!r}, but no input or output of that name")
        for other in found:
            if not agree(type, other):
                raise VerifyError(f"state {name!r} of graph {graph.name} is {type}, its input or output is {other}")


def _check_cycle(graph: Graph, nodes: list[Node]) -> None:
    waiting = {n: len({v.node for v in n.inputs if isinstance(v, Result)}) for n in nodes}
    ready = [n for n, count in waiting.items() if not count]
    while ready:
        node = ready.pop()
        del waiting[node]
        for user in dict.fromkeys(u for r in node.results for u in r.users):
            waiting[user] -= 1
            if not waiting[user]:
                ready.append(user)
    if waiting:
        path = [next(iter(waiting))]  # every node left has an operand left: walking up must come back
        while True:
            above = next(v.node for v in path[-1].inputs if isinstance(v, Result) and v.node in waiting)
            if above in path:
                cycle = path[path.index(above):][::-1]
                break
            path.append(above)
        raise VerifyError(f"graph {graph.name} has a cycle: each of these nodes needs the one before it, "
                          "the first one the last\n  " + "\n  ".join(_describe(graph, n) for n in cycle))


def _check_dims(graph: Graph) -> None:
    known = {s.name for i in graph.inputs for d in i.type.shape for s in symbols(d)}
    known.update(s.name for n in graph._nodes for d in sizes_of(n) for s in symbols(d))
    for sign, required in (("==", graph.constraints), (">=", graph.inequalities)):
        for left, right in required:
            for symbol in (*symbols(left), *symbols(right)):
                if symbol.name not in known:
                    raise VerifyError(f"graph {graph.name} requires {left} {sign} {right}, but no input or node has a "
                                      f"dim {symbol.name}")


def _check_types(graph: Graph, node: Node) -> None:
    """Infer the result types again: they must be those stated, and rest on no constraint that the graph lacks."""
    where = _describe(graph, node)
    with collect_constraints(graph.constraints, graph.inequalities) as constraints:
        try:
            inferred = node.op.infer(*[None if v is None else v.type for v in node.operands], **node.attrs)
        except RuleError as error:
            raise VerifyError(f"{where}: {error}") from None
        except TypeError as error:  # attributes that the rule does not take
            raise VerifyError(f"{where}: {error}") from None
    for sign, added in (("==", constraints.added), (">=", constraints.added_order)):
        if added:
            raise VerifyError(f"{where}: needs {added[0][0]} {sign} {added[0][1]}, which the graph neither knows nor checks")
    types = inferred if isinstance(inferred, tuple) else (inferred,)
    stated = [r.type for r in node.results]
    known = Constraints(graph.constraints)
    if len(types) != len(stated) or not all(map(known.agree, stated, types)):
        raise VerifyError(f"{where}: the rule gives {', '.join(map(str, types))}, "
                          f"the graph says {', '.join(map(str, stated))}")


def _describe(graph: Graph, node: Node) -> str:
    """A node in an error: `linear(f32[B, 768], f32[768, 768]) in graph main, in encoder.layer.0 at model.py:31`."""
    types = ", ".join("none" if v is None else str(v.type) for v in node.operands)
    where = node.provenance.describe()
    return f"{node.op.name}({types}) in graph {graph.name}" + (f", {where}" if where else "")


def _value(graph: Graph, value: Value) -> str:
    if isinstance(value, Result):
        return f"result {value.index} of {_describe(graph, value.node)}"
    kind = {Input: "input", Parameter: "parameter", Constant: "constant"}.get(type(value), "value")
    return f"{kind} {value!r} of graph {graph.name}"

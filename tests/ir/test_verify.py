"""Each invariant of the IR, broken on purpose behind the back of the mutation API."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from random_graphs import graphs

from tgraph.ir.builder import Builder
from tgraph.ir.dims import dim
from tgraph.ir.dtypes import f32, f64
from tgraph.ir.errors import VerifyError
from tgraph.ir.graph import Graph
from tgraph.ir.location import Location, Provenance
from tgraph.ir.parser import parse, parse_program
from tgraph.ir.program import Program
from tgraph.ir.registry import get_op
from tgraph.ir.types import TensorType
from tgraph.ir.values import Input
from tgraph.ir.verify import verify
from tgraph.ir.weights import Weights

B, S = dim("B"), dim("S")


@given(graphs())
def test_what_the_api_builds_is_valid(graph: Graph) -> None:
    verify(graph)
    Program.of(graph).verify()


def rename_an_input(graph: Graph) -> None:
    graph.input("z", f32[B])
    graph.inputs[1].name = "x"


def two_outputs_of_one_name(graph: Graph) -> None:
    graph.outputs.append(("y", graph.inputs[0]))


def rename_a_parameter(graph: Graph) -> None:
    graph.parameters["w"].name = "v"


def drop_an_operand(graph: Graph) -> None:
    node = graph.nodes[0]
    node.operands = ()


def lose_a_required_operand(graph: Graph) -> None:
    node = graph.nodes[1]
    del node.operands[1].uses[node, 1]
    node.operands = (node.operands[0], None)


def read_a_node_of_another_graph(graph: Graph) -> None:
    other = Graph()
    graph.set_operand(graph.nodes[0], 0, Builder(other).relu(other.input("x", f32[B, 4])))


def read_a_leaf_of_another_graph(graph: Graph) -> None:
    graph.set_operand(graph.nodes[0], 0, Input("x", f32[B, 4]))


def forget_a_parameter(graph: Graph) -> None:
    del graph.parameters["w"]


def forget_a_use(graph: Graph) -> None:
    graph.inputs[0].uses.clear()


def invent_a_use(graph: Graph) -> None:
    graph.inputs[0].uses[graph.nodes[3], 1] = None


def a_use_by_a_node_outside(graph: Graph) -> None:
    add = graph.nodes[3]
    del graph._nodes[add]
    graph.outputs.clear()
    graph._order = None


def a_result_of_another_place(graph: Graph) -> None:
    graph.nodes[0].results[0].index = 1


def an_output_of_another_graph(graph: Graph) -> None:
    graph.outputs[0] = ("y", Input("y", f32[B, 4]))


def a_cycle(graph: Graph) -> None:
    graph.nodes[0].provenance = Provenance(("encoder",), (Location("model.py", 3),))
    graph.set_operand(graph.nodes[0], 0, graph.nodes[3].result)


def a_constraint_on_an_unknown_dim(graph: Graph) -> None:
    graph.constraints.append((B, dim("T")))


def a_wrong_type(graph: Graph) -> None:
    graph.nodes[0].result.type = f32[B, 5]


def a_wrong_element_type(graph: Graph) -> None:
    graph.nodes[3].result.type = f64[B, 4]


def operands_that_do_not_fit(graph: Graph) -> None:
    graph.set_operand(graph.nodes[1], 1, graph.parameter("five", f32[5]))


def an_attribute_that_the_op_lacks(graph: Graph) -> None:
    graph.nodes[0].attrs["axis"] = 1


def an_equality_that_nothing_checks(graph: Graph) -> None:
    graph.set_operand(graph.nodes[3], 1, graph.input("other", f32[S, 4]))


BREAKS: list[tuple[Callable[[Graph], None], str]] = [
    (rename_an_input, "graph main has two inputs named 'x'"),
    (two_outputs_of_one_name, "graph main has two outputs named 'y'"),
    (rename_a_parameter, "lists parameter 'v' under 'w'"),
    (drop_an_operand, r"relu\(\) in graph main: takes 1 operands, has 0"),
    (lose_a_required_operand, r"mul\(f32\[B, 4\], none\) in graph main: operand 'y' is missing"),
    (read_a_node_of_another_graph, "operand 'x' is the result of relu, which is not in the graph"),
    (read_a_leaf_of_another_graph, "operand 'x' .* belongs to another graph"),
    (forget_a_parameter, "operand 'y' .@w: .* belongs to another graph"),
    (forget_a_use, "operand 'x' does not list the node among its uses"),
    (invent_a_use, r"input %x: f32\[B, 4\] of graph main lists a use that add.* does not have"),
    (a_use_by_a_node_outside, "result 0 of mul.* is used by add, which is not in the graph"),
    (a_result_of_another_place, "result 0 names another node or place"),
    (an_output_of_another_graph, "output 'y' of graph main is not a value of the graph"),
    (a_cycle, r"graph main has a cycle: [\s\S]*relu.* in encoder at model.py:3"),
    (a_constraint_on_an_unknown_dim, "requires B == T, but no input or node has a dim T"),
    (a_wrong_type, r"the rule gives f32\[B, 4\], the graph says f32\[B, 5\]"),
    (a_wrong_element_type, r"add.*: the rule gives f32\[B, 4\], the graph says f64\[B, 4\]"),
    (operands_that_do_not_fit,
     r"mul\(f32\[B, 4\], f32\[5\]\) in graph main: shapes \[B, 4\] and \[5\] do not broadcast"),
    (an_attribute_that_the_op_lacks, r"relu.*unknown attribute 'axis' \(attributes: none\)"),
    (an_equality_that_nothing_checks, "needs B == S, which the graph neither knows nor checks"),
]


@pytest.mark.parametrize(("break_it", "message"), BREAKS, ids=[b.__name__ for b, _ in BREAKS])
def test_a_broken_rule_is_named(diamond: Graph, break_it: Callable[[Graph], None], message: str) -> None:
    verify(diamond)
    break_it(diamond)
    with pytest.raises(VerifyError, match=message):
        verify(diamond)


CALLS = """\
function $f(%x: f32[N]) -> (y: f32[N]) {
  param @w: f32
  %0 = mul(%x, @w) : f32[N]
  return (y: %0)
}

graph main(%x: f32[B]) -> (y: f32[B]) {
  %0 = call $f(%x) : f32[B]
  return (y: %0)
}"""


def test_functions_are_checked_too() -> None:
    graph = parse(CALLS)
    graph.functions["f"].nodes[0].result.type = TensorType(f64, (dim("N"),))
    with pytest.raises(VerifyError, match=r"mul.* in graph f: the rule gives f32\[N\]|call.*the rule gives f64"):
        verify(graph)


def test_a_function_has_one_body() -> None:
    graph, other = parse(CALLS), parse(CALLS.replace("mul", "add"))
    graph.set_outputs([("y", graph.insert(get_op("call"), [graph.outputs[0][1]], {"function": other.functions["f"]}))])
    with pytest.raises(VerifyError, match="two different functions are named 'f'"):
        verify(graph)
    same = parse(CALLS)
    same.set_outputs([("y", same.insert(get_op("call"), [same.outputs[0][1]],
                                        {"function": parse(CALLS).functions["f"]}))])
    verify(same)


def test_a_function_does_not_call_itself() -> None:
    graph = parse(CALLS)
    function = graph.functions["f"]
    function.set_outputs([("y", function.insert(get_op("call"), [function.outputs[0][1]], {"function": function}))])
    with pytest.raises(VerifyError, match="function f calls itself"):
        verify(graph)


def test_programs() -> None:
    second = CALLS[CALLS.index("graph main"):].replace("main", "step")
    program = parse_program(CALLS + "\n" + second)
    program.verify()
    program.graphs["step"].weights = Weights()
    with pytest.raises(VerifyError, match="graph step does not share the weights"):
        program.verify()
    program = parse_program(CALLS + "\n" + second)
    program["step"].parameter("w", f32[3])
    with pytest.raises(VerifyError, match=r"parameter 'w' is f32\[3\] in graph step, f32 in another"):
        program.verify()

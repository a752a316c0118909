"""The text form: parse(print(g)) is g again, to the byte, and every mistake is an error at its place."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_graphs import constants, dims, graphs, names

from tgraph.ir.builder import Builder
from tgraph.ir.dims import Dim, Symbol, bounds, dim
from tgraph.ir.dtypes import bf16, f16, f32, i64
from tgraph.ir.errors import ParseError, TGraphError
from tgraph.ir.expressions import ExpressionParser, parse_dim, parse_type
from tgraph.ir.graph import Graph
from tgraph.ir.lexer import Source
from tgraph.ir.location import Location, Provenance
from tgraph.ir.names import attribute, number, quote
from tgraph.ir.parser import parse, parse_program
from tgraph.ir.program import Program
from tgraph.ir.types import TensorType
from tgraph.ir.verify import verify

FULL = {"scopes": True, "locations": True}


@given(graphs())
def test_round_trip_of_random_graphs(graph: Graph) -> None:
    verify(graph)
    for options in ({}, FULL, {"ranges": False}):
        text = graph.text(**options)
        again = parse(text)
        assert again.text(**options) == text
        assert again == graph
        assert again.fingerprint == graph.fingerprint
        verify(again)


@given(constants())
def test_round_trip_of_constants(array: np.ndarray) -> None:
    graph = Graph()
    graph.set_outputs([("y", graph.constant(array))])
    text = str(graph)
    again = parse(text)
    assert str(again) == text
    found = again.outputs[0][1]
    if array.size <= 16:
        assert found.data.tobytes() == array.tobytes() and found.data.dtype == array.dtype
    assert found.type == graph.outputs[0][1].type and found.digest == graph.outputs[0][1].digest


@given(dims)
def test_round_trip_of_dims(value: Dim | int) -> None:
    assert parse_dim(str(value)) == value


@given(names)
def test_round_trip_of_names(name: str) -> None:
    graph = Graph(name)
    x = graph.input(name, f32[2])
    w = graph.parameter(name, f32[2])
    y = Builder(graph, Provenance((name,), (Location(name.replace("/", "_"), 3),))).add(x, w)
    graph.set_outputs([(name, y)])
    text = graph.text(**FULL)
    again = parse(text)
    assert again.text(**FULL) == text
    assert (again.name, again.inputs[0].name, list(again.parameters), again.outputs[0][0]) == (name, name, [name], name)
    assert again.nodes[0].provenance.scopes == ((name,) if name else ())


@given(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=8)))
def test_attributes_read_back(value: object) -> None:
    found = ExpressionParser(Source(attribute(value), "<text>")).attribute()
    assert found == value and type(found) is type(value) and repr(found) == repr(value)


@given(st.floats(width=16, allow_nan=False))
def test_a_number_is_the_shortest_that_reads_back(value: float) -> None:
    for dtype in (f16, bf16, f32):
        exact = dtype.numpy.type(value)
        text = number(exact, dtype)
        assert dtype.numpy.type(float(text)) == exact
        if np.isfinite(exact):
            digits, others = (len(Decimal(t).normalize().as_tuple().digits) for t in (text, repr(float(exact))))
            assert digits <= others


def test_the_canonical_text_of_one_graph() -> None:
    s = dim("S", max=512)
    graph = Graph("layer")
    x = graph.input("x", TensorType(f32, (dim("B"), s, 8)))
    ids = graph.input("ids", TensorType(i64, (dim("T", min=2),)).range(0, 100))
    here = Provenance(("ffn", "norm"), (Location("/home/someone/model.py", 31), Location("other.py", 7)))
    b = Builder(graph, here)
    h = b.linear(x, graph.parameter("up.weight", f32[4, 8]), graph.parameter("up.bias", f32[4]))
    h = b.layer_norm(b.mul(h, 0.5), bias=graph.constant(np.arange(4, dtype=np.float32)))
    table = graph.constant(np.zeros((100, 4), np.float32))
    graph.set_outputs([("hidden", h), ("rows", b.embedding(ids, table))])
    graph.constrain(dim("T", min=2), dim("B"))
    graph.weights.aliases["tied"] = "up.weight"
    digest = graph.constants[next(k for k in graph.constants if k[1].rank == 2)].digest
    assert graph.text(scopes=True, locations=True) == f"""\
graph layer(%x: f32[B, S, 8], %ids: i64[T].range(0, 100)) -> (hidden: f32[B, S, 4], rows: f32[T, 4]) \
where S <= 512, 2 <= T, T == B {{
  param @up.weight: f32[4, 8] aliases [@tied]
  param @up.bias: f32[4]
  const #0: f32[4] = [0.0, 1.0, 2.0, 3.0]
  const #1: f32[100, 4] = sha256:{digest}
  %0 = linear(%x, @up.weight, @up.bias) : f32[B, S, 4]  in ffn, norm at model.py:31, other.py:7
  %1 = mul(%0, f32(0.5)) : f32[B, S, 4]  in ffn, norm at model.py:31, other.py:7
  %2 = layer_norm(%1, bias=#0) : f32[B, S, 4]  in ffn, norm at model.py:31, other.py:7
  %3 = embedding(%ids, #1) : f32[T, 4]  in ffn, norm at model.py:31, other.py:7
  return (hidden: %2, rows: %3)
}}"""
    again = parse(graph.text(**FULL))
    assert again.text(**FULL) == graph.text(**FULL)
    assert again.inputs[1].type.value_range == (0, 100)
    assert again.weights.aliases == {"tied": "up.weight"}
    assert (again.symbols["S"].max, again.symbols["T"].min) == (512, 2)


CALLS = """\
function $half(%x: f32[N, 4]) -> (y: f32[N, 4], z: f32[N, 4]) {
  param @gain: f32[4]
  %0 = mul(%x, @gain) : f32[N, 4]
  %1 = relu(%0) : f32[N, 4]
  return (y: %1, z: %0)
}

function $outer(%x: f32[M, 4]) -> (y: f32[M, 4]) {
  %0, %1 = call $half(%x) : (f32[M, 4], f32[M, 4])
  %2 = add(%0, %1) : f32[M, 4]
  return (y: %2)
}

graph main(%x: f32[B, 4]) -> (y: f32[B, 4]) {
  %0 = call $outer(%x) : f32[B, 4]
  return (y: %0)
}"""


def test_functions_and_calls() -> None:
    graph = parse(CALLS)
    verify(graph)
    assert str(graph) == CALLS
    assert list(graph.functions) == ["half", "outer"]
    assert parse(CALLS.replace("relu", "abs")) != graph


def test_programs_share_functions_and_parameters() -> None:
    second = CALLS[CALLS.index("graph main"):].replace("main", "step").replace("%x", "%state")
    program = parse_program(f"{CALLS}\n\n{second}")
    assert str(program) == f"{CALLS}\n\n{second}"
    assert list(program) == ["main", "step"] and program["step"].weights is program.weights
    assert parse_program(str(program)) == program and parse_program(str(program)).fingerprint == program.fingerprint
    assert Program.of(parse(CALLS)).main == parse(CALLS)
    program.verify()
    with pytest.raises(ParseError, match="expected one graph, found 2"):
        parse(str(program))


def test_spelling_is_free_where_the_meaning_is_fixed() -> None:
    text = """# a comment
    graph main(%x:f32[S+S,4])->(y:f32[2*S,4]){   # names, any order of statements, no types
      %h = linear(%x, bias=@b, weight=@w)
      param @w: f32[4,4]  param @b: f32[4]
      return (y: %h) }"""
    with pytest.raises(ParseError, match="@b is not defined above; declare it with 'param'"):
        parse(text)
    lines = text.split("\n")
    lines[2], lines[3] = lines[3], lines[2]
    assert str(parse("\n".join(lines))) == """\
graph main(%x: f32[2*S, 4]) -> (y: f32[2*S, 4]) {
  param @w: f32[4, 4]
  param @b: f32[4]
  %0 = linear(%x, @w, @b) : f32[2*S, 4]
  return (y: %0)
}"""


def test_an_equality_lets_one_dim_have_two_names() -> None:
    text = """\
graph main(%x: f32[B], %y: f32[T]) -> (z: f32[T]) where T == B {
  %0 = add(%x, %y) : f32[T]
  return (z: %0)
}"""
    assert str(parse(text)) == text
    found = parse(text.replace(" where T == B", ""))  # the rule of add needs it all the same
    assert str(found) == text.replace("T == B", "B == T")
    with pytest.raises(ParseError, match=r"2:22: expected the type f32\[B\]"):
        parse(text.replace("add(%x, %y)", "add(%x, %x)").replace("where T == B ", ""))


def test_windows_line_ends() -> None:
    assert str(parse(CALLS.replace("\n", "\r\n"))) == CALLS


@pytest.mark.parametrize("text", ["f32", "i64[B, S].range(0, 30522)", "bool[2*S+1, (S-1)//2]", "u8[0, 1].range(-3, 4)"])
def test_types_read_back(text: str) -> None:
    assert str(parse_type(text)) == text


def test_bounds_reach_types_that_are_parsed_alone() -> None:
    assert bounds(parse_type("f32[S]").shape[0]) == (0, None)
    assert bounds(parse_type("f32[2*S]", {"S": Symbol("S", 1, 9)}).shape[0]) == (2, 18)


def test_quoted_strings_are_those_of_json() -> None:
    assert quote('a"b\\c\nd\u00e9') == '"a\\"b\\\\c\\nd\u00e9"'


@given(st.text(alphabet=st.sampled_from(list("graph main(%x:f32[B])->{}return,=@#$\"\n0123.-+*/ \\u")), max_size=60))
def test_any_text_is_a_graph_or_an_error_of_ours(text: str) -> None:
    _parse_or_complain(text)


@given(st.data())
def test_any_damage_to_a_text_is_a_graph_or_an_error_of_ours(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from([CALLS, HEAD + "%0 = split(%x, sizes=[1, 3]) : (f32[B, 1], f32[B, 3])"]))
    start = data.draw(st.integers(0, len(text)))
    stop = data.draw(st.integers(start, min(len(text), start + 12)))
    piece = data.draw(st.sampled_from(["", "(", ")", "]", "-", "//", "0", "99999999999999999999", "none", "[[", "%0",
                                       "true",
                                       '"', "1e999", "$half", "@gain", "f64", "S", ".range(1, 0)", ", axis=none"]))
    _parse_or_complain(text[:start] + piece + text[stop:])


def _parse_or_complain(text: str) -> None:
    try:
        graphs = parse_program(text).graphs.values()
    except ParseError as error:
        lines = text.split("\n")
        assert 1 <= error.line <= len(lines) and 1 <= error.column <= len(lines[error.line - 1]) + 1
        return
    for graph in graphs:
        assert parse(str(graph)) == graph


HEAD = "graph main(%x: f32[B, 4]) -> (y: f32[B, 4]) {\n  "


def test_errors_are_of_the_common_class() -> None:
    assert issubclass(ParseError, TGraphError)

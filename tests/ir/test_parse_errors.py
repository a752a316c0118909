"""Every mistake in a text is an error at its line and column that says what was expected."""

from __future__ import annotations

import pytest

from tgraph.ir.errors import ParseError
from tgraph.ir.parser import parse, parse_program

HEAD = "graph main(%x: f32[B, 4]) -> (y: f32[B, 4]) {\n"
TAIL = "\n  return (y: %0)\n}"

BODIES = [  # (lines after HEAD, the column in the last one, what the message says)
    ("  %0 = relu(%y)", 13, "%y is not defined above"),
    ("  %0 = relu(%1)", 13, "%1 is not defined above"),
    ("  %0 = relu(@w)", 13, "@w is not defined above; declare it with 'param'"),
    ("  %0 = relu(#0)", 13, "#0 is not defined above"),
    ("  %0 = rellu(%x)", 8, "unknown op 'rellu'; did you mean relu"),
    ("  %0 = relu()", 8, "operand 'x' is missing"),
    ("  %0 = relu(%x, %x)", 8, "takes 1 operands, got 2"),
    ("  %0 = relu(%x, x=%x)", 8, "operand 'x' is given twice"),
    ("  %0 = relu(x=%x, x=%x)", 19, "'x' is given twice"),
    ("  %0 = add(x=%x, %x)", 18, "expected name=value (operands by position come first)"),
    ("  %0 = softmax(%x, axes=-1)", 20,
     "softmax has no attribute or operand 'axes' (it has axis, x); did you mean axis"),
    ("  %0 = softmax(%x, axis=2)", 8, "axis 2 is not within -2 .. 1"),
    ("  %0 = softmax(%x, axis=)", 25, "expected the value of an attribute, found ')'"),
    ("  %0 = softmax(%x, axis=-1, axis=-1)", 29, "'axis' is given twice"),
    ("  %0 = reshape(%x, shape=[B, 4)", 31, "expected ',' or ']', found ')'"),
    ("  %0 = reshape(%x)", 8, "attribute 'shape' is missing"),
    ("  %0 = cast(%x, dtype=f33)", 8, "cast"),
    ("  %0 = relu(%x) : f32[B, 5]", 19, "expected the type f32[B, 4], which relu has here, found f32[B, 5]"),
    ("  %0 = relu(%x) : f64[B, 4]", 19, "expected the type f32[B, 4], which relu has here, found f64[B, 4]"),
    ("  %0 = relu(%x) : (f32[B, 4], f32[B, 4])", 19, "expected the type f32[B, 4]"),
    ("  %0 = relu(%x) : f33[B, 4]", 19,
     "expected an element type (f16, bf16, f32, f64, i8, u8, i32, i64, bool), found 'f33'"),
    ("  %0, %1 = relu(%x)", 3, "relu has 1 results here, not 2"),
    ("  %0 = split(%x, sizes=[1, 3])", 3, "split has 2 results here, not 1"),
    ("  %0 = relu(%x)\n  %0 = relu(%x)", 3, "%0 is defined twice"),
    ("  %x = relu(%x)", 3, "%x is defined twice"),
    ("  param @w: f32[4]\n  param @w: f32[4]", 9, "@w is defined twice"),
    ("  param @w: f32[B]", 9, "parameter 'w' has a symbolic shape"),
    ("  param w: f32[4]", 9, "expected a parameter such as @layer.weight, found 'w'"),
    ("  param @w f32[4]", 12, "expected ':' and the parameter's type, found 'f32'"),
    ("  param @w: f32[4] aliases @v", 28, "expected '[' and the other names"),
    ("  const #0: f32[2] = [1.0]", 26, "expected ',' and 1 more of 2 elements, found ']'"),
    ("  const #0: f32[2] = [1.0, 2.0, 3.0]", 31, "expected ']' after 2 elements, found ','"),
    ("  const #0: i8[1] = [128]", 22, "128 does not fit i8"),
    ("  const #0: f16[1] = [1e9]", 23, "1e9 does not fit f16"),
    ("  const #0: i8[1] = [1.5]", 22, "expected an integer, found '1.5'"),
    ("  const #0: bool[1] = [1]", 24, "expected true or false, found '1'"),
    ("  const #0: f32[1] = [x]", 23, "expected a number, found 'x'"),
    ("  const #0: f32[B] = [1.0]", 22, "the shape of a constant is static"),
    ("  const #0: f32[B] = sha256:00", 13, "the shape of a constant is static"),
    ("  const #0: f32[99] = sha256:00", 23, "expected 64 hexadecimal digits after 'sha256:', found 2"),
    ("  const #0: f32[2] = sha256:00", 22, "a constant of up to 16 elements is written out"),
    ("  const c: f32 = 1.0", 9, "expected a constant such as #0"),
    ("  %0 = relu(f32(true))", 17, "expected a number, found 'true'"),
    ("  %0 = relu(2.0)", 13, "expected an operand such as %0, @weight, #0 or f32(0.5), or name=value, found '2.0'"),
    ("  %0 = relu(%x) in 3", 20, "expected a scope, found '3'"),
    ("  %0 = call $f(%x)", 13, "function $f is not defined above"),
    ("  %0 relu(%x)", 6, "expected '=' and an op, found 'relu'"),
    ("  %0 = (%x)", 8, "expected an op, found '('"),
    ("  relu(%x)", 3, "expected 'param', 'const', a node such as %0 = relu(%x), or 'return', found 'relu'"),
    ("  %0 = relu(%x);", 16, "unexpected character ';'"),
    ("  %0 = relu(%)", 13, "expected a value's name after '%'"),
    ("  param @-", 9, "expected a parameter's name after '@'"),
    ("  %0 = call $(%x)", 13, "expected a function's name after '$'"),
    ('  param @"w: f32[4]', 9, "expected a parameter's name after '@'"),
    ('  %0 = relu(%x) in "a', 20, "this string has no end on its line"),
    (r'  %0 = relu(%x) in "\q"', 20, "bad string"),
]


@pytest.mark.parametrize(("body", "column", "message"), BODIES)
def test_a_mistake_in_the_body(body: str, column: int, message: str) -> None:
    with pytest.raises(ParseError) as caught:
        parse(HEAD + body + TAIL, file="layer.tg")
    assert message in str(caught.value)
    assert (caught.value.line, caught.value.column) == (2 + body.count("\n"), column)
    assert str(caught.value).startswith(f"layer.tg:{caught.value.line}:{column}: ")


OPEN = [  # what goes on after the end of its line: the error is at the next token, `return`
    ("  %0 = relu(%x", "expected ',' or ')', found 'return'"),
    ("  %0 = relu(f32(1.0)", "expected ',' or ')'"),
    ("  %0 = relu(%x) at model.py", "expected ':' and a line number"),
]


@pytest.mark.parametrize(("body", "message"), OPEN)
def test_a_node_that_has_no_end(body: str, message: str) -> None:
    with pytest.raises(ParseError) as caught:
        parse(HEAD + body + TAIL)
    assert message in str(caught.value) and "found 'return'" in str(caught.value)
    assert (caught.value.line, caught.value.column) == (3, 3)


HEADERS = [
    ("", 1, 1, "expected 'graph' or 'function', found the end of the text"),
    ("grpah main() -> ()", 1, 1, "expected 'graph' or 'function', found 'grpah'"),
    ("graph (%x: f32)", 1, 7, "expected the graph's name, found '('"),
    ("graph main(x: f32)", 1, 12, "expected an input such as %x: f32[B, 768], found 'x'"),
    ("graph main(%0: f32)", 1, 12, "expected an input such as %x: f32[B, 768], found '%0'"),
    ("graph main(%x f32)", 1, 15, "expected ':' and the input's type, found 'f32'"),
    ("graph main(%x: f32, %x: f32)", 1, 21, "graph main has two inputs named 'x'"),
    ("graph main(%x: f32[B) -> ()", 1, 21, "expected ',' or ']', found ')'"),
    ("graph main(%x: f32[-1]) -> ()", 1, 16, "a dimension of f32[-1] is negative"),
    ("graph main(%x: f32[B//0]) -> ()", 1, 21, "divided by zero"),
    ("graph main(%x: f32[none]) -> ()", 1, 20, "dimension name 'none' is a reserved word"),
    ("graph main(%x: f32[a.b]) -> ()", 1, 20, "dimension name 'a.b' is not an identifier"),
    ("graph main(%x: f32[]]) -> ()", 1, 21, "expected ',' or ')', found ']'"),
    ("graph main(%x: i64.range(3, 3)) -> ()", 1, 16, "empty value range 3 <= v < 3"),
    ("graph main(%x: f32)\n  (y: f32)", 2, 3, "expected '->' and the outputs, found '('"),
    ("graph main(%x: f32) -> y: f32", 1, 24, "expected '(' and the outputs, found 'y'"),
    ("graph main(%x: f32) -> (f32)", 1, 28, "expected ':' and the output's type, found ')'"),
    ("graph main(%x: f32[B]) -> () where B < 3 {", 1, 38, "unexpected character '<'"),
    ("graph main(%x: f32[B]) -> () where B <= T {", 1, 41, "expected an integer bound, found 'T'"),
    ("graph main(%x: f32[B]) -> () where 3 <= B <= 2 {", 1, 41, "dimension B has no size within 3 <= B <= 2"),
    ("graph main(%x: f32[B]) -> () where B == B+1 {", 1, 36, "B == B+1 can never hold"),
    ("graph main(%x: f32[B]) -> () where B {", 1, 38, "expected '==' or '>=' and a size, or '<=' and a bound, found '{'"),
    ("graph main(%x: f32) -> ()\n  return ()", 2, 3, "expected '{' and the nodes, found 'return'"),
    ("graph main(%x: f32) -> (y: f32) {\n  return (z: %x)\n}", 2, 11, "expected 'y' as in the header, found 'z'"),
    ("graph main(%x: f32) -> (y: f32) {\n  return ()\n}", 2, 3, "output 'y' of the header is not returned"),
    ("graph main(%x: f32) -> (y: f32) {\n  return (y: %x, z: %x)\n}", 2, 18,
     "expected ')' as in the header, found 'z'"),
    ("graph main(%x: f32) -> (y: f64) {\n  return (y: %x)\n}", 2, 14,
     "expected a value of type f64 as in the header, found f32"),
    ("graph main(%x: f32) -> (y: f32, y: f32) {\n  return (y: %x, y: %x)\n}", 2, 3, "two outputs named 'y'"),
    ("graph main(%x: f32) -> (y: f32) {\n  return (y: %x)", 2, 17, "expected '}' after 'return (...)', found the end"),
    ("graph main() -> () {\n  return ()\n}\n}", 4, 1, "expected 'graph' or 'function', found '}'"),
    ("graph a() -> () { return () }\ngraph a() -> () { return () }", 2, 7, "the program has two graphs named 'a'"),
    ("function $f() -> () { return () }\nfunction $f() -> () { return () }", 2, 10, "function $f is defined twice"),
    ("function $f() -> () { return () }", 1, 34, "expected 'graph' or 'function', found the end of the text"),
    ("function f() -> () { return () }", 1, 10, "expected the function's name such as $name, found 'f'"),
]


@pytest.mark.parametrize(("text", "line", "column", "message"), HEADERS)
def test_a_mistake_around_the_body(text: str, line: int, column: int, message: str) -> None:
    with pytest.raises(ParseError) as caught:
        parse_program(text)
    assert message in str(caught.value)
    assert (caught.value.line, caught.value.column) == (line, column)


def test_a_cycle_has_no_order_to_be_written_in() -> None:
    with pytest.raises(ParseError, match="2:12: %1 is not defined above"):
        parse(HEAD + "  %0 = add(%1, %x)\n  %1 = relu(%0)" + TAIL)


def test_an_error_shows_the_line_and_points_at_the_place() -> None:
    with pytest.raises(ParseError) as caught:
        parse(f"# first\n{HEAD}  %0 = softmax(%x, axis=7){TAIL}", file="layer.tg")
    first, source, pointer = str(caught.value).split("\n")
    assert first == "layer.tg:3:8: softmax(f32[B, 4]): axis 7 is not within -2 .. 1 for rank 2"
    assert source == "    %0 = softmax(%x, axis=7)"
    assert source[pointer.index("^"):].startswith("softmax")


@pytest.mark.parametrize("opening", ["(", "-", "((B+1)*"])
def test_deep_nesting_is_an_error_not_a_crash(opening: str) -> None:
    with pytest.raises(ParseError, match="nested more than"):
        parse(f"graph main(%x: f32[{opening * 5000}B]) -> () {{ return () }}")
    with pytest.raises(ParseError, match="nested more than"):
        parse(f"{HEAD}  %0 = reshape(%x, shape={'[' * 5000})")

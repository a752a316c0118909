"""Parsing text into graphs. Every type is inferred by the op's own rule and compared with the one that the text states."""

from __future__ import annotations

from typing import Any

from .dims import Dim, compare, dim
from .dtypes import DTYPES
from .expressions import ExpressionParser, suggest
from .graph import Graph
from .inequalities import canonical
from .lexer import Source, Token
from .location import Location, Provenance
from .printer import SHOWN_ELEMENTS
from .program import Program
from .registry import Op, get_op
from .rules import Constraints
from .types import TensorType
from .values import Node, Result, Value
from .weights import Weights

_OPERANDS = ("result", "value", "parameter", "constant")


def parse(text: str, *, file: str = "<text>") -> Graph:
    """Parse the text of one graph. Raises ParseError with line, column and what was expected."""
    parser = BlockParser(Source(text, file))
    blocks = parser.blocks()
    if len(blocks) > 1:
        token = blocks[1][0]
        raise parser.error(token, f"expected one graph, found {len(blocks)} (parse_program reads several)")
    return blocks[0][1]


def parse_program(text: str, *, file: str = "<text>") -> Program:
    """Parse the text of one or more graphs. Raises ParseError with line, column and what was expected."""
    parser = BlockParser(Source(text, file))
    program = Program(parser.weights)
    for token, graph in parser.blocks():
        with parser.at(token):
            program.add(graph.name, graph)
    return program


class BlockParser(ExpressionParser):
    """Parses functions and graphs, in order, over one table of parameters."""

    def __init__(self, source: Source):
        super().__init__(source)
        self.weights: Weights = Weights()
        self.values: dict[tuple[str, str], Value] = {}  # (kind of token, name)
        self.graph: Graph = Graph()

    def blocks(self) -> list[tuple[Token, Graph]]:
        """All graphs, each with the token of its name."""
        graphs: list[tuple[Token, Graph]] = []
        while self.token.kind != "end" or not graphs:
            if self.accept("function"):
                token = self.expect_kind("the function's name such as $name", "function")
                if token.value in self.functions:
                    raise self.error(token, f"function {token.text} is defined twice")
                self.functions[token.value] = self.block(token.value)
            elif self.accept("graph"):
                token = self.expect_kind("the graph's name", "word", "string")
                graphs.append((token, self.block(token.value)))
            else:
                raise self.expected("'graph' or 'function'")
        return graphs

    def block(self, name: str) -> Graph:
        self.values = {}
        self.symbols: dict[str, Dim] = self.bounds_ahead()
        self.graph = Graph(name, self.weights)
        self.expect("(", "and the inputs")
        self._separated(")", self.input)
        self.expect("->", "and the outputs")
        self.expect("(", "and the outputs")
        outputs = self._separated(")", self.output_type)
        if self.accept("where"):
            self.condition()
            while self.accept(","):
                self.condition()
        self.expect("{", "and the nodes")
        while not self.is_next("return"):
            self.statement()
        self.returns(outputs)
        self.expect("}", "after 'return (...)'")
        return self.graph

    # Header

    def bounds_ahead(self) -> dict[str, Any]:
        """Read the bounds of dims in the `where` that follows the types: the types are parsed with them."""
        low: dict[str, int] = {}
        high: dict[str, int] = {}
        seen: dict[str, Token] = {}
        position = self.position
        while self.tokens[position].kind != "end" and self.tokens[position].text not in ("where", "{"):
            position += 1
        while self.tokens[position].kind != "end" and self.tokens[position].text != "{":
            left, mark = self.tokens[position - 1], self.tokens[position]
            right = self.tokens[min(position + 1, len(self.tokens) - 1)]
            if mark.text == "<=" and left.kind == "word" and right.kind == "int":
                high[left.text], seen[left.text] = right.value, left
            elif mark.text == "<=" and left.kind == "int" and right.kind == "word":
                low[right.text], seen[right.text] = left.value, right
            position += 1
        symbols = {}
        for name, token in seen.items():
            with self.at(token):
                symbols[name] = dim(name, min=low.get(name, 0), max=high.get(name))
        return symbols

    def condition(self) -> None:
        """`S <= 512`, `2 <= B <= 8` (known from `bounds_ahead`), `T == B` or `S >= T+1`."""
        if self.token.kind == "int" and self.ahead().text == "<=":
            self.advance(), self.advance()
            self.expect_kind("a dim's name", "word")
            if self.accept("<="):
                self.expect_kind("an integer bound", "int")
        elif self.token.kind == "word" and self.ahead().text == "<=":
            self.advance(), self.advance()
            self.expect_kind("an integer bound", "int")
        else:
            self.comparison()

    def comparison(self) -> None:
        """An equality or inequality of two sizes; one that always holds is dropped."""
        token, left = self.token, self.dim()
        if self.accept(">="):
            right = self.dim()
            order = Constraints().order(left, right)
            if order == "never":
                raise self.error(token, f"{left} >= {right} can never hold")
            if order == "unknown":
                self.graph.inequalities.append(canonical(left, right))
            return
        self.expect("==", "or '>=' and a size, or '<=' and a bound")
        right = self.dim()
        verdict = compare(left, right)
        if verdict == "different":
            raise self.error(token, f"{left} == {right} can never hold")
        if verdict == "unknown":
            self.graph.constraints.append((left, right))

    def input(self) -> None:
        state = self.accept("state")
        token = self.expect_kind("an input such as %x: f32[B, 768]", "value")
        self.expect(":", "and the input's type")
        with self.at(token):
            type = self.type()
            if state:
                self.graph.state(token.value, type)
            self.define(token, self.graph.input(token.value, type))

    def output_type(self) -> tuple[Token, TensorType]:
        state = self.accept_state()
        token = self.expect_kind("an output such as hidden: f32[B, 768]", "word", "string")
        self.expect(":", "and the output's type")
        type = self.type()
        if state:
            with self.at(token):
                self.graph.state(token.value, type)
        elif token.value in self.graph.states:
            raise self.error(token, f"expected 'state {token.text}': the input of that name is a state")
        return token, type

    def accept_state(self) -> bool:
        """Accept 'state' before a name; an output may have the name itself."""
        return self.ahead().text != ":" and bool(self.accept("state"))

    # Body

    def statement(self) -> None:
        if self.accept("param"):
            self.parameter()
        elif self.accept("const"):
            self.constant()
        elif self.token.kind in ("result", "value"):
            self.node()
        else:
            raise self.expected("'param', 'const', a node such as %0 = relu(%x), or 'return'")

    def parameter(self) -> None:
        token = self.expect_kind("a parameter such as @layer.weight", "parameter")
        self.expect(":", "and the parameter's type")
        type = self.type()
        with self.at(token):
            self.define(token, self.graph.parameter(token.value, type))
        if self.accept("aliases"):
            self.expect("[", "and the other names")
            for alias in self._separated("]", lambda: self.expect_kind("a parameter's name", "parameter")):
                self.weights.aliases[alias.value] = token.value

    def constant(self) -> None:
        token = self.expect_kind("a constant such as #0", "constant")
        self.expect(":", "and the constant's type")
        start, type = self.token, self.type()
        self.expect("=", "and the constant's elements")
        if self.token.kind != "digest":
            self.define(token, self.graph.constant(self.elements(type), type.dtype))
            return
        digest = self.token.text.removeprefix("sha256:")
        if not isinstance(type.size, int):
            raise self.error(start, f"the shape of a constant is static, not {type}")
        if type.size <= SHOWN_ELEMENTS:
            raise self.error(self.token, f"a constant of up to {SHOWN_ELEMENTS} elements is written out")
        if len(digest) != 64:
            raise self.error(self.token, f"expected 64 hexadecimal digits after 'sha256:', found {len(digest)}")
        self.advance()
        self.define(token, self.graph.opaque_constant(type, digest))

    def node(self) -> None:
        names = [self.expect_kind("a value such as %0", "result", "value")]
        while self.accept(","):
            names.append(self.expect_kind("a value such as %0", "result", "value"))
        self.expect("=", "and an op")
        token = self.expect_kind("an op", "word")
        with self.at(token):
            op = get_op(token.text)
        attrs: dict[str, Any] = {}
        if self.token.kind == "function":
            attrs["function"] = self.function()
        operands, attrs = self.arguments(op, token, attrs)
        with self.at(token):
            results = self.graph.insert(op, operands, attrs)
        node = _node_of(results)
        if len(names) != len(node.results):
            raise self.error(names[0], f"{op.name} has {len(node.results)} results here, not {len(names)}")
        if self.accept(":"):
            self.annotation(node)
        node.provenance = self.provenance()
        for name, result in zip(names, node.results):
            self.define(name, result)

    def arguments(self, op: Op, token: Token, attrs: dict[str, Any]) -> tuple[list[Value | None], dict[str, Any]]:
        """Operands in signature order and attributes; an operand may be given by name."""
        positional: list[Value] = []
        named: dict[str, Value] = {}
        operand_names = {o.name for o in op.operands}

        def argument() -> None:
            key = self.token
            if key.kind != "word" or self.ahead().text != "=":
                if named or attrs.keys() - {"function"}:
                    raise self.expected("name=value (operands by position come first)")
                positional.append(self.operand())
                return
            self.advance(), self.advance()
            if key.text in named or key.text in attrs:
                raise self.error(key, f"{key.text!r} is given twice")
            if key.text in operand_names:
                named[key.text] = self.operand()
            elif key.text in op.attributes:
                attrs[key.text] = self.attribute()
            else:
                known = (*op.attributes, *operand_names)
                raise self.error(key, f"{op.name} has no attribute or operand {key.text!r} "
                                      f"(it has {', '.join(known) or 'none'}){suggest(key.text, known)}")

        self.expect("(", f"and the operands of {op.name}")
        self._separated(")", argument)
        with self.at(token):
            return op.bind_operands(positional, named), attrs

    def operand(self) -> Value:
        token = self.token
        if token.kind == "word" and token.text in DTYPES and self.ahead().text == "(":
            self.advance(), self.advance()
            value = self.number(DTYPES[token.text])
            self.expect(")", "after the number")
            return self.graph.constant(value, DTYPES[token.text])
        if token.kind not in _OPERANDS:
            raise self.expected("an operand such as %0, @weight, #0 or f32(0.5), or name=value")
        found = self.values.get((token.kind, token.value))
        if found is None:
            same = [name for kind, name in self.values if kind == token.kind]
            hint = "; declare it with 'param'" if token.kind == "parameter" else ""
            raise self.error(token, f"{token.text} is not defined above{suggest(token.value, same) or hint}")
        self.advance()
        return found

    def annotation(self, node: Node) -> None:
        """Compare the stated types with the inferred ones; dims that the graph's constraints make equal count as equal."""
        start = self.token
        stated = self._separated(")", self.type) if self.accept("(") else [self.type()]
        inferred = [r.type for r in node.results]
        known = Constraints(self.graph.constraints)
        if len(stated) != len(inferred) or not all(map(known.agree, stated, inferred)):
            types = ", ".join(str(t) for t in inferred)
            raise self.error(start, f"expected the type {types if len(inferred) == 1 else f'({types})'}, "
                                    f"which {node.op.name} has here, found {', '.join(str(t) for t in stated)}")
        for result, type in zip(node.results, stated):
            result.type = type

    def provenance(self) -> Provenance:
        scopes: list[str] = []
        locations: list[Location] = []
        if self.accept("in"):
            scopes.append(self.name("a scope"))
            while self.accept(","):
                scopes.append(self.name("a scope"))
        if self.accept("at"):
            locations.append(self.location())
            while self.accept(","):
                locations.append(self.location())
        return Provenance(tuple(scopes), tuple(locations))

    def location(self) -> Location:
        file = self.name("a place such as model.py:31")
        self.expect(":", "and a line number")
        return Location(file, self.integer())

    def returns(self, outputs: list[tuple[Token, TensorType]]) -> None:
        """Parse `return (name: value, ...)`, whose names and types must be those of the header."""
        start = self.expect("return")
        self.expect("(", "and the outputs")
        found: list[tuple[str, Value]] = []

        def output() -> None:
            state = self.accept_state()
            token = self.expect_kind("an output such as hidden: %0", "word", "string")
            if state != (token.value in self.graph.states):
                raise self.error(token, f"expected '{'' if state else 'state '}{token.text}' as in the header")
            if len(found) == len(outputs) or outputs[len(found)][0].value != token.value:
                wanted = f"'{outputs[len(found)][0].text}'" if len(found) < len(outputs) else "')'"
                raise self.error(token, f"expected {wanted} as in the header, found {token}")
            self.expect(":", "and the output's value")
            place, value = self.token, self.operand()
            type = outputs[len(found)][1]
            if value.type != type:
                raise self.error(place, f"expected a value of type {type} as in the header, found {value.type}")
            found.append((token.value, value))

        self._separated(")", output)
        if len(found) < len(outputs):
            raise self.error(start, f"output '{outputs[len(found)][0].text}' of the header is not returned")
        with self.at(start):
            self.graph.set_outputs(found)

    def define(self, token: Token, value: Value) -> None:
        if (token.kind, token.value) in self.values:
            raise self.error(token, f"{token.text} is defined twice")
        self.values[token.kind, token.value] = value


def _node_of(results: Any) -> Node:
    first = results[0] if isinstance(results, tuple) else results
    assert isinstance(first, Result)
    return first.node

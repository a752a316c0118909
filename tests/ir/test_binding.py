"""What a caller feeds: names, element types, ranks, and the sizes that follow."""

from __future__ import annotations

import re

import numpy as np
import pytest

from tgraph.ir.binding import bind_inputs, check_constraints, name_feeds
from tgraph.ir.builder import Builder
from tgraph.ir.determined import undetermined
from tgraph.ir.dims import dim
from tgraph.ir.dtypes import bf16, bool_, f32, i64, u8
from tgraph.ir.errors import InputError, OpError, RuleError
from tgraph.ir.graph import Graph
from tgraph.ir.types import TensorType

B, S = dim("B"), dim("S", min=1, max=512)


@pytest.fixture
def graph() -> Graph:
    g = Graph("encode")
    g.input("x", f32[B, S, 4])
    g.input("mask", bool_[B, S])
    return g


def feeds(batch: int = 2, length: int = 3, mask: tuple[int, ...] = (2, 3)) -> dict[str, np.ndarray]:
    return {"x": np.zeros((batch, length, 4), np.float32), "mask": np.ones(mask, bool)}


def test_sizes(graph: Graph) -> None:
    arrays, sizes = bind_inputs(graph, feeds())
    assert sizes == {"B": 2, "S": 3} and list(arrays) == ["x", "mask"]
    assert bind_inputs(graph, feeds(0, 1, (0, 1)))[1] == {"B": 0, "S": 1}


@pytest.mark.parametrize(("given", "message"), [
    (feeds(mask=(2, 4)), "dim S of x is 3, S of mask is 4"),
    (feeds(length=0, mask=(2, 0)), r"dim S is 0, but must be within 1 \.\. 512"),
    (feeds() | {"x": np.zeros((2, 3, 5), np.float32)},
     r"x must be f32\[B, S, 4\]: axis 2 must be 4, got shape \[2, 3, 5\]"),
    (feeds() | {"x": np.zeros((2, 3, 4))}, r"input 'x' must be f32, got float64 \(the graph takes f32\[B, S, 4\]\)"),
    (feeds() | {"x": np.zeros((2, 3), np.float32)}, r"input 'x' must have rank 3 .* got shape \[2, 3\]"),
    (feeds() | {"mask": np.ones((2, 3), np.float16)}, "input 'mask' must be bool, got float16"),
    (feeds() | {"mask": np.full((2, 3), 2, np.int8)}, r"of int8 it takes 0 and 1 only, got 2 at \[0, 0\]"),
    (feeds() | {"x": [[1.0], [1.0, 2.0]]}, r"input 'x' is f32\[B, S, 4\], got list that is no array"),
    (feeds() | {"x": object()}, "input 'x' must be f32, got object"),
])
def test_what_does_not_fit(graph: Graph, given: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        bind_inputs(graph, given)


def test_names(graph: Graph) -> None:
    x, mask = feeds().values()
    assert list(name_feeds(graph, (x,), {"mask": mask})) == ["x", "mask"]
    for positional, named, message in (((x, mask, x), {}, "takes 2 inputs, got 3"),
                                       ((x,), {"x": x}, "got input 'x' twice"),
                                       ((), {"y": x}, "has no input 'y'"), ((), {}, "misses input x, mask")):
        with pytest.raises(InputError, match=rf"encode\(x: f32\[B, S, 4\], mask: bool\[B, S\]\) {message}"):
            name_feeds(graph, positional, named)


def test_python_numbers_adapt() -> None:
    graph = Graph()
    for name, dtype in (("f", f32), ("b", bf16), ("i", i64), ("u", u8), ("m", bool_)):
        graph.input(name, TensorType(dtype))
    arrays, _ = bind_inputs(graph, {"f": 1, "b": 0.5, "i": 3, "u": 255, "m": True})
    assert [a.dtype for a in arrays.values()] == [i.dtype.numpy for i in graph.inputs]
    good = {"f": 1.5, "b": 0.5, "i": 3, "u": 255, "m": True}
    for name, value, message in (("i", 0.5, "got the Python float 0.5"), ("u", 256, "which cannot hold 256"),
                                 ("u", -1, "which cannot hold -1"), ("m", 1, "got the Python int 1"),
                                 ("i", 2**63, "cannot hold")):
        with pytest.raises(InputError,
                           match=rf"input '{name}' is {graph.inputs['fbium'.index(name)].type}, .*{message}"):
            bind_inputs(graph, good | {name: value})


class Capsule:
    """An array of another library, which speaks DLPack."""

    def __init__(self, array: np.ndarray):
        self.array = array

    def __dlpack__(self, **options: object) -> object:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.array.__dlpack_device__()


def test_dlpack(graph: Graph) -> None:
    given = feeds()
    arrays, _ = bind_inputs(graph, given | {"x": Capsule(given["x"])})
    assert np.shares_memory(arrays["x"], given["x"])


def test_expressions_over_dims_are_checked_in_any_order() -> None:
    for order in ((0, 1), (1, 0)):
        graph = Graph()
        inputs = [("x", f32[2 * S + 1]), ("y", f32[S])]
        for i in order:
            graph.input(*inputs[i])
        assert bind_inputs(graph, {"x": np.zeros(7, np.float32), "y": np.zeros(3, np.float32)})[1] == {"S": 3}
        with pytest.raises(InputError, match=r"x must be f32\[2\*S\+1\]: axis 0 must be 2\*S\+1 = 7, got shape \[8\]"):
            bind_inputs(graph, {"x": np.zeros(8, np.float32), "y": np.zeros(3, np.float32)})


def test_inequalities_between_dims() -> None:
    T = dim("T")
    graph = Graph()
    graph.input("x", f32[B])
    graph.input("y", f32[T])
    graph.require_order(B, T + 1)
    x = np.zeros(3, np.float32)
    assert bind_inputs(graph, {"x": x, "y": x[:2]})[1] == {"B": 3, "T": 2}
    with pytest.raises(InputError, match=r"^B of x is 3, T\+1 is 4, but the graph needs B >= T\+1$"):
        bind_inputs(graph, {"x": x, "y": x})
    graph.require_order(B, 2)
    with pytest.raises(InputError, match=r"^B of x is 1, but the graph needs B >= 2$"):
        bind_inputs(graph, {"x": x[:1], "y": x[:0]})
    graph.require_order(B + 1, T)  # follows
    graph.require_order(B, 5)  # and B >= 2 from this one
    assert graph.inequalities == [(B, T + 1), (B, 5)]
    with pytest.raises(RuleError, match=r"B >= B\+1 can never hold"):
        graph.require_order(B, B + 1)


def test_equalities_between_dims() -> None:
    graph = Graph()
    graph.input("x", f32[B])
    graph.input("y", f32[dim("T")])
    graph.constrain(B, dim("T"))
    x = np.zeros(3, np.float32)
    assert bind_inputs(graph, {"x": x, "y": x})[1] == {"B": 3, "T": 3}
    with pytest.raises(InputError, match="B of x is 3, T of y is 2, but they must be equal"):
        bind_inputs(graph, {"x": x, "y": x[:2]})
    inner = Graph()
    inner.constraints = [(B, 2 * dim("N"))]
    check_constraints(inner, {"B": 3})  # N is known to a node only
    with pytest.raises(InputError, match=r"B is 3, 2\*N is 8"):
        check_constraints(inner, {"B": 3, "N": 4})
    low = Graph()
    low.input("x", f32[dim("M", min=2)])
    with pytest.raises(InputError, match="dim M is 1, but must be at least 2"):
        bind_inputs(low, {"x": x[:1]})


def one_input(*types: TensorType) -> Graph:
    graph = Graph()
    for name, type in zip("xyz", types):
        graph.input(name, type)
    return graph


def bound(graph: Graph, *shapes: tuple[int, ...]) -> dict[str, int]:
    return bind_inputs(graph, {i.name: np.zeros(shape, np.float32) for i, shape in zip(graph.inputs, shapes)})[1]


N, M = dim("N"), dim("M", min=2, max=4)


@pytest.mark.parametrize(("types", "shapes", "sizes"), [
    ([f32[2 * N, 4]], [(6, 4)], {"N": 3}),
    ([f32[2 * N, 4]], [(0, 4)], {"N": 0}),
    ([f32[N + 1]], [(1,)], {"N": 0}),
    ([f32[N - 4]], [(3,)], {"N": 7}),
    ([f32[7 - N]], [(3,)], {"N": 4}),
    ([f32[3 * M - 2]], [(10,)], {"M": 4}),
    ([f32[B * N], f32[B]], [(6,), (2,)], {"B": 2, "N": 3}),
    ([f32[B * N + N // 2, N], f32[B]], [(7, 3), (2,)], {"B": 2, "N": 3}),
    ([f32[B + N], f32[B + M], f32[2 * M]], [(7,), (5,), (6,)], {"M": 3, "B": 2, "N": 5}),  # each from the one after it
    ([f32[(B // 2) * N], f32[B]], [(6,), (5,)], {"B": 5, "N": 3}),
])
def test_a_dim_follows_from_an_expression(types: list[TensorType], shapes: list[tuple[int, ...]], sizes: dict[str, int]) -> None:
    graph = one_input(*types)
    assert bound(graph, *shapes) == sizes
    assert undetermined(graph) is None


@pytest.mark.parametrize(("types", "shapes", "message"), [
    ([f32[2 * N, 4]], [(7, 4)],
     r"x must be f32\[2\*N, 4\]: axis 0 must be 2\*N, which no N from 0 makes 7, got shape \[7, 4\]"),
    ([f32[N + 1]], [(0,)], r"axis 0 must be N\+1, which no N from 0 makes 0"),
    ([f32[2 * M]], [(10,)], r"axis 0 must be 2\*M, which no M from 2 to 4 makes 10"),
    ([f32[B * N], f32[B]], [(5,), (2,)], r"axis 0 must be B\*N with B = 2, which no N from 0 makes 5"),
    ([f32[2 * N], f32[N + 1]], [(6,), (5,)], r"y must be f32\[N\+1\]: axis 0 must be N\+1 = 4, got shape \[5\]"),
    ([f32[B * N], f32[B]], [(0,), (0,)],
     r"the size of N follows from no input: axis 0 of x is B\*N with B = 0, got shape \[0\]"),
    ([f32[B * N]], [(6,)], r"the size of B and N follows from no input: axis 0 of x is B\*N, got shape \[6\]"),
    ([f32[N // 2]], [(6,)], r"the size of N follows from no input: axis 0 of x is N//2, got shape \[6\]"),
])
def test_sizes_that_follow_from_nothing(types: list[TensorType], shapes: list[tuple[int, ...]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        bound(one_input(*types), *shapes)


@pytest.mark.parametrize(("types", "message"), [
    ([f32[4], f32[B * N]], r"axis 0 of input 'y' \(f32\[B\*N\]\) is B\*N: from its length follows more than one unknown; "
                           "give B and N on an axis of its own"),
    ([f32[N // 2]], r"axis 0 of input 'x' \(f32\[N//2\]\) is N//2: from its length follows no single N"),
    ([f32[N * N]], r"is N\*N: from its length follows no single N"),
    ([f32[B + N], f32[2 * B + N]], "more than one unknown"),
])
def test_sizes_that_no_call_can_know(types: list[TensorType], message: str) -> None:
    assert re.search(message, str(undetermined(one_input(*types))))


def test_a_size_that_is_on_no_input() -> None:
    graph = one_input(f32[B])
    Builder(graph).range(stop=N)
    assert str(undetermined(graph)) == "the size of N in range is on no input, so no call can know it"
    function, graph = graph, one_input(f32[B])
    Builder(graph).call(graph.inputs[0], function=function)
    assert str(undetermined(graph)) == "the size of N in call is on no input, so no call can know it"


def test_a_data_dependent_size() -> None:
    graph = Graph()
    indices, _ = Builder(graph).unpack(graph.input("mask", bool_[B, S]))
    graph.set_outputs([("rows", Builder(graph).add(indices, Builder(graph).range(stop=dim("N"))))])
    assert undetermined(graph) is None


def test_functions_take_sizes_from_their_operands() -> None:
    function = one_input(f32[2 * N])
    function.name = "half"
    function.set_outputs([("y", Builder(function).reshape(function.inputs[0], shape=(2, N)))])
    for given, shape in ((2 * M, (2, M)), (6, (2, 3)), (2 * N + 2, (2, N + 1)), (4 * B * S, (2, 2 * B * S))):
        graph = one_input(f32[given])
        result = Builder(graph).call(graph.inputs[0], function=function)
        assert result.shape == shape
        assert graph.inline(function, graph.inputs)[0].shape == shape
    graph = one_input(f32[7])
    with pytest.raises(OpError, match=r"expected f32\[2\*N\], got f32\[7\]: no N makes 2\*N == 7"):
        Builder(graph).call(graph.inputs[0], function=function)

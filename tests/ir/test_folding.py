"""Folded views: what repeats stands once, with its number; what is shown is connected as the graph is."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_graphs import graphs

import tgraph as tg
from tgraph import nn
from tgraph.cli.models import bert
from tgraph.ir.errors import GraphError, ParseError
from tgraph.ir.folding import SCREEN, fold
from tgraph.ir.graph import Graph
from tgraph.ir.location import Provenance
from tgraph.ir.parser import parse
from tgraph.ir.scopes import Item, Repeat, Scope, _Structures, fold_repeats, nodes_of, scope_tree
from tgraph.ir.values import Input, Result

LAYERS = """graph main(%x: f32[B, 4], %m: f32[4]) -> (y: f32[B, 4]) {
  param @layer.0.w: f32[4, 4]
  param @layer.1.w: f32[4, 4]
  param @layer.2.w: f32[4, 4]
  %0 = linear(%x, @layer.0.w) : f32[B, 4]  in layer.0.dense
  %1 = add(%0, %m) : f32[B, 4]  in layer.0
  %2 = linear(%1, @layer.1.w) : f32[B, 4]  in layer.1.dense
  %3 = add(%2, %m) : f32[B, 4]  in layer.1
  %4 = linear(%3, @layer.2.w) : f32[B, 4]  in layer.2.dense
  %5 = add(%4, %m) : f32[B, 4]  in layer.2
  %6 = relu(%5) : f32[B, 4]
  return (y: %6)
}"""


def repeats(graph: Graph) -> list[Repeat]:
    tree = fold_repeats(scope_tree(graph))
    return [item for scope in (tree, *tree.scopes()) for item in scope.items if isinstance(item, Repeat)]


def test_layers_stand_once() -> None:
    assert parse(LAYERS).text(fold=True) == """\
# folded view, not to be parsed: 7 nodes; "x N" stands for N that are alike, and shows the first
graph main(%x: f32[B, 4], %m: f32[4]) -> (y: f32[B, 4]) {
  layer:
    0 .. 2  x 3 (%1 to the next as %x; %1 of the last is %5):
      %0 = linear(%x, @.w) : f32[B, 4]  in dense
      %1 = add(%0, %m) : f32[B, 4]
  %6 = relu(%5) : f32[B, 4]
  return (y: %6)
}"""


def test_the_view_does_not_parse() -> None:
    with pytest.raises(ParseError):
        parse(parse(LAYERS).text(fold=True))


@pytest.mark.parametrize("change", [
    ("relu", "%3 = add(%2, %m)", "%3 = sub(%2, %m)"),
    ("operands", "%3 = add(%2, %m)", "%3 = add(%m, %2)"),
    ("wiring", "%5 = add(%4, %m)", "%5 = add(%3, %m)"),
    ("name", "in layer.1", "in layer.one"),
])
def test_layers_that_differ_do_not(change: tuple[str, str, str]) -> None:
    _, old, new = change
    assert all(r.count < 3 for r in repeats(parse(LAYERS.replace(old, new))))


def test_words_tell_what_is_different() -> None:
    text = LAYERS
    for number, name in enumerate(("query", "key", "value")):
        text = text.replace(f"layer.{number}", f"layer.{name}")
    assert repeats(parse(text)) == []


def test_groups_repeat_too() -> None:
    """Attention and feed-forward layers in two lists."""
    class Model(nn.Module):
        def __init__(self) -> None:
            self.attentions = [nn.Linear(4, 4) for _ in range(5)]
            self.ffns = [nn.Linear(4, 4, bias=False) for _ in range(5)]

        def __call__(self, x):  # type: ignore[no-untyped-def]
            for attention, ffn in zip(self.attentions, self.ffns):
                x = tg.relu(ffn(attention(x)))
            return x

    (found,) = repeats(tg.trace(Model(), x=tg.f32[3, 4]))
    assert found.count == 5 and [len(copy) for copy in found.copies] == [3] * 5


def test_each_layer_has_its_own_cache() -> None:
    text = LAYERS.replace("%m: f32[4]", "%a: f32[4], %b: f32[4], %c: f32[4]")
    for name, number in (("a", 1), ("b", 3), ("c", 5)):
        text = text.replace(f"%{number} = add(%{number - 1}, %m)", f"%{number} = add(%{number - 1}, %{name})")
    graph = parse(text)
    assert "%a, %b, %c in turn" in graph.text(fold=True)
    view = fold(graph)
    (add,) = [t for t, values in view.reads.items() if any(isinstance(v, Input) and v.name == "a" for v in values)]
    assert [v.name for v in view.reads[add] if isinstance(v, Input)] == ["a", "b", "c"]


def test_depth_says_what_is_open() -> None:
    graph = parse(LAYERS)
    assert "layer: 6 nodes, 3 linear, 3 add  (%x, %m) -> %5: f32[B, 4]" in graph.text(fold=0)
    assert "0 .. 2  x 3 (%1 to the next as %x; %1 of the last is %5): 2 nodes, 1 linear, 1 add" in graph.text(fold=1)
    assert graph.text(fold=2) == graph.text(fold=9) == graph.text(fold=True)
    with pytest.raises(GraphError, match="fold=-1: expected"):
        graph.text(fold=-1)
    assert graph.text(fold=False) == str(graph)


def test_a_bert_fits_a_screen() -> None:
    graph = bert("bert-base")
    shown = graph.text(fold=True)
    assert "0 .. 11  x 12" in shown and len(shown.splitlines()) <= 50
    (layers,) = repeats(graph)
    assert layers.count == 12 and len(layers.nodes) == 240
    optimized = tg.optimize(graph)
    assert "0 .. 11  x 12" in optimized.text(fold=True) and repeats(optimized)[0].count == 12


def test_programs_fold_graph_by_graph() -> None:
    text = tg.parse_program(LAYERS + "\n" + LAYERS.replace("main", "step")).text(fold=True)
    assert text.count("x 3") == 2 and "graph step(" in text


@given(graphs(), st.sampled_from([False, True, 0, 1]))
@settings(max_examples=60)
def test_a_view_shows_every_node_and_every_edge(graph: Graph, how: bool | int) -> None:
    view = fold(graph, how)
    assert sorted(map(id, view.root.nodes)) == sorted(map(id, graph.nodes))
    place = {thing: i for i, thing in enumerate(dict.fromkeys(view.shows[n] for n in _shown(view.root)))}
    for thing, values in view.reads.items():
        for value in values:
            if isinstance(value, Result):
                assert place[view.shows[value.node]] < place[thing]
    if how is False:
        assert all(view.reads[n] == list(dict.fromkeys(n.inputs)) for n in graph.nodes)


@given(st.integers(2, 6), st.integers(0, 10**6))
@settings(max_examples=30)
def test_copies_have_equal_nodes(count: int, seed: int) -> None:
    import random

    rng = random.Random(seed)
    graph = Graph("main")
    x = graph.input("x", tg.f32[4])
    values = [x]
    for layer in range(count):
        for _ in range(3):
            a, b = rng.choice(values), rng.choice(values)
            values.append(graph.insert(tg.ir.registry.get_op(rng.choice(["add", "mul"])), [a, b], {},
                                       Provenance((f"layer.{layer}",))))
    graph.set_outputs([("y", values[-1])])
    for found in repeats(graph):
        first, *others = [[n for item in copy for n in nodes_of(item)] for copy in found.copies]
        for other in others:
            assert [n.op.name for n in first] == [n.op.name for n in other]


def _shown(scope: Scope):  # type: ignore[no-untyped-def]
    for item in scope.items:
        for one in (item.first if isinstance(item, Repeat) else [item]):
            if isinstance(one, Scope):
                yield from _shown(one)
            else:
                yield one


class _Stack(nn.Module):
    def __init__(self, layers: int) -> None:
        self.layer = [_Layer() for _ in range(layers)]

    def __call__(self, x):  # type: ignore[no-untyped-def]
        for layer in self.layer:
            x = layer(x)
        return x


class _Layer(nn.Module):
    def __init__(self) -> None:
        self.attention, self.norm1 = nn.MultiHeadAttention(16, 2), nn.LayerNorm(16)
        self.ffn, self.norm2 = nn.FeedForward(16, 32, activation="gelu"), nn.LayerNorm(16)

    def __call__(self, x):  # type: ignore[no-untyped-def]
        x = self.norm1(x + self.attention(x))
        return self.norm2(x + self.ffn(x))


def test_two_hundred_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The work, in groups of nodes that are compared, grows with the layers; the view does not."""
    of_group = _Structures.of_group
    looked_at = 0

    def count(self: _Structures, items: Sequence[Item]) -> int:
        nonlocal looked_at
        looked_at += sum(len(nodes_of(item)) for item in items)
        return of_group(self, items)

    monkeypatch.setattr(_Structures, "of_group", count)
    found = []
    for layers in (100, 200):
        looked_at = 0
        graph = tg.trace(_Stack(layers), x=tg.f32[tg.dim("B"), tg.dim("S"), 16])
        shown = graph.text(fold=True)
        assert f"x {layers}" in shown and len(shown.splitlines()) < SCREEN
        found.append(looked_at)
    assert found[1] < 2.1 * found[0]

"""The picture: valid XML, every node in it once, no two boxes over each other, no wire through a box."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_graphs import graphs

import tgraph as tg
from tgraph.cli.models import bert
from tgraph.formats import layering
from tgraph.formats.clusters import Closed, Note, Output, Scope, nest
from tgraph.formats.layers import Cell, _settle
from tgraph.formats.layout import Box, Signal, arrange
from tgraph.formats.svg import _measure, to_svg
from tgraph.ir.builder import Builder
from tgraph.ir.dims import dim
from tgraph.ir.dtypes import f32
from tgraph.ir.graph import Graph
from tgraph.ir.location import Provenance
from tgraph.ir.parser import parse
from tgraph.ir.values import Constant, Input, Node, Parameter, Result

B = dim("B")
SVG = "{http://www.w3.org/2000/svg}"
Place = tuple[Box, float, float]


def places(box: Box, x: float = 0.0, y: float = 0.0) -> Iterator[Place]:
    """All boxes inside of one, each with its corner in the picture."""
    for inner in box.boxes:
        yield inner, x + inner.x, y + inner.y
        yield from places(inner, x + inner.x, y + inner.y)


def assert_tidy(level: Box) -> None:
    """Siblings keep a distance, all is within its parent, and wires pass only boxes that they enter."""
    for a, b in itertools.combinations(level.boxes, 2):
        apart = max(a.x - b.x - b.width, b.x - a.x - a.width, a.y - b.y - b.height, b.y - a.y - a.height)
        assert apart > 5, (a.shows, b.shows)
    for box in level.boxes:
        assert box.x >= 0 and box.y >= 0 and box.x + box.width <= level.width and box.y + box.height <= level.height
        assert_tidy(box)
    for wire in level.wires:
        assert -0.01 <= wire.y0 <= wire.y1 + 0.01 <= wire.y2 + 0.01 <= wire.y3 + 0.02 <= level.height + 0.03
        left, right = min(wire.x0, wire.x1), max(wire.x0, wire.x1)
        assert left >= 0 and right <= level.width
        for box in level.boxes:
            if box.y + box.height - 0.01 > wire.y1 and box.y + 0.01 < wire.y2:  # where the wire moves sideways
                assert box.x > right or box.x + box.width < left, (wire, box.shows)
            for x, start, stop in ((wire.x0, wire.y0, wire.y1), (wire.x1, wire.y2, wire.y3)):
                if box.x < x < box.x + box.width:
                    assert box.y + box.height <= start + 0.01 or box.y >= stop - 0.01, (wire, box.shows)


def scattered(count: int, seed: int, reach: int) -> Graph:
    """Nodes in scopes that no order respects, each reading two values among the last `reach`."""
    choose = random.Random(seed)
    graph = Graph("scattered")
    values = [graph.input("x", f32[B, 4])]
    for i in range(count):
        scope = choose.choice(["", "a", "a.b", "a.b.c", "d", "d.e", "f.0", "f.1"])
        b = Builder(graph, Provenance((scope,) if scope else ()))
        if i % 7 == 0:
            values.append(b.mul(choose.choice(values[-reach:]), graph.parameter(f"{scope}.w{i % 3}", f32[4])))
        else:
            values.append(b.add(choose.choice(values[-reach:]), choose.choice(values[-reach:])))
    graph.set_outputs([("y", values[-1]), ("z", values[count // 2])])
    return graph


@given(graphs(), st.booleans())
def test_pictures_of_random_graphs(graph: Graph, parameters: bool) -> None:
    root = nest(graph, _measure, parameters=parameters)
    assert_tidy(nest(graph, _measure, parameters=parameters, fold_by=True))
    assert_tidy(root)
    shown = [box.shows for box, _, _ in places(root)]
    assert sorted(map(id, (s for s in shown if isinstance(s, Node)))) == sorted(map(id, graph.nodes))
    assert [s for s in shown if isinstance(s, Input)] == graph.inputs
    assert [(s.name, s.value) for s in shown if isinstance(s, Output)] == graph.outputs
    notes = {s.value for s in shown if isinstance(s, Note)}
    read = {v for n in graph.nodes for v in n.inputs if isinstance(v, Parameter)
            or (isinstance(v, Constant) and v.type.rank)}
    assert notes - {v for _, v in graph.outputs} <= (read if parameters else set())
    assert not parameters or read <= notes
    document = ElementTree.fromstring(to_svg(graph, parameters=parameters))
    assert document.tag == f"{SVG}svg" and document.find(f"{SVG}title").text == f"graph {graph.name}"
    assert sum(e.get("class") in ("node", "call") for e in document.iter(f"{SVG}g")) == len(graph)


@given(st.integers(0, 60), st.integers(0, 10**6), st.sampled_from([2, 5, 100]))
def test_scopes_in_no_order_are_split_not_overlaid(count: int, seed: int, reach: int) -> None:
    graph = scattered(count, seed, reach)
    root = nest(graph, _measure)
    assert_tidy(root)
    for box, _, _ in places(root):
        for inner in box.boxes:
            if isinstance(inner.shows, Node):
                assert box.shows.path == inner.shows.provenance.scope
    assert sum(isinstance(box.shows, Node) for box, _, _ in places(root)) == count


@contextmanager
def room(places: int, places_a_box: int = 0) -> Iterator[None]:
    """So few places for lanes that boxes sink to their readers, and signals go around."""
    before = layering.PLACES, layering.PLACES_A_BOX
    layering.PLACES, layering.PLACES_A_BOX = places, places_a_box
    try:
        yield
    finally:
        layering.PLACES, layering.PLACES_A_BOX = before


@given(st.integers(0, 60), st.integers(0, 10**6), st.sampled_from([5, 100]), st.sampled_from([0, 10, 40]))
def test_pictures_with_little_room_for_lanes(count: int, seed: int, reach: int, places_of_lanes: int) -> None:
    graph = scattered(count, seed, reach)
    with room(places_of_lanes):
        root = nest(graph, _measure)
    assert_tidy(root)
    assert sum(isinstance(box.shows, Node) for box, _, _ in places(root)) == count


def branches(count: int) -> Graph:
    """A sum of `count` values that all come from the input."""
    graph = Graph("branches")
    x, b = graph.input("x", f32[B, 4]), Builder(graph)
    total = x
    for i in range(count):
        total = b.add(total, b.tanh(b.mul(x, float(i))))
    graph.set_outputs([("y", total)])
    return graph


def there_and_back(count: int) -> Graph:
    """A chain, and a second one that reads the values of the first from the last to the first."""
    graph = Graph("there_and_back")
    b, values = Builder(graph), [graph.input("x", f32[B, 4])]
    for _ in range(count):
        values.append(b.tanh(values[-1]))
    total = values[-1]
    for value in reversed(values):
        total = b.add(total, value)
    graph.set_outputs([("y", total)])
    return graph


def scoped(count: int) -> Graph:
    """Values of one scope that those of another read."""
    graph = Graph("scoped")
    x, first, second = graph.input("x", f32[B, 4]), Builder(graph, Provenance(("a",))), Builder(graph, Provenance(("b",)))
    total = x
    for value in [first.mul(x, float(i)) for i in range(count)]:
        total = second.add(total, value)
    graph.set_outputs([("y", total)])
    return graph


@pytest.mark.parametrize("make", [branches, there_and_back, scoped])
def test_pictures_grow_with_the_graph(make: Callable[[int], Graph]) -> None:
    with room(100, 2):
        small, large = (nest(make(count), _measure) for count in (30, 300))
        assert_tidy(small)
    pieces = [len(root.wires) + sum(len(box.wires) for box, _, _ in places(root)) for root in (small, large)]
    assert pieces[1] < 12 * pieces[0]


@given(st.integers(0, 40), st.integers(0, 10**6))
def test_every_reader_is_reached(count: int, seed: int) -> None:
    graph = scattered(count, seed, 6)

    def ends(level: Box, x: float, y: float, key: Result | Input) -> Iterator[tuple[object, float, float]]:
        for wire in level.wires:
            if wire.key is key and wire.arrow:
                yield level, wire.x1 + x, wire.y3 + y
        for box in level.boxes:
            yield from ends(box, x + box.x, y + box.y, key)

    root = nest(graph, _measure)
    corner = {box.shows: (box, x, y) for box, x, y in places(root) if isinstance(box.shows, (Node, Output))}
    for value in [*graph.inputs, *(n.result for n in graph.nodes)]:
        readers = {*value.users, *(Output(n, v) for n, v in graph.outputs if v is value)}
        arrived = set()
        for _, x, y in ends(root, 0.0, 0.0, value):
            for thing in readers:
                box, left, top = corner[thing]
                if left < x < left + box.width and abs(y - top) < 0.01:
                    arrived.add(thing)
        assert arrived == readers


def test_wires_are_continuous_across_the_borders_of_scopes() -> None:
    graph = scattered(80, 3, 6)

    def check(level: Box, x: float, y: float) -> None:
        for box in level.boxes:
            for wire in level.wires:
                if wire.key in box.entries and abs(wire.y3 - box.y) < 0.01 and box.x < wire.x1 < box.x + box.width:
                    assert abs(wire.x1 - box.x - box.entries[wire.key]) < 0.01
                    assert any(w.key is wire.key and w.y0 == 0 and abs(w.x0 - box.entries[wire.key]) < 0.01
                               for w in box.wires)
            for key, place in box.exits.items():
                assert any(w.key is key and abs(w.y3 - box.height) < 0.01 and abs(w.x1 - place) < 0.01
                           for w in box.wires)
                assert any(w.key is key and abs(w.x0 - box.x - place) < 0.01 for w in level.wires)
            check(box, x + box.x, y + box.y)

    check(nest(graph, _measure), 0.0, 0.0)


def test_five_hundred_nodes() -> None:
    for reach in (4, 40, 500):
        root = nest(scattered(500, 1, reach), _measure)
        assert sum(isinstance(box.shows, Node) for box, _, _ in places(root)) == 500
        assert_tidy(root)


def test_scopes_nest_and_share_their_common_path() -> None:
    graph = Graph()
    x = graph.input("x", f32[B, 4])
    for i in range(2):
        b = Builder(graph, Provenance((f"encoder.layer.{i}.attention",)))
        x = b.relu(b.mul(x, graph.parameter(f"encoder.layer.{i}.attention.weight", f32[4])))
    graph.set_outputs([("y", x)])
    boxes = [box for box, _, _ in places(nest(graph, _measure))]
    assert [(s.path, s.title) for s in (b.shows for b in boxes) if isinstance(s, Scope)] == [
        ("encoder.layer", "encoder.layer"), ("encoder.layer.0.attention", "0.attention"),
        ("encoder.layer.1.attention", "1.attention")]
    assert [b.shows.name for b in boxes if isinstance(b.shows, Note)] == ["weight", "weight"]


def test_text_is_escaped_and_tooltips_tell_all(tmp_path: Path) -> None:
    graph = parse("""\
graph "a <b> & \\"c\\"\\u0000"(%"<x>&\\u0001\\ud800": f32[B, 4]) -> ("]]>": f32[B, 4]) {
  param @"<w>": f32[4]
  const #0: f32[4] = [1.0, 2.0, 3.0, 4.0]
  %0 = mul(%"<x>&\\u0001\\ud800", @"<w>") : f32[B, 4]  in "a.<script>alert(1)</script>" at "my & model.py":3
  %1 = add(%0, #0) : f32[B, 4]
  %2 = softmax(%1, axis=-2) : f32[B, 4]
  return ("]]>": %2)
}""")
    graph.dump(tmp_path / "g.svg")
    text = (tmp_path / "g.svg").read_text(encoding="utf-8")
    document = ElementTree.fromstring(text)
    assert document.find(f"{SVG}title").text == 'graph a <b> & "c"\ufffd' and "<script" not in text
    tips = {e.get("class"): e.find(f"{SVG}title").text for e in document.iter(f"{SVG}g") if e.get("class")}
    assert tips["parameter"] == "parameter <w>: f32[4]" and tips["constant"] == "constant f32[4] = [1.0, 2.0, 3.0, 4.0]"
    assert tips["input"] == "input <x>&\ufffd\ufffd: f32[B, 4]" and tips["output"] == "output ]]>: f32[B, 4]"
    everything = "\n".join(e.text or "" for e in document.iter())
    for part in ("softmax", "axis=-2", "f32[B, 4]", "  axis = -2", "in a.<script>alert(1)</script>",
                 "at my & model.py:3"):
        assert part in everything, part


def test_notes_may_be_left_out(tmp_path: Path) -> None:
    graph = scattered(20, 1, 4)
    graph.dump(tmp_path / "with.svg")
    graph.dump(tmp_path / "without.svg", parameters=False)
    classes = [re.findall('class="(parameter|node)"', (tmp_path / name).read_text())
               for name in ("with.svg", "without.svg")]
    assert classes[0].count("parameter") == 3 and classes[1].count("parameter") == 0
    assert classes[0].count("node") == classes[1].count("node") == 20


@pytest.mark.parametrize("text", [
    "graph empty() -> () {\n  return ()\n}",
    "graph same(%x: f32) -> (x: f32, again: f32) {\n  return (x: %x, again: %x)\n}",
    "graph leaves() -> (w: f32[2], c: f32) {\n  param @w: f32[2]\n  return (w: @w, c: f32(2.0))\n}",
])
def test_graphs_without_nodes(text: str) -> None:
    graph = parse(text)
    root = nest(graph, _measure)
    assert_tidy(root)
    assert ElementTree.fromstring(to_svg(graph)).get("width") == f"{root.width:.0f}"
    assert len(root.boxes) == len(graph.inputs) + len(graph.outputs) + sum(isinstance(v, (Parameter, Constant))
                                                                           for _, v in graph.outputs)


@given(st.lists(st.tuples(st.floats(5, 80), st.floats(-500, 500), st.floats(0.1, 9)), min_size=1, max_size=12))
def test_places_are_the_least_squares_under_the_distances(wishes: list[tuple[float, float, float]]) -> None:
    cells = [Cell(Box(width, 10.0), 0) for width, _, _ in wishes]
    wanted, weights = [w for _, w, _ in wishes], [w for _, _, w in wishes]
    _settle(cells, wanted, weights)
    gaps = [b.x - a.x - (a.width + b.width) / 2 for a, b in itertools.pairwise(cells)]
    assert all(gap >= 18 - 1e-6 for gap in gaps)
    start = 0  # cells that touch move together: their pulls must cancel out
    for end in range(1, len(cells) + 1):
        if end == len(cells) or gaps[end - 1] > 18 + 1e-6:
            pull = sum(w * (want - c.x) for c, want, w in zip(cells[start:end], wanted[start:end], weights[start:end]))
            assert abs(pull) < 1e-5
            start = end


def test_order_avoids_crossings() -> None:
    upper, lower = [Box(20, 10) for _ in range(6)], [Box(20, 10) for _ in range(6)]
    pairs = list(zip(upper, [lower[i] for i in (3, 0, 5, 1, 4, 2)]))
    arrange([*upper, *lower], [Signal(i, a, [b]) for i, (a, b) in enumerate(pairs)])
    for (a, b), (c, d) in itertools.combinations(pairs, 2):
        assert (a.x < c.x) == (b.x < d.x)


def test_a_notebook_shows_a_picture() -> None:
    graph = tg.trace(lambda x: tg.relu(x), x=tg.f32[2])
    assert graph._repr_svg_() == to_svg(graph)

    model = bert("bert-base")
    assert model._repr_svg_() == to_svg(model, fold=True) and len(model._repr_svg_()) < 50_000


@pytest.mark.parametrize("how", [True, 0, 1, 2, 3, 4])
@pytest.mark.parametrize("name", ["bert-base", "optimized"])
def test_folded_pictures_are_tidy(name: str, how: bool | int) -> None:
    graph = bert("bert-base")
    root = nest(tg.optimize(graph) if name == "optimized" else graph, _measure, fold_by=how)
    assert_tidy(root)
    shown = [box.shows for box, _, _ in places(root)]
    layers = [s for s in shown if isinstance(s, (Scope, Closed)) and s.count == 12]
    assert [s.title for s in layers] == (["0 .. 11"] if how else [])
    assert sum(isinstance(s, Output) for s in shown) == 2 and sum(isinstance(s, Input) for s in shown) == 2
    ends = {wire.key for box in (root, *(box for box, _, _ in places(root))) for wire in box.wires if wire.arrow}
    assert set(graph.inputs) <= ends or name == "optimized"


def test_a_folded_picture_says_how_many() -> None:
    shown = to_svg(bert("bert-base"), fold=2)
    assert "0 .. 11  \u00d7 12" in shown and "15 nodes: 4 linear" in shown and shown.count('class="behind"') == 2

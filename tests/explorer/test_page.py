"""The explorer's page in a browser: what a person clicks, types and sees."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

LAYER = "s:layers.1"


def node_titled(window: Any, title: str) -> int:
    return window(f"[...e.active.scene.boxOf.keys()].find(n => e.graph.model.nodes[n].title === {title!r})")


def test_layers_are_folded_and_a_click_opens_one(window: Any) -> None:
    w = window()
    keys = w("e.active.scene.boxes.filter(b => !b.open).map(b => b.key)")
    assert {f"s:layers.{i}" for i in range(4)} <= set(keys) and len(keys) < 12
    assert w("e.active.scene.boxes.every(b => b.x >= 0 && b.x + b.w <= e.active.scene.w && b.y + b.h <= e.active.scene.h)")
    assert w("e.active.camera.k") > 0.5  # readable
    assert w.page.title() == "a model & more \u00b7 tgraph"
    w.click_box(LAYER, below=16)
    assert w(f"e.active.scene.byKey.get('{LAYER}').open")
    assert "layers.1" in w.text("#panel h2") and "attention" in w.text("#panel")
    w.click_box(LAYER)  # its title closes it
    assert not w(f"e.active.scene.byKey.get('{LAYER}').open")


def test_boxes_of_a_level_do_not_overlap(window: Any) -> None:
    w = window()
    w("e.openAll(e.graph.tree.root)")
    for time in (0, 3, w("e.graph.timeline.length")):
        w(f"e.goStep({time})")
        assert w("""e.active.scene.boxes.flatMap(a => e.active.scene.boxes.filter(b => a !== b && a.parent === b.parent
            && a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h).map(b => [a.key, b.key]))""") == []
        assert w("""e.active.scene.boxes.filter(b => b.parent.parent && (b.x < b.parent.x || b.y < b.parent.y
            || b.x + b.w > b.parent.x + b.parent.w || b.y + b.h > b.parent.y + b.parent.h)).map(b => b.key)""") == []
        assert w("e.active.scene.w") < 4000  # nothing drifts apart


def test_wires_join_the_borders_of_boxes(window: Any) -> None:
    w = window()
    w("e.openAll(e.graph.tree.root)")
    ends = w("""e.active.scene.wires.filter(r => r.arrow).map(r => [r.y3 - r.head.y, r.x1 - r.head.x, r.head.w])""")
    assert len(ends) > 40 and all(abs(y) < 0.01 and 0 <= x <= w for y, x, w in ends)


def test_a_node_shows_its_details_with_links(window: Any) -> None:
    w = window()
    node = node_titled(w, "mul")
    w.click_box(f"n{node}")
    panel = w.text("#panel")
    assert "mul" in panel and "f32[B, S, 16]" in panel and "conftest.py" in panel and "return x * 0.5" in panel
    assert "16*B*S" in panel and f"#node={node}" in w.page.url
    w.page.click("#panel .field >> text=add")
    assert w("e.graph.model.nodes[e.selection.node].op") == "add"
    assert w("e.active.scene.boxOf.has(e.selection.node)")


def test_the_address_of_a_node_opens_it(window: Any) -> None:
    first = window()
    node = first("e.graph.model.nodes.find(n => n.op === 'gelu' && n.path.includes('2')).id")
    w = window(f"#node={node}")
    assert w("e.selection.node") == node and w(f"e.active.scene.boxOf.get({node}).kind") == "node"
    box, k = w(f"e.active.scene.boxOf.get({node})"), w("e.active.camera.k")
    x, y = (box["x"] - w("e.active.camera.x")) * k, (box["y"] - w("e.active.camera.y")) * k
    assert 0 <= x < w("e.active.width") and 0 <= y < w("e.active.height")
    w.page.evaluate("location.hash = '#at=2&overlay=flops'")
    w.page.wait_for_function("explorer.to === 2")
    assert w("e.overlay.id") == "flops"


def test_search_steps_through_hits(window: Any) -> None:
    w = window()
    w.page.keyboard.press("/")
    w.page.keyboard.type("op:linear scope:layers.2")
    assert w("e.search.hits.length") == 6
    first = []
    for _ in range(3):
        w.page.keyboard.press("Enter")
        first.append(w("e.selection.node"))
    assert len(set(first)) == 3 and w.text("#count") == "3 of 6 hits"
    w.page.keyboard.press("Shift+Enter")
    assert w("e.selection.node") == first[1]
    w.page.keyboard.press("Escape")
    assert w("e.search.field.value") == "" and w("document.activeElement.id") == "right"
    for text, op in (("type:f32[B, S, 32]", "linear"), ("param:first.weight", "linear"), ("kind:attention", "attention")):
        w(f"e.search.find({text!r})")
        assert w("e.graph.model.nodes[e.selection.node].op") == op, text
    w("e.search.find('rule:split')")
    assert "split" in w.text("#rule") and w("e.to") > 0


def test_the_slider_shows_each_rewrite_with_its_rule(window: Any) -> None:
    w = window()
    length = w("e.graph.timeline.length")
    assert length == 8 and w("Number(e.stages.slider.max)") == length
    fuse = w("e.graph.model.stages.findIndex(s => s.name === 'fuse-qkv')")
    step = w(f"e.graph.timeline.starts[{fuse}] + 1")
    w.page.locator("#slider").fill(str(step))
    assert w("e.to") == step and "split(x concat" in w.text("#rule") and "rewrite 1 of 4" in w.text("#where")
    states = w("Object.fromEntries(e.active.scene.boxes.filter(b => b.state).map(b => [b.title + b.key, b.state]))")
    assert list(states.values()).count(2) == 3 <= list(states.values()).count(1)  # three products went, one and more came
    assert "3 erased" in w.text("#changes")
    w.page.click("#next")
    assert w("e.to") == step + 1
    w.page.click("#previous")
    w.page.keyboard.press(".")
    assert w("e.to") == step + 1
    w.page.click("text=fuse-bias-activation")
    assert w("e.to") == w("e.graph.timeline.endOf(e.stage)") and "gelu(linear" in w.text("#passes li.on")
    w.page.select_option("#basis", "traced")
    assert w("e.from") == 0
    assert "idle" in w.page.locator("#passes li", has_text="fuse-rotary").get_attribute("class")


def test_replaying_in_the_page_leads_to_the_last_graph(window: Any) -> None:
    w = window()
    assert w("e.graph.timeline.stateAt(e.graph.timeline.length).reads.size") == w("e.graph.model.stages.at(-1).after")
    forward = w("Array.from({ length: e.graph.timeline.length + 1 }, (_, i) => e.graph.timeline.stateAt(i).reads.size)")
    assert forward[0] == w("e.graph.model.first.size") and len(set(forward)) > 2
    for i, stage in enumerate(w("e.graph.model.stages.map(s => s.after)")):
        assert forward[w(f"e.graph.timeline.endOf({i})")] == stage


def test_what_stays_keeps_its_place(window: Any) -> None:
    w = window()
    w("e.toggleFollowing()")
    place = """(() => {
        const { camera, scene } = e.active, b = scene.byKey.get('s:layers.3');
        return [(b.x + b.w / 2 - camera.x) * camera.k, (b.y - camera.y) * camera.k];
    })()"""
    for step in range(1, 6):
        w("e.select({key: 's:layers.3'})")
        before = w(place)
        w(f"e.goStep({step})")
        after = w(place)
        assert abs(before[0] - after[0]) < 40 and abs(before[1] - after[1]) < 1


def test_two_stages_side_by_side(window: Any) -> None:
    w = window()
    w.page.click("#split")
    assert w("[e.left.time, e.right.time]") == [0, w("e.graph.timeline.length")]
    gelu = w("e.graph.model.nodes.find(n => n.op === 'gelu').id")
    w("(e.active = e.left, e.reveal(e.graph.model.nodes.find(n => n.op === 'gelu').id, 0))")
    assert w("e.left.scene.boxOf.has(e.selection.node)") and w("e.selection.node") == gelu
    titles = w("[...e.right.related].map(k => e.right.scene.byKey.get(k).title)")
    assert titles == ["$linear_gelu"]
    assert w(f"e.left.scene.stateOf({gelu})") == 2  # it will go
    k = w("e.left.camera.k")
    w.page.mouse.move(*w("(() => { const f = e.left.canvas.getBoundingClientRect(); return [f.left + 100, f.top + 200]; })()"))
    w.page.mouse.wheel(0, -240)
    assert w("e.left.camera.k") > k and w("e.right.camera.k") == w("e.left.camera.k")
    w.page.select_option("#left-stage", label="after fuse-qkv")
    assert w("e.from") > 0
    w.page.keyboard.press("s")
    assert not w("e.side") and w("e.right.side") == "only"


@pytest.mark.parametrize("overlay", ["flops", "bytes", "time"])
def test_overlays_colour_and_list(window: Any, overlay: str) -> None:
    w = window()
    w("e.goStep(e.graph.timeline.length)")
    w.page.select_option("#overlay", overlay)
    rows = w.page.locator("#panel .top li").all_inner_texts()
    assert len(rows) > 4 and "%" in rows[0]
    values = w("e.overlay.top(e.active, 100).map(r => r[1])")
    assert values == sorted(values, reverse=True)
    total = w("e.overlay.total(e.active)")
    outermost = w("e.active.scene.root.children.map(b => e.overlay.of(b, e.active) || 0)")
    assert sum(outermost) == pytest.approx(total)
    assert w("e.active.scene.boxes.filter(b => b.kind === 'scope').every(b => e.active.look().fill(b))")


def test_time_is_shared_by_what_became_the_kernel(window: Any) -> None:
    w = window("#overlay=time")
    assert w("e.overlay.total(e.active)") == pytest.approx(w("e.graph.model.overlays.time.values.reduce((s, v) => s + v[1], 0)"))
    top = w("e.overlay.top(e.active, 5).map(([n]) => e.graph.model.nodes[n].op)")
    assert set(top) <= {"linear", "gelu"}


def test_own_numbers_are_carried_to_later_stages(window: Any) -> None:
    w = window("#overlay=sensitivity")
    first = w("new Map(e.graph.model.overlays.sensitivity.values).size")
    assert len(w("e.overlay.top(e.active, 100)")) == first - 1  # one is 0
    last = w("(() => { e.goStep(e.graph.timeline.length); return e.overlay.top(e.active, 1)[0]; })()")
    assert w(f"e.graph.model.nodes[{last[0]}].title") in ("linear", "$linear_gelu")
    assert last[1] == w("Math.max(...e.graph.model.overlays.sensitivity.values.map(v => v[1]))")
    assert "came from" in w.text("#panel")


def test_what_attention_looks_at_and_values_are_shown(window: Any) -> None:
    w = window()
    w("e.reveal(e.graph.model.nodes.find(n => n.op === 'attention').id)")
    assert w.page.locator("#panel canvas.head").count() == 2
    w("e.reveal(e.graph.model.entry.statistics[0][0])")
    assert "0.25" in w.text("#panel")


def test_a_parameter_leads_to_its_readers(window: Any) -> None:
    w = window()
    w("e.reveal(e.graph.model.nodes.find(n => n.op === 'linear' && n.path.includes('second')).id)")
    w.page.click("#panel button[title='all that reads it'] >> nth=0")
    assert w("e.search.field.value").startswith("param:layers.0.second.") and w("e.search.hits.length") == 1


def test_the_picture_is_saved(window: Any, tmp_path: Path) -> None:
    w = window()
    with w.page.expect_download() as found:
        w.page.click("#save")
    found.value.save_as(tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes()[:4] == b"\x89PNG" and found.value.suggested_filename == "model.png"


def test_sizes_change_costs(window: Any) -> None:
    w = window()
    before = w("e.graph.cost(e.graph.model.nodes.find(n => n.op === 'linear').id, 'flops')")
    w.page.fill('input[aria-label="size of B"]', "10")
    w.page.keyboard.press("Tab")
    assert w("e.graph.cost(e.graph.model.nodes.find(n => n.op === 'linear').id, 'flops')") == 5 * before


def test_the_keyboard_walks_along_wires(window: Any) -> None:
    w = window()
    w.page.focus("#right")
    w.page.keyboard.press("ArrowDown")
    assert w("e.keyIn(e.active)") in ("i0", "i1")
    for _ in range(8):
        w.page.keyboard.press("ArrowDown")
        if w("e.selection.key") == "s:layers.2":
            break
    assert w("e.selection.key") == "s:layers.2"
    w.page.keyboard.press("Enter")
    assert w("e.active.scene.byKey.get('s:layers.2').open")
    w.page.keyboard.press("ArrowDown")
    assert w("within(e.active.scene.byKey.get(e.keyIn(e.active)), e.active.scene.byKey.get('s:layers.2'))")
    assert w.text("#live")
    w.page.keyboard.press("Backspace")
    assert not w("e.active.scene.byKey.get('s:layers.2').open")
    w.page.keyboard.press("?")
    assert w("document.getElementById('help').open") and "search" in w.text("#help")
    w.page.keyboard.press("Escape")
    w.page.keyboard.press("e")
    assert w("e.active.scene.boxes.filter(b => b.kind === 'scope').every(b => b.open)")
    w.page.keyboard.press("Escape")
    assert w("e.selection") is None


def test_kernels_show_their_body_and_code(window: Any) -> None:
    w = window()
    w("e.reveal(e.graph.model.nodes.find(n => n.title === '$linear_gelu').id)")
    assert w("e.to") > 0 and "%1 = gelu(%0)" in w.text("#panel") and "about linear; tiles; called 4 times" in w.text("#panel")
    w.page.click("#panel button:text-is('tir')")
    w.page.wait_for_selector("text=def kernel():")
    w.page.click("text=open as a graph")
    assert w("e.graph.model.name") == "linear_gelu" and w("e.active.scene.boxes.length") >= 4
    w.page.select_option("#graphs", "0")
    assert w("e.graph.model.first.size") > 40


def test_dark_and_light(window: Any) -> None:
    w = window(color_scheme="dark")
    assert w("e.theme.dark") and w("e.theme.colors.back") == "#12161b"
    w.page.click("#theme")
    assert not w("e.theme.dark") and w("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not window(color_scheme="light")("e.theme.dark")


def test_a_small_window_has_sheets(window: Any) -> None:
    w = window(viewport={"width": 390, "height": 780}, has_touch=True)
    assert w("document.documentElement.scrollWidth") == 390 and not w.page.is_visible("#panel")
    node = node_titled(w, "mul")
    w.click_box(f"n{node}")
    assert w.page.is_visible("#panel") and w("e.active.free") < w("e.active.height")
    w.page.click("#list-button")
    assert w.page.is_visible("#passes") and not w.page.is_visible("#panel")
    w.page.click("#passes >> text=fuse-qkv")
    assert w("e.stage") is not None
    w.page.click("#split")
    frames = w("[e.left, e.right].map(v => v.canvas.getBoundingClientRect().toJSON())")
    assert frames[0]["bottom"] <= frames[1]["top"] + 3


def test_drag_wheel_and_buttons_move_the_picture(window: Any) -> None:
    w = window()
    x, y = w("[e.active.camera.x, e.active.camera.y]")
    w.page.mouse.move(500, 300)
    w.page.mouse.down()
    w.page.mouse.move(560, 340, steps=4)
    w.page.mouse.up()
    k = w("e.active.camera.k")
    assert abs(w("e.active.camera.x") - (x - 60 / k)) < 1e-6 and abs(w("e.active.camera.y") - (y - 40 / k)) < 1e-6
    assert w("e.selection") is None  # a drag is no click
    w.page.click("#in")
    assert abs(w("e.active.camera.k") / k - 1.3) < 1e-6
    w.page.click("#fit")
    assert abs(w("e.active.camera.k") - k) < 1e-6


def test_a_graph_of_thousands_of_nodes_is_laid_out_at_once(window: Any, tmp_path: Path) -> None:
    import numpy as np

    import tgraph as tg

    rng = np.random.default_rng(0)

    def many(x):
        values = [x]
        for i in range(3000):
            a, b = (values[-1 - int(rng.integers(0, min(len(values), reach)))] for reach in (8, 30))
            values.append(tg.tanh(a) if i % 3 == 0 else a + b)
        return values

    tg.trace(many, x=tg.f32[4]).dump(tmp_path / "many.html")
    w = window(path=tmp_path / "many.html")
    assert w("e.active.scene.boxes.length") > 3000 and w("e.active.scene.wires.length") < 60_000
    assert w("e.active.scene.w") < 200_000 and w("document.body.classList.contains('no-passes')")

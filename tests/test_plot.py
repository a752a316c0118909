"""Pictures of attention: what is in them, by the objects of matplotlib and the data of the page."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tgraph as tg

RNG = np.random.default_rng(4)
WORDS = ["the", "animal", "<it>", "slept"]


def softmax(shape: tuple[int, ...]) -> np.ndarray:
    e = np.exp(RNG.standard_normal(shape)).astype(np.float32)
    return e / e.sum(axis=-1, keepdims=True)


LAYERS = {"layer.0.attention": softmax((2, 3, 5, 5)), "layer.1.attention": softmax((2, 3, 5, 5))}


def panels(figure: Any) -> dict[str, Any]:
    return {axes.get_title(): axes for axes in figure.axes if axes.get_title()}


def test_a_panel_for_each_head_without_padding(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    figure = tg.plot.attention(LAYERS, WORDS, row=1, path=tmp_path / "heads.png")
    assert (tmp_path / "heads.png").read_bytes()[:4] == b"\x89PNG"
    assert list(panels(figure)) == [f"layer {i}, head {h}" for i in range(2) for h in range(3)]
    axes = panels(figure)["layer 1, head 2"]
    assert np.allclose(axes.images[0].get_array(), LAYERS["layer.1.attention"][1, 2, :4, :4])
    assert [t.get_text() for t in axes.get_yticklabels()] == WORDS == [t.get_text() for t in axes.get_xticklabels()]
    chosen = tg.plot.attention(list(LAYERS.values()), WORDS, layer=-1, head=[0, 2])
    assert list(panels(chosen)) == ["layer 1, head 0", "layer 1, head 2"]


def test_alignment_has_the_source_above_and_the_target_at_the_side(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    weights = softmax((1, 1, 3, 5))
    figure = tg.plot.alignment(weights, list("abcd"), list("xyz"), path=tmp_path / "alignment.svg")
    axes = figure.axes[0]
    assert [t.get_text() for t in axes.get_yticklabels()] == list("xyz")
    assert [t.get_text() for t in axes.get_xticklabels()] == list("abcd") and axes.images[0].get_array().shape == (3, 4)
    assert "<svg" in (tmp_path / "alignment.svg").read_text()


def test_the_page_holds_all_heads_and_loads_nothing(tmp_path: Path) -> None:
    page = tg.plot.heads(LAYERS, WORDS, title="a < b", path=tmp_path / "heads.html")
    assert (tmp_path / "heads.html").read_text(encoding="utf-8") == page
    data = json.loads(re.findall(r'<script type="application/json" id="data">(.*?)</script>', page)[0])
    assert [layer["name"] for layer in data["layers"]] == list(LAYERS)
    assert data["layers"][0]["keys"] == WORDS and "<it>" not in page and "<h1>a &lt; b</h1>" in page
    np.testing.assert_allclose(data["layers"][1]["heads"], LAYERS["layer.1.attention"][0, :, :4, :4], atol=0.0051)
    addresses = re.findall(r"https?://[^\s\"']+", page)
    assert set(addresses) == {"http://www.w3.org/2000/svg"} and not re.search(r"<link|@import|src=|url\(", page)


def test_errors_say_what_is_wrong() -> None:
    for wrong, words in ((np.zeros(3), "attention weights are floats"), ([], "attention weights are floats"), ({}, "no weights")):
        with pytest.raises(tg.InputError, match=words):
            tg.plot.heads(wrong)
    with pytest.raises(tg.InputError, match="there is no row 2"):
        tg.plot.heads(LAYERS, row=2)
    with pytest.raises(tg.InputError, match="6 tokens are given for 5 queries"):
        tg.plot.heads(LAYERS, list("abcdef"))
    with pytest.raises(tg.InputError, match=r"there is no head 3: heads are 0 \.\. 2"):
        tg.plot.attention(LAYERS, head=3)
    with pytest.raises(tg.InputError, match="an alignment is one matrix"):
        tg.plot.alignment(LAYERS["layer.0.attention"], WORDS, WORDS)


def test_without_matplotlib_the_error_says_what_to_install() -> None:
    code = ("import sys; sys.modules['matplotlib'] = None\n"
            "import numpy as np, tgraph as tg\n"
            "tg.plot.heads(np.ones((1, 1), np.float32))\n"
            "tg.plot.alignment(np.ones((1, 1), np.float32), 'a', 'b')")
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[1], timeout=60)
    assert "ModuleNotFoundError: heat maps need matplotlib: pip install tgraph-compiler[plot]" in ran.stderr

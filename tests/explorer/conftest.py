"""A model with layers, its page with all that a page may have, and a browser to open it in."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tgraph as tg
from passes.debug.explorer import document_of
from tgraph import nn
from tgraph.formats.html import Document, write_page
from tgraph.formats.html.page import pack_text

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
B, S = tg.dim("B"), tg.dim("S", max=64)


class Layer(nn.Module):
    def __init__(self) -> None:
        self.attention = nn.MultiHeadAttention(16, 2)
        self.norm = nn.LayerNorm(16)
        self.first = nn.Linear(16, 32)
        self.second = nn.Linear(32, 16)

    def __call__(self, x, mask=None):
        x = self.norm(x + self.attention(x, mask=mask))
        return x + self.second(tg.gelu(self.first(x)))


class Model(nn.Module):
    def __init__(self, count: int) -> None:
        self.layers = [Layer() for _ in range(count)]

    def __call__(self, x, mask=None):
        for layer in self.layers:
            x = layer(x, mask)
        return x * 0.5


def model(count: int = 4) -> tg.Graph:
    return tg.trace(Model(count), x=tg.f32[B, S, 16], mask=tg.bool_[B, S])


def document() -> Document:
    """The model's passes, with a time for each product at the end, code for its functions, and all else that a page may have."""
    graph = model()
    made = document_of(graph, "O3", {"B": 2, "S": 8}, "a model & more")
    entry = made.graphs[0]
    last = [n for n in entry.nodes if n.op.name in ("linear", "call")]
    entry.overlay("time", "time", "\u00b5s", {n: 10.0 + i for i, n in enumerate(last)}, "made up for a test")
    entry.overlays_of_first(graph, {"sensitivity": {n: float(i) for i, n in enumerate(graph.nodes) if n.op.name == "linear"}})
    scope = next(n for n in entry.nodes if n.op.name == "attention").provenance.scope
    entry.more["heads"] = [{"scope": scope, "shape": [2, 3, 3], "weights": base64.b64encode(bytes(range(18))).decode()}]
    entry.more["statistics"] = [[entry.nodes[last[0]], {"mean": 0.25}]]
    for function in made._functions:
        function.more["kernel"] = {"family": "linear", "chosen": "tiles", "calls": 4}
        function.more["code"] = {"tir": pack_text("def kernel():\n    pass")}
    return made


def open_browser() -> Any:
    """Chromium by Playwright, and what ends it; skips the test where either is missing."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install playwright")
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"needs a browser on PATH: {', '.join(BROWSERS)}")
    playwright = sync_api.sync_playwright().start()
    return playwright, playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    playwright, chromium = open_browser()
    yield chromium
    chromium.close()
    playwright.stop()


@pytest.fixture(scope="session")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("explorer") / "model.html"
    write_page(document(), path)
    return path


class Window:
    """A page in a window; what it prints as errors fails the test."""

    def __init__(self, browser: Any, path: Path, address: str = "", **options: Any):
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, "reduced_motion": "reduce", **options})
        self.page = self.context.new_page()
        self.errors: list[str] = []
        self.page.on("console", lambda said: self.errors.append(said.text) if said.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda asked: asked.url.startswith(("file:", "data:", "blob:")) or self.errors.append(asked.url))
        self.page.goto(path.as_uri() + address)
        self.page.wait_for_function("window.explorer?.started")

    def __call__(self, script: str) -> Any:
        """What a line of JavaScript gives; `e` is the page's explorer."""
        return self.page.evaluate(f"(() => {{ const e = window.explorer; return {script}; }})()")

    def click_box(self, key: str, below: float = 8) -> None:
        """Click the box of that key in the picture that is active."""
        x, y = self(f"""(() => {{
            const {{ camera, canvas, scene }} = e.active, b = scene.byKey.get({key!r}), f = canvas.getBoundingClientRect();
            return [f.left + (b.x + b.w / 2 - camera.x) * camera.k, f.top + (b.y + {below} - camera.y) * camera.k];
        }})()""")
        self.page.mouse.click(x, y)

    def text(self, selector: str) -> str:
        return self.page.inner_text(selector)


@pytest.fixture
def window(browser: Any, page_file: Path) -> Iterator[Any]:
    """Opens windows: `window()`, `window("#node=3", viewport=...)`."""
    opened: list[Window] = []

    def make(address: str = "", path: Path = page_file, **options: Any) -> Window:
        opened.append(Window(browser, path, address, **options))
        return opened[-1]

    yield make
    for one in opened:
        one.context.close()
    assert [error for one in opened for error in one.errors] == []





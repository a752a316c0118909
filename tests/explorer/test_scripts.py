"""The page's JavaScript in Node: every file parses, sizes are computed as here, and steps are replayed as here."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

import pytest
from explorer.conftest import model
from explorer.steps import states

import tgraph as tg
from passes.debug.explorer import document_of
from tgraph.formats.html.page import FOLDER, SCRIPTS
from tgraph.ir.dims import evaluate, floordiv

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="needs Node")
PURE = SCRIPTS[:SCRIPTS.index("format")]  # those that need no page


def run(code: str, data: Any) -> Any:
    """What code gives that reads `data` and calls the page's functions."""
    source = "\n".join((FOLDER / f"{name}.js").read_text(encoding="utf-8") for name in PURE)
    program = (f'"use strict"; {source}\nconst data = JSON.parse(require("fs").readFileSync(0, "utf-8"));\n'
               f"console.log(JSON.stringify((() => {{ {code} }})()));")
    made = subprocess.run(["node", "-e", program], input=json.dumps(data), capture_output=True, text=True, timeout=60)
    assert made.returncode == 0, made.stderr
    return json.loads(made.stdout)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_parses(name: str) -> None:
    made = subprocess.run(["node", "--check", FOLDER / f"{name}.js"], capture_output=True, text=True, timeout=60)
    assert made.returncode == 0, made.stderr


def test_sizes_are_those_of_python() -> None:
    b, s, n = tg.dims("B S N")
    expressions = [b * s * 3, 768 * b + 3 * s - 5, floordiv(s + 1, 2), 4 * floordiv(b * s - 7, 3) * n + n, b * b * s - 12, 7,
                   n - floordiv(n, 2) * 2 - b, floordiv(floordiv(s, 3) + 1, b)]
    sizes = {"B": 2, "S": 9, "N": 5}
    found = run("return data.texts.map(t => evaluate(t, data.sizes));", {"texts": list(map(str, expressions)), "sizes": sizes})
    assert found == [evaluate(e, sizes) for e in expressions]
    shown = run("return [evaluate('B*Q', {B: 2}), short(1234567, 'B'), short(0.5), short(999)];", {})
    assert shown == [None, "1.23 MB", "0.500", "999"]


def test_steps_are_replayed_as_in_python() -> None:
    data = document_of(model(2), "O3").data()
    entry = data["graphs"][0]
    seen = [(len(nodes), nodes, outputs) for nodes, outputs in states(entry)]
    counts, (_, nodes, outputs) = [count for count, _, _ in seen], seen[-1]
    found = run("""const timeline = new Timeline(new Model(data, data.graphs[0])), last = timeline.stateAt(timeline.length);
        const sizes = []; for (let t = timeline.length; t >= 0; t--) sizes.unshift(timeline.stateAt(t).reads.size);
        return { nodes: [...last.reads], outputs: last.outputs, sizes,
                 origins: timeline.follow(last.reads.keys(), timeline.length, 0).length };""", data)
    assert dict(map(tuple, found["nodes"])) == nodes and found["outputs"] == outputs and found["sizes"] == counts
    assert found["origins"] == len(entry["first"])  # every node of the first graph became one of the last

"""What notebooks show of results: pictures and tables, with all names escaped."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest

import tgraph as tg
from targets.cuda.resources import Resources, ResourceTable
from targets.runtime.explain import Explanation, Explanations
from targets.runtime.profile import Profile, ProgramProfile
from targets.runtime.profile_rows import ProfileRow
from targets.runtime.trail import Call, Origin, Trail
from tgraph.cli.models import bert
from tgraph.ir.difference import difference
from tgraph.ir.graph import Graph
from tgraph.ir.parser import parse, parse_program
from tgraph.ir.tables import html_table, text_table
from tgraph.reference.accuracy import Accuracy, AccuracyReport
from tgraph.reference.checker import Divergence, ProgramReport, Report
from tgraph.reference.tolerance import Comparison

NASTY = '<script>alert("&")</script>'


class Balanced(HTMLParser):
    """Raises AssertionError for a tag that is not closed, or is a script."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        assert tag != "script"
        self.open.append(tag)
        self.seen.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def tags(html: str) -> list[str]:
    parser = Balanced()
    parser.feed(html)
    parser.close()
    assert not parser.open
    return parser.seen


def nasty_graph(op: str = "relu") -> Graph:
    graph = parse(f"graph main(%x: f32[B]) -> (y: f32[B]) {{\n  %0 = {op}(%x) : f32[B]\n  return (y: %0)\n}}")
    graph.name = NASTY
    graph.set_outputs([(NASTY, graph.outputs[0][1])])
    return graph


RESULTS: dict[str, Any] = {
    "graph": lambda: nasty_graph(),
    "program": lambda: parse_program("".join(f"graph {n}(%x: f32[B]) -> (y: f32[B]) {{\n  %0 = relu(%x)\n  return (y: %0)\n}}\n"
                                             for n in ('"<script>"', "step"))),
    "report": lambda: Report(NASTY, [({"B": 2}, NASTY, Comparison(0.0, 1e-4)), ({}, "y", Comparison(1.0, 1e-4))],
                             [("infinities", "y", Comparison(0.0, 1e-4))], Divergence(NASTY, NASTY, Comparison(1.0, 1e-4))),
    "reports": lambda: ProgramReport({"a": Report(NASTY)}),
    "accuracy": lambda: AccuracyReport(NASTY, [Accuracy({"B": 2}, NASTY, 1.0, 0.1, 0.1, 0.9, 0.8)]),
    "explanations": lambda: Explanations([Explanation(NASTY, 1, "gemm", NASTY, (NASTY,))]),
    "resources": lambda: ResourceTable([Resources(NASTY, 128, 32, 0, 0, 16, 16, 4, 0.5)], "sm_90"),
    "difference": lambda: difference(nasty_graph(), nasty_graph("neg")),
    "profile": lambda: Profile(NASTY, {"B": 2}, [ProfileRow(NASTY, "", 3.0, 8, 8)]),
    "profiles": lambda: ProgramProfile({NASTY: RESULTS["profile"]()}),
    "memory": lambda: tg.compile(nasty_graph()).memory(B=2),
    "trail": lambda: Trail(NASTY, NASTY, (Origin(NASTY, NASTY, (NASTY,)),), (), (Call("%0", NASTY, NASTY, (), ()),)),
    "executable": lambda: tg.compile(nasty_graph(), "numpy"),
    "program's executable": lambda: tg.compile(RESULTS["program"](), "numpy"),
}


@pytest.mark.parametrize("name", RESULTS)
def test_results_show_themselves(name: str) -> None:
    result = RESULTS[name]()
    shown = result._repr_svg_() if isinstance(result, Graph) else result._repr_html_()
    assert shown and NASTY not in shown
    assert {"table", "svg", "pre"} & set(tags(shown))
    assert "&lt;script" in shown


def test_a_wrong_row_is_red() -> None:
    shown = RESULTS["report"]()._repr_html_()
    assert shown.count("color:#b91c1c") == 1 and "FAILED" in shown and "first divergent node" in shown


def test_tables() -> None:
    assert text_table(("name", ">n"), [("a", 1), ("long", 10)]) == "name   n\na      1\nlong  10"
    assert text_table(("a", ">b"), []) == "a  b"
    assert html_table("t", ("a", ">b"), [("<", 1)]).count("text-align:right") == 2


def test_a_picture_styles_nothing_else_on_the_page() -> None:
    svg = bert("bert-tiny")._repr_svg_()
    assert svg is not None
    style = svg[svg.index("<style>") + 7:svg.index("</style>")]
    selectors = [part.strip() for rule in style.split("}") if "{" in rule for part in rule.split("{")[0].split(",")]
    assert len(selectors) > 10 and all(s.startswith(".tgraph ") for s in selectors)


def test_what_is_too_large_even_folded_is_no_picture() -> None:
    def long(x: tg.Tensor) -> tg.Tensor:
        for _ in range(600):
            x = tg.relu(x + 1.0)
        return x

    assert tg.trace(long, x=tg.f32[2])._repr_svg_() is None
    assert "1200 nodes" in parse_program(str(tg.trace(long, x=tg.f32[2])))._repr_html_()

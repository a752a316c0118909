"""The runner: records, instruments, errors, options, and that the given graph never changes."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import tgraph as tg
from passes import (
    LEVELS,
    PASSES,
    Deltas,
    DumpFolder,
    Explain,
    Instrument,
    Pass,
    PassManager,
    Print,
    VerifyEach,
    optimize,
    parse_pipeline,
    register_pass,
    run_pipeline,
)
from passes.pipelines import LEVEL_DOCS
from passes.rewriting import LimitReached, RewriteReport, current_report, reporting
from passes.snapshot import Watch, snapshot
from tgraph.ir.builder import Builder

TEXT = """graph g(%x: f32[B, 8]) -> (y: f32[B, 8], z: f32[B, 8]) {
  param @w: f32[8, 8]
  %0 = linear(%x, @w) : f32[B, 8]
  %1 = sigmoid(%0) : f32[B, 8]
  %2 = mul(%0, %1) : f32[B, 8]
  %3 = exp(%x) : f32[B, 8]
  %4 = exp(%x) : f32[B, 8]
  %5 = add(%3, %4) : f32[B, 8]
  return (y: %2, z: %5)
}
"""


@pytest.fixture
def graph() -> tg.Graph:
    return tg.parse(TEXT)


@pytest.fixture
def own_passes() -> Iterator[None]:
    """Passes registered in a test are forgotten after it."""
    known = dict(PASSES)
    yield
    PASSES.clear()
    PASSES.update(known)


@dataclass(frozen=True)
class BreakTypes(Pass):
    """Gives a result another type than the rule, behind the graph's back."""

    effect = "exact"

    def apply(self, graph: tg.Graph) -> None:
        graph.nodes[0].result.type = tg.f32[3]


@dataclass(frozen=True)
class AlwaysFails(Pass):
    """Applies an op to what it does not take."""

    effect = "exact"

    def apply(self, graph: tg.Graph) -> None:
        Builder(graph).add(graph.inputs[0], 1.0)
        graph.erase(graph.nodes[0])


def test_records_say_what_each_pass_did(graph: tg.Graph) -> None:
    manager = PassManager("fuse-silu,cse,cse,dce")
    result = manager.run(graph)
    silu, first, second, dead = manager.records
    assert (silu.nodes_before, silu.nodes_after, silu.changed) == (6, 5, True)
    assert dict(silu.rewrites) == {"x sigmoid(x) = silu(x)": 1} and silu.attempts >= 1
    assert first.rewrites == {"f(x), f(x) = one f(x)": 1} and first.changed
    assert not second.changed and second.rewrites == {} and not dead.changed
    assert str(graph) == TEXT.strip() and len(result) == 4
    assert str(manager) == "fuse-silu,cse,cse,dce"
    assert "6 -> 5 nodes" in str(silu) and "no change" in str(second)


def test_run_again_starts_anew(graph: tg.Graph) -> None:
    manager = PassManager("cse")
    assert manager.run(graph) == manager.run(graph) and len(manager.records) == 1


def test_optimize_and_run_pipeline_are_the_manager(graph: tg.Graph) -> None:
    seen: list[str] = []
    result, records = run_pipeline(graph, "fuse-silu,cse", observer=lambda step, now, record: seen.append(f"{step} {len(now)}"))
    assert seen == ["fuse-silu 5", "cse 4"] and [r.name for r in records] == ["fuse-silu", "cse"]
    assert result == optimize(graph, "fuse-silu,cse") == optimize(graph, parse_pipeline("fuse-silu,cse"))
    instruments = [VerifyEach(), Deltas()]
    assert optimize(graph, "cse", instruments=instruments) == optimize(graph, "cse", verify_each=True)


def test_instruments_see_every_pass_in_order(graph: tg.Graph) -> None:
    class Log(Instrument):
        def __init__(self) -> None:
            self.lines: list[str] = []

        def start(self, graph: tg.Graph) -> None:
            self.lines.append(f"start {len(graph)}")

        def before(self, step: Pass, graph: tg.Graph) -> None:
            self.lines.append(f"before {step} {len(graph)}")

        def after(self, step, graph, record, report) -> None:
            self.lines.append(f"after {step} {len(graph)} {report.total}")

    log = Log()
    PassManager("cse,dce", [log]).run(graph)
    assert log.lines == ["start 6", "before cse 6", "after cse 5 1", "before dce 5", "after dce 5 0"]


def test_print_all_or_chosen(graph: tg.Graph) -> None:
    def shown(before: object, after: object) -> list[str]:
        titles: list[str] = []
        PassManager("cse,dce", [Print(lambda title, now: titles.append(f"{title}: {len(now)}"), before, after)]).run(graph)
        return titles

    assert shown((), ()) == []
    assert shown(None, ()) == ["before cse: 6", "before dce: 5"]
    assert shown(("dce",), ("cse",)) == ["after cse: 5", "before dce: 5"]
    assert shown((), None) == ["after cse: 5", "after dce (no change): 5"]


def test_dump_folder_has_one_numbered_file_a_pass(graph: tg.Graph, tmp_path: Path) -> None:
    folder = tmp_path / "ir"
    result = PassManager("cse,fuse-silu", [DumpFolder(folder)]).run(graph)
    assert sorted(p.name for p in folder.iterdir()) == ["00-input.tg", "01-cse.tg", "02-fuse-silu.tg"]
    assert tg.read(folder / "00-input.tg") == graph and tg.read(folder / "02-fuse-silu.tg") == result
    with pytest.raises(tg.PassError, match="holds the graphs of another run"):
        PassManager("cse", [DumpFolder(folder)]).run(graph)


def test_deltas_in_symbols_and_at_sizes(graph: tg.Graph) -> None:
    symbolic, at = Deltas(), Deltas({"B": 10})
    PassManager("cse,dce", [symbolic, at]).run(graph)
    (name, before, after), (_, _, last) = symbolic.rows
    assert (name, before.nodes, after.nodes) == ("cse", 6, 5)
    assert str(before.flops - after.flops) == "8*B" and last == after
    assert at.rows[0][1].flops - at.rows[0][2].flops == 80
    assert at.rows[0][1].nbytes - at.rows[0][2].nbytes == 3 * 10 * 8 * 4  # exp reads and writes one; add reads one less


def test_deltas_leave_the_prepare_part_out(graph: tg.Graph) -> None:
    b = Builder(graph)
    before = Deltas()
    PassManager("cse", [before]).run(graph)
    graph.set_outputs([*graph.outputs, ("w", b.transpose(graph.parameters["w"]))])
    after = Deltas()
    PassManager("cse", [after]).run(graph)
    assert after.rows[0][1].nbytes == before.rows[0][1].nbytes and after.rows[0][1].nodes == before.rows[0][1].nodes + 1


def test_explain_names_the_nearest_miss(graph: tg.Graph) -> None:
    explain = Explain()
    PassManager("fuse-silu", [explain]).run(graph)
    rows = {row.rule: row for row in explain.rows}
    assert rows["x sigmoid(x) = silu(x)"].fired == 1
    division = tg.parse("graph g(%x: f32[B], %z: f32[B]) -> (y: f32[B]) {\n  %0 = neg(%z) : f32[B]\n  %1 = exp(%0) : f32[B]\n"
                        "  %2 = add(%1, f32(1)) : f32[B]\n  %3 = div(%x, %2) : f32[B]\n  return (y: %3)\n}")
    explain = Explain()
    PassManager("fuse-silu", [explain]).run(division)
    text = "\n".join(map(str, explain.rows))
    assert "x / (1 + e^-x) = silu(x): never; nearest miss: 4 nodes matched from div, then x is another value here" in text


def test_a_broken_graph_is_found_by_verification(graph: tg.Graph) -> None:
    with pytest.raises(tg.PassError, match=r"pass break-types broke graph g: linear\(.*the rule gives"):
        optimize(graph, [BreakTypes()], verify_each=True)


def test_a_failing_pass_is_named(graph: tg.Graph) -> None:
    with pytest.raises(tg.PassError, match="pass always-fails failed on graph g: cannot erase linear: its result is still used"):
        optimize(graph, [AlwaysFails()])


def test_a_report_stops_a_pass_at_its_limit(graph: tg.Graph) -> None:
    many = tg.parse("graph g(%x: f32[B]) -> (y: f32[B]) {\n" + "\n".join(f"  %{i} = exp(%x) : f32[B]" for i in range(5))
                    + "\n  return (y: %4)\n}")
    for limit in (1, 2, 3):
        copy, report = many.copy(), RewriteReport(limit=limit)
        with reporting(report), pytest.raises(LimitReached):
            PASSES["cse"]().apply(copy)
        assert report.total == limit and len(copy) == 5 - limit
        assert report.last is not None and report.last.old[0].op.name == "exp"
        tg.verify(copy)
    assert current_report().limit is None


def test_snapshot_is_equal_when_the_text_is(graph: tg.Graph) -> None:
    same = tg.parse(TEXT)
    assert snapshot(graph) == snapshot(same)
    for change in (lambda g: g.set_outputs(g.outputs[::-1]), lambda g: g.set_outputs(g.outputs[:1]), lambda g: g.constrain(
            tg.dim("B"), 4), lambda g: g.set_operand(g.nodes[1], 0, g.inputs[0]), lambda g: g.input("more", tg.f32[1]),
            lambda g: g.parameter("v", tg.f32[1])):
        other = tg.parse(TEXT)
        change(other)
        assert str(other) != str(graph) and snapshot(other) != snapshot(graph)


def test_a_pipeline_is_a_text_a_pass_or_a_list_of_both(graph: tg.Graph) -> None:
    one, both = parse_pipeline("cse")[0], ["fold-constants,cse", *parse_pipeline("dce")]
    assert optimize(graph, one) == optimize(graph, "cse") and optimize(graph, both) == optimize(graph, "fold-constants,cse,dce")
    assert tg.check(tg.compile(tg.trace(lambda x: tg.exp(x), x=tg.f32[8]), "numpy", passes=both))
    with pytest.raises(tg.PassError, match="a pipeline is a text, passes, or a list of both, not <class"):
        optimize(graph, [type(one)])


def test_a_level_may_stand_in_a_pipeline() -> None:
    assert parse_pipeline("decompose, O2,dce") == [*parse_pipeline("decompose"), *parse_pipeline("O2"), *parse_pipeline("dce")]
    with pytest.raises(tg.PassError, match="unknown pass 'O2'"):
        parse_pipeline("O2{at_least=3}")


@pytest.mark.parametrize("name", sorted(tg.passes.PASSES))
def test_a_pass_says_in_one_line_what_it_does(name: str) -> None:
    first, *rest = (inspect.getdoc(tg.passes.PASSES[name]) or "").split("\n")
    assert first.endswith(".") and not (rest and rest[0]), "the line that `tgraph passes` shows"


@pytest.mark.parametrize("text", [*LEVELS, "fuse-qkv{at_least=3},dce", "fold-constants{max_elements=4}",
                                  "specialize-shapes{B=1,S=128}", "remove-dead-outputs{keep=y;z}", " cse , dce "])
def test_pipelines_print_and_parse(text: str) -> None:
    passes = parse_pipeline(text)
    printed = str(PassManager(passes))
    assert parse_pipeline(printed) == passes and str(PassManager(printed)) == printed


@pytest.mark.parametrize(("text", "message"), [
    ("fuse-qvk", "unknown pass 'fuse-qvk'; did you mean fuse-qkv"),
    ("cse{a=1}", "pass cse: no option 'a'; options: none"),
    ("fuse-qkv{at_least=two}", "option at_least is int, got 'two'"),
    ("fuse-qkv{at_least}", "pass fuse-qkv: expected key=value, got 'at_least'"),
    ("fuse-qkv{at_least=2,at_least=3}", "option 'at_least' is given twice"),
    ("cse;dce", "expected name or name{key=value} at character 1"),
    ("specialize-shapes{S=long}", "the size of dim S is a whole number, got 'long'"),
])
def test_wrong_pipelines_say_where(text: str, message: str) -> None:
    with pytest.raises(tg.PassError) as raised:
        parse_pipeline(text)
    assert message in str(raised.value)


def test_two_passes_of_one_name_are_refused(own_passes: None, tmp_path: Path) -> None:
    from tgraph.cli.user_files import import_file

    (tmp_path / "taken.py").write_text(
        "from dataclasses import dataclass\nfrom passes import Pass, register_pass\n\n@register_pass\n@dataclass(frozen=True)\n"
        "class Cse(Pass):\n    def apply(self, graph):\n        pass\n")
    with pytest.raises(tg.PassError, match="pass cse is already defined in"):
        import_file(tmp_path / "taken.py")
    with pytest.raises(tg.PassError, match="must be a frozen dataclass"):
        register_pass(type("Bare", (Pass,), {"apply": lambda self, graph: None}))


def test_specialize_shapes_binds_some_dims(graph: tg.Graph) -> None:
    both = tg.parse("graph g(%x: f32[B, S], %z: f32[B, T]) -> (y: f32[B, S]) where S == T, S <= 512 {\n"
                    "  %0 = add(%x, %z) : f32[B, S]\n  return (y: %0)\n}")
    one = optimize(both, "specialize-shapes{S=7}", verify_each=True)
    assert "%x: f32[B, 7], %z: f32[B, T]" in str(one) and "where 7 == T" in str(one)
    with pytest.raises(tg.PassError, match="needs S == T, which 7 == 8 is not"):
        optimize(both, "specialize-shapes{S=7,T=8}")
    with pytest.raises(tg.PassError, match=r"dim S of graph g is within 0 \.\. 512; it cannot be 600"):
        optimize(both, "specialize-shapes{S=600}")
    with pytest.raises(tg.PassError, match="no dim 'Q' in its inputs; they have B, S, T"):
        optimize(both, "specialize-shapes{Q=1}")


def test_remove_dead_outputs_knows_the_names(graph: tg.Graph) -> None:
    with pytest.raises(tg.PassError, match="no output 'q'; its outputs: y, z"):
        optimize(graph, "remove-dead-outputs{keep=q}")


def test_a_watch_sees_every_kind_of_change(graph: tg.Graph) -> None:
    watch = Watch(graph)
    assert not watch.changed()
    unused = Builder(graph).exp(graph.inputs[0])
    assert watch.changed() and not watch.changed()
    graph.erase(unused.node)
    assert watch.changed()
    graph.erase(Builder(graph).exp(graph.inputs[0]).node)
    assert not watch.changed(), "touched, but as before"
    graph.parameter("v", tg.f32[1])
    assert watch.changed()
    graph.prune()
    assert watch.changed()
    graph.constrain(tg.dim("B"), 4)
    assert watch.changed()


def test_levels_are_documented_grow_and_keep_the_meaning() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "passes.md").read_text(encoding="utf-8")
    names: list[list[str]] = []
    for level in LEVELS:
        assert LEVEL_DOCS[level] and f"| {level} |" in page
        passes = parse_pipeline(level)
        assert all(p.effect != "changes-meaning" for p in passes)
        names.append([p.pass_name() for p in passes])
        assert len(names) == 1 or set(names[-2]) < set(names[-1])
    assert list(LEVEL_DOCS) == list(LEVELS) == ["O0", "O1", "O2", "O3"]

"""`tgraph opt` and what it can show of a pipeline."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import tgraph as tg
from passes import PASSES

WRONG = '''
from dataclasses import dataclass
import tgraph as tg
from passes import register_pass
from passes.patterns import rule
from passes.rewriting import RewritePass

@register_pass
@dataclass(frozen=True)
class Wrong(RewritePass):
    """x + y = x y, which is wrong."""
    effect = "exact"
    rules = (rule("x + y = x y", lambda x, y: x + y, lambda x, y: x * y),)

@register_pass
@dataclass(frozen=True)
class Honest(Wrong):
    """The same, but it says so."""
    effect = "changes-meaning"
'''


@pytest.fixture(autouse=True)
def own_passes() -> Iterator[None]:
    """Passes of a plugin are forgotten after the test."""
    known = dict(PASSES)
    yield
    PASSES.clear()
    PASSES.update(known)


def test_validate_names_pass_rule_and_node(run) -> None:
    Path("wrong.py").write_text(WRONG)
    error = run("--plugin", "wrong.py", "opt", "m.py:two", "-p", "cse,wrong", "--validate", fails=2).stderr
    assert "pass wrong (exact) changes the result of graph two: output 'y' differs" in error
    assert "rules that fired: x + y = x y" in error
    assert "first differing node: add(f32[B, 16], f32[B, 16]) at " in error and "m.py:15" in error
    result = run("opt", "m.py:two", "-p", "cse,fuse-qkv", "--validate", "--dim", "B=5")
    assert "1 passes validated against the NumPy reference" in result.stderr and "split(" in result.stdout


def test_validate_says_what_it_skips(run) -> None:
    Path("wrong.py").write_text(WRONG)
    shown = run("--plugin", "wrong.py", "opt", "m.py:two", "-p", "honest", "--validate")
    assert "honest is not validated: it changes the meaning" in shown.stderr and "mul(" in shown.stdout


def test_explain_counts_what_was_fused(run) -> None:
    shown = run("opt", "bert-tiny", "-p", "decompose,fuse-softmax,fuse-layer-norm,fuse-gelu", "--explain", "-o", "out.tg").stderr
    assert "attention 0 of 2, layer norm 5 of 5, GELU 2 of 2" in shown
    assert shown.count("attention apart: softmax in encoder.layer.") == 2


def test_bisect_names_the_rewrite_and_its_line(run) -> None:
    Path("wrong.py").write_text(WRONG)
    shown = run("--plugin", "wrong.py", "opt", "m.py:two", "-p", "fuse-qkv,wrong,dce", "--bisect", fails=1)
    assert "pass wrong, rewrite 1 of 1: x + y = x y" in shown.stderr and shown.stdout == ""
    assert "replaced add(f32[B, 16], f32[B, 16]) at " in shown.stderr and "m.py:15" in shown.stderr
    right = run("opt", "m.py:two", "--level", "O3", "--bisect")
    assert "no rewrite changes the result" in right.stderr and "graph two(" in right.stdout


def test_timing_and_deltas(run) -> None:
    shown = run("opt", "m.py:two", "-p", "fuse-qkv,dce", "--timing", "--deltas").stderr
    assert "2 passes in" in shown and "rewrites" in shown
    assert "Costs of a call" in shown and "B" in shown.split("Costs of a call")[1]
    at = run("opt", "m.py:two", "-p", "fuse-qkv,dce", "--deltas", "--dim", "B=1000").stderr
    assert "Costs of a call at B=1000" in at and " k" in at
    assert "no dim 'Q'" in run("opt", "m.py:two", "--deltas", "--dim", "Q=1", fails=2).stderr


def test_explain_shows_each_rule(run) -> None:
    shown = run("opt", "m.py:two", "-p", "fuse-silu,fuse-qkv", "--explain").stderr
    assert "fuse-qkv\n  x W1^T, ..., x Wn^T = split(x concat(W1, ..., Wn)^T): once" in shown
    assert "no rule was tried" in run("opt", "m.py:two", "-p", "dce", "--explain").stderr


def test_print_before_and_after(run) -> None:
    all_of_it = run("opt", "m.py:two", "-p", "cse,fuse-qkv", "--print-before-all", "--print-after-all").stderr
    titles = [line for line in all_of_it.splitlines() if line.startswith("# ")]
    assert titles == ["# before cse", "# after cse (no change)", "# before fuse-qkv", "# after fuse-qkv"]
    assert all_of_it.count("graph two(") == 4
    one = run("opt", "m.py:two", "-p", "cse,fuse-qkv", "--print-before", "fuse-qkv").stderr
    assert one.count("graph two(") == 1 and one.startswith("# before fuse-qkv")
    assert "no such pass in this pipeline" in run("opt", "m.py:two", "-p", "cse", "--print-before", "dce", fails=2).stderr


def test_dump_dir(run) -> None:
    text = run("opt", "m.py:two", "-p", "cse,fuse-qkv", "--dump-dir", "ir").stdout
    assert sorted(p.name for p in Path("ir").iterdir()) == ["00-input.tg", "01-cse.tg", "02-fuse-qkv.tg"]
    assert str(tg.read("ir/02-fuse-qkv.tg")) == text.rstrip("\n")
    assert "holds the graphs of another run" in run("opt", "m.py:two", "--dump-dir", "ir", fails=2).stderr


def test_own_pass_of_the_examples(run) -> None:
    own = str(Path(__file__).resolve().parents[2] / "examples" / "own_pass.py")
    Path("relu.py").write_text("import tgraph as tg\n\ndef f(x):\n    return tg.relu(x) * 0.5\n\nf.specs = [tg.f32[3]]\n")
    shown = run("--plugin", own, "opt", "relu.py:f", "-p", "scale-before-relu", "--validate").stdout
    assert shown.index("mul(%x, f32(0.5))") < shown.index("relu(%0)")

"""`tgraph diff` and `tgraph reduce`."""

from __future__ import annotations

import sys
from pathlib import Path

import tgraph as tg

FIRST = """graph g(%x: f32[B, 8]) -> (y: f32[B, 8]) {
  param @w: f32[8, 8]
  %0 = linear(%x, @w) : f32[B, 8]
  %1 = relu(%0) : f32[B, 8]
  %2 = tanh(%1) : f32[B, 8]
  return (y: %2)
}
"""


def test_diff_of_equal_graphs(run) -> None:
    shown = run("diff", "m.py:two", "m.py:traced")
    assert shown.stdout == "equal: 4 nodes\n"
    assert run("diff", "-q", "m.py:two", "m.py:two").stdout == ""


def test_diff_shows_added_removed_and_changed(run) -> None:
    Path("a.tg").write_text(FIRST)
    Path("b.tg").write_text(FIRST.replace("relu(%0)", "exp(%0)").replace("(y:", "(out:").replace("w", "v"))
    shown = run("diff", "a.tg", "b.tg", fails=1).stdout
    assert "- param w: f32[8, 8]" in shown and "+ param v: f32[8, 8]" in shown
    assert "- output y: f32[B, 8]" in shown and "+ output out: f32[B, 8]" in shown
    assert "- %1 = relu(%0) : f32[B, 8]" in shown and "+ %1 = exp(%0) : f32[B, 8]" in shown
    assert "~ %0 = linear(%x, @w) : f32[B, 8]\n  -> %0 = linear(%x, @v) : f32[B, 8]" in shown
    assert run("diff", "-q", "a.tg", "b.tg", fails=1).stdout == ""
    assert "absent.tg: No such file" in run("diff", "a.tg", "absent.tg", fails=2).stderr


def test_reduce_finds_the_smallest_graph(run) -> None:
    shown = run("reduce", "m.py:two", "--test", "grep -q softmax")
    small = tg.parse(shown.stdout)
    assert [n.op.name for n in small.nodes] == ["softmax"] and "4 to 1 nodes" in shown.stderr
    run("reduce", "m.py:two", "--test", "grep -q softmax {}", "-o", "small.tg")
    assert tg.read("small.tg") == small


def test_reduce_takes_any_status_and_gives_weights(run) -> None:
    Path("test.py").write_text(
        "import sys, pathlib\nfile = pathlib.Path(sys.argv[1])\ntext = file.read_text()\n"
        "complete = 'param' not in text or file.with_suffix('.safetensors').exists()\n"
        "sys.exit(3 if complete and ' add(' in text else 0)\n")
    command = f"{sys.executable} -S test.py"
    shown = run("reduce", "m.py:two", "--test", command, "--status", "3")
    assert [n.op.name for n in tg.parse(shown.stdout).nodes] == ["add"]
    assert "nothing to reduce" in run("reduce", "m.py:two", "--no-weights", "--test", command, "--status", "3", fails=2).stderr


def test_reduce_refuses(run) -> None:
    assert "is not interesting as it is: there is nothing to reduce; grep -q nothing must exit with 0" in run(
        "reduce", "m.py:two", "--test", "grep -q nothing", fails=2).stderr
    assert "--test needs a command" in run("reduce", "m.py:two", "--test", "", fails=2).stderr
    assert "no-such-command: No such file" in run("reduce", "m.py:two", "--test", "no-such-command", fails=2).stderr
    assert "nothing to reduce" in run("reduce", "m.py:two", "--test", "sleep 5 {}", "--timeout", "0.2", fails=2).stderr

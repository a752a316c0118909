"""An op, a pass and kernels of a user's own, in a file outside of the tree."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def tgraph(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tgraph", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=cwd, timeout=120)


def test_a_plugin_is_in_the_text_the_command_line_and_the_checks(tmp_path: Path) -> None:
    shutil.copy(ROOT / "examples" / "plugin.py", tmp_path / "mine.py")
    (tmp_path / "layer.tg").write_text("""graph layer(%x: f32[B, S]) -> (y: f32[B, S]) {
  %0 = silu(%x) : f32[B, S]
  %1 = reverse(%0) : f32[B, S]
  return (y: %1)
}
""")
    listed = tgraph("--plugin", "mine.py", "ops", "hard_swish", cwd=tmp_path)
    assert "arXiv:1905.02244" in listed.stdout, listed.stderr
    rewritten = tgraph("--plugin", "mine.py", "opt", "layer.tg", "-p", "swish-to-hard-swish", "-o", "hard.tg", cwd=tmp_path)
    assert rewritten.returncode == 0, rewritten.stderr
    assert "hard_swish(%x)" in (tmp_path / "hard.tg").read_text()
    checked = tgraph("--plugin", "mine.py", "check", "hard.tg", cwd=tmp_path)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    unknown = tgraph("check", "hard.tg", cwd=tmp_path)
    assert unknown.returncode == 2 and "unknown op 'hard_swish'; one of your own?" in unknown.stderr


def test_a_target_of_ones_own(tmp_path: Path) -> None:
    """Listed, explained, checked, saved, loaded and run: by a file outside of the tree alone."""
    shutil.copy(ROOT / "examples" / "own_target.py", tmp_path / "mine.py")
    (tmp_path / "layer.tg").write_text("""graph layer(%x: f32[B, S, 8], %i: i64[B]) -> (y: f32[B, S, 4], z: i64[B, S]) {
  param @w: f32[4, 8]
  %0 = gather(%x, %i, axis=0) : f32[B, S, 8]
  %1 = linear(%0, @w) : f32[B, S, 4]
  %2 = softmax(%1) : f32[B, S, 4]
  %3 = argmax(%2) : i64[B, S]
  return (y: %2, z: %3)
}
""")
    (tmp_path / "run.py").write_text("""import mine, sys
import numpy as np
import tgraph as tg
graph = tg.parse(open("layer.tg").read())
graph.weights.set("w", np.random.default_rng(0).normal(size=(4, 8)).astype(np.float32))
executable = tg.compile(graph, "c")
report = tg.check(executable)
assert report, str(report)
executable.save("layer.tgc")
loaded = tg.load("layer.tgc")
x, i = np.random.default_rng(1).normal(size=(3, 5, 8)).astype(np.float32), np.array([2, 0, 1])
for a, b, c in zip(loaded(x, i), executable(x, i), tg.compile(graph, "numpy")(x, i)):
    assert np.array_equal(a, b) and np.allclose(a, c, atol=1e-6)
try:
    loaded(x, np.array([0, 1, 3]))
except tg.InputError as error:
    assert "outside of" in str(error)
else:
    raise SystemExit("an index outside of its table was taken")
assert "int32_t" in executable.source("c")
print(executable.cache)
""")
    ran = subprocess.run([sys.executable, "run.py"], capture_output=True, text=True, cwd=tmp_path, timeout=120,
                         env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert ran.returncode == 0, ran.stderr
    assert "off: " in ran.stdout
    listed = tgraph("--plugin", "mine.py", "targets", cwd=tmp_path)
    assert "portable C" in listed.stdout, listed.stderr
    passes = tgraph("--plugin", "mine.py", "opt", "layer.tg", "--target", "c", "--validate", cwd=tmp_path)
    assert passes.returncode == 0 and "call $" in passes.stdout, passes.stderr
    unknown = tgraph("check", "layer.tg", "--target", "c", cwd=tmp_path)
    assert unknown.returncode == 2 and "unknown target 'c'" in unknown.stderr and "--plugin FILE" in unknown.stderr

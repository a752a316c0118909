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
    assert unknown.returncode == 2 and "unknown op 'hard_swish'" in unknown.stderr
